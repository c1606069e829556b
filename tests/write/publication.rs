//! Versions that are promised first and published later: over kills of the mount, without a server, refused.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Mounted, Numbers, Run, World, eventually, in_namespace, in_namespace_for, run};
use serde_json::{Value, json};

use crate::support::{mount_newest_possible, world_with_app, write};

const LIMIT: Duration = Duration::from_secs(30);

/// Promises a version of the changes.
fn promise(mount: &Mounted<'_>, message: &str) -> Run {
    mount.verb(["commit", "--async", "--json", "-m", message])
}

#[track_caller]
fn promised(mount: &Mounted<'_>, message: &str) -> Value {
    let told = promise(mount, message).json();
    assert!(told["pending"].is_string(), "{told}");
    told
}

/// Returns what the status says of the version that is on its way.
fn publishing(mount: &Mounted<'_>) -> Value {
    mount.status()["publishing"].clone()
}

/// Returns the messages of all versions, the oldest first.
fn messages(world: &World) -> Vec<String> {
    let log = world.lfsfs(["log", "app", "--json"]).ok();
    let message = |line: &str| {
        let version: Value = serde_json::from_str(line).expect("JSON");
        version["message"].as_str().expect("a message").to_owned()
    };
    let mut messages: Vec<_> = log.lines().map(message).collect();
    messages.reverse();
    messages
}

/// Copies what a mount shows, with its times.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let words = ["-a".as_ref(), from.as_os_str(), to.as_os_str()];
    let _ = run("cp", words).ok();
}

/// Makes changes of each kind, other ones each round.
fn change(dir: &Path, round: u64) {
    let new = dir.join(format!("round-{round}"));
    for number in 0..30 {
        write(
            &new.join(format!("small-{number}")),
            format!("{round} {number}"),
        );
    }
    write(&new.join("large"), Numbers(round + 1).bytes(1_500_000));
    write(&dir.join("index.js"), format!("// {round}\n"));
    if round > 0 {
        fs::remove_dir_all(dir.join(format!("round-{}", round - 1))).expect("what was there");
    }
}

