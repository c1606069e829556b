//! Ignored paths in a mount: commits leave them where they are, and so do switches.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{Mounted, Numbers, Run, World, in_namespace, run};

use crate::support::write;

/// A server with a project that ignores `/target` and `*.o`, and a tree with one file as its first version.
fn world() -> World {
    let world = World::new();
    let words = [
        "project", "new", "app", "--ignore", "/target", "--ignore", "*.o",
    ];
    let _ = world.lfsfs(words).ok();
    let tree = world.make_dir("tree");
    write(&tree.join("src/main.c"), "main");
    write(&tree.join("docs/a"), "a");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    world
}

fn ignored(mount: &Mounted<'_>) -> Vec<String> {
    let told = mount.verb(["status", "--ignored"]).ok();
    told.lines().map(str::to_owned).collect()
}

/// Runs a command in the root of a mount.
fn typed(world: &World, mount: &Mounted<'_>, words: &[&str]) -> Run {
    let mut command = world.command(words);
    command.current_dir(mount.path());
    Run::of(command)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

fn diff(world: &World, from: &str, to: &str) -> String {
    world.lfsfs(["diff", from, to]).ok()
}

#[test]
fn a_commit_leaves_them_in_the_mount_and_out_of_the_version() {
    let name = "ignored::a_commit_leaves_them_in_the_mount_and_out_of_the_version";
    in_namespace(name, || {
        let world = world();
        let mount = world.mount_writable("app", "");
        let at = |name: &str| mount.path().join(name);
        write(&at("target/debug/app"), Numbers(1).bytes(200_000));
        write(&at("src/main.o"), "object");
        assert_eq!(ignored(&mount), ["! src/main.o", "! target/"]);
        assert_eq!((mount.changes(), mount.diff()), (0, Vec::new()));
        assert_eq!(mount.commit("nothing")["new"], false);
        write(&at("src/main.c"), "changed");
        write(&at("new/a.c"), "new");
        write(&at("new/a.o"), "object");
        write(&at("new/.lfsfsignore"), "!a.o\n*.tmp\n[\n");
        write(&at("new/x.tmp"), "temporary");
        let lines = [
            "A new",
            "A new/.lfsfsignore",
            "A new/a.c",
            "A new/a.o",
            "M src/main.c",
        ];
        assert_eq!(mount.diff(), lines);
        let number = fs::metadata(at("target/debug/app")).expect("a file").ino();
        let commit = mount.verb(["commit", "-m", "two"]);
        let told = commit.stderr();
        assert_eq!(commit.ok(), "app@v2");
        assert!(told.contains("new/.lfsfsignore, line 3"), "{told}");
        assert_eq!(diff(&world, "app@v1", "app@v2"), lines.join("\n"));
        assert_eq!((mount.changes(), mount.diff()), (0, Vec::new()));
        let left = ["! new/x.tmp", "! src/main.o", "! target/"];
        assert_eq!(ignored(&mount), left);
        assert_eq!(
            fs::metadata(at("target/debug/app")).expect("a file").ino(),
            number
        );
        // They survive the end of the process, and are written like any other file.
        mount.remount();
        assert_eq!(ignored(&mount), left);
        assert_eq!(
            fs::read(at("target/debug/app")).expect("a file"),
            Numbers(1).bytes(200_000)
        );
        write(&at("src/main.o"), "object 2");
        mount.kill_and_mount();
        assert_eq!(read(&at("src/main.o")), "object 2");
        let short = mount.verb(["status", "-s", "--ignored"]).ok();
        assert_eq!(short, left.join("\n"));
        assert_eq!(mount.status()["ignored"], 3);
        // All of it, when that is wanted.
        assert_eq!(mount.verb(["commit", "--no-ignore"]).ok(), "app@v3");
        assert!(ignored(&mount).is_empty());
        let all = "A new/x.tmp\nA src/main.o\nA target\nA target/debug\nA target/debug/app";
        assert_eq!(diff(&world, "app@v2", "app@v3"), all);
        mount.umount();
    });
}

#[test]
fn what_the_version_has_is_committed_wherever_it_goes() {
    in_namespace(
        "ignored::what_the_version_has_is_committed_wherever_it_goes",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            let at = |name: &str| mount.path().join(name);
            write(&at("src/a.o"), "tracked");
            write(&at("target/kept/file"), "tracked");
            assert_eq!(mount.verb(["commit", "--no-ignore"]).ok(), "app@v2");
            write(&at("src/a.o"), "changed");
            // Removed as a whole and made again, as make clean and make do.
            fs::remove_dir_all(at("target")).expect("a directory");
            write(&at("target/kept/file"), "made again");
            write(&at("target/kept/other"), "not in the version");
            // What is moved to an ignored place stays in the version, as with git mv.
            fs::create_dir(at("target/moved")).expect("a directory");
            rustix::fs::rename(at("docs"), at("target/moved/docs")).expect("a directory");
            rustix::fs::rename(at("src/main.c"), at("src/main.o")).expect("a file");
            write(&at("target/moved/docs/new"), "not in the version");
            // A name of a file that has another one elsewhere.
            write(&at("linked"), "linked");
            fs::hard_link(at("linked"), at("linked.o")).expect("a link");
            write(&at("x.o"), "two names, both ignored");
            fs::hard_link(at("x.o"), at("y.o")).expect("a link");
            let left = [
                "! target/kept/other",
                "! target/moved/docs/new",
                "! x.o",
                "! y.o",
            ];
            assert_eq!(ignored(&mount), left);
            assert_eq!(mount.commit("three")["version"], 3);
            assert_eq!(ignored(&mount), left);
            assert_eq!((mount.changes(), mount.diff()), (0, Vec::new()));
            let out = world.path("out");
            let export = ["export".as_ref(), "app@v3".as_ref(), out.as_os_str()];
            let _ = world.lfsfs(export).ok();
            assert!(!out.join("x.o").exists() && !out.join("target/kept/other").exists());
            for name in left {
                fs::remove_file(at(&name[2..])).expect("a file");
            }
            assert!(ignored(&mount).is_empty());
            let options = CompareOptions {
                directory_times: false,
                ..CompareOptions::default()
            };
            assert_same_trees(&out, mount.path(), &options);
            mount.umount();
        },
    );
}

