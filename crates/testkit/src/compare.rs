//! Exact comparison of two trees, as a reader of both sees them.
//!
//! Compared are names as bytes, types, contents, permission bits, owners, symlink targets,
//! modification times to the nanosecond, which names are one file, link counts, extended
//! attributes and device numbers. Never compared: access and change times, inode numbers and
//! the sizes of directories.

mod contents;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{FileType, Stat};

use crate::directory::Directory;

/// What to compare; the default is everything that lfsfs keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompareOptions {
    /// Bytes of files; sizes are always compared.
    pub contents: bool,
    /// Permission bits with setuid, setgid and sticky.
    pub modes: bool,
    /// User and group.
    pub owners: bool,
    /// Modification times of everything but directories.
    pub times: bool,
    /// Modification times of directories.
    pub directory_times: bool,
    /// Which names are the same file.
    pub hard_links: bool,
    /// Link counts of everything but directories.
    pub file_link_counts: bool,
    /// Link counts of directories; off, because filesystems differ in what they count.
    pub directory_link_counts: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// Extended attributes whose names begin so are left out.
    pub ignored_xattr_prefixes: Vec<String>,
    /// Whether the attributes of the two roots are compared as well.
    pub root: bool,
    /// The comparison ends after so many differences.
    pub differences_max: usize,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            contents: true,
            modes: true,
            owners: true,
            times: true,
            directory_times: true,
            hard_links: true,
            file_link_counts: true,
            directory_link_counts: false,
            xattrs: true,
            ignored_xattr_prefixes: vec!["user.lfsfs.".into(), "security.selinux".into()],
            root: true,
            differences_max: 100,
        }
    }
}

/// One difference between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where, relative to the roots; empty for the root itself.
    pub path: PathBuf,
    /// In what.
    pub aspect: Aspect,
    /// What the expected tree has, in words.
    pub expected: String,
    /// What the actual tree has, in words.
    pub actual: String,
}

/// In what two objects of one name differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aspect {
    /// Only the expected tree has it.
    Missing,
    /// Only the actual tree has it.
    Unexpected,
    /// File, directory, symlink and so on.
    Type,
    /// Length of a file.
    Size,
    /// Bytes of a file.
    Contents,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// Target of a symlink.
    Target,
    /// Modification time.
    Time,
    /// Which names are one file.
    HardLinks,
    /// Number of names.
    LinkCount,
    /// Extended attributes.
    Xattrs,
    /// Device number of a device node.
    Device,
    /// One side cannot be read.
    Unreadable,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug form, because names hold newlines and bytes that are no characters.
        let Self {
            path,
            aspect,
            expected,
            actual,
        } = self;
        write!(
            formatter,
            "{path:?}: {aspect:?}: expected {expected}, found {actual}"
        )
    }
}

/// Returns how `actual` differs from `expected`, in the order of paths.
///
/// # Errors
/// Fails where a root cannot be opened; what cannot be read below is a [`Difference`].
pub fn compare_trees(
    expected: &Path,
    actual: &Path,
    options: &CompareOptions,
) -> anyhow::Result<Vec<Difference>> {
    let open =
        |path: &Path| Directory::open(path).with_context(|| format!("open {}", path.display()));
    let roots = Pair {
        expected: open(expected)?,
        actual: open(actual)?,
    };
    let mut comparison = Comparison::new(options);
    if options.root {
        let stats = Pair {
            expected: roots.expected.stat_self()?,
            actual: roots.actual.stat_self()?,
        };
        comparison.attributes(&stats);
        let xattrs = roots.map(Directory::xattrs_self)?;
        comparison.xattrs(xattrs);
    }
    comparison.directories(&roots);
    Ok(comparison.differences)
}

/// Asserts that two trees are the same and lists the differences where they are not.
///
/// # Panics
/// Where they differ or a root cannot be opened.
#[track_caller]
pub fn assert_same_trees(expected: &Path, actual: &Path, options: &CompareOptions) {
    let differences = compare_trees(expected, actual, options).expect("both trees can be compared");
    let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "{} differs from {}:\n{}",
        actual.display(),
        expected.display(),
        lines.join("\n")
    );
}

