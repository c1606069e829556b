//! What a tree looks like at one moment, and how two trees differ.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use lfsfs_tests::paths;
use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags};

use super::call::{CLOCK_FROM, comparable_mode};

/// Clocks of two file systems differ by this at most, in seconds.
const CLOCK_SLACK: i64 = 2;
const DIFFERENCES_SHOWN: usize = 12;

/// A tree by paths; the root has the empty path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(BTreeMap<String, Seen>);

/// What is seen of an object.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) stable: Stable,
    identity: Identity,
    mtime: (i64, u32),
    ctime: (i64, u32),
}

/// What both sides must have alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stable {
    pub(crate) mode: u32,
    owner: (u32, u32),
    /// 0 and 1 of directories: file systems differ.
    size: u64,
    nlink: u32,
    device: (u32, u32),
    /// Hash of the bytes of a file, or the target of a symlink.
    content: u64,
    target: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first path of this file: names of one file share it.
    first_path: String,
}

/// Tells objects apart, also when a number is given a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    ino: u64,
    born: (i64, u32),
}

impl Tree {
    /// Looks at everything below a directory.
    pub(crate) fn of(root: &Path) -> Self {
        let below = paths(root).into_iter().map(|(path, _)| path);
        let mut all: Vec<_> = std::iter::once(root.to_owned()).chain(below).collect();
        all.sort();
        let mut first_paths = HashMap::new();
        let mut tree = BTreeMap::new();
        for path in all {
            let name = path.strip_prefix(root).expect("it lies below");
            let name = name
                .to_str()
                .expect("names of the test are text")
                .to_owned();
            let mut seen = look(&path);
            let first = first_paths
                .entry(seen.identity.ino)
                .or_insert_with(|| name.clone());
            seen.stable.first_path.clone_from(first);
            tree.insert(name, seen);
        }
        Self(tree)
    }

    /// Returns the paths of all objects but the root.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        self.0.keys().filter(|path| !path.is_empty()).cloned()
    }

    /// Returns the paths of all directories; that of the root is empty.
    pub(crate) fn directories(&self) -> impl Iterator<Item = String> {
        let is_directory =
            |seen: &Seen| FileType::from_raw_mode(seen.stable.mode) == FileType::Directory;
        let found = self.0.iter().filter(move |(_, seen)| is_directory(seen));
        found.map(|(path, _)| path.clone())
    }

    /// Returns how many objects there are, the root among them.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if both hold the same but for times, which two clocks never make alike.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let stable = |tree: &Self| -> Vec<_> {
            let objects = tree.0.iter();
            let objects = objects.map(|(path, seen)| (path.clone(), seen.stable.clone()));
            objects.collect()
        };
        stable(self) == stable(other)
    }

    /// Returns the first differences from another, for people.
    pub(crate) fn unlike(&self, other: &Self) -> String {
        let found = differences(self, other, |path, left, right| {
            let is_same = left.stable == right.stable;
            (!is_same).then(|| format!("{path:?}: {left:?}, expected {right:?}"))
        });
        found[..found.len().min(DIFFERENCES_SHOWN)].join("\n")
    }

    /// Checks that this is what another look at the tree showed: all but numbers and change times.
    #[track_caller]
    pub(crate) fn assert_is(&self, other: &Self, what: impl fmt::Display) {
        let exact = |seen: &Seen| (seen.stable.clone(), seen.mtime);
        let differences = differences(self, other, |path, left, right| {
            (exact(left) != exact(right)).then(|| format!("{path:?}: {left:?}, expected {right:?}"))
        });
        assert_none(&differences, what);
    }
}

/// Two trees that the same calls were made on, as they were looked at last.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    ours: Tree,
    local: Tree,
    /// Our number of each local object.
    numbers: HashMap<Identity, u64>,
    /// Objects may have other numbers at the next look.
    is_renumbered: bool,
    /// Objects may have older change times at the next look.
    is_committed: bool,
}

impl Twins {
    /// Returns our tree at the last look.
    pub(crate) fn ours(&self) -> &Tree {
        &self.ours
    }

    /// Allows other numbers at the next look, as after a remount of what was committed.
    pub(crate) fn renumber(&mut self) {
        self.is_renumbered = true;
    }

    /// Allows older change times at the next look: where nothing but the change time differs, a
    /// commit leaves an object as it is in the version.
    pub(crate) fn commit(&mut self) {
        self.is_committed = true;
    }

