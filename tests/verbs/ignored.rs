//! Ignored paths: what a project and files in the tree keep out of imports and updates.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use lfsfs_tests::{Run, World};

use crate::fsdiff::fsdiff;
use crate::rebuild::rebuild;
use crate::support::{world_with_project, write};
use crate::update::{update, update_json};

fn import(world: &World, tree: &Path, options: &[&str]) -> Run {
    let words = ["import".as_ref(), tree.as_os_str(), OsStr::new("app")];
    world.lfsfs(words.into_iter().chain(options.iter().map(OsStr::new)))
}

fn ignore(world: &World, patterns: &[&str]) -> Run {
    let words = patterns.iter().flat_map(|pattern| ["--ignore", *pattern]);
    world.lfsfs(["project", "set", "app"].into_iter().chain(words))
}

/// Returns what one version has that an earlier one has not, and the other way round.
fn diff(world: &World, from: &str, to: &str) -> String {
    world.lfsfs(["diff", from, to]).ok()
}

/// Makes a tree with build output.
fn built(tree: &Path) {
    for dir in ["src/out", "target/debug", "docs"] {
        fs::create_dir_all(tree.join(dir)).expect("directories");
    }
    for name in [
        "src/a.rs",
        "src/a.o",
        "src/out/keep",
        "src/out/x",
        "target/debug/a",
        "docs/a.o",
    ] {
        write(tree, name, name);
    }
    write(tree, "src/.lfsfsignore", "/out/*\n!/out/keep\n[\n");
    write(tree, "docs/.lfsfsignore", "!*.o\n");
}

const KEPT: &str = "A docs\nA docs/.lfsfsignore\nA docs/a.o\nA src\nA src/.lfsfsignore\nA src/a.rs\n\
    A src/out\nA src/out/keep";

#[test]
fn an_import_leaves_out_what_project_and_files_say() {
    let world = world_with_project();
    assert_eq!(ignore(&world, &["target/", "*.o"]).ok(), "");
    let tree = world.make_dir("tree");
    built(&tree);
    let made = import(&world, &tree, &[]);
    let told = made.stderr();
    assert_eq!(made.ok(), "app@v1");
    assert!(
        told.contains("src/.lfsfsignore, line 3: a bracket is not closed"),
        "{told}"
    );
    let found = diff(&world, "app@v0", "app@v1");
    assert_eq!(found.trim_start_matches("M \n"), KEPT);
    let outcome = import(&world, &tree, &["--json"]).json();
    assert_eq!(
        (&outcome["ignored"], &outcome["new"]),
        (&3.into(), &false.into())
    );
    // All of it, and then what the version has stays in it.
    assert_eq!(import(&world, &tree, &["--no-ignore"]).ok(), "app@v2");
    let rest = "A src/a.o\nA src/out/x\nA target\nA target/debug\nA target/debug/a";
    assert_eq!(diff(&world, "app@v1", "app@v2"), rest);
    write(&tree, "src/a.o", "new");
    write(&tree, "target/debug/b", "not in the version");
    fs::remove_file(tree.join("src/out/x")).expect("a file");
    assert_eq!(import(&world, &tree, &[]).ok(), "app@v3");
    assert_eq!(diff(&world, "app@v2", "app@v3"), "M src/a.o\nD src/out/x");
    // What is gone is ignored when it is there again.
    write(&tree, "src/out/x", "again");
    assert_eq!(import(&world, &tree, &[]).ok(), "app@v3");
}

