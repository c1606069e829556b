//! A mounted version cannot be told from the tree that was imported.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::process::Program;
use lfsfs_testkit::requirements::{Requirement, require, require_program, require_root_and_fuse};
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{World, files, in_namespace, run};

/// How long npm may take to install some packages.
const NPM_MAX: Duration = Duration::from_secs(60);
const PACKAGE: &str = r#"{"name": "app", "version": "1.0.0", "dependencies":
    {"express": "4.21.2", "lodash": "4.17.21", "commander": "12.1.0"}}"#;
const SCRIPT: &str = "require('express')(); console.log(require('lodash').chunk([1, 2, 3], 2));";

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
    in_namespace("fidelity::a_small_tree", || {
        assert_mounted_like_the_source(&TreeSpec::small());
    });
}

#[test]
fn every_odd_object() {
    in_namespace("fidelity::every_odd_object", || {
        assert_mounted_like_the_source(&TreeSpec::torture());
    });
}

#[test]
fn a_tree_like_an_application_of_twenty_thousand_files() {
    let name = "fidelity::a_tree_like_an_application_of_twenty_thousand_files";
    in_namespace(name, || {
        assert_mounted_like_the_source(&TreeSpec::app(20_000));
    });
}

#[test]
#[ignore = "soak: a hundred thousand files take minutes"]
fn a_tree_of_a_hundred_thousand_files() {
    in_namespace("fidelity::a_tree_of_a_hundred_thousand_files", || {
        assert_mounted_like_the_source(&TreeSpec::app(100_000));
    });
}

/// Runs npm to its end, for a limited time.
fn npm(dir: &Path, words: &[&str]) -> Result<(), String> {
    let mut npm = Command::new("npm");
    npm.current_dir(dir).args(words);
    let mut npm = Program::start(npm).map_err(|error| error.to_string())?;
    match npm.wait(NPM_MAX) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{status}: {}", npm.output())),
        Err(error) => Err(error.to_string()),
    }
}

/// Asks for npm and packages for it.
fn require_npm() -> Requirement {
    require_program("npm")?;
    let asked = npm(Path::new("/"), &["view", "commander@12.1.0", "version"]);
    require("a registry of npm packages", asked)
}

#[test]
fn a_real_node_modules() {
    if require_root_and_fuse().is_err() || require_npm().is_err() {
        return;
    }
    in_namespace("fidelity::a_real_node_modules", || {
        let world = World::new();
        let tree = world.make_dir("tree");
        fs::write(tree.join("package.json"), PACKAGE).expect("a file");
        let install = ["install", "--no-audit", "--no-fund", "--ignore-scripts"];
        npm(&tree, &install).expect("npm installs");
        fs::write(tree.join("index.js"), SCRIPT).expect("a file");
        assert!(files(&tree).len() > 500);
        let source = world.import(&tree, "app");
        let mount = world.mount(&source, "");
        assert_same_trees(&tree, mount.path(), &CompareOptions::default());
        let from = |dir: &Path| run("node", [dir.join("index.js")]).ok();
        assert_eq!(from(mount.path()), from(&tree));
        mount.umount();
    });
}
