//! Commits: interrupted, repeated; and what verbs say around them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::process::Program;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Mounted, Numbers, Proxied, Run, World, in_namespace, in_namespace_for, run};

use serde_json::json;

use crate::support::{assert_same_but_times, assert_version_is_mount, world_with_app, write};

const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes changes of each kind, other ones each round.
fn change(dir: &Path, round: u64) {
    let new = dir.join(format!("round-{round}"));
    fs::create_dir(&new).expect("a directory");
    for number in 0..100 {
        let text = format!("{round} {number}");
        fs::write(new.join(format!("small-{number}")), text).expect("a file");
    }
    let bytes = Numbers(round + 1).bytes(1_500_000);
    fs::write(new.join("large"), bytes).expect("a file");
    fs::write(dir.join("index.js"), format!("// {round}\n")).expect("a file");
    if round > 0 {
        let old = dir.join(format!("round-{}", round - 1));
        fs::remove_file(old.join("small-7")).expect("a file to remove");
        let moved = dir.join(format!("moved-{round}"));
        rustix::fs::rename(&old, &moved).expect("a directory to move");
        let large = File::options().write(true).open(moved.join("large"));
        let large = large.expect("a file");
        large.write_all_at(b"changed", 700_000).expect("bytes");
    }
}

fn start_commit(world: &World, mount: &Mounted<'_>) -> Program {
    let words = ["commit".as_ref(), mount.path().as_os_str()];
    Program::start(world.command(words)).expect("lfsfs starts")
}

