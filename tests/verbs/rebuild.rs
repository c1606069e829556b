//! `lfsfs rebuild`: a plain directory follows the versions of a project.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees, compare_trees};
use lfsfs_testkit::requirements::require_root;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::listing::{assert_same_listing, listing_of_dir, listing_of_version};
use lfsfs_tests::{Run, World};
use serde_json::{Value, json};

use crate::support::{names, read, world, write};

/// Runs `lfsfs rebuild SOURCE DIR` with options.
pub(crate) fn rebuild(world: &World, source: &str, dir: &Path, options: &[&str]) -> Run {
    let words = ["rebuild".as_ref(), source.as_ref(), dir.as_os_str()];
    world.lfsfs(words.into_iter().chain(options.iter().map(OsStr::new)))
}

/// Rebuilds, and returns the count of what was written and removed.
pub(crate) fn count(world: &World, source: &str, dir: &Path, options: &[&str]) -> u64 {
    let options: Vec<_> = options.iter().copied().chain(["--json"]).collect();
    let json = rebuild(world, source, dir, &options).json();
    json["count"].as_u64().expect("a count")
}

/// Checks that a rebuilt directory is what a tree is, but for its state.
#[track_caller]
pub(crate) fn assert_rebuilt(expected: &Path, dir: &Path) {
    let differences = compare_trees(expected, dir, &CompareOptions::default());
    let mut differences = differences.expect("two trees");
    differences.retain(|it| !it.path.starts_with(".lfsfs"));
    let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn a_new_directory_is_what_an_export_writes() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let (dir, exported) = (world.path("dir"), world.path("exported"));
    let run = rebuild(&world, "app", &dir, &[]);
    assert_eq!((run.ok(), run.stderr()), ("app@v1".into(), String::new()));
    assert_rebuilt(&tree, &dir);
    let words = ["export".as_ref(), "app".as_ref(), exported.as_os_str()];
    let _ = world.lfsfs(words).ok();
    assert_same_trees(&tree, &exported, &CompareOptions::default());
    assert_rebuilt(&exported, &dir);
    assert_eq!(names(&dir.join(".lfsfs/staging")), [""; 0]);
    // The state is no part of the tree: an import finds no change.
    assert_eq!(world.import(&dir, "app"), "app@v1");
    fs::remove_dir_all(dir.join(".lfsfs")).expect("the state");
    assert_same_listing(&listing_of_dir(&dir), &listing_of_version(&world, "app@v1"));
    let empty = world.make_dir("empty");
    assert_eq!(rebuild(&world, "app", &empty, &[]).ok(), "app@v1");
    assert_rebuilt(&tree, &empty);
}

#[test]
fn the_same_version_does_nothing() {
    let mut world = world();
    let dir = world.path("dir");
    assert_eq!(count(&world, "app", &dir, &[]), 5);
    write(&dir, "one", "mine");
    let state = fs::metadata(dir.join(".lfsfs/state")).expect("the state");
    let json = rebuild(&world, "app@v1", &dir, &["--json"]).json();
    let nothing = json!({"version": 1, "count": 0, "cached_count": 0, "file_match": false});
    assert_eq!(json, nothing);
    let same = fs::metadata(dir.join(".lfsfs/state")).expect("the state");
    let modified = |it: fs::Metadata| it.modified().expect("a time");
    assert_eq!(modified(state), modified(same));
    assert_eq!(read(&dir, "one"), "mine");
    world.stop_server();
    rebuild(&world, "app", &dir, &[]).fails(1, &["no lfsfs server"]);
    assert_eq!(read(&dir, "two"), "two");
}

/// Returns a world with app@v2, which has another `one`, no `two`, and `dir/four`.
pub(crate) fn world_with_two_versions() -> World {
    let world = world();
    let tree = world.path("tree");
    write(&tree, "one", "another");
    write(&tree, "dir/four", "four");
    fs::remove_file(tree.join("two")).expect("a file");
    assert_eq!(world.import(&tree, "app"), "app@v2");
    world
}

#[test]
fn changes_of_the_user_stay_unless_it_begins_anew() {
    let world = world_with_two_versions();
    let dir = world.path("dir");
    let _ = rebuild(&world, "app@v1", &dir, &[]).ok();
    write(&dir, "dir/three", "mine");
    write(&dir, "dir/own", "mine");
    fs::remove_file(dir.join("link")).expect("a link");
    // `one`, `two` and `dir/four`; the times of directories do not count.
    assert_eq!(count(&world, "app@v2", &dir, &[]), 3);
    let has = |names: &[&str]| names.iter().all(|name| dir.join(name).exists());
    assert_eq!(read(&dir, "one"), "another");
    assert!(has(&["dir/four", "dir/own"]) && !dir.join("two").exists());
    assert_eq!(read(&dir, "dir/three"), "mine");
    assert!(!dir.join("link").exists());
    // `dir/three` and the link come back, `dir/own` goes.
    assert_eq!(count(&world, "app@v2", &dir, &["--from-scratch"]), 3);
    assert_rebuilt(&world.path("tree"), &dir);
    assert_eq!(count(&world, "app@v1", &dir, &[]), 3);
    assert_eq!(read(&dir, "two"), "two");
}

