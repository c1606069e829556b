//! How programs save files, and what comes of it elsewhere.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::Run;

use crate::support::{Machine, assert_project_is, world};

/// Saves a file, and returns what other files it leaves.
type Save = fn(&Path, &str);

fn in_place(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
}

fn write_and_rename(path: &Path, text: &str) {
    let temp = path.with_extension("tmp");
    fs::write(&temp, text).expect("a file");
    rustix::fs::rename(&temp, path).expect("a rename");
}

fn backup_and_write(path: &Path, text: &str) {
    let backup = path.with_extension("bak");
    rustix::fs::rename(path, &backup).expect("a rename");
    fs::write(path, text).expect("a file");
    fs::remove_file(&backup).expect("a file");
}

fn safe_write(path: &Path, text: &str) {
    let temp = path.with_extension("new");
    let mut file = fs::File::create(&temp).expect("a file");
    file.write_all(text.as_bytes()).expect("bytes");
    file.sync_all().expect("a sync");
    rustix::fs::rename(&temp, path).expect("a rename");
    let dir = fs::File::open(path.parent().expect("a directory"));
    dir.and_then(|dir| dir.sync_all()).expect("a sync");
}

#[test]
fn each_way_to_save_is_one_change_of_one_file() {
    let saves: [(&str, Save); 4] = [
        ("in place", in_place),
        ("write and rename", write_and_rename),
        ("backup and write", backup_and_write),
        ("safe write", safe_write),
    ];
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    one.write("text.txt", "old");
    let _ = (one.once(), two.once());
    for (what, save) in saves {
        save(&one.dir.join("text.txt"), what);
        assert_eq!(one.once()["sent"], 1, "{what}");
        assert_eq!(two.once()["received"], 1, "{what}");
        assert_eq!(two.read("text.txt"), what);
        assert_eq!(one.tree(), two.tree());
    }
}

/// Runs a script in a directory.
fn sh(dir: &Path, script: &str) {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(dir);
    for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"] {
        command.env(name, "me");
    }
    for name in ["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"] {
        command.env(name, "me@example.com");
    }
    command.env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
    let _ = Run::of(command).ok();
}

#[test]
fn a_work_tree_of_git_follows_from_branch_to_branch() {
    if require_program("git").is_err() {
        return;
    }
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    sh(
        &one.dir,
        "git init -q -b main . && for n in $(seq 60); do mkdir -p d$n && echo $n > d$n/f; done
        echo .lfsfs > .git/info/exclude
        git add -A && git commit -qm one && git checkout -qb other
        git rm -rq d1 d2 d3 && git mv d4 moved && echo changed > d5/f
        rm -r d6 && echo file > d6 && ln -s d7 link && git add -A && git commit -qm two",
    );
    let _ = (one.once(), two.once());
    for branch in ["main", "other", "main"] {
        sh(&one.dir, &format!("git checkout -q {branch}"));
        let _ = (one.once(), two.once());
        assert_eq!(one.tree(), two.tree());
        // The other copy is a work tree, too.
        sh(
            &two.dir,
            "test -z \"$(git status --porcelain)\" && git fsck --no-progress",
        );
        // Its index tells other times of change.
        let _ = (two.once(), one.once());
    }
    assert_eq!(one.tree(), two.tree());
    assert_project_is(&world, "app:notes", &one.tree());
}
