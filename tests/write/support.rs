//! What several modules need: trees to begin with, two versions of one, verbs that fail.

use std::fs;
use std::path::{Path, PathBuf};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::World;

/// A server with an application of so many files as `app@v1`, and the tree it was made of.
pub(crate) fn world_with_app(files: usize) -> (World, PathBuf) {
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::app(files).generate(&tree).expect("a tree");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    (world, tree)
}

/// Checks that a version, mounted elsewhere, is what a writable mount shows.
#[track_caller]
pub(crate) fn assert_version_is_mount(world: &World, source: &str, dir: &Path) {
    let version = world.mount(source, "suid,dev");
    assert_same_trees(dir, version.path(), &CompareOptions::default());
    version.umount();
}

/// Checks that two trees are equal but for times, which differ where two clocks made them.
#[track_caller]
pub(crate) fn assert_same_but_times(expected: &Path, actual: &Path) {
    let options = CompareOptions {
        times: false,
        directory_times: false,
        ..CompareOptions::default()
    };
    assert_same_trees(expected, actual, &options);
}

/// Writes a file with all directories above it.
#[track_caller]
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
    fs::write(path, bytes).expect("a file");
}

/// Mounts where a mount was killed in a commit: the newest version that its overlay can lie above. Which
/// that is depends on how far the commit was.
#[track_caller]
pub(crate) fn mount_newest_possible(world: &World, dir: &Path, options: &str) {
    let mount = |version| {
        world
            .mount_at(&format!("app@v{version}"), dir, options)
            .code()
    };
    let mut versions = (1..=world.head("app")).rev();
    let found = versions.find(|version| mount(*version) == Some(0));
    assert!(found.is_some(), "{} cannot be mounted again", dir.display());
}
