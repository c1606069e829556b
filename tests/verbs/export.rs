//! `lfsfs export`: the way back of an import.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::requirements::{require_program, require_root};
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Run, World};
use rustix::process::{Pid, Signal, kill_process};

fn imported(spec: TreeSpec) -> (World, PathBuf) {
    let world = World::new();
    let tree = world.path("tree");
    let _ = spec.generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    (world, tree)
}

fn export(world: &World, source: &str, dir: &Path) -> Run {
    world.lfsfs(["export".as_ref(), source.as_ref(), dir.as_os_str()])
}

#[test]
fn what_was_imported_comes_out_the_same() {
    if require_root().is_err() {
        return;
    }
    let (world, tree) = imported(TreeSpec::small());
    let dir = world.path("out");
    let run = export(&world, "app", &dir);
    assert_eq!((run.ok(), run.stderr()), ("app@v1".into(), String::new()));
    assert_same_trees(&tree, &dir, &CompareOptions::default());
    // And it is no change.
    assert_eq!(world.import(&dir, "app"), "app@v1");
}

#[test]
fn every_version_comes_out_as_it_was() {
    if require_root().is_err() {
        return;
    }
    let (world, tree) = imported(TreeSpec::app(2_000));
    let before = world.path("before");
    let _ = export(&world, "app@v1", &before).ok();
    assert_same_trees(&tree, &before, &CompareOptions::default());
    fs::write(tree.join("package.json"), "changed").expect("a file");
    fs::write(tree.join("big"), vec![7; 9_000_000]).expect("a file");
    let _ = world.import(&tree, "app");
    let (old, new) = (world.path("old"), world.path("new"));
    let _ = export(&world, "app@v1", &old).ok();
    let _ = export(&world, "app@latest", &new).ok();
    assert_same_trees(&before, &old, &CompareOptions::default());
    assert_same_trees(&tree, &new, &CompareOptions::default());
}

#[test]
fn a_user_gets_all_but_the_owners() {
    if require_root().is_err() || require_program("setpriv").is_err() {
        return;
    }
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "text").expect("a file");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
    };
    mode(&tree.join("file"), 0o6755).expect("a mode");
    let _ = world.import(&tree, "app");
    let home = world.make_dir("home");
    std::os::unix::fs::chown(&home, Some(4711), Some(4711)).expect("an owner");
    mode(world.path("home").parent().expect("a parent"), 0o755).expect("a mode");
    let dir = home.join("out");
    let command = world.command_for_any_user(["export".as_ref(), "app".as_ref(), dir.as_os_str()]);
    let mut user = Command::new("setpriv");
    user.args(["--reuid", "4711", "--regid", "4711", "--clear-groups"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        user.env(name, value.expect("a value"));
    }
    assert_eq!(Run::of(user).ok(), "app@v1");
    let file = fs::metadata(dir.join("file")).expect("a file");
    // Set-user-id of another user's file gives no right of one's own.
    assert_eq!((file.uid(), file.mode() & 0o7777), (4711, 0o755));
}

#[test]
fn a_directory_in_use_is_refused_and_stays() {
    let (world, _) = imported(TreeSpec::small());
    let dir = world.make_dir("mine");
    fs::write(dir.join("mine"), "mine").expect("a file");
    export(&world, "app", &dir).fails(1, &["not empty", "new directory"]);
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 1);
    export(&world, "app", &dir.join("mine")).fails(1, &["mine"]);
    export(&world, "app", &dir.join("a/b")).fails(1, &["a/b", "above"]);
}

#[test]
fn without_a_version_nothing_is_made() {
    let (mut world, _) = imported(TreeSpec::small());
    let dir = world.path("out");
    export(&world, "none", &dir).fails(1, &["none"]);
    export(&world, "app@v9", &dir).fails(1, &["v9"]);
    export(&world, "a b", &dir).fails(2, &["a b"]);
    world.stop_server();
    export(&world, "app", &dir).fails(1, &["no lfsfs server"]);
    assert!(!dir.exists());
}

#[test]
fn json_tells_what_was_written() {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "text").expect("a file");
    let _ = world.import(&tree, "app");
    let dir = world.path("out");
    let words = ["export".as_ref(), "app".as_ref(), dir.as_os_str()];
    let json = world
        .lfsfs(words.into_iter().chain(["--json".as_ref()]))
        .json();
    let expected = serde_json::json!({
        "project": "app", "version": 1, "entries": 1, "bytes": 4,
        "skipped_special": 0, "skipped_xattrs": 0, "skipped_owners": 0,
        "left_out": 0, "first_left_out": [],
    });
    assert_eq!(json, expected);
}