fn kill_mount_at_moments(moments: u64) {
    let (mut world, _) = world_with_app(50);
    let (dir, cut) = (world.make_dir("m"), world.path("cut"));
    let _ = world.mount_at("app", &dir, "").ok();
    let verb = |words: &[&str]| {
        let words = words.iter().map(AsRef::as_ref);
        world.lfsfs(words.chain([dir.as_os_str()]))
    };
    let mut random = Numbers(7);
    for round in 0..moments {
        change(&dir, round);
        copy(&dir, &cut);
        let message = format!("round {round}");
        let before = world.head("app");
        let told = verb(&["commit", "--async", "--json", "-m", &message]).json();
        assert!(told["pending"].is_string(), "{told}");
        // It is no part of what was promised.
        write(&dir.join(format!("later-{round}")), "text");
        let status = verb(&["status", "--json"]).json();
        let pid = status["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok());
        let pid = pid
            .and_then(rustix::process::Pid::from_raw)
            .expect("a process");
        std::thread::sleep(Duration::from_millis(random.below(250)));
        let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        killed.expect("a process can be killed");
        let number = pid.as_raw_nonzero().get().unsigned_abs();
        assert!(eventually(LIMIT, || !lfsfs_tests::is_running(number)));
        mount_newest_possible(&world, &dir, "");
        let _ = verb(&["flush"]).ok();
        let after = world.head("app");
        assert_eq!(after, before + 1, "round {round}");
        assert_version_is_dir(&world, &format!("app@v{after}"), &cut);
        let count = messages(&world).iter().filter(|it| **it == message).count();
        assert_eq!(count, 1, "round {round}");
        let later = dir.join(format!("later-{round}"));
        assert_eq!(fs::read_to_string(&later).expect("a file"), "text");
        let status = verb(&["status", "--json"]).json();
        assert_eq!(status["publishing"], Value::Null, "round {round}");
        // It is the change of the next one, by name or with what the next round does.
        if round % 2 == 0 {
            let _ = verb(&["commit", "-m", "later"]).ok();
            assert_version_is_dir(&world, "app", &dir);
        }
    }
    let _ = verb(&["umount"]).ok();
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn a_mount_that_is_killed_publishes_what_it_promised_exactly_once() {
    let name = "publication::a_mount_that_is_killed_publishes_what_it_promised_exactly_once";
    in_namespace(name, || kill_mount_at_moments(12));
}

#[test]
#[ignore = "soak: many moments"]
fn a_mount_that_is_killed_at_many_moments_publishes_what_it_promised() {
    let name = "publication::a_mount_that_is_killed_at_many_moments_publishes_what_it_promised";
    in_namespace_for(name, Duration::from_secs(3_600), || {
        kill_mount_at_moments(200);
    });
}

#[test]
fn a_version_is_promised_without_a_server_and_published_by_the_next_mount() {
    let name =
        "publication::a_version_is_promised_without_a_server_and_published_by_the_next_mount";
    in_namespace(name, || {
        let (mut world, _) = world_with_app(30);
        let (dir, cut) = (world.make_dir("m"), world.path("cut"));
        let _ = world.mount_at("app", &dir, "timeout=2").ok();
        let words = |words: &[&'static str]| -> Vec<std::ffi::OsString> {
            let words = words.iter().map(Into::into);
            words.chain([dir.clone().into_os_string()]).collect()
        };
        change(&dir, 0);
        copy(&dir, &cut);
        world.kill_server();
        let told = world.lfsfs(words(&["commit", "--async", "-m", "promised"]));
        assert_eq!(told.ok(), "", "there is no number yet");
        assert!(told.stderr().contains("lfsfs flush "), "{}", told.stderr());
        write(&dir.join("later"), "text");
        // The status says what keeps it.
        let status = || world.lfsfs(words(&["status", "--json"])).json();
        let is_told = || {
            let publishing = status()["publishing"].clone();
            publishing["message"] == "promised" && publishing["reason"].is_string()
        };
        assert!(
            eventually(Duration::from_secs(100), is_told),
            "{}",
            status()
        );
        let text = world.lfsfs(words(&["status"])).ok();
        assert!(
            text.contains("a version is on its way, asked for "),
            "{text}"
        );
        assert_eq!(status()["has_unfinished_commit"], false);
        // No other one is taken before it, and a commit says what it waits for.
        let second = world.lfsfs(words(&["commit", "--async"]));
        second.fails(
            1,
            &[
                "a version of this mount has been on its way for ",
                "lfsfs flush ",
            ],
        );
        let commit = world.lfsfs(words(&["commit"]));
        commit.fails(1, &["an earlier version is not published yet: "]);
        let flush = world.lfsfs(words(&["flush", "--timeout", "100ms"]));
        assert_eq!(flush.code(), Some(1));
        let umount = world.lfsfs(words(&["umount", "--timeout", "100ms"]));
        umount.fails(
            1,
            &[
                "not yet published",
                "the next mount goes on with it: lfsfs mount app@v1 ",
            ],
        );
        world.start_server(&[]);
        assert_eq!(world.head("app"), 1);
        let _ = world.mount_at("app@v1", &dir, "").ok();
        let _ = world.lfsfs(words(&["flush"])).ok();
        assert_eq!(world.head("app"), 2);
        assert_version_is_dir(&world, "app@v2", &cut);
        let told = world.lfsfs(words(&["commit", "-m", "later"])).ok();
        assert_eq!(told, "app@v3");
        assert_version_is_dir(&world, "app@v3", &dir);
        assert_eq!(messages(&world), ["", "promised", "later"]);
        let _ = world.lfsfs(words(&["umount"])).ok();
        world.stop_server();
        world.assert_check_is_clean();
    });
}

#[test]
fn a_commit_behind_a_promised_version_comes_behind_it() {
    let name = "publication::a_commit_behind_a_promised_version_comes_behind_it";
    in_namespace(name, || {
        let (mut world, _) = world_with_app(30);
        let mount = world.mount_writable("app", "noupload");
        // Nothing to promise.
        let told = promise(&mount, "nothing").json();
        assert_eq!(
            (&told["version"], &told["pending"]),
            (&json!(1), &Value::Null)
        );
        change(mount.path(), 0);
        let told = promised(&mount, "first");
        assert_eq!((&told["version"], &told["new"]), (&json!(1), &json!(false)));
        write(&mount.path().join("later"), "text");
        let told = mount.commit("second");
        assert_eq!((&told["version"], &told["changes"]), (&json!(3), &json!(1)));
        assert_eq!(messages(&world), ["", "first", "second"]);
        assert_version_is_dir(&world, "app", mount.path());
        // The end of a mount waits for it.
        change(mount.path(), 1);
        let _ = promised(&mount, "third");
        mount.umount();
        assert_eq!(messages(&world), ["", "first", "second", "third"]);
        world.stop_server();
        world.assert_check_is_clean();
    });
}

#[test]
fn a_promised_version_that_conflicts_is_shown_and_nothing_is_lost() {
    let name = "publication::a_promised_version_that_conflicts_is_shown_and_nothing_is_lost";
    in_namespace(name, || {
        let (mut world, _) = world_with_app(30);
        let (mine, theirs) = (
            world.mount_writable("app", ""),
            world.mount_writable("app", ""),
        );
        write(&theirs.path().join("index.js"), "theirs");
        let _ = theirs.commit("theirs");
        let conflict = |message: &str| {
            write(&mine.path().join("index.js"), message);
            let _ = promised(&mine, message);
            let is_refused = || publishing(&mine)["refused"].is_object();
            assert!(eventually(LIMIT, is_refused), "{}", publishing(&mine));
        };
        conflict("mine");
        mine.verb(["flush"]).fails(
            1,
            &[
                "was refused: 1 path was changed here and by others",
                "--force",
            ],
        );
        write(&mine.path().join("later"), "text");
        // It is shown by the next mount, too.
        mine.kill_and_mount();
        let refused = publishing(&mine)["refused"].clone();
        assert_eq!(
            (&refused["kind"], &refused["paths_count"]),
            (&json!("conflict"), &json!(1))
        );
        let text = mine.verb(["status"]).ok();
        assert!(text.contains("conflict   index.js"), "{text}");
        assert_eq!(mine.diff(), ["M index.js", "A later"]);
        mine.verb(["commit"])
            .fails(3, &["1 path was changed here and by others"]);
        // Dropped, promised again, and put on top.
        let dir = mine.path().to_owned();
        let _ = world
            .lfsfs(["discard".as_ref(), "--yes".as_ref(), dir.as_os_str()])
            .ok();
        assert_eq!((publishing(&mine), mine.changes()), (Value::Null, 0));
        conflict("mine again");
        let commit = mine.verb(["commit", "--force", "--json"]).json();
        assert_eq!(
            (&commit["version"], &commit["changes"]),
            (&json!(3), &json!(1))
        );
        assert_eq!(publishing(&mine), Value::Null);
        assert_version_is_dir(&world, "app@v3", mine.path());
        write(&mine.path().join("index.js"), "forced");
        write(&theirs.path().join("index.js"), "theirs again");
        let told = theirs
            .verb(["commit", "--async", "--force", "--json"])
            .json();
        assert!(told["pending"].is_string(), "{told}");
        let _ = theirs.verb(["flush"]).ok();
        assert_eq!(theirs.source(), "app@v4");
        mine.umount();
        theirs.umount();
        world.stop_server();
        world.assert_check_is_clean();
    });
}
