//! `lfsfs put`, `get` and `rm`: what goes up comes down, and each time is a version.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use lfsfs_tests::{Numbers, World};

use crate::support::{get, names, put, world, world_with_project};

const MIB: usize = 1024 * 1024;

/// Makes a file with a mode and a time.
fn make(path: &Path, bytes: &[u8], mode: u32, secs: u64) {
    fs::write(path, bytes).expect("a file");
    let file = File::options().write(true).open(path).expect("the file");
    let time = UNIX_EPOCH + Duration::new(secs, 123_456_789);
    file.set_times(FileTimes::new().set_modified(time))
        .expect("a time");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// Checks that two files have the same bytes, permissions and time.
#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    let is_same = fs::read(one).expect("a file") == fs::read(other).expect("a file");
    assert!(is_same, "{} and {} differ", one.display(), other.display());
    let state = |path: &Path| {
        let found = path.metadata().expect("a file");
        (found.mode(), found.mtime(), found.mtime_nsec())
    };
    assert_eq!(state(one), state(other), "{}", other.display());
}

/// Runs `lfsfs put - TO` with these bytes on its standard input.
fn put_bytes(world: &World, bytes: &[u8], to: &str) -> String {
    let mut command = world.command(["put", "-", to]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("lfsfs starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(bytes).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("lfsfs ends");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

#[test]
fn a_file_of_any_size_comes_back_as_it_was() {
    let world = world_with_project();
    let (file, back) = (world.path("file"), world.path("back"));
    for (number, size) in [0, 1, MIB, MIB + 1, 40 * MIB].into_iter().enumerate() {
        let bytes = Numbers(size as u64 + 1).bytes(size);
        let mode = [0o644, 0o600, 0o755, 0o4751, 0o440][number];
        make(&file, &bytes, mode, 1_000_000_000 + size as u64);
        let version = format!("app@v{}", number + 1);
        let run = put(&world, &file, format!("app:file-{size}"));
        assert_eq!((run.ok(), run.stderr()), (version.clone(), String::new()));
        let run = get(&world, format!("app:file-{size}"), &back);
        assert_eq!((run.ok(), run.stderr()), (version, String::new()));
        assert_same(&file, &back);
        fs::remove_file(&file).expect("a file");
    }
    let listed = world.lfsfs(["ls", "app"]).ok();
    assert_eq!(listed.lines().count(), 5, "{listed}");
}

#[test]
fn a_file_that_no_user_may_read_is_one_afterwards() {
    let world = world_with_project();
    let (file, back) = (world.path("file"), world.path("back"));
    make(&file, b"text", 0, 7);
    let run = put(&world, &file, "app:file");
    if run.code() == Some(1) {
        let _ = run.fails(1, &["cannot open", "file"]);
        return;
    }
    let _ = (run.ok(), get(&world, "app:file", &back).ok());
    assert_same(&file, &back);
}

#[test]
fn every_version_keeps_its_file() {
    let world = world_with_project();
    let (file, back) = (world.path("file"), world.path("back"));
    for text in ["one", "two", "three"] {
        fs::write(&file, text).expect("a file");
        let _ = put(&world, &file, "app:dir/file").ok();
    }
    let _ = world.lfsfs(["tag", "app@v2", "stable"]).ok();
    for (source, version, text) in [
        ("app", "app@v3", "three"),
        ("app@v1", "app@v1", "one"),
        ("app@stable", "app@v2", "two"),
        ("app@latest", "app@v3", "three"),
    ] {
        let got = get(&world, format!("{source}:dir/file"), &back);
        assert_eq!(got.ok(), version, "{source}");
        assert_eq!(fs::read_to_string(&back).expect("a file"), text);
    }
    // Whatever else was there stays.
    fs::write(&file, "other").expect("a file");
    let _ = put(&world, &file, "app:other").ok();
    let changed = world.lfsfs(["diff", "app@v3", "app@v4"]).ok();
    assert_eq!(changed, "A other");
}

#[test]
fn directories_on_the_way_are_made() {
    let world = world_with_project();
    let file = world.path("file");
    fs::write(&file, "text").expect("a file");
    let _ = put(&world, &file, "app:a/b/c/d").ok();
    let listed = world.lfsfs(["ls", "-R", "app"]).ok();
    assert_eq!(listed, "a\na/b\na/b/c\na/b/c/d");
    let _ = put(&world, &file, "app:a/b/e").ok();
    let changed = world.lfsfs(["diff", "app@v1", "app@v2"]).ok();
    assert_eq!(changed, "A a/b/e");
}

#[test]
fn the_same_file_again_is_no_version() {
    let world = world_with_project();
    let file = world.path("file");
    fs::write(&file, Numbers(1).bytes(3 * MIB)).expect("a file");
    assert_eq!(put(&world, &file, "app:file").ok(), "app@v1");
    assert_eq!(put(&world, &file, "app:file").ok(), "app@v1");
    // Its bytes are there, wherever they are to go.
    let words = ["put".as_ref(), file.as_os_str(), "app:copy".as_ref()];
    let told = world.lfsfs(words.into_iter().chain(["--json".as_ref()]));
    let told = told.json();
    assert_eq!(
        (&told["version"], &told["bytes_sent"]),
        (&2.into(), &0.into())
    );
    assert_eq!(world.head("app"), 2);
}

#[test]
fn a_file_is_removed_and_earlier_versions_keep_it() {
    let world = world();
    let words = ["rm", "app:dir/three", "-m", "not used", "--author", "me"];
    assert_eq!(world.lfsfs(words).ok(), "app@v2");
    let changed = world.lfsfs(["diff", "app@v1", "app@v2"]).ok();
    assert_eq!(changed, "D dir/three");
    let log = world.lfsfs(["log", "app", "--json"]).ok();
    let newest: serde_json::Value =
        serde_json::from_str(log.lines().next().expect("a version")).expect("JSON");
    assert_eq!(
        (&newest["origin"], &newest["author"], &newest["message"]),
        (&"put".into(), &"me".into(), &"not used".into())
    );
    let back = world.path("back");
    get(&world, "app:dir/three", &back).fails(1, &["dir/three", "lfsfs ls"]);
    assert!(!back.exists());
    let _ = get(&world, "app@v1:dir/three", &back).ok();
    // A link goes, and not what it leads to.
    assert_eq!(world.lfsfs(["rm", "app:link"]).ok(), "app@v3");
    assert_eq!(world.lfsfs(["ls", "app"]).ok(), "dir\none\ntwo");
}

#[test]
fn another_name_of_a_file_keeps_what_it_had() {
    let world = world_with_project();
    let tree = world.make_dir("tree");
    fs::write(tree.join("a"), "old").expect("a file");
    for name in ["b", "c"] {
        fs::hard_link(tree.join("a"), tree.join(name)).expect("a link");
    }
    let _ = world.import(&tree, "app");
    let file = world.path("file");
    fs::write(&file, "new").expect("a file");
    let _ = put(&world, &file, "app:a").ok();
    let _ = world.lfsfs(["rm", "app:b"]).ok();
    assert_eq!(world.lfsfs(["cat", "app", "a", "c"]).ok(), "newold");
    assert_eq!(world.lfsfs(["ls", "app"]).ok(), "a\nc");
}

#[test]
fn a_version_says_who_put_a_file_and_why() {
    let world = world_with_project();
    let file = world.path("file");
    fs::write(&file, "text").expect("a file");
    let words = ["put".as_ref(), file.as_os_str(), "app:file".as_ref()];
    let more = ["-m", "better", "--author", "me"].map(OsStr::new);
    let _ = world.lfsfs(words.into_iter().chain(more)).ok();
    let log = world.lfsfs(["log", "app", "--json"]).json();
    assert_eq!(
        (&log["origin"], &log["author"], &log["message"]),
        (&"put".into(), &"me".into(), &"better".into())
    );
}

#[test]
fn bytes_go_through_pipes() {
    let world = world_with_project();
    for size in [0, 5, MIB + 1, 9 * MIB] {
        let bytes = Numbers(size as u64 + 1).bytes(size);
        let _ = put_bytes(&world, &bytes, "app:piped");
        let got = world.lfsfs(["get", "app:piped", "-"]);
        assert_eq!((got.code(), got.stderr()), (Some(0), String::new()));
        assert!(got.stdout_bytes() == bytes, "{size} bytes");
    }
    let json = world.lfsfs(["ls", "app", "--json"]).json();
    assert_eq!(json["mode"], "0644", "{json}");
    // What replaces a file has its permissions.
    let file = world.path("file");
    make(&file, b"#!/bin/sh", 0o755, 7);
    let _ = put(&world, &file, "app:piped").ok();
    let _ = put_bytes(&world, b"#!/bin/sh -e", "app:piped");
    let json = world.lfsfs(["ls", "app", "--json"]).json();
    assert_eq!(json["mode"], "0755", "{json}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = world_with_project();
    let _ = put_bytes(&world, &Numbers(1).bytes(9 * MIB), "app:file");
    let mut get = world.command(["get", "app:file", "-"]);
    get.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut get = get.spawn().expect("lfsfs starts");
    let mut head = Command::new("head");
    head.args(["-c", "10"])
        .stdin(get.stdout.take().expect("it is piped"));
    let read = head.output().expect("head runs");
    // With the command goes the last end of the pipe that can be read from.
    drop(head);
    assert_eq!(read.stdout, &Numbers(1).bytes(10)[..]);
    let output = get.wait_with_output().expect("lfsfs ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn names_need_not_be_text() {
    let world = world_with_project();
    let name = OsStr::from_bytes(b"f\xfc\n:x");
    let (file, back) = (world.path("here").join(name), world.path("back").join(name));
    for file in [&file, &back] {
        fs::create_dir(file.parent().expect("a parent")).expect("a directory");
    }
    fs::write(&file, "text").expect("a file");
    let path = OsStr::from_bytes(b"app:d\xff/f\xfc\n:x");
    let words = ["put".as_ref(), file.as_os_str(), path, "--json".as_ref()];
    let told = world.lfsfs(words).json();
    assert_eq!(told["path_hex"], "64ff2f66fc0a3a78", "{told}");
    let _ = get(&world, path, &back).ok();
    assert_same(&file, &back);
    assert_eq!(world.lfsfs(["rm".as_ref(), path]).ok(), "app@v2");
}

#[test]
fn links_are_followed_where_a_file_is_wanted() {
    let world = world();
    let back = world.path("back");
    let _ = get(&world, "app:link/three", &back).ok();
    assert_eq!(fs::read_to_string(&back).expect("a file"), "dir/three");
    symlink(world.path("tree/one"), world.path("to-one")).expect("a link");
    let _ = put(&world, &world.path("to-one"), "app:four").ok();
    let _ = get(&world, "app:four", &back).ok();
    assert_same(&world.path("tree/one"), &back);
}

#[test]
fn get_replaces_a_file_as_a_whole() {
    let world = world();
    let dir = world.make_dir("back");
    fs::write(dir.join("file"), "mine").expect("a file");
    let other = dir.join("other name");
    fs::hard_link(dir.join("file"), &other).expect("a link");
    let _ = get(&world, "app:one", &dir.join("file")).ok();
    assert_same(&world.path("tree/one"), &dir.join("file"));
    // Another name of the old file keeps it.
    assert_eq!(fs::read_to_string(&other).expect("a file"), "mine");
    assert_eq!(names(&dir), ["file", "other name"]);
    // A bare name is one in the working directory.
    let mut command = world.command(["get", "app:two", "two"]);
    command.current_dir(&dir);
    let _ = lfsfs_tests::Run::of(command).ok();
    assert_same(&world.path("tree/two"), &dir.join("two"));
}

#[test]
fn json_has_fixed_keys() {
    let world = world_with_project();
    let (file, back) = (world.path("file"), world.path("back"));
    fs::write(&file, "text").expect("a file");
    let json = |words: &[&OsStr]| {
        let told = world.lfsfs(words.iter().chain(&[OsStr::new("--json")]));
        assert_eq!(told.ok().lines().count(), 1, "{told:?}");
        told.json()
    };
    let mut told = json(&["put".as_ref(), file.as_ref(), "app:a/b".as_ref()]);
    assert!(told["bytes_sent"].take().as_u64() > Some(0));
    let content = "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1";
    let expected = serde_json::json!({
        "project": "app", "version": 1, "path": "a/b", "size": 4, "content": content,
        "bytes_sent": null, "contents_sent": 1,
    });
    assert_eq!(told, expected);
    let told = json(&["get".as_ref(), "app:a/b".as_ref(), back.as_ref()]);
    let expected = serde_json::json!({
        "project": "app", "version": 1, "path": "a/b", "size": 4,
        "skipped_xattrs": 0, "skipped_owners": 0,
    });
    assert_eq!(told, expected);
    let told = json(&["rm".as_ref(), "app:a/b".as_ref()]);
    let expected = serde_json::json!({"project": "app", "version": 2, "path": "a/b"});
    assert_eq!(told, expected);
}