/// Kills the server so long after the start of a commit. Returns whether the commit said that it
/// was done.
fn kill_server_during_commit(world: &mut World, commit: &mut Program, delay: Duration) -> bool {
    std::thread::sleep(delay);
    world.kill_server();
    let status = commit
        .wait(COMMIT_TIMEOUT)
        .expect("a commit ends when its server does");
    let text = commit.output();
    assert!(matches!(status.code(), Some(0 | 1)), "{status}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    world.assert_check_is_clean();
    world.start_server(&[]);
    status.success()
}

fn kill_server_at_moments(moments: u32) {
    let (mut world, _) = world_with_app(100);
    let dir = world.make_dir("m");
    let _ = world.mount_at("app@v1", &dir, "rw").ok();
    change(&dir, 0);
    let start = Instant::now();
    let commit = |world: &World| world.lfsfs(["commit".as_ref(), dir.as_os_str()]).ok();
    assert_eq!(commit(&world), "app@v2");
    let whole = start.elapsed();
    for moment in 0..moments {
        change(&dir, u64::from(moment) + 1);
        let head = world.head("app");
        let words = ["commit".as_ref(), dir.as_os_str()];
        let mut program = Program::start(world.command(words)).expect("lfsfs starts");
        let delay = whole * moment / moments;
        let was_done = kill_server_during_commit(&mut world, &mut program, delay);
        let after = world.head("app");
        assert!(after == head || after == head + 1, "v{head}, then v{after}");
        assert!(
            after > head || !was_done,
            "moment {moment}: a version is gone"
        );
        if after > head {
            assert_version_is_dir(&world, "app", &dir);
        }
        // Repeating it finishes it, and there is one version with the changes.
        let next = format!("app@v{}", head + 1);
        assert_eq!(commit(&world), next, "moment {moment}");
        assert_version_is_dir(&world, &next, &dir);
        assert_eq!(commit(&world), next, "nothing is left to commit");
    }
    let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn the_server_is_killed_at_twenty_moments() {
    let name = "commit::the_server_is_killed_at_twenty_moments";
    in_namespace(name, || kill_server_at_moments(20));
}

#[test]
#[ignore = "soak: many moments"]
fn the_server_is_killed_at_three_hundred_moments() {
    let name = "commit::the_server_is_killed_at_three_hundred_moments";
    in_namespace_for(name, Duration::from_secs(3_600), || {
        kill_server_at_moments(300);
    });
}

/// The whole takes several times as long as the server may be silent.
#[test]
fn a_slow_server_is_waited_for_while_it_takes_chunks() {
    let name = "commit::a_slow_server_is_waited_for_while_it_takes_chunks";
    in_namespace(name, || {
        let proxied = Proxied::with_server_arguments(&["--chunk-size", "1MiB"]);
        let world = &proxied.world;
        let _ = world.import(&world.make_dir("empty"), "app");
        let mount = world.mount_writable("app", "timeout=5,noupload");
        for number in 0..4 {
            let bytes = Numbers(number).bytes(1_000_000);
            write(&mount.path().join(format!("{number}")), bytes);
        }
        proxied.proxy.throttle(400_000);
        let told = mount.commit("slow");
        assert_eq!((&told["version"], &told["added"]), (&json!(1), &json!(4)));
        proxied.proxy.restore().expect("a proxy");
        assert_version_is_mount(world, "app@v1", mount.path());
        mount.umount();
        proxied.check();
    });
}

#[test]
fn a_commit_says_what_it_did_and_how_long_each_phase_took() {
    let name = "commit::a_commit_says_what_it_did_and_how_long_each_phase_took";
    in_namespace(name, || {
        let (world, _) = world_with_app(20);
        let mount = world.mount_writable("app", "noupload");
        let at = |name: &str| mount.path().join(name);
        write(&at("new"), Numbers(1).bytes(5000));
        write(&at("same"), Numbers(1).bytes(5000));
        write(&at("index.js"), "other");
        fs::remove_file(at("package.json")).expect("a file to remove");
        let told = mount.commit("all kinds");
        let counts = ["changes", "added", "changed", "removed"].map(|key| told[key].clone());
        assert_eq!(counts, [json!(4), json!(2), json!(1), json!(1)]);
        // One of the two that are the same is there when the other one is sent.
        let bytes = ["bytes_uploaded", "bytes_deduplicated"].map(|key| told[key].clone());
        assert_eq!(bytes, [json!(5005), json!(5000)]);
        let seconds = told["seconds"].as_object().expect("phases");
        let phases: Vec<_> = seconds.keys().map(String::as_str).collect();
        assert_eq!(phases, ["cut", "publish", "read", "send", "show"]);
        assert!(seconds.values().any(|it| it.as_f64() > Some(0.0)), "{told}");
        // What the queue has sent is there already.
        mount.umount();
        let mount = world.mount_writable("app", "");
        write(&mount.path().join("more"), Numbers(2).bytes(7000));
        let _ = mount.verb(["flush"]).ok();
        let told = mount.commit("uploaded before");
        let bytes = ["bytes_uploaded", "bytes_deduplicated"].map(|key| told[key].clone());
        assert_eq!(bytes, [json!(0), json!(7000)]);
        mount.umount();
    });
}

#[test]
fn a_commit_waits_for_the_one_before() {
    in_namespace("commit::a_commit_waits_for_the_one_before", || {
        let proxied = Proxied::new();
        let world = &proxied.world;
        let _ = world.import(&world.make_dir("empty"), "app");
        let mount = world.mount_writable("app", "noupload");
        write(&mount.path().join("large"), Numbers(1).bytes(4_000_000));
        proxied.proxy.throttle(2_000_000);
        let before = proxied.proxy.counters().up;
        let mut first = start_commit(world, &mount);
        while proxied.proxy.counters().up < before + 500_000 {
            assert!(first.try_wait().expect("a process").is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        // Any other verb says which one is under way, and for how long.
        let refused = mount.verb(["discard", "--yes"]);
        let told = refused.stderr();
        assert!(
            told.contains("another commit of this mount has been under way for "),
            "{told}"
        );
        write(&mount.path().join("later"), "text");
        let told = mount.commit("behind it");
        assert_eq!((&told["version"], &told["added"]), (&json!(2), &json!(1)));
        let status = first.wait(COMMIT_TIMEOUT).expect("a commit ends");
        assert!(status.success(), "{}", first.output());
        proxied.proxy.restore().expect("a proxy");
        mount.umount();
        proxied.check();
    });
}

/// Waits until the server itself has another newest version. Everything else of the world goes
/// through the proxy.
fn wait_for_head(proxied: &Proxied, version: u64) {
    let start = Instant::now();
    loop {
        let mut inspect = proxied
            .world
            .command(["project", "inspect", "app", "--json"]);
        inspect.env("LFSFS_SERVER", proxied.server());
        if Run::of(inspect).json()["head"] == version {
            return;
        }
        assert!(start.elapsed() < COMMIT_TIMEOUT, "no v{version}");
    }
}

#[test]
fn an_answer_that_is_lost_loses_nothing() {
    in_namespace("commit::an_answer_that_is_lost_loses_nothing", || {
        let proxied = Proxied::new();
        let world = &proxied.world;
        let tree = world.path("tree");
        let _ = TreeSpec::app(50).generate(&tree).expect("a tree");
        let _ = world.import(&tree, "app");
        let mount = world.mount_writable("app@v1", "");
        fs::write(mount.path().join("new"), "text").expect("a file");
        // The server is done when its answer has this far to go still.
        proxied.proxy.delay(Duration::from_millis(400));
        let mut commit = start_commit(world, &mount);
        wait_for_head(&proxied, 2);
        proxied.proxy.cut();
        let status = commit.wait(COMMIT_TIMEOUT).expect("the commit ends");
        assert_eq!(status.code(), Some(1), "{}", commit.output());
        assert_eq!(mount.status()["has_unfinished_commit"], true);
        proxied.proxy.restore().expect("a proxy");

        // What is changed meanwhile comes with the commit that finishes the first.
        fs::write(mount.path().join("later"), "text").expect("a file");
        let repeated = mount.commit("again");
        assert_eq!(mount.changes(), 0);
        assert_eq!(mount.status()["has_unfinished_commit"], false);
        let version = repeated["version"].as_u64().expect("a number");
        assert!((2..=3).contains(&version), "{repeated}");
        let added = world.lfsfs(["diff", "app@v1", "app@v2"]).ok();
        assert_eq!(added, "A new", "the first commit is one version of its own");
        assert_version_is_mount(world, &format!("app@v{version}"), mount.path());
        assert_eq!(mount.commit("nothing")["version"], version);
        assert_eq!(world.head("app"), version);
        mount.umount();
        proxied.check();
    });
}

#[test]
fn a_diff_before_is_the_diff_of_the_versions_afterwards() {
    let name = "commit::a_diff_before_is_the_diff_of_the_versions_afterwards";
    in_namespace(name, || {
        let (world, _) = world_with_app(200);
        let mount = world.mount_writable("app@v1", "");
        let dir = mount.path();
        for round in 0..3 {
            change(dir, round);
            // Times alone, and what is as it was in the end.
            let touched = File::options().write(true).open(dir.join("package.json"));
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000 + round);
            touched
                .and_then(|file| file.set_modified(time))
                .expect("a time");
            fs::write(dir.join("gone-again"), "").expect("a file");
            fs::remove_file(dir.join("gone-again")).expect("a file to remove");
            let before = mount.diff();
            let status = mount.changes();
            assert!(
                before.len() as u64 <= status,
                "{} lines of {status}",
                before.len()
            );
            let commit = mount.commit("a round");
            let (from, to) = (format!("app@v{}", round + 1), format!("app@v{}", round + 2));
            assert_eq!(commit["version"], round + 2);
            let after = world.lfsfs(["diff", &from, &to]).ok();
            let after: Vec<_> = after.lines().collect();
            assert_eq!(before, after, "of {to}");
            assert!(before.len() > 100);
            assert!(mount.diff().is_empty());
        }
        mount.umount();
    });
}

#[test]
fn a_commit_without_changes_is_the_version_that_is_there() {
    let name = "commit::a_commit_without_changes_is_the_version_that_is_there";
    in_namespace(name, || {
        let (world, _) = world_with_app(50);
        let mount = world.mount_writable("app@v1", "");
        let commit = |words: [&str; 1]| mount.verb(words).ok();
        assert_eq!(commit(["commit"]), "app@v1");
        let path = mount.path().join("index.js");
        let bytes = fs::read(&path).expect("a file");
        let time = path.metadata().and_then(|metadata| metadata.modified());
        fs::write(&path, "other").expect("a file");
        fs::write(&path, bytes).expect("a file");
        let file = File::options().write(true).open(&path).expect("a file");
        file.set_modified(time.expect("a time")).expect("a time");
        drop(file);
        assert_eq!(commit(["commit"]), "app@v1", "everything is as it was");
        assert_eq!(world.head("app"), 1);
        mount.umount();
    });
}

#[test]
fn names_of_one_object_stay_one_of_any_kind() {
    let name = "commit::names_of_one_object_stay_one_of_any_kind";
    in_namespace(name, || {
        let (world, _) = world_with_app(50);
        let mount = world.mount_writable("app@v1", "");
        let path = |name: &str| mount.path().join(name);
        fs::write(path("file"), "text").expect("a file");
        std::os::unix::fs::symlink("file", path("symlink")).expect("a symlink");
        let _ = run("mkfifo", [path("fifo")]).ok();
        for name in ["file", "symlink", "fifo", "index.js"] {
            let other = path(&format!("other-{name}"));
            rustix::fs::link(path(name), other).expect("a link");
        }
        mount.commit("linked");
        // The comparison sees which names are one.
        assert_version_is_mount(&world, "app@v2", mount.path());
        mount.remount();
        assert_version_is_mount(&world, "app@v2", mount.path());
        mount.umount();
    });
}

#[test]
fn discarded_restored_and_exported() {
    in_namespace("commit::discarded_restored_and_exported", || {
        let (world, tree) = world_with_app(100);
        let mount = world.mount_writable("app@v1", "");
        let dir = mount.path();
        let verb = |words: &[&str], path: &str| {
            let path = dir.join(path);
            let words = words.iter().map(std::ffi::OsStr::new);
            world.lfsfs(words.chain([path.as_os_str()]))
        };
        let index = fs::read(dir.join("index.js")).expect("a file");
        change(dir, 0);
        write(&dir.join("kept/deep/file"), "kept");

        // One path of several.
        let _ = verb(&["discard", "--yes"], "round-0").ok();
        assert!(!dir.join("round-0").exists());
        assert_eq!(
            fs::read(dir.join("kept/deep/file")).expect("a file"),
            b"kept"
        );
        let _ = verb(&["discard", "--yes"], "index.js").ok();
        assert_eq!(fs::read(dir.join("index.js")).expect("a file"), index);
        let _ = verb(&["discard", "--yes"], "nothing").fails(1, &["nothing"]);
        mount.commit("kept");
        assert_eq!(
            world.lfsfs(["diff", "app@v1", "app@v2"]).ok(),
            "A kept\nA kept/deep\nA kept/deep/file"
        );

        // A file of an older version comes back as a change.
        fs::write(dir.join("index.js"), "third").expect("a file");
        fs::remove_dir_all(dir.join("kept")).expect("a directory");
        mount.commit("third");
        let _ = verb(&["restore", "--from", "v1"], "index.js").ok();
        let _ = verb(&["restore", "--from", "v2"], "kept").ok();
        assert_eq!(fs::read(dir.join("index.js")).expect("a file"), index);
        assert_eq!(
            fs::read(dir.join("kept/deep/file")).expect("a file"),
            b"kept"
        );
        mount.commit("as in the second");
        let differs = world.lfsfs(["diff", "app@v2", "app@v4"]).ok();
        assert!(
            !differs.contains('A') && !differs.contains('D'),
            "{differs}"
        );

        // Everything at once.
        fs::remove_dir_all(dir.join("node_modules")).expect("a directory");
        let _ = mount.verb(["discard", "--yes"]).ok();
        assert_eq!(mount.changes(), 0);
        fs::remove_dir_all(dir.join("kept")).expect("a directory");
        assert_same_but_times(&tree, dir);
        let _ = mount.verb(["discard", "--yes"]).ok();

        let exported = world.path("exported");
        let _ = world
            .lfsfs(["export".as_ref(), "app@v4".as_ref(), exported.as_os_str()])
            .ok();
        assert_same_trees(dir, &exported, &CompareOptions::default());
        mount.umount();
    });
}
