//! What `lfsfs put`, `get` and `rm` refuse, and what they say about it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use lfsfs_tests::{Numbers, Run, World};

use crate::support::{get, names, put, world, world_with_project};

fn rm(world: &World, file: &str) -> Run {
    world.lfsfs(["rm", file])
}

#[test]
fn words_that_name_no_file_are_wrong_usage() {
    // No server is asked.
    let world = World::without_server();
    let file = world.path("file");
    fs::write(&file, "text").expect("a file");
    for (word, complaint) in [
        ("app", "no colon"),
        ("app:", "no path"),
        ("app:.", "no path"),
        ("app:dir/", "ends with a slash"),
        ("app:../x", ".."),
        ("a b:x", "a b"),
        (":x", "names no version"),
    ] {
        for run in [
            put(&world, &file, word),
            get(&world, word, &file),
            rm(&world, word),
        ] {
            let _ = run.fails(2, &[complaint]);
        }
    }
    for version in ["app@v1", "app@latest", "app@stable"] {
        let word = format!("{version}:x");
        for run in [put(&world, &file, &word), rm(&world, &word)] {
            let _ = run.fails(2, &["stays as it is", "app:x"]);
        }
    }
    let run = world.lfsfs(["get", "app:x", "-", "--json"]);
    let _ = run.fails(2, &["--json has no use"]);
    let _ = world.lfsfs(["get", "app:x", "dir/"]).fails(2, &["dir/"]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), "text");
}

#[test]
fn a_project_or_version_that_is_not_there_is_named() {
    let world = world();
    let file = world.path("file");
    fs::write(&file, "text").expect("a file");
    put(&world, &file, "none:x").fails(1, &["none", "lfsfs project new none"]);
    rm(&world, "none:x").fails(1, &["none", "lfsfs project list"]);
    for source in ["none", "app@v9", "app@none"] {
        get(&world, format!("{source}:one"), &file).fails(1, &["hint: "]);
    }
    assert_eq!(fs::read_to_string(&file).expect("a file"), "text");
    assert_eq!(world.head("app"), 1);
}

#[test]
fn a_path_that_leads_to_no_file_is_named() {
    let world = world();
    let file = world.path("file");
    fs::write(&file, "text").expect("a file");
    get(&world, "app:none", &file).fails(1, &["there is no none", "lfsfs ls"]);
    get(&world, "app:dir", &file).fails(1, &["dir is a directory", "lfsfs export"]);
    rm(&world, "app:none").fails(1, &["there is no none", "lfsfs ls"]);
    rm(&world, "app:one/below").fails(1, &["one/below"]);
    rm(&world, "app:dir").fails(1, &["dir is a directory", "lfsfs mount"]);
    put(&world, &file, "app:dir").fails(1, &["dir is a directory", "app:dir/NAME"]);
    put(&world, &file, "app:one/a/b").fails(1, &["one is not a directory", "lfsfs ls"]);
    put(&world, &file, "app:link/x").fails(1, &["link is not a directory"]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), "text");
    assert_eq!(world.head("app"), 1);
}

#[test]
fn what_is_no_file_here_is_not_put() {
    let world = world();
    let dir = world.path("tree");
    put(&world, &dir, "app:x").fails(1, &["is a directory", "lfsfs import"]);
    put(&world, &dir.join("none"), "app:x").fails(1, &["cannot open", "tree/none"]);
    let null = Path::new("/dev/null");
    put(&world, null, "app:x").fails(1, &["not a regular file", "lfsfs put -"]);
    assert_eq!(world.head("app"), 1);
}

#[test]
fn what_is_no_file_here_is_not_replaced() {
    let world = world();
    let dir = world.make_dir("back");
    fs::create_dir(dir.join("dir")).expect("a directory");
    fs::write(dir.join("file"), "mine").expect("a file");
    symlink("file", dir.join("link")).expect("a link");
    let refused = |name: &str, words: &[&str]| {
        let _ = get(&world, "app:one", &dir.join(name)).fails(1, words);
    };
    refused("dir", &["is a directory", "dir/NAME"]);
    refused("link", &["is a symbolic link", "get SOURCE:PATH -"]);
    refused("none/file", &["none", "make the directory first"]);
    refused("file/below", &["file/below"]);
    let null = Path::new("/dev/null");
    get(&world, "app:one", null).fails(1, &["no regular file"]);
    assert_eq!(names(&dir), ["dir", "file", "link"]);
    assert_eq!(fs::read_to_string(dir.join("link")).expect("it"), "mine");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_published() {
    let world = world_with_project();
    let file = world.path("file");
    fs::write(&file, Numbers(1).bytes(20_000_000)).expect("a file");
    let is_done = AtomicBool::new(false);
    let run = std::thread::scope(|scope| {
        let _ = scope.spawn(|| {
            let opened = fs::File::options().append(true).open(&file);
            let mut opened = opened.expect("a file");
            while !is_done.load(Ordering::Relaxed) {
                std::io::Write::write_all(&mut opened, b"more").expect("room");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let run = put(&world, &file, "app:file");
        is_done.store(true, Ordering::Relaxed);
        run
    });
    let _ = run.fails(1, &["changed while it was read", "hint: "]);
    assert_eq!(world.head("app"), 0);
}

#[test]
fn with_json_a_failure_is_an_object() {
    let world = world();
    let run = world.lfsfs(["rm", "app:none", "--json"]);
    let _ = run.fails(1, &["none"]);
    let told: serde_json::Value = serde_json::from_str(&run.stdout()).expect("JSON");
    assert_eq!(told["error"]["kind"], "failed", "{told}");
}
