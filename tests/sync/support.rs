//! Machines that sync directories of one name with one project.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lfsfs_tests::{Run, World};
use serde_json::Value;

/// How long a state is waited for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(40);

/// A directory and how it is synced.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The machine has a state of its own.
    pub(crate) world: World,
    pub(crate) dir: PathBuf,
    pub(crate) remote: String,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    Directory(u32),
    File {
        bytes: Vec<u8>,
        mode: u32,
        mtime: (i64, i64),
    },
    Link(PathBuf),
}

pub(crate) type Tree = BTreeMap<PathBuf, Thing>;

/// Returns a world with a project `app` that has no version.
pub(crate) fn world() -> World {
    let world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    world
}

impl Machine {
    /// Returns a machine of its own whose directory `notes` is empty.
    pub(crate) fn new(world: &World, remote: &str) -> Self {
        let world = world.another();
        let dir = world.make_dir("notes");
        Self {
            world,
            dir,
            remote: remote.to_owned(),
        }
    }

    /// Returns the words that every verb of it takes.
    pub(crate) fn words<'a>(&'a self, verb: &'a str, more: &[&'a str]) -> Vec<&'a OsStr> {
        let words = ["sync", verb, "--remote", &self.remote, "--dir"];
        let words = words.into_iter().map(OsStr::new);
        let quick = ["--set", "debounce_ms=50"];
        words
            .chain([self.dir.as_os_str()])
            .chain(
                quick
                    .into_iter()
                    .chain(more.iter().copied())
                    .map(OsStr::new),
            )
            .collect()
    }

    pub(crate) fn run(&self, verb: &str, more: &[&str]) -> Run {
        self.world.lfsfs(self.words(verb, more))
    }

    /// Syncs once, and returns what it says of itself.
    #[track_caller]
    pub(crate) fn once(&self) -> Value {
        self.run("once", &["--json"]).json()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect(name);
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).expect(name)
    }

    pub(crate) fn tree(&self) -> Tree {
        tree(&self.dir)
    }

    /// Returns the contents of conflict copies of a file.
    pub(crate) fn conflicts(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join(dir)).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").path());
        let copies = names.filter(|path| path.to_string_lossy().contains(" (conflict "));
        let mut copies: Vec<String> = copies
            .map(|path| fs::read_to_string(path).expect("a file"))
            .collect();
        copies.sort();
        copies
    }
}

/// Returns all that is in a directory and synced.
pub(crate) fn tree(dir: &Path) -> Tree {
    let (mut found, mut dirs) = (Tree::new(), vec![PathBuf::new()]);
    while let Some(below) = dirs.pop() {
        for entry in fs::read_dir(dir.join(&below)).expect("a directory") {
            let path = below.join(entry.expect("an entry").file_name());
            if path.as_os_str().as_bytes() == b".lfsfs" {
                continue;
            }
            let full = dir.join(&path);
            let meta = fs::symlink_metadata(&full).expect("an entry");
            let mode = meta.permissions().mode() & 0o7777;
            let thing = if meta.is_dir() {
                dirs.push(path.clone());
                Thing::Directory(mode)
            } else if meta.is_symlink() {
                Thing::Link(fs::read_link(&full).expect("a link"))
            } else {
                Thing::File {
                    bytes: fs::read(&full).expect("a file"),
                    mode,
                    mtime: (meta.mtime(), meta.mtime_nsec()),
                }
            };
            let _ = found.insert(path, thing);
        }
    }
    found
}

/// Checks that a directory of the newest version is what a directory is.
#[track_caller]
pub(crate) fn assert_project_is(world: &World, source: &str, expected: &Tree) {
    let export = world.path(&format!("export-{}", world.head("app")));
    let _ = fs::remove_dir_all(&export);
    let words = ["export", source].map(OsStr::new);
    let _ = world
        .lfsfs(words.into_iter().chain([export.as_os_str()]))
        .ok();
    assert_eq!(&tree(&export), expected);
    fs::remove_dir_all(&export).expect("a directory");
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + WAIT_MAX;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {WAIT_MAX:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
