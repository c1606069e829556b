//! The plan of a tree: what shall be made, in memory, before any disk is touched.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rand::RngExt;

use super::Random;
use super::content::Content;

/// A whole tree.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Entry,
    next_link: u32,
    times: Random,
}

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Directory(BTreeMap<OsString, Entry>),
    /// Files with the same link number are names of one file.
    File {
        content: Content,
        link: Option<u32>,
    },
    Symlink(OsString),
    Fifo,
}

#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) modified: Time,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

/// A point in time; nanoseconds count forward also before 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Plan {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut times: Random = rand::SeedableRng::seed_from_u64(random.random());
        let root = directory(random_time(&mut times));
        Self {
            root,
            next_link: 1,
            times,
        }
    }

    /// Returns a time between 2017 and 2023 with nanoseconds.
    pub(crate) fn some_time(&mut self) -> Time {
        random_time(&mut self.times)
    }

    /// Returns a number that no other group of hard links has.
    pub(crate) fn new_link(&mut self) -> u32 {
        self.next_link += 1;
        self.next_link
    }

    /// Puts `entry` at `path`, making the directories above it; an entry that was there is gone.
    pub(crate) fn insert(&mut self, path: impl AsRef<OsStr>, entry: Entry) {
        let mut names = path
            .as_ref()
            .as_bytes()
            .split(|byte| *byte == b'/')
            .peekable();
        let mut at = &mut self.root;
        while let Some(name) = names.next() {
            let Kind::Directory(children) = &mut at.kind else {
                unreachable!("the plan puts an entry below something that is no directory");
            };
            let name = OsStr::from_bytes(name).to_owned();
            if names.peek().is_none() {
                children.insert(name, entry);
                return;
            }
            let times = &mut self.times;
            at = children
                .entry(name)
                .or_insert_with(|| directory(random_time(times)));
        }
    }

    pub(crate) fn directory(&mut self, path: impl AsRef<OsStr>) {
        let entry = directory(self.some_time());
        self.insert(path, entry);
    }

    pub(crate) fn file(&mut self, path: impl AsRef<OsStr>, content: Content) {
        let entry = self.file_entry(content);
        self.insert(path, entry);
    }

    pub(crate) fn symlink(&mut self, path: impl AsRef<OsStr>, target: impl AsRef<OsStr>) {
        let kind = Kind::Symlink(target.as_ref().to_owned());
        let attributes = Attributes::new(0o777, self.some_time());
        self.insert(path, Entry { kind, attributes });
    }

    /// Returns a plain file that is not in the tree yet.
    pub(crate) fn file_entry(&mut self, content: Content) -> Entry {
        let attributes = Attributes::new(0o644, self.some_time());
        Entry {
            kind: Kind::File {
                content,
                link: None,
            },
            attributes,
        }
    }
}

impl Attributes {
    pub(crate) fn new(mode: u32, modified: Time) -> Self {
        Self {
            mode,
            modified,
            owner: None,
            xattrs: Vec::new(),
        }
    }
}

impl Entry {
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.attributes.mode = mode;
        self
    }

    pub(crate) fn modified(mut self, seconds: i64, nanoseconds: u32) -> Self {
        self.attributes.modified = Time {
            seconds,
            nanoseconds,
        };
        self
    }

    pub(crate) fn owner(mut self, user: u32, group: u32) -> Self {
        self.attributes.owner = Some((user, group));
        self
    }

    pub(crate) fn xattr(mut self, key: &str, value: &[u8]) -> Self {
        self.attributes.xattrs.push((key.into(), value.to_vec()));
        self
    }
}

/// Returns an empty directory that is not in the tree yet.
pub(crate) fn directory(modified: Time) -> Entry {
    Entry {
        kind: Kind::Directory(BTreeMap::new()),
        attributes: Attributes::new(0o755, modified),
    }
}

fn random_time(random: &mut Random) -> Time {
    Time {
        seconds: random.random_range(1_500_000_000..1_700_000_000),
        nanoseconds: random.random_range(0..1_000_000_000),
    }
}
