//! Switches between versions under programs that go on.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{
    Counts, Mounted, Numbers, World, count, in_namespace, inode_numbers, read_all, requests_of,
    run, walk,
};

use crate::model::mapped::resident_pages;
use crate::model::seen::Tree;
use crate::support::write;

/// Two versions: what is changed, renamed, removed and added between them has names that say so.
struct Versions {
    world: World,
    /// What each of them holds.
    trees: [PathBuf; 2],
}

impl Versions {
    fn new() -> Self {
        let world = World::new();
        let (first, second) = (world.path("first"), world.path("second"));
        TreeSpec::app(200).generate(&first).expect("a tree");
        fs::write(first.join("same"), Numbers(3).bytes(300_000)).expect("a file");
        for name in [
            "changed",
            "removed",
            "renamed/file",
            "gone/deep/file",
            "mixed/same",
            "mixed/changed",
            "around/kept/file",
        ] {
            write(&first.join(name), format!("first {name}"));
        }
        write(&first.join("kind"), "a file");
        assert_eq!(world.import(&first, "app"), "app@v1");
        let copy = ["-a".as_ref(), first.as_os_str(), second.as_os_str()];
        let _ = run("cp", copy).ok();
        // The second is made in a mount: only a commit knows what a rename is.
        let mount = world.mount_writable("app@v1", "");
        for dir in [mount.path(), &second] {
            Self::change(dir);
        }
        assert_eq!(mount.commit("second")["version"], 2);
        mount.umount();
        Self {
            world,
            trees: [first, second],
        }
    }

    fn change(dir: &Path) {
        fs::write(dir.join("changed"), "second changed").expect("a file");
        fs::write(dir.join("mixed/changed"), "second mixed/changed").expect("a file");
        fs::remove_file(dir.join("removed")).expect("a file to remove");
        rustix::fs::rename(dir.join("renamed"), dir.join("moved")).expect("a rename");
        fs::remove_dir_all(dir.join("gone")).expect("a directory to remove");
        write(&dir.join("added/deep/file"), "second added/deep/file");
        write(&dir.join("around/new"), "second around/new");
        fs::remove_file(dir.join("kind")).expect("a file to remove");
        fs::create_dir(dir.join("kind")).expect("a directory");
    }