#[test]
fn what_differs_is_replaced_whatever_the_user_made_of_it() {
    let world = world_with_two_versions();
    let dir = world.path("dir");
    let _ = rebuild(&world, "app@v1", &dir, &[]).ok();
    fs::remove_file(dir.join("one")).expect("a file");
    fs::create_dir_all(dir.join("one/below")).expect("directories");
    fs::remove_file(dir.join("two")).expect("a file");
    fs::create_dir(dir.join("two")).expect("a directory");
    write(&dir, "two/own", "mine");
    fs::remove_dir_all(dir.join("dir")).expect("a directory");
    write(&dir, "dir", "a file");
    let _ = rebuild(&world, "app@v2", &dir, &[]).ok();
    assert_rebuilt(&world.path("tree"), &dir);
}

#[test]
fn only_subpaths_are_written_and_what_is_ignored_is_left_alone() {
    let world = world_with_two_versions();
    let dir = world.make_dir("dir");
    let options = [
        "--subpath",
        "dir",
        "--subpath",
        "/two/",
        "--ignore",
        "*.log",
    ];
    let _ = rebuild(&world, "app@v1", &dir, &options).ok();
    assert_eq!(names(&dir), [".lfsfs", "dir", "two"]);
    write(&dir, "one", "mine");
    write(&dir, "dir/own.log", "mine");
    let _ = rebuild(&world, "app@v2", &dir, &options).ok();
    assert_eq!(names(&dir), [".lfsfs", "dir", "one"]);
    assert_eq!(names(&dir.join("dir")), ["four", "own.log", "three"]);
    assert_eq!(read(&dir, "one"), "mine");
    rebuild(&world, "app@v2", &dir, &[]).fails(1, &["other --ignore or --subpath", "same options"]);
    rebuild(&world, "app@v2", &dir, &["--subpath", "dir"]).fails(1, &["other --ignore"]);
    // The order of options says nothing.
    let again = ["--ignore", "*.log", "--subpath", "two", "--subpath", "dir"];
    assert_eq!(count(&world, "app@v2", &dir, &again), 0);
    let scratch = [&again[..], &["--from-scratch"]].concat();
    assert_eq!(count(&world, "app@v1", &dir, &scratch), 2);
    assert_eq!(names(&dir), [".lfsfs", "dir", "one", "two"]);
    assert_eq!(names(&dir.join("dir")), ["own.log", "three"]);
}

#[test]
fn a_subpath_in_a_directory_comes_and_goes_with_it() {
    let world = World::new();
    let tree = world.make_dir("tree");
    write(&tree, "one", "1");
    let _ = world.import(&tree, "app");
    fs::create_dir_all(tree.join("a/b/c")).expect("directories");
    write(&tree, "a/b/c/deep", "deep");
    write(&tree, "a/beside", "beside");
    let _ = world.import(&tree, "app");
    fs::remove_dir_all(tree.join("a")).expect("a directory");
    symlink("one", tree.join("a")).expect("a link");
    let _ = world.import(&tree, "app");
    let (dir, options) = (world.path("dir"), ["--subpath", "a/b"]);
    for (source, is_there) in [("app@v1", false), ("app@v2", true), ("app@v3", false)] {
        let _ = rebuild(&world, source, &dir, &options).ok();
        assert_eq!(dir.join("a/b/c/deep").exists(), is_there, "{source}");
        assert!(!dir.join("a/beside").exists() && !dir.join("one").exists());
        assert!(!dir.join("a").is_symlink());
    }
}

fn json_with(world: &World, source: &str, dir: &Path, options: &[&str]) -> Value {
    let options: Vec<_> = options.iter().copied().chain(["--json"]).collect();
    rebuild(world, source, dir, &options).json()
}

#[test]
fn json_says_whether_all_written_files_match() {
    let world = world();
    let tree = world.path("tree");
    write(&tree, "dir/three", "another");
    let _ = world.import(&tree, "app");
    let dir = world.path("dir");
    let fresh = json_with(&world, "app@v1", &dir, &["--match-include", "dir/**"]);
    let expected = json!({"version": 1, "count": 5, "cached_count": 0, "file_match": false});
    assert_eq!(fresh, expected);
    let include = ["--match-include", "dir/**"];
    let matched = json_with(&world, "app@v2", &dir, &include);
    let expected = json!({"version": 2, "count": 1, "cached_count": 0, "file_match": true});
    assert_eq!(matched, expected);
    let exclude = [&include[..], &["--match-exclude", "**/three"]].concat();
    assert_eq!(
        json_with(&world, "app@v1", &dir, &exclude)["file_match"],
        false
    );
    assert_eq!(json_with(&world, "app@v2", &dir, &[])["file_match"], true);
    rebuild(&world, "app", &dir, &["--match-include", "["]).fails(2, &["["]);
}
