//! A mounted version cannot be told from the tree that was imported.

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::World;

/// Imports a tree, mounts it and compares everything.
fn assert_mounted_like_the_source(spec: &TreeSpec) {
    let world = World::new();
    let tree = world.path("tree");
    spec.generate(&tree).expect("a tree");
    let source = world.import(&tree, "app");
    let mount = world.mount(&source, "");
    assert_same_trees(&tree, mount.path(), &CompareOptions::default());
    mount.umount();
}

#[test]
fn a_small_tree() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("fidelity::a_small_tree", || {
        assert_mounted_like_the_source(&TreeSpec::small());
    });
}

#[test]
fn every_odd_object() {
    if require_root_and_fuse().is_err() {
        return;
    }
    in_private_namespace("fidelity::every_odd_object", || {
        assert_mounted_like_the_source(&TreeSpec::torture());
    });
}

#[test]
fn a_tree_like_an_application_of_twenty_thousand_files() {
    if require_root_and_fuse().is_err() {
        return;
    }
    let name = "fidelity::a_tree_like_an_application_of_twenty_thousand_files";
    in_private_namespace(name, || {
        assert_mounted_like_the_source(&TreeSpec::app(20_000));
    });
}