#[test]
fn a_switch_goes_on_with_them_in_place_unless_they_are_in_the_way() {
    let name = "ignored::a_switch_goes_on_with_them_in_place_unless_they_are_in_the_way";
    in_namespace(name, || {
        let world = world();
        let mount = world.mount_writable("app", "");
        let at = |name: &str| mount.path().join(name);
        write(&at("src/main.c"), "two");
        write(&at("src/lib.c"), "two");
        write(&at("more/b"), "two");
        fs::set_permissions(at("src"), fs::Permissions::from_mode(0o700)).expect("a mode");
        assert_eq!(mount.commit("two")["version"], 2);
        write(&at("src/main.o"), "object");
        write(&at("target/a/b"), "built");
        let file = fs::File::open(at("src/main.o")).expect("a file");
        for (version, text, mode) in [("v1", "main", 0o755), ("v2", "two", 0o700)] {
            let _ = typed(&world, &mount, &["switch", version]).ok();
            assert_eq!(read(&at("src/main.c")), text);
            assert_eq!(at("src/lib.c").exists(), version == "v2");
            let found = fs::metadata(at("src")).expect("a directory").mode() & 0o777;
            assert_eq!(found, mode, "{version}");
            assert_eq!(read(&at("src/main.o")), "object");
            assert_eq!(ignored(&mount), ["! src/main.o", "! target/"]);
            assert_eq!((mount.changes(), mount.diff()), (0, Vec::new()));
            mount.kill_and_mount();
        }
        drop(file);
        // A directory that the other version has not.
        write(&at("more/c.o"), "object");
        let refused = typed(&world, &mount, &["switch", "v1"]);
        refused.fails(1, &["1 ignored path is in the way"]);
        assert_eq!(refused.stdout(), "more/c.o\n");
        assert_eq!(
            (mount.source(), read(&at("more/c.o"))),
            ("app@v2".into(), "object".into())
        );
        let _ = typed(&world, &mount, &["discard", "--yes", "more/c.o"]).ok();
        assert!(!at("more/c.o").exists());
        // A version that has something there.
        let tree = world.path("tree");
        write(&tree.join("src/main.o"), "theirs");
        write(&tree.join("target"), "a file");
        let words = [
            "import".as_ref(),
            tree.as_os_str(),
            "app".as_ref(),
            "--no-ignore".as_ref(),
        ];
        assert_eq!(world.lfsfs(words).ok(), "app@v3");
        let refused = typed(&world, &mount, &["switch", "v3"]);
        refused.fails(1, &["2 ignored paths are in the way", "discard"]);
        assert_eq!(refused.stdout(), "src/main.o\ntarget\n");
        assert_eq!(read(&at("src/main.o")), "object");
        // Another change is one.
        write(&at("src/new.c"), "new");
        typed(&world, &mount, &["switch", "v1"]).fails(1, &["1 uncommitted change"]);
        // Without a path ignored ones stay.
        let _ = mount.verb(["discard", "--yes"]).ok();
        assert!(!at("src/new.c").exists());
        assert_eq!(ignored(&mount), ["! src/main.o", "! target/"]);
        let _ = typed(&world, &mount, &["switch", "v1"]).ok();
        mount.umount();
    });
}

#[test]
fn git_sees_the_same_as_ignored() {
    in_namespace("ignored::git_sees_the_same_as_ignored", || {
        require_program("git").expect("git");
        let world = world();
        let mount = world.mount_writable("app", "");
        let root = mount.path();
        write(
            &root.join(".lfsfsignore"),
            "*.log\n!/keep.log\nout/\n/docs/*\n!/docs/a*\n",
        );
        fs::copy(root.join(".lfsfsignore"), root.join(".gitignore")).expect("a file");
        for name in [
            "a.log",
            "keep.log",
            "src/keep.log",
            "src/out/x",
            "out",
            "docs/abc",
            "docs/b/c",
        ] {
            write(&root.join(name), name);
        }
        let git = |words: &[&str]| {
            let words = ["-C", root.to_str().expect("text")]
                .into_iter()
                .chain(words.iter().copied());
            run("git", words).ok()
        };
        let _ = git(&[
            "init",
            "-q",
            "--separate-git-dir",
            world.path("git").to_str().expect("text"),
        ]);
        let told = git(&["status", "--porcelain", "--ignored", "-unormal"]);
        let told = told.lines().filter(|line| line.starts_with("!!"));
        let theirs: Vec<_> = told
            .map(|line| line.trim_start_matches("!!").trim().to_owned())
            .collect();
        let ours = ignored(&mount);
        let ours: Vec<_> = ours.iter().map(|line| line[2..].to_owned()).collect();
        assert_eq!(ours, theirs);
        mount.umount();
    });
}