    /// Looks at both trees again, and checks that they are alike, that objects kept their
    /// numbers and that the same times have changed since the last look.
    #[track_caller]
    pub(crate) fn look(&mut self, ours: &Path, local: &Path, what: impl fmt::Display) {
        let (ours, local) = (Tree::of(ours), Tree::of(local));
        let now = jiff::Timestamp::now().as_second();
        let differences = differences(&ours, &local, |path, left, right| {
            let found = self.difference(left, right, now);
            found.map(|found| format!("{path:?}: {found}\n   ours {left:?}\n  local {right:?}"))
        });
        assert_none(&differences, what);
        self.numbers = ours
            .0
            .iter()
            .filter_map(|(path, seen)| Some((local.0.get(path)?.identity, seen.identity.ino)))
            .collect();
        (self.ours, self.local) = (ours, local);
        (self.is_renumbered, self.is_committed) = (false, false);
    }

    fn difference(&self, ours: &Seen, local: &Seen, now: i64) -> Option<&'static str> {
        if ours.stable != local.stable {
            return Some("another object");
        }
        if !is_same_time(ours.mtime, local.mtime, now) {
            return Some("another mtime");
        }
        let number = self.numbers.get(&local.identity)?;
        if self.is_renumbered {
            return None;
        }
        if *number != ours.identity.ino {
            return Some("another number than before");
        }
        let (ours_before, local_before) = (
            find(&self.ours, |it| it.ino == ours.identity.ino)?,
            find(&self.local, |it| it == local.identity)?,
        );
        let has_changed = |before: &Seen, after: &Seen| {
            let ctime = !self.is_committed && before.ctime != after.ctime;
            (before.mtime != after.mtime, ctime)
        };
        let is_same = has_changed(ours_before, ours) == has_changed(local_before, local);
        (!is_same).then_some("other times have changed")
    }
}

fn find(tree: &Tree, is_it: impl Fn(Identity) -> bool) -> Option<&Seen> {
    tree.0.values().find(|seen| is_it(seen.identity))
}

fn is_same_time(ours: (i64, u32), local: (i64, u32), now: i64) -> bool {
    let is_stamp = (CLOCK_FROM..=now + CLOCK_SLACK).contains(&local.0);
    if !is_stamp {
        return ours == local;
    }
    (local.0 - CLOCK_SLACK..=now + CLOCK_SLACK).contains(&ours.0) && ours.0 <= local.0 + CLOCK_SLACK
}

fn differences(
    ours: &Tree,
    local: &Tree,
    compare: impl Fn(&str, &Seen, &Seen) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (path, seen) in &ours.0 {
        match local.0.get(path) {
            Some(expected) => found.extend(compare(path, seen, expected)),
            None => found.push(format!("{path:?} is too much: {seen:?}")),
        }
    }
    let missing = local.0.keys().filter(|path| !ours.0.contains_key(*path));
    found.extend(missing.map(|path| format!("{path:?} is missing")));
    found
}

#[track_caller]
fn assert_none(differences: &[String], what: impl fmt::Display) {
    let shown = &differences[..differences.len().min(DIFFERENCES_SHOWN)];
    let count = differences.len();
    assert!(count == 0, "{what}: {count} differ\n{}", shown.join("\n"));
}

fn look(path: &Path) -> Seen {
    let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, flags);
    let stat = stat.expect("attributes");
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    let is_directory = kind == FileType::Directory;
    let stable = Stable {
        mode: comparable_mode(stat.stx_mode.into()),
        owner: (stat.stx_uid, stat.stx_gid),
        size: if is_directory { 0 } else { stat.stx_size },
        nlink: if is_directory { 1 } else { stat.stx_nlink },
        device: (stat.stx_rdev_major, stat.stx_rdev_minor),
        content: match kind {
            FileType::RegularFile => content(path),
            _ => 0,
        },
        target: match kind {
            FileType::Symlink => {
                let target = fs::read_link(path).expect("a symlink");
                target.as_os_str().as_bytes().to_vec()
            }
            _ => Vec::new(),
        },
        xattrs: xattrs(path),
        first_path: String::new(),
    };
    Seen {
        stable,
        identity: identity(&stat),
        mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
    }
}

fn identity(stat: &Statx) -> Identity {
    Identity {
        ino: stat.stx_ino,
        born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
    }
}

fn content(path: &Path) -> u64 {
    let bytes = fs::read(path).expect("the bytes of a file");
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let names = xattr::list(path).expect("extended attributes");
    let names = names.filter(|name| super::call::is_compared(name.as_bytes()));
    let mut found: Vec<_> = names
        .map(|name| {
            let value = xattr::get(path, &name).expect("an extended attribute");
            (name.as_bytes().to_vec(), value.unwrap_or_default())
        })
        .collect();
    found.sort();
    found
}
