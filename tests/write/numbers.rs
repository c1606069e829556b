//! Inode numbers and times of what a mount made, over commits and the ends of mounts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{Run, World, files, in_namespace};

use crate::support::{world_with_app, write};

/// What git and other programs that remember files go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remembered {
    ino: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    size: u64,
    mode: u32,
    nlink: u64,
}

/// Returns what is shown of everything below a directory but directories' times, which a commit of
/// nothing else gives up.
fn remembered(dir: &Path) -> BTreeMap<PathBuf, Remembered> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            let it = path.symlink_metadata().expect("attributes");
            let times = |secs, nanos| if it.is_dir() { (0, 0) } else { (secs, nanos) };
            let shown = Remembered {
                ino: it.ino(),
                mtime: times(it.mtime(), it.mtime_nsec()),
                ctime: times(it.ctime(), it.ctime_nsec()),
                size: it.size(),
                mode: it.mode(),
                nlink: it.nlink(),
            };
            if it.is_dir() {
                open.push(path.clone());
            }
            let below = path.strip_prefix(dir).expect("it lies below");
            found.insert(below.to_owned(), shown);
        }
    }
    found
}

#[track_caller]
fn assert_same(before: &BTreeMap<PathBuf, Remembered>, dir: &Path, when: &str) {
    let after = remembered(dir);
    let differ: Vec<_> = before
        .iter()
        .filter(|(path, it)| after.get(*path) != Some(*it))
        .map(|(path, it)| format!("{}: {it:?}, then {:?}", path.display(), after.get(path)))
        .collect();
    assert!(differ.is_empty(), "{when}: {differ:#?}");
}

/// Makes something of every kind, and changes and moves what the version has.
fn work(dir: &Path, existing: &[PathBuf]) {
    for number in 0..20 {
        write(
            &dir.join(format!("made/deep/file-{number}")),
            format!("{number}"),
        );
    }
    fs::hard_link(dir.join("made/deep/file-0"), dir.join("made/linked")).expect("a link");
    symlink("deep/file-1", dir.join("made/symlink")).expect("a link");
    assert!(existing.len() > 2, "a tree of some files");
    let (changed, moved, cut) = (&existing[0], &existing[1], &existing[2]);
    fs::write(dir.join(changed), "other content").expect("a file");
    rustix::fs::rename(dir.join(moved), dir.join("moved")).expect("a rename");
    let file = fs::File::options().write(true).open(dir.join(cut));
    file.and_then(|file| file.set_len(1))
        .expect("a shorter file");
}

fn keeps_numbers(options: &str) {
    let (world, tree) = world_with_app(60);
    let all = files(&tree);
    let existing: Vec<_> = all
        .iter()
        .filter(|path| {
            path.metadata()
                .is_ok_and(|it| it.len() > 1 && it.nlink() == 1)
        })
        .map(|path| path.strip_prefix(&tree).expect("below").to_owned())
        .collect();
    let mount = world.mount_writable("app@v1", options);
    let dir = mount.path();
    work(dir, &existing);
    let made = remembered(dir);
    mount.remount();
    assert_same(&made, dir, "remounted with changes");

    mount.commit("made");
    assert_same(&made, dir, "committed");
    mount.remount();
    assert_same(&made, dir, "committed and remounted");
    mount.kill_and_mount();
    assert_same(&made, dir, "killed and mounted");

    // A second commit, of other things and of one of the same files.
    write(&dir.join("later/file"), "later");
    fs::write(dir.join("made/deep/file-3"), "changed again").expect("a file");
    rustix::fs::rename(dir.join("made/deep/file-4"), dir.join("made/renamed")).expect("a rename");
    // A kernel that gathers writes tells their times when it has sent them.
    for name in ["later/file", "made/deep/file-3"] {
        let file = fs::File::open(dir.join(name));
        file.and_then(|file| file.sync_all()).expect("it is sent");
    }
    let made = remembered(dir);
    mount.commit("later");
    mount.remount();
    assert_same(&made, dir, "after two commits");

    others_publish(&world);
    let _ = mount.verb(["umount"]).ok();
    mount.mount("app@v4");
    let mut unchanged = made.clone();
    let theirs = PathBuf::from("made/deep/file-5");
    let before = unchanged.remove(&theirs).expect("a file");
    assert_same(&unchanged, dir, "in a version of others");
    let after = remembered(dir)[&theirs];
    assert_ne!(before.ino, after.ino, "new content is a new number");
    mount.umount();
}

/// Publishes a version that has one file with other content, and one more.
fn others_publish(world: &World) {
    let theirs = world.mount_writable("app@v3", "");
    fs::write(theirs.path().join("made/deep/file-5"), "theirs").expect("a file");
    write(&theirs.path().join("made/deep/theirs"), "theirs");
    theirs.commit("theirs");
    theirs.umount();
}

#[test]
fn what_a_mount_made_keeps_number_and_times_over_its_end() {
    in_namespace(
        "numbers::what_a_mount_made_keeps_number_and_times_over_its_end",
        || {
            keeps_numbers("");
        },
    );
}

#[test]
fn what_a_mount_made_keeps_them_where_the_kernel_gathers_writes() {
    let name = "numbers::what_a_mount_made_keeps_them_where_the_kernel_gathers_writes";
    in_namespace(name, || keeps_numbers("writeback"));
}

fn git(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
        .args(["-c", "safe.directory=*"])
        .args(words)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", dir);
    Run::of(command).ok()
}

#[test]
fn git_believes_its_index_of_files_made_in_the_mount() {
    if require_program("git").is_err() {
        return;
    }
    in_namespace(
        "numbers::git_believes_its_index_of_files_made_in_the_mount",
        || {
            let world = World::new();
            let _ = world.lfsfs(["project", "new", "app"]).ok();
            let mount = world.mount_writable("app", "");
            let dir = mount.path();
            for number in 0..100 {
                write(
                    &dir.join(format!("src/{}/file-{number}", number / 10)),
                    format!("{number}"),
                );
            }
            git(dir, &["init", "-q"]);
            git(dir, &["add", "src"]);
            // It lists what it would have to read: every file whose number or times are others.
            assert_eq!(git(dir, &["diff-files"]), "");
            mount.commit("a repository");
            assert_eq!(git(dir, &["diff-files"]), "");
            mount.remount();
            assert_eq!(git(dir, &["diff-files"]), "");
            mount.umount();
        },
    );
}
