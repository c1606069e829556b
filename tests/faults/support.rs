//! What several modules need: imports in the background, changing trees, damage.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use lfsfs_testkit::process::Program;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::World;

/// Starts an import that the test goes on beside.
pub(crate) fn start_import(world: &World, tree: &Path, project: &str) -> Program {
    let words = ["import".as_ref(), tree.as_os_str(), OsStr::new(project)];
    Program::start(world.command(words)).expect("lfsfs starts")
}

/// A server with a small tree as `app@v1`.
pub(crate) fn world_with_version() -> (World, PathBuf) {
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    (world, tree)
}

/// Returns all files below a directory, in the order of their paths.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    // A directory of a running server may be gone by now.
    let Ok(entries) = fs::read_dir(dir) else {
        return files;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Copies a directory of files and directories.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    let mode = fs::metadata(from).expect("a directory").permissions();
    fs::set_permissions(to, mode).expect("a mode");
    for entry in fs::read_dir(from).expect("a directory") {
        let from = entry.expect("an entry").path();
        let to = to.join(from.file_name().expect("a name"));
        if from.is_dir() {
            copy_dir(&from, &to);
        } else {
            let _ = fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// What can happen to a file on a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Flip { at: u64, bit: u8 },
    Cut { len: u64 },
}

impl Damage {
    /// Does it.
    pub(crate) fn apply(self, path: &Path) {
        let mut bytes = fs::read(path).expect("a file");
        match self {
            Self::Flip { at, bit } => bytes[usize::try_from(at).expect("small")] ^= 1 << bit,
            Self::Cut { len } => bytes.truncate(usize::try_from(len).expect("small")),
        }
        fs::write(path, bytes).expect("a file");
    }
}
