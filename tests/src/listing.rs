//! What a version holds, as `lfsfs ls` tells it, beside what a directory holds.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

use crate::world::World;

/// Objects by path; the root is not among them.
pub type Listing = BTreeMap<Vec<u8>, Entry>;

/// Files that one `lfsfs cat` is asked for.
const FILES_AT_ONCE: usize = 200;
/// Longer paths below a test's directory cannot be given to the kernel.
const PATH_LEN_MAX: usize = 3_000;

/// One object as `lfsfs ls --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: String,
    /// Permission bits, four octal digits.
    pub mode: String,
    /// User and group.
    pub owner: (u64, u64),
    /// Bytes of a file, 0 of anything else.
    pub size: u64,
    /// When a file was changed; empty for a directory, whose times alone make no version.
    pub mtime: String,
    /// Where a symlink points.
    pub target: Option<String>,
    /// Names of a file.
    pub nlink: u64,
}

/// Returns what `lfsfs ls -R` tells of a version.
///
/// # Panics
/// Where that fails.
#[must_use]
#[track_caller]
pub fn listing_of_version(world: &World, source: &str) -> Listing {
    let listed = world.lfsfs(["ls", "-R", "--json", source]).ok();
    let entry = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        (path_of(&object), entry_of_object(&object))
    };
    listed.lines().map(entry).collect()
}

/// Returns what a version of a directory must hold.
///
/// # Panics
/// Where the directory cannot be read.
#[must_use]
#[track_caller]
pub fn listing_of_dir(dir: &Path) -> Listing {
    let mut listing = Listing::new();
    let root = rustix::fs::openat(CWD, dir, directory_flags(), Mode::empty());
    add_entries(&root.expect("a directory"), b"", &mut listing);
    listing
}

/// Checks that a version is what a directory is: every object, every attribute, every byte.
///
/// # Panics
/// Where it is not.
#[track_caller]
pub fn assert_version_is_dir(world: &World, source: &str, dir: &Path) {
    let expected = listing_of_dir(dir);
    assert_same_listing(&listing_of_version(world, source), &expected);
    assert_same_contents(world, source, dir, &expected);
}

/// Checks that two listings are equal, and tells the first differences.
///
/// # Panics
/// Where they are not.
#[track_caller]
pub fn assert_same_listing(actual: &Listing, expected: &Listing) {
    let paths = actual.keys().chain(expected.keys());
    let mut differences: Vec<_> = paths
        .filter(|path| actual.get(*path) != expected.get(*path))
        .map(|path| {
            let (actual, expected) = (actual.get(path), expected.get(path));
            format!("{}: {actual:?}, expected {expected:?}", path.escape_ascii())
        })
        .collect();
    differences.sort();
    differences.dedup();
    let count = differences.len();
    differences.truncate(10);
    assert!(count == 0, "{count} differ:\n{}", differences.join("\n"));
}

fn assert_same_contents(world: &World, source: &str, dir: &Path, listing: &Listing) {
    let is_file = |path: &&Vec<u8>| listing[*path].kind == "file" && path.len() <= PATH_LEN_MAX;
    let files: Vec<&Vec<u8>> = listing.keys().filter(is_file).collect();
    for files in files.chunks(FILES_AT_ONCE) {
        let paths = files.iter().map(|path| std::ffi::OsStr::from_bytes(path));
        let words = ["cat", source].map(std::ffi::OsStr::new);
        let run = world.lfsfs(words.into_iter().chain(paths.clone()));
        let _ = run.ok();
        let read = |path| fs::read(dir.join(path)).expect("a file of the tree");
        let expected: Vec<u8> = paths.flat_map(read).collect();
        let is_same = run.stdout_bytes() == expected;
        assert!(is_same, "other bytes in {source}, in one of {files:?}");
    }
}

fn path_of(object: &serde_json::Value) -> Vec<u8> {
    let Some(hex) = object["path_hex"].as_str() else {
        return object["path"].as_str().expect("a path").into();
    };
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn entry_of_object(object: &serde_json::Value) -> Entry {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| object[key].as_u64().expect("a number");
    let kind = text("kind");
    Entry {
        mode: text("mode"),
        owner: (number("uid"), number("gid")),
        size: if kind == "file" { number("size") } else { 0 },
        mtime: if kind == "directory" {
            String::new()
        } else {
            text("mtime")
        },
        target: object["target"].as_str().map(str::to_owned),
        nlink: number("nlink"),
        kind,
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn add_entries(dir: &OwnedFd, path: &[u8], listing: &mut Listing) {
    for entry in Dir::read_from(dir).expect("a directory that can be read") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).expect("an entry");
        let below = match path {
            b"" => name.to_vec(),
            path => [path, b"/", name].concat(),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let child = rustix::fs::openat(dir, name, directory_flags(), Mode::empty());
            add_entries(&child.expect("a directory"), &below, listing);
        }
        listing.insert(below, entry_of_stat(dir.as_fd(), name, &stat));
    }
}

fn entry_of_stat(dir: impl AsFd, name: &[u8], stat: &Stat) -> Entry {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let target = (kind == FileType::Symlink).then(|| {
        let target = rustix::fs::readlinkat(dir, name, Vec::new()).expect("a symlink");
        String::from_utf8_lossy(target.as_bytes()).into_owned()
    });
    let is_directory = kind == FileType::Directory;
    Entry {
        kind: kind_text(kind).to_owned(),
        mode: format!("{:04o}", stat.st_mode & 0o7777),
        owner: (stat.st_uid.into(), stat.st_gid.into()),
        size: match kind {
            FileType::RegularFile => u64::try_from(stat.st_size).expect("a length"),
            _ => 0,
        },
        mtime: if is_directory {
            String::new()
        } else {
            time(stat)
        },
        target,
        nlink: if is_directory { 1 } else { stat.st_nlink },
    }
}

fn kind_text(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        _ => "nothing that a version holds",
    }
}

fn time(stat: &Stat) -> String {
    let nanos = i32::try_from(stat.st_mtime_nsec).expect("nanoseconds");
    let time = jiff::Timestamp::new(stat.st_mtime, nanos);
    time.expect("a time of the calendar").to_string()
}
