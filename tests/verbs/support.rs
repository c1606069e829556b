//! A small project, and commands typed in a directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

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