/// Starts an export, ends it with a signal when something is in its directory, and checks that all
/// of the version is there, or nothing.
fn interrupted_by(world: &World, tree: &Path, signal: Signal) {
    let dir = world.path("out");
    let mut command = world.command(["export".as_ref(), "app".as_ref(), dir.as_os_str()]);
    let mut child = command.spawn().expect("lfsfs starts");
    while fs::read_dir(&dir).map_or(0, Iterator::count) == 0 {
        if child.try_wait().expect("a child").is_some() {
            break;
        }
    }
    let _ = kill_process(Pid::from_child(&child), signal);
    let status = child.wait().expect("lfsfs ends");
    // It may have been done before the signal came: then it is whole.
    if status.success() {
        assert_same_trees(tree, &dir, &CompareOptions::default());
        fs::remove_dir_all(&dir).expect("a directory");
    } else {
        assert_eq!(status.code(), Some(1), "{signal:?}");
        assert!(!dir.exists(), "{signal:?}");
    }
}

#[test]
fn who_interrupts_it_finds_nothing_left() {
    let (world, tree) = imported(TreeSpec::app(3_000));
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        interrupted_by(&world, &tree, signal);
    }
}

#[test]
fn a_signal_that_the_caller_has_it_ignore_does_not_stop_it() {
    if require_program("nohup").is_err() {
        return;
    }
    let (world, tree) = imported(TreeSpec::app(3_000));
    let dir = world.path("out");
    let command = world.command(["export".as_ref(), "app".as_ref(), dir.as_os_str()]);
    let mut nohup = Command::new("nohup");
    nohup
        .arg(command.get_program())
        .args(command.get_args())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for (name, value) in command.get_envs() {
        nohup.env(name, value.expect("a value"));
    }
    let mut child = nohup.spawn().expect("nohup starts");
    while fs::read_dir(&dir).map_or(0, Iterator::count) == 0 {
        assert!(
            child
                .try_wait()
                .expect("a child")
                .is_none_or(|status| status.success())
        );
    }
    let _ = kill_process(Pid::from_child(&child), Signal::HUP);
    assert!(child.wait().expect("lfsfs ends").success());
    assert_same_trees(&tree, &dir, &CompareOptions::default());
}

#[test]
fn what_a_killed_one_left_is_named() {
    let (world, tree) = imported(TreeSpec::app(3_000));
    let dir = world.path("out");
    let mut command = world.command(["export".as_ref(), "app".as_ref(), dir.as_os_str()]);
    let mut child = command.spawn().expect("lfsfs starts");
    while fs::read_dir(&dir).map_or(0, Iterator::count) == 0 {
        if child.try_wait().expect("a child").is_some() {
            break;
        }
    }
    child.kill().expect("a signal");
    if child.wait().expect("lfsfs ends").success() {
        assert_same_trees(&tree, &dir, &CompareOptions::default());
        return;
    }
    export(&world, "app", &dir).fails(1, &["not empty", "export that was killed"]);
    fs::remove_dir_all(&dir).expect("a directory");
    let _ = export(&world, "app", &dir).ok();
    assert_same_trees(&tree, &dir, &CompareOptions::default());
}

#[test]
fn lost_contents_are_listed_and_the_rest_is_there() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("first"), vec![1; 300_000]).expect("a file");
    let _ = world.import(&tree, "app");
    let of_first: Vec<PathBuf> = chunks(world.data());
    fs::write(tree.join("second"), vec![2; 300_000]).expect("a file");
    let _ = world.import(&tree, "app");
    world.stop_server();
    for chunk in of_first {
        fs::remove_file(chunk).expect("a chunk");
    }
    world.start_server(&[]);
    let dir = world.path("out");
    let run = export(&world, "app", &dir);
    let _ = run.fails(
        1,
        &["1 object of app@v2", "first: ", "the rest of it is in"],
    );
    assert_eq!(run.stdout(), "");
    assert!(!dir.join("first").exists());
    assert_eq!(
        fs::read(dir.join("second")).expect("a file"),
        vec![2; 300_000]
    );
    let again = world.path("again");
    let words = ["export".as_ref(), "app".as_ref(), again.as_os_str()];
    let run = world.lfsfs(words.into_iter().chain(["--json".as_ref()]));
    // The result, and behind it the error as every failure has one.
    let text = run.stdout();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let [json, error] = lines.as_slice() else {
        panic!("a result and an error: {text}");
    };
    assert!(error["error"]["message"].is_string(), "{error}");
    assert_eq!(json["left_out"], 1);
    assert_eq!(json["first_left_out"][0]["path"], "first");
}

/// Returns the chunks below a server's data, which are named by their hash.
fn chunks(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![data.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = entry.path();
            if entry.file_type().expect("a type").is_dir() {
                dirs.push(path);
            } else if path.file_name().is_some_and(|name| name.len() == 64) {
                found.push(path);
            }
        }
    }
    found
}
