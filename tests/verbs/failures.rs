//! What a script gets from a command that fails, and what a terminal gets of texts that others wrote.

use std::fs;
use std::os::unix::fs::symlink;

use lfsfs_tests::{Run, World, in_namespace};

use crate::support::{world, write};

/// Every command with `--json` that asks a server, and those that ask a mount which is not there.
const COMMANDS: [&[&str]; 20] = [
    &["project", "list"],
    &["project", "inspect", "app"],
    &["import", "/etc", "app"],
    &["export", "app", "/nowhere/at/all"],
    &["rebuild", "app", "/nowhere/at/all"],
    &["ls", "app"],
    &["put", "/etc/passwd", "app:file"],
    &["get", "app:file", "/nowhere/at/all"],
    &["rm", "app:file"],
    &["log", "app"],
    &["show", "app"],
    &["diff", "app@v1", "app@v2"],
    &["tag", "app"],
    &["tag", "app", "stable"],
    &["status", "/"],
    &["commit", "/"],
    &["discard", "/"],
    &["restore", "/etc", "--from", "v1"],
    &["switch", "/", "v1"],
    &["stats", "/"],
];

/// Returns the object that a failed command with `--json` writes last.
fn error_of(run: &Run) -> serde_json::Value {
    let stdout = run.stdout();
    let last = stdout.lines().last().unwrap_or_default();
    let object = serde_json::from_str::<serde_json::Value>(last);
    assert!(object.is_ok(), "{object:?}: {run:?}");
    object.expect("JSON")["error"].clone()
}

#[test]
fn with_json_every_failure_is_an_object() {
    let world = World::without_server();
    std::thread::scope(|scope| {
        for words in COMMANDS {
            let world = &world;
            scope.spawn(move || {
                let run = world.lfsfs(words.iter().chain(&["--json"]));
                assert_eq!(run.code(), Some(1), "{run:?}");
                let error = error_of(&run);
                assert_eq!(error["kind"], "failed", "{run:?}");
                let message = error["message"].as_str().expect("a message");
                assert!(run.stderr().contains(message), "{run:?}");
            });
        }
    });
    let doctor = world.lfsfs(["doctor", "--json"]);
    assert_eq!(
        (doctor.code(), &error_of(&doctor)["kind"]),
        (Some(1), &"failed".into())
    );
}

#[test]
fn with_json_wrong_usage_is_an_object_too() {
    let world = World::without_server();
    for words in [
        &["log", "no/project", "--nonsense"][..],
        &["ls", "a b"],
        &["tag", "app", "v3"],
        &["commit", "--message"],
    ] {
        let mut words = words.to_vec();
        words.insert(1, "--json");
        let run = world.lfsfs(&words);
        assert_eq!(run.code(), Some(2), "{run:?}");
        assert_eq!(error_of(&run)["kind"], "usage", "{run:?}");
    }
}

#[test]
fn a_conflict_in_json_lists_its_paths() {
    in_namespace("failures::a_conflict_in_json_lists_its_paths", || {
        let world = world();
        let (first, second) = (
            world.mount_writable("app", ""),
            world.mount_writable("app", ""),
        );
        for (mount, text) in [(&first, "theirs"), (&second, "mine")] {
            write(mount.path(), "one", text);
        }
        let _ = first.commit("");
        let refused = second.verb(["commit", "--json"]);
        refused.fails(3, &["--force"]);
        let error = error_of(&refused);
        assert_eq!(
            (&error["kind"], &error["paths"], &error["paths_count"]),
            (
                &"conflict".into(),
                &serde_json::json!([{"path": "one"}]),
                &1.into()
            )
        );
        assert!(
            error["hint"]
                .as_str()
                .expect("a hint")
                .contains("lfsfs discard")
        );
        first.umount();
        second.umount();
    });
}

/// Checks that a terminal would find nothing to obey.
#[track_caller]
fn assert_safe(run: &Run) {
    for text in [run.stdout(), run.stderr()] {
        let found = text
            .chars()
            .find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert_eq!(found, None, "{run:?}");
    }
}

#[test]
fn a_terminal_obeys_nothing_that_others_wrote() {
    let world = World::new();
    let tree = world.make_dir("tree");
    let evil = "\u{1b}[31m\u{9b}2J\rx";
    fs::write(tree.join(evil), "").expect("a file");
    symlink(evil, tree.join("link")).expect("a link");
    let pattern = "\u{1b}m\u{9b}|x";
    let _ = world
        .lfsfs(["project", "new", "app", "--pack", pattern])
        .ok();
    let message = format!("first {evil}\nv9  2026-01-01 00:00  root@host  import\n");
    let tree = tree.to_str().expect("text");
    let import = world.lfsfs(["import", tree, "app", "-m", &message]);
    assert_eq!(import.ok(), "app@v1");
    let commands: [&[&str]; 11] = [
        &["log", "app"],
        &["log", "app", "--json"],
        &["show", "app@v1"],
        &["ls", "app", "-l"],
        &["ls", "app", "--json"],
        &["diff", "app@v0", "app@v1"],
        &["project", "inspect", "app"],
        &["project", "inspect", "app", "--json"],
        &["log", "app", evil],
        &["cat", "app", "no\u{1b}such"],
        &["tag", "app", evil],
    ];
    for words in commands {
        assert_safe(&world.lfsfs(words));
    }
    let log = world.lfsfs(["log", "app"]).ok();
    assert_eq!(log.lines().count(), 1, "{log}");
}

#[test]
fn an_author_is_one_word_of_a_line() {
    let world = world();
    let tree = world.path("tree");
    fs::write(tree.join("new"), "").expect("a file");
    let tree = tree.to_str().expect("text");
    for author in ["me\nv9", "\u{1b}[31m"] {
        let run = world.lfsfs(["import", tree, "app", "--author", author]);
        run.fails(2, &["the author of the commit holds the character"]);
        assert_safe(&run);
    }
    let long = "a".repeat(256);
    let run = world.lfsfs(["import", tree, "app", "--author", &long]);
    run.fails(2, &["author", "255"]);
    assert_eq!(world.head("app"), 1);
}