/// The same thing of both trees.
#[derive(Debug)]
struct Pair<T> {
    expected: T,
    actual: T,
}

impl<T> Pair<T> {
    fn map<U, E>(&self, read: impl Fn(&T) -> Result<U, E>) -> Result<Pair<U>, E> {
        Ok(Pair {
            expected: read(&self.expected)?,
            actual: read(&self.actual)?,
        })
    }
}

/// Identifies a file whatever its name: device and inode number.
type FileNumber = (u64, u64);

struct Comparison<'a> {
    options: &'a CompareOptions,
    differences: Vec<Difference>,
    path: PathBuf,
    /// The file of the actual tree that each file of the expected tree was first met with, and
    /// where; then the other way round.
    partners: HashMap<FileNumber, (FileNumber, PathBuf)>,
    partners_back: HashMap<FileNumber, (FileNumber, PathBuf)>,
}

impl<'a> Comparison<'a> {
    fn new(options: &'a CompareOptions) -> Self {
        Self {
            options,
            differences: Vec::new(),
            path: PathBuf::new(),
            partners: HashMap::new(),
            partners_back: HashMap::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.differences.len() >= self.options.differences_max
    }

    fn report(&mut self, aspect: Aspect, expected: impl fmt::Display, actual: impl fmt::Display) {
        let (expected, actual) = (expected.to_string(), actual.to_string());
        self.differences.push(Difference {
            path: self.path.clone(),
            aspect,
            expected,
            actual,
        });
    }

    fn check<T: PartialEq + fmt::Debug>(&mut self, aspect: Aspect, expected: T, actual: T) {
        if expected != actual {
            self.report(
                aspect,
                format_args!("{expected:?}"),
                format_args!("{actual:?}"),
            );
        }
    }

    /// Returns the value, or reports why it cannot be read.
    fn readable<T>(&mut self, result: std::io::Result<T>) -> Option<T> {
        result
            .map_err(|error| self.report(Aspect::Unreadable, "to read it", error))
            .ok()
    }

    fn directories(&mut self, pair: &Pair<Directory>) {
        let Some(lists) = self.readable(pair.map(Directory::entries)) else {
            return;
        };
        let mut actual = lists.actual.into_iter().peekable();
        for (name, kind) in lists.expected {
            while let Some((other, kind)) = actual.next_if(|(other, _)| *other < name) {
                self.one_sided(Aspect::Unexpected, other, kind);
            }
            if self.is_full() {
                return;
            }
            match actual.next_if(|(other, _)| *other == name) {
                Some(_) => self.at(name, |this, name| this.entries(pair, name)),
                None => self.one_sided(Aspect::Missing, name, kind),
            }
        }
        for (name, kind) in actual {
            self.one_sided(Aspect::Unexpected, name, kind);
        }
    }

    /// Runs `step` with the path of the comparison at `name`.
    fn at(&mut self, name: OsString, step: impl FnOnce(&mut Self, &OsString)) {
        self.path.push(&name);
        step(self, &name);
        self.path.pop();
    }

    fn one_sided(&mut self, aspect: Aspect, name: OsString, kind: FileType) {
        self.at(name, |this, _| match aspect {
            Aspect::Missing => this.report(aspect, format_args!("{kind:?}"), "nothing"),
            _ => this.report(aspect, "nothing", format_args!("{kind:?}")),
        });
    }

    fn entries(&mut self, parents: &Pair<Directory>, name: &OsString) {
        let Some(stats) = self.readable(parents.map(|parent| parent.stat(name))) else {
            return;
        };
        let kinds = Pair {
            expected: FileType::from_raw_mode(stats.expected.st_mode),
            actual: FileType::from_raw_mode(stats.actual.st_mode),
        };
        if kinds.expected != kinds.actual {
            self.check(Aspect::Type, kinds.expected, kinds.actual);
            return;
        }
        self.attributes(&stats);
        let xattrs = parents.map(|parent| parent.xattrs(name));
        if let Some(xattrs) = self.readable(xattrs) {
            self.xattrs(xattrs);
        }
        match kinds.expected {
            FileType::Directory => {
                let children = parents.map(|parent| parent.child(name));
                if let Some(children) = self.readable(children) {
                    self.directories(&children);
                }
            }
            FileType::RegularFile => self.files(parents, name, &stats),
            FileType::Symlink => {
                let targets = parents.map(|parent| parent.read_link(name));
                if let Some(targets) = self.readable(targets) {
                    self.check(Aspect::Target, targets.expected, targets.actual);
                }
            }
            _ => self.check(Aspect::Device, stats.expected.st_rdev, stats.actual.st_rdev),
        }
    }

    fn attributes(&mut self, stats: &Pair<Stat>) {
        let (expected, actual) = (&stats.expected, &stats.actual);
        let is_directory = FileType::from_raw_mode(expected.st_mode) == FileType::Directory;
        let options = self.options;
        if options.modes {
            let words = |stat: &Stat| format!("{:04o}", stat.st_mode & 0o7777);
            self.check(Aspect::Mode, words(expected), words(actual));
        }
        if options.owners {
            let owner = |stat: &Stat| (stat.st_uid, stat.st_gid);
            self.check(Aspect::Owner, owner(expected), owner(actual));
        }
        if if is_directory {
            options.directory_times
        } else {
            options.times
        } {
            let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
            self.check(Aspect::Time, time(expected), time(actual));
        }
        if if is_directory {
            options.directory_link_counts
        } else {
            options.file_link_counts
        } {
            self.check(Aspect::LinkCount, expected.st_nlink, actual.st_nlink);
        }
        if options.hard_links && !is_directory {
            self.link_groups(stats);
        }
    }

    /// Two names must be one file on both sides or on neither.
    fn link_groups(&mut self, stats: &Pair<Stat>) {
        let number = |stat: &Stat| (stat.st_dev, stat.st_ino);
        let (expected, actual) = (number(&stats.expected), number(&stats.actual));
        let here = || self.path.clone();
        let first = self
            .partners
            .entry(expected)
            .or_insert_with(|| (actual, here()));
        let back = self
            .partners_back
            .entry(actual)
            .or_insert_with(|| (expected, here()));
        let split = (first.0 != actual).then(|| first.1.clone());
        let joined = (back.0 != expected).then(|| back.1.clone());
        if let Some(other) = split {
            let expected = format!("the same file as {other:?}");
            self.report(Aspect::HardLinks, expected, "another file");
        }
        if let Some(other) = joined {
            let actual = format!("the same file as {other:?}");
            self.report(Aspect::HardLinks, "another file", actual);
        }
    }

    fn xattrs(&mut self, pair: Pair<Vec<(OsString, Vec<u8>)>>) {
        if !self.options.xattrs {
            return;
        }
        let prefixes = &self.options.ignored_xattr_prefixes;
        let kept = |xattrs: Vec<(OsString, Vec<u8>)>| -> Vec<String> {
            xattrs
                .into_iter()
                .filter(|(key, _)| {
                    let key = key.as_encoded_bytes();
                    !prefixes
                        .iter()
                        .any(|prefix| key.starts_with(prefix.as_bytes()))
                })
                .map(|(key, value)| format!("{}={}", key.display(), value.escape_ascii()))
                .collect()
        };
        self.check(Aspect::Xattrs, kept(pair.expected), kept(pair.actual));
    }

    fn files(&mut self, parents: &Pair<Directory>, name: &OsString, stats: &Pair<Stat>) {
        if stats.expected.st_size != stats.actual.st_size {
            self.check(Aspect::Size, stats.expected.st_size, stats.actual.st_size);
            return;
        }
        if !self.options.contents {
            return;
        }
        let files = parents.map(|parent| parent.open_file(name));
        let Some(mut files) = self.readable(files) else {
            return;
        };
        let first = contents::first_difference(&mut files.expected, &mut files.actual);
        if let Some(Some(found)) = self.readable(first) {
            let at = found.offset;
            let words = |byte: Option<u8>| match byte {
                Some(byte) => format!("{byte:#04x} at byte {at}"),
                None => format!("the end at byte {at}"),
            };
            self.report(Aspect::Contents, words(found.left), words(found.right));
        }
    }
}
