//! A small project, and commands typed in a directory.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::{Run, World};

/// Returns a world with app@v1: two files in the root, one in a directory, a link.
pub(crate) fn world() -> World {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir(tree.join("dir")).expect("a directory");
    for name in ["one", "two", "dir/three"] {
        fs::write(tree.join(name), name).expect("a file");
    }
    symlink("dir", tree.join("link")).expect("a link");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    world
}

/// Returns a world with so many versions of app, each the one before with `changes` random changes, and the tree
/// of the last one.
pub(crate) fn world_of_changes(versions: u64, changes: usize) -> (World, PathBuf) {
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    for seed in 1..versions {
        let _ = mutate(&tree, seed, changes).expect("changes");
        let _ = world.import(&tree, "app");
    }
    (world, tree)
}

/// Runs `lfsfs` as if typed in `dir`.
pub(crate) fn typed_in(world: &World, dir: &Path, words: &[&str]) -> Run {
    let mut command = world.command(words);
    command.current_dir(dir);
    Run::of(command)
}

/// Replaces the bytes of a file.
pub(crate) fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).expect(name);
}

/// Returns the bytes of a file.
pub(crate) fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).expect(name)
}

/// Returns a world with a project `app` that has no version yet.
pub(crate) fn world_with_project() -> World {
    let world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    world
}

/// Runs `lfsfs put FILE PROJECT:PATH`.
pub(crate) fn put(world: &World, file: &Path, to: impl AsRef<OsStr>) -> Run {
    world.lfsfs(["put".as_ref(), file.as_os_str(), to.as_ref()])
}

/// Runs `lfsfs get SOURCE:PATH FILE`.
pub(crate) fn get(world: &World, from: impl AsRef<OsStr>, file: &Path) -> Run {
    world.lfsfs(["get".as_ref(), from.as_ref(), file.as_os_str()])
}

/// Returns the names of all entries of a directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}
