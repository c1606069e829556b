//! `lfsfs fsdiff`: what was changed in a rebuilt directory.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use lfsfs_testkit::requirements::require_root;
use lfsfs_tests::{Run, World};
use serde_json::json;

use crate::rebuild::rebuild;
use crate::support::{world, world_of_changes, write};

pub(crate) fn fsdiff(world: &World, dir: &Path, options: &[&str]) -> Run {
    let words = ["fsdiff".as_ref(), dir.as_os_str()];
    world.lfsfs(words.into_iter().chain(options.iter().map(OsStr::new)))
}

/// Returns a world with app@v1, and a directory that has it.
fn rebuilt(options: &[&str]) -> (World, PathBuf) {
    let world = world();
    let dir = world.path("dir");
    let _ = rebuild(&world, "app", &dir, options).ok();
    (world, dir)
}

fn set_time(path: &Path, time: std::time::SystemTime) {
    let file = fs::File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("a time");
}

#[test]
fn lines_tell_what_was_changed() {
    let (world, dir) = rebuilt(&[]);
    assert_eq!(fsdiff(&world, &dir, &[]).ok(), "");
    write(&dir, "dir/new", "new");
    write(&dir, "one", "eno");
    set_time(&dir.join("two"), std::time::SystemTime::UNIX_EPOCH);
    fs::remove_file(dir.join("link")).expect("a link");
    symlink("two", dir.join("link")).expect("a link");
    let lines = "A dir/new\nM link\nM one\nT two";
    assert_eq!(fsdiff(&world, &dir, &[]).ok(), lines);
    fs::remove_dir_all(dir.join("dir")).expect("a directory");
    write(&dir, "dir", "a file");
    fs::set_permissions(dir.join("two"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let lines = "M dir\nD dir/three\nM link\nM one\nM two";
    assert_eq!(fsdiff(&world, &dir, &[]).ok(), lines);
    let nul = fsdiff(&world, &dir, &["-z"]).stdout();
    assert_eq!(nul, "M dir\0D dir/three\0M link\0M one\0M two\0");
    let stat = json!({"added": 0, "removed": 1, "modified": 4, "touched": 0, "renamed": 0});
    assert_eq!(fsdiff(&world, &dir, &["--stat", "--json"]).json(), stat);
    let first = fsdiff(&world, &dir, &["--json"]).ok();
    assert_eq!(first.lines().next(), Some(r#"{"change":"M","path":"dir"}"#));
    let _ = rebuild(&world, "app", &dir, &["--from-scratch"]).ok();
    assert_eq!(fsdiff(&world, &dir, &["--ignore-times"]).ok(), "");
}

#[test]
fn bytes_that_kept_their_time_are_found() {
    let (world, dir) = rebuilt(&[]);
    let time = fs::metadata(dir.join("one")).and_then(|it| it.modified());
    write(&dir, "one", "eno");
    set_time(&dir.join("one"), time.expect("a time"));
    assert_eq!(fsdiff(&world, &dir, &[]).ok(), "M one");
    assert_eq!(fsdiff(&world, &dir, &["--ignore-times"]).ok(), "M one");
    fs::remove_file(dir.join(".lfsfs/summary")).expect("the summary");
    assert_eq!(fsdiff(&world, &dir, &[]).ok(), "M one");
}

#[test]
fn only_the_part_that_it_has_is_compared() {
    let (world, dir) = rebuilt(&["--subpath", "dir", "--ignore", "*.log"]);
    assert_eq!(fsdiff(&world, &dir, &[]).ok(), "");
    for name in ["own", "dir/own.log", "dir/own"] {
        write(&dir, name, "mine");
    }
    assert_eq!(fsdiff(&world, &dir, &[]).ok(), "A dir/own");
}

#[test]
fn it_tells_what_a_diff_of_the_versions_tells() {
    if require_root().is_err() {
        return;
    }
    let (world, _) = world_of_changes(3, 60);
    let dirs = ["v1", "v2", "v3"].map(|version| {
        let dir = world.path(version);
        let _ = rebuild(&world, &format!("app@{version}"), &dir, &[]).ok();
        dir
    });
    let state = |dir: &Path| dir.join(".lfsfs/state");
    let states = dirs
        .each_ref()
        .map(|dir| fs::read(state(dir)).expect("a state"));
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 1), (1, 1)] {
        // As if a user had made the one version of the other.
        fs::write(state(&dirs[to]), &states[from]).expect("a state");
        let versions = [from, to].map(|version| format!("app@v{}", version + 1));
        let diff = world.lfsfs(["diff", "--no-renames", &versions[0], &versions[1]]);
        assert_eq!(fsdiff(&world, &dirs[to], &[]).ok(), diff.ok());
        fs::write(state(&dirs[to]), &states[to]).expect("a state");
    }
}

#[test]
fn what_has_no_version_is_refused() {
    let (mut world, dir) = rebuilt(&[]);
    let other = world.make_dir("other");
    fsdiff(&world, &other, &[]).fails(1, &["no rebuild made it", "lfsfs rebuild"]);
    fsdiff(&world, &world.path("none"), &[]).fails(1, &["no rebuild made it"]);
    assert!(!world.path("none").exists());
    let state = dir.join(".lfsfs/state");
    let text = fs::read_to_string(&state).expect("the state");
    let gone = text.replace(r#""number":1"#, r#""number":7"#);
    fs::write(&state, gone).expect("the state");
    fsdiff(&world, &dir, &[]).fails(1, &["v7", "server does not have"]);
    fs::write(&state, "").expect("the state");
    fsdiff(&world, &dir, &[]).fails(1, &["damaged"]);
    let version = text.find(r#""version""#).expect("a version");
    let under_way = r#""version":null,"under_way":{"versions":[],"replaces":false}}"#;
    fs::write(&state, [&text[..version], under_way].concat()).expect("the state");
    fsdiff(&world, &dir, &[]).fails(1, &["did not come to its end", "lfsfs rebuild"]);
    fs::write(&state, text).expect("the state");
    world.stop_server();
    fsdiff(&world, &dir, &[]).fails(1, &["no lfsfs server"]);
}
