//! Few open files, deep and wide trees, and what the machine cannot do.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use lfsfs_tests::{Run, World};
use rustix::fs::{Mode, OFlags, mkdirat, openat};

/// As deep as a path of one letter a directory can name, nearly.
const DEEP: usize = 1_500;
/// More directories than a client with few descriptors keeps open.
const WIDE: usize = 300;

/// Runs `lfsfs` with at most so many files open.
fn with_open_files(world: &World, count: usize, words: &[&OsStr]) -> Run {
    let command = world.command(words);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -n {count}; exec \"$@\""))
        .arg("sh")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.expect("a value"));
    }
    Run::of(shell)
}

fn make_deep(tree: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut dir: OwnedFd = rustix::fs::open(tree, flags, Mode::empty()).expect("a directory");
    for _ in 0..DEEP {
        mkdirat(&dir, "d", Mode::RWXU).expect("a directory");
        dir = openat(&dir, "d", flags, Mode::empty()).expect("a directory");
        let file = openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR);
        let file = fs::File::from(file.expect("a file"));
        std::io::Write::write_all(&mut &file, b"bytes").expect("a write");
    }
}

#[test]
fn a_tree_deeper_and_wider_than_there_are_descriptors_comes_in_and_out() {
    let world = World::new();
    let tree = world.make_dir("tree");
    make_deep(&tree);
    for number in 0..WIDE {
        let dir = tree.join(format!("wide/{number}"));
        fs::create_dir_all(&dir).expect("directories");
        fs::write(dir.join("file"), number.to_string()).expect("a file");
    }
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let words: [&OsStr; 3] = ["import".as_ref(), tree.as_os_str(), "app".as_ref()];
    let run = with_open_files(&world, 128, &words);
    assert_eq!((run.ok(), run.stderr()), ("app@v1".into(), String::new()));
    let listed = world.lfsfs(["ls", "-R", "app"]).ok();
    assert_eq!(listed.lines().count(), 2 * DEEP + 1 + 2 * WIDE);
    let out = world.path("out");
    let words: [&OsStr; 3] = ["export".as_ref(), "app".as_ref(), out.as_os_str()];
    let run = with_open_files(&world, 128, &words);
    assert_eq!((run.ok(), run.stderr()), ("app@v1".into(), String::new()));
    assert_eq!(world.import(&out, "app"), "app@v1");
}

#[test]
fn without_descriptors_an_import_ends_and_leaves_nothing_out() {
    let world = World::new();
    let tree = world.make_dir("tree");
    for number in 0..200 {
        fs::write(tree.join(number.to_string()), "bytes").expect("a file");
    }
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let words: [&OsStr; 4] = [
        "import".as_ref(),
        tree.as_os_str(),
        "app".as_ref(),
        "--skip-unreadable".as_ref(),
    ];
    // Somewhere on the way up from none they are enough for the server and not for the files.
    for count in 8..40 {
        let run = with_open_files(&world, count, &words);
        if run.code() == Some(0) {
            assert_eq!(run.stderr(), "", "with {count}");
            let listed = world.lfsfs(["ls", "app"]).ok();
            assert_eq!(listed.lines().count(), 200, "with {count}");
            return;
        }
        assert_eq!(world.head("app"), 0, "with {count}: {run:?}");
    }
    panic!("40 descriptors are too few");
}