    /// Checks that everything is as in one of them.
    #[track_caller]
    fn assert_shown(&self, dir: &Path, version: usize) {
        let (shown, expected) = (Tree::of(dir), Tree::of(&self.trees[version - 1]));
        assert!(
            shown.is_like(&expected),
            "v{version}:\n{}",
            shown.unlike(&expected)
        );
    }
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn up_and_down_everything_is_shown_at_once() {
    in_namespace("switch::up_and_down_everything_is_shown_at_once", || {
        let versions = Versions::new();
        for options in ["ro", "rw"] {
            let dir = versions.world.make_dir(options);
            let _ = versions.world.mount_at("app@v1", &dir, options).ok();
            let switch = |version: &str| {
                let words = ["switch".as_ref(), dir.as_os_str(), version.as_ref()];
                versions.world.lfsfs(words).ok()
            };
            versions.assert_shown(&dir, 1);
            for _ in 0..3 {
                // Names that are not there are kept by the kernel as well.
                assert_eq!(errno(fs::metadata(dir.join("added"))), Some(libc::ENOENT));
                assert_eq!(
                    errno(fs::metadata(dir.join("moved/file"))),
                    Some(libc::ENOENT)
                );
                assert_eq!(switch("v2"), "app@v2");
                let read = |name: &str| fs::read_to_string(dir.join(name)).expect("a file");
                assert_eq!(read("added/deep/file"), "second added/deep/file");
                assert_eq!(read("changed"), "second changed");
                assert_eq!(read("moved/file"), "first renamed/file");
                assert_eq!(errno(fs::metadata(dir.join("removed"))), Some(libc::ENOENT));
                versions.assert_shown(&dir, 2);
                assert_eq!(switch("app@v1"), "app@v1");
                assert_eq!(read("changed"), "first changed");
                versions.assert_shown(&dir, 1);
            }
            assert_eq!(switch("latest"), "app@v2");
            versions.assert_shown(&dir, 2);
            let _ = versions
                .world
                .lfsfs(["umount".as_ref(), dir.as_os_str()])
                .ok();
        }
    });
}

#[test]
fn open_files_keep_what_they_opened() {
    in_namespace("switch::open_files_keep_what_they_opened", || {
        let versions = Versions::new();
        let mount = versions.world.mount_writable("app@v1", "");
        let dir = mount.path();
        let open = |name: &str| File::open(dir.join(name)).expect("a file");
        let names = [
            "changed",
            "removed",
            "renamed/file",
            "gone/deep/file",
            "same",
            "mixed/same",
        ];
        // Some were read before, the others never.
        let read_before = open("changed");
        let mut byte = [0];
        read_before.read_exact_at(&mut byte, 0).expect("a byte");
        let files = names.map(open);
        for version in ["v2", "v1", "v2"] {
            mount.switch(version);
            for (name, file) in names.iter().zip(&files) {
                let expected = fs::read(versions.trees[0].join(name)).expect("a file");
                let mut bytes = vec![0; expected.len() + 10];
                let len = file.read_at(&mut bytes, 0).expect("it can be read");
                assert!(
                    bytes[..len] == expected,
                    "{name} after the switch to {version}"
                );
                let stat = file.metadata().expect("attributes");
                assert_eq!(stat.len(), expected.len() as u64, "{name}");
            }
        }
        drop((read_before, files));
        mount.umount();
    });
}

#[test]
fn a_reader_in_a_loop_sees_one_version_or_the_other() {
    let name = "switch::a_reader_in_a_loop_sees_one_version_or_the_other";
    in_namespace(name, || {
        let versions = Versions::new();
        let mount = versions.world.mount_writable("app@v1", "");
        let dir = mount.path();
        let (stop, passes) = (AtomicBool::new(false), AtomicU64::new(0));
        let expected = |name: &str| [0, 1].map(|at| fs::read(versions.trees[at].join(name)).ok());
        let names = [
            "changed",
            "same",
            "mixed/changed",
            "removed",
            "moved/file",
            "added/deep/file",
        ];
        let names = names.map(|name| (name, expected(name)));
        let read = || {
            while !stop.load(Ordering::Relaxed) {
                for (name, expected) in &names {
                    let found = match fs::read(dir.join(name)) {
                        Ok(bytes) => Some(bytes),
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                        Err(error) => panic!("{name}: {error}"),
                    };
                    assert!(expected.contains(&found), "{name}: {found:?}");
                }
                passes.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
            for round in 0..10 {
                let before = passes.load(Ordering::Relaxed);
                mount.switch(if round % 2 == 0 { "v2" } else { "v1" });
                while passes.load(Ordering::Relaxed) < before + 6
                    && !readers
                        .iter()
                        .any(std::thread::ScopedJoinHandle::is_finished)
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        versions.assert_shown(dir, 1);
        mount.umount();
    });
}

#[test]
fn what_is_the_same_keeps_its_number_and_its_pages() {
    let name = "switch::what_is_the_same_keeps_its_number_and_its_pages";
    in_namespace(name, || {
        let versions = Versions::new();
        let mount = versions.world.mount_writable("app@v1", "");
        let dir = mount.path();
        let same = File::open(dir.join("same")).expect("a file");
        let len = same.metadata().expect("attributes").len();
        read_all(dir);
        let before = inode_numbers(dir);
        assert_eq!(resident_pages(&same), len.div_ceil(4_096), "all in memory");
        mount.switch("v2");
        assert_eq!(
            resident_pages(&same),
            len.div_ceil(4_096),
            "still in memory"
        );
        let after = inode_numbers(dir);
        for (path, number) in &before {
            let name = path.to_str().expect("text");
            let is_changed = ["changed", "mixed/changed", "kind"].contains(&name);
            match after.get(path) {
                Some(now) if is_changed => assert_ne!(now, number, "{name} is another object"),
                Some(now) => assert_eq!(now, number, "{name} is the same object"),
                None => {}
            }
        }
        let number = |numbers: &std::collections::BTreeMap<PathBuf, u64>, name: &str| {
            numbers[Path::new(name)]
        };
        assert_eq!(number(&before, "renamed"), number(&after, "moved"));
        assert_eq!(
            number(&before, "renamed/file"),
            number(&after, "moved/file")
        );
        mount.switch("v1");
        assert_eq!(inode_numbers(dir), before);
        drop(same);
        mount.umount();
    });
}

/// Returns what a pass over everything asks for.
fn pass(mount: &Mounted<'_>) -> Counts {
    requests_of(mount, || {
        walk(mount.path());
        read_all(mount.path());
    })
}

#[test]
fn a_pass_after_a_switch_asks_for_what_changed_alone() {
    let name = "switch::a_pass_after_a_switch_asks_for_what_changed_alone";
    in_namespace(name, || {
        let versions = Versions::new();
        let mount = versions.world.mount("app@v1", "");
        let _ = (pass(&mount), pass(&mount));
        for version in ["v2", "v1", "v2"] {
            mount.switch(version);
            let asked = pass(&mount);
            // Changed or new files: changed, mixed/changed, added or removed ones, kind.
            assert!(count(&asked, "READ") <= 6, "{version}: {asked:?}");
            // Directories with other entries, and what they hold: /, mixed, kind, added, gone.
            assert!(count(&asked, "READDIRPLUS") <= 20, "{version}: {asked:?}");
            assert!(count(&asked, "LOOKUP") <= 40, "{version}: {asked:?}");
            assert!(count(&asked, "GETATTR") <= 40, "{version}: {asked:?}");
            let warm = pass(&mount);
            assert_eq!(warm.values().sum::<u64>(), 0, "{version}: {warm:?}");
        }
        mount.umount();
    });
}

#[test]
fn a_process_in_a_removed_directory_goes_on() {
    in_namespace("switch::a_process_in_a_removed_directory_goes_on", || {
        let versions = Versions::new();
        let mount = versions.world.mount_writable("app@v1", "");
        let mut shell = Command::new("sh");
        // Waits for a line, then looks where it is.
        shell
            .current_dir(mount.path().join("gone/deep"))
            .args([
                "-c",
                "read line; ls; cat file; echo made > new; cd ..; ls; cd /; echo end",
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut shell = shell.spawn().expect("a shell");
        mount.switch("v2");
        drop(shell.stdin.take());
        let output = shell.wait_with_output().expect("the shell ends");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.ends_with("end\n"), "{output:?}");
        assert_eq!(mount.changes(), 0, "nothing is made where nothing is");
        versions.assert_shown(mount.path(), 2);
        mount.umount();
    });
}

#[test]
fn refused_with_changes_submounts_and_other_projects() {
    let name = "switch::refused_with_changes_submounts_and_other_projects";
    in_namespace(name, || {
        let versions = Versions::new();
        let world = &versions.world;
        let _ = world.import(&versions.trees[0], "other");
        let mount = world.mount_writable("app@v1", "");
        let dir = mount.path();
        let switch = |version: &str| {
            let words = ["switch".as_ref(), dir.as_os_str(), version.as_ref()];
            world.lfsfs(words)
        };
        fs::write(dir.join("new"), "text").expect("a file");
        let _ = switch("v2").fails(1, &["uncommitted change", "lfsfs commit", "lfsfs discard"]);
        assert_eq!(fs::read(dir.join("new")).expect("a file"), b"text");
        versions.assert_shown_but_new(dir);
        let _ = mount.verb(["discard", "--yes"]).ok();

        let tmpfs = |name: &str| {
            let dir = dir.join(name);
            let words = ["-t", "tmpfs", "others"].map(std::ffi::OsStr::new);
            let _ = run("mount", words.into_iter().chain([dir.as_os_str()])).ok();
            dir
        };
        for name in ["renamed", "gone", "gone/deep"] {
            let submount = tmpfs(name);
            let _ = switch("v2").fails(1, &[name]);
            assert_eq!(mount.source(), "app@v1");
            let _ = run("umount", [&submount]).ok();
        }
        versions.assert_shown(dir, 1);
        // Where nothing changes, or the times of a directory above alone, it is in the way of no
        // submount.
        let submounts = ["node_modules", "around/kept"].map(tmpfs);
        for submount in &submounts {
            fs::write(submount.join("theirs"), "text").expect("a file");
        }
        assert_eq!(switch("v2").ok(), "app@v2");
        for submount in &submounts {
            assert_eq!(fs::read(submount.join("theirs")).expect("a file"), b"text");
            let _ = run("umount", [submount]).ok();
        }
        versions.assert_shown(dir, 2);

        let _ = switch("other@v1").fails(2, &["other"]);
        let _ = switch("v9").fails(1, &["9"]);
        let _ = switch("no-tag").fails(1, &["no-tag"]);
        versions.assert_shown(dir, 2);
        mount.umount();
    });
}

impl Versions {
    /// Checks that a refused switch has left everything, with a file more.
    #[track_caller]
    fn assert_shown_but_new(&self, dir: &Path) {
        let local = self.world.path("with-new");
        let copy = ["-a".as_ref(), self.trees[0].as_os_str(), local.as_os_str()];
        let _ = run("cp", copy).ok();
        fs::write(local.join("new"), "text").expect("a file");
        let (shown, expected) = (Tree::of(dir), Tree::of(&local));
        assert!(shown.is_like(&expected), "{}", shown.unlike(&expected));
    }
}

#[test]
fn written_on_after_a_switch() {
    in_namespace("switch::written_on_after_a_switch", || {
        let versions = Versions::new();
        let mount = versions.world.mount_writable("app@v1", "");
        let dir = mount.path();
        let before = fs::metadata(dir.join("same")).expect("attributes").ino();
        mount.switch("v2");
        fs::write(dir.join("moved/file"), "third").expect("a file");
        fs::write(dir.join("added/more"), "third").expect("a file");
        assert_eq!(mount.commit("third")["version"], 3);
        mount.switch("v1");
        versions.assert_shown(dir, 1);
        mount.switch("v3");
        assert_eq!(fs::read(dir.join("moved/file")).expect("a file"), b"third");
        assert_eq!(
            fs::metadata(dir.join("same")).expect("attributes").ino(),
            before
        );
        // A commit on an older version is one on top of what others did since.
        mount.switch("v2");
        fs::write(dir.join("changed"), "fourth").expect("a file");
        let commit = mount.commit("fourth");
        assert_eq!(
            (&commit["version"], &commit["rebased"]),
            (&4.into(), &true.into())
        );
        assert_eq!(fs::read(dir.join("moved/file")).expect("a file"), b"third");
        mount.umount();
    });
}

#[test]
fn a_link_that_the_other_version_does_not_have_is_not_counted() {
    in_namespace(
        "switch::a_link_that_the_other_version_does_not_have_is_not_counted",
        || {
            let versions = Versions::new();
            let mount = versions.world.mount_writable("app@v2", "");
            let (file, other) = (mount.path().join("file"), mount.path().join("file-2"));
            fs::write(&file, "text").expect("a file");
            assert_eq!(mount.commit("third")["version"], 3);
            fs::hard_link(&file, &other).expect("a link");
            assert_eq!(mount.commit("fourth")["version"], 4);
            let opened = File::options().write(true).open(&file).expect("a file");
            let links = || opened.metadata().expect("attributes").nlink();
            let number = fs::metadata(&file).expect("attributes").ino();
            assert_eq!(links(), 2);
            for (version, expected) in [("v3", 1), ("v4", 2), ("v2", 2), ("v3", 1)] {
                mount.switch(version);
                assert_eq!(links(), expected, "{version}");
                assert_eq!(errno(fs::metadata(&other)).is_none(), version == "v4");
                if let Ok(found) = fs::metadata(&file) {
                    assert_eq!(
                        (found.ino(), found.nlink()),
                        (number, expected),
                        "{version}"
                    );
                }
            }
            // Its version went and came again: what is open is that file.
            opened.write_all_at(b"T", 0).expect("a write");
            assert_eq!(fs::read(&file).expect("a file"), b"Text");
            drop(opened);
            mount.umount();
        },
    );
}