#[test]
fn an_update_sends_what_fsdiff_tells_and_neither_has_ignored_paths() {
    let world = world_with_project();
    let tree = world.make_dir("tree");
    write(&tree, ".lfsfsignore", "*.log\n");
    write(&tree, "kept.log", "of the version");
    assert_eq!(import(&world, &tree, &["--no-ignore"]).ok(), "app@v1");
    assert_eq!(ignore(&world, &["/target"]).ok(), "");
    let dir = world.path("dir");
    let _ = rebuild(&world, "app", &dir, &[]).ok();
    fs::create_dir(dir.join("target")).expect("a directory");
    for name in ["kept.log", "new.log", "target/a", "new"] {
        write(&dir, name, "changed");
    }
    symlink("new", dir.join("link.log")).expect("a link");
    assert_eq!(fsdiff(&world, &dir, &[]).ok(), "M kept.log\nA new");
    let outcome = update_json(&world, &dir, &[]);
    assert_eq!(
        (&outcome["version"], &outcome["ignored"]),
        (&2.into(), &3.into())
    );
    assert_eq!(diff(&world, "app@v1", "app@v2"), "M kept.log\nA new");
    assert!(dir.join("new.log").exists() && dir.join("target/a").exists());
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v2");
    // Even one that is named stays out.
    assert_eq!(
        update(&world, &dir, &["--subpath", "target/a"]).ok(),
        "app@v2"
    );
    assert_eq!(update(&world, &dir, &["--no-ignore"]).ok(), "app@v3");
    let rest = "A link.log\nA new.log\nA target\nA target/a";
    assert_eq!(diff(&world, "app@v2", "app@v3"), rest);
}

#[test]
fn what_others_publish_does_not_overwrite_an_ignored_file() {
    let world = world_with_project();
    let tree = world.make_dir("tree");
    write(&tree, ".lfsfsignore", "*.log\n");
    assert_eq!(import(&world, &tree, &[]).ok(), "app@v1");
    let dir = world.path("dir");
    let _ = rebuild(&world, "app", &dir, &[]).ok();
    write(&tree, "a.log", "theirs");
    assert_eq!(import(&world, &tree, &["--no-ignore"]).ok(), "app@v2");
    for name in ["a.log", "new"] {
        write(&dir, name, "mine");
    }
    let updated = update(&world, &dir, &[]);
    let told = updated.stderr();
    assert_eq!(updated.code(), Some(1), "{told}");
    assert!(told.contains("a.log"), "{told}");
    assert_eq!(
        fs::read_to_string(dir.join("a.log")).expect("a file"),
        "mine"
    );
}

#[test]
fn names_that_are_no_text_are_compared_as_bytes() {
    let world = world_with_project();
    let tree = world.make_dir("tree");
    let at = |name: &[u8]| tree.join(Path::new(OsStr::from_bytes(name)));
    for name in [b"\xff.o", b"\xfe.c", b"\xfd.x"] {
        fs::write(at(name), "bytes").expect("a file");
    }
    fs::write(at(b".lfsfsignore"), b"*.o\n\xfe*\n").expect("a file");
    assert_eq!(import(&world, &tree, &[]).ok(), "app@v1");
    let listed = world.lfsfs(["ls", "app@v1"]).ok();
    assert!(
        listed.contains("375") && !listed.contains("376") && !listed.contains("377"),
        "{listed}"
    );
}

#[test]
fn settings_of_a_project_are_checked_and_told() {
    let world = world_with_project();
    let refused = ignore(&world, &["ok", "[a"]);
    let told = refused.stderr();
    assert_ne!(refused.code(), Some(0));
    assert!(
        told.contains("\"[a\" is not a pattern of gitignore(5)"),
        "{told}"
    );
    let inspect = || world.lfsfs(["project", "inspect", "app", "--json"]).json();
    assert_eq!(inspect()["ignore_patterns"], serde_json::json!([]));
    assert_eq!(ignore(&world, &["*.o", "/a b"]).ok(), "");
    assert_eq!(
        inspect()["ignore_patterns"],
        serde_json::json!(["*.o", "/a b"])
    );
    // They stay with another name, and a copy has them.
    let _ = world.lfsfs(["project", "rename", "app", "other"]).ok();
    let _ = world.lfsfs(["project", "rename", "other", "app"]).ok();
    let _ = world
        .lfsfs(["project", "new", "copy", "--template", "app"])
        .ok();
    let copy = world.lfsfs(["project", "inspect", "copy"]).ok();
    assert!(
        copy.contains("ignore       *.o\nignore       /a b"),
        "{copy}"
    );
    assert_eq!(
        world
            .lfsfs(["project", "set", "app", "--ignore-nothing"])
            .ok(),
        ""
    );
    assert_eq!(inspect()["ignore_patterns"], serde_json::json!([]));
    assert_eq!(world.lfsfs(["project", "set", "app"]).code(), Some(2));
}
