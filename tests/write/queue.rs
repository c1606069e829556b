//! The upload queue of a mount: what is written is uploaded behind the programs that write it, and a commit finds it
//! there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Mounted, Numbers, World, eventually, in_namespace, in_namespace_for};
use serde_json::{Value, json};

use crate::model::number_of_environment;
use crate::support::{assert_same_but_times, assert_version_is_mount, write};

const LIMIT: Duration = Duration::from_secs(30);

/// A server with an empty project.
fn world() -> World {
    let world = World::new();
    let _ = world.import(&world.make_dir("empty"), "app");
    world
}

/// Uploads everything.
#[track_caller]
fn flush_all(mount: &Mounted<'_>) {
    let flushed = mount.verb(["flush", "--json"]).json();
    assert!(flushed["uploaded"].is_u64(), "{flushed}");
}

/// Returns the files that are not uploaded yet.
fn queue(mount: &Mounted<'_>) -> Vec<Value> {
    let told = mount.verb(["queue", "--json"]).ok();
    let line = |line: &str| serde_json::from_str(line).expect("JSON");
    told.lines().map(line).collect()
}

fn counter(mount: &Mounted<'_>, name: &str) -> u64 {
    mount.counters()[name]
}

#[test]
fn a_commit_has_nothing_left_to_send() {
    in_namespace("queue::a_commit_has_nothing_left_to_send", || {
        let world = world();
        let mount = world.mount_writable("app", "suid,dev");
        let tree = mount.path().join("tree");
        let _ = TreeSpec::app(300).generate(&tree).expect("a tree");
        // By itself, without a word.
        assert!(eventually(LIMIT, || queue(&mount).is_empty()));
        let uploaded = counter(&mount, "queue_uploaded");
        assert!(uploaded >= 300, "{uploaded}");
        let commit = mount.commit("all of it is there");
        assert_eq!(
            (&commit["bytes_sent"], &commit["contents_sent"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(commit["version"], 1);
        assert_version_is_mount(&world, "app@v1", mount.path());
        // What is as it was is not uploaded again.
        flush_all(&mount);
        assert_eq!(counter(&mount, "queue_uploaded"), uploaded);
        write(&tree.join("one-more"), "text");
        flush_all(&mount);
        assert_eq!(mount.commit("one more")["bytes_sent"], 0);
        mount.umount();
    });
}

#[test]
#[ignore = "soak: 100,000 files"]
fn a_hundred_thousand_files_are_uploaded_behind_their_writer() {
    let name = "queue::a_hundred_thousand_files_are_uploaded_behind_their_writer";
    in_namespace_for(name, Duration::from_secs(900), || {
        let world = world();
        let mount = world.mount_writable("app", "");
        for dir in 0..1_000 {
            let dir = mount.path().join(format!("dir-{dir}"));
            fs::create_dir(&dir).expect("a directory");
            for file in 0..100 {
                let text = format!("file {file} of {}", dir.display());
                fs::write(dir.join(file.to_string()), text).expect("a file");
            }
        }
        assert!(eventually(10 * LIMIT, || queue(&mount).is_empty()));
        assert_eq!(counter(&mount, "queue_uploaded"), 100_000);
        let commit = mount.commit("all of them");
        assert_eq!(
            (&commit["bytes_sent"], &commit["changes"]),
            (&json!(0), &json!(101_000))
        );
        assert_version_is_mount(&world, "app@v1", mount.path());
        mount.umount();
    });
}

#[test]
fn what_is_told_of_files_is_what_happens_to_them() {
    in_namespace(
        "queue::what_is_told_of_files_is_what_happens_to_them",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            let act = |action: &str| mount.verb(["queue", action]).ok();
            assert_eq!(
                act("pause"),
                "0 files waiting, 0 uploading, 0 failed, paused"
            );
            write(&mount.path().join("dir/a"), "text");
            write(&mount.path().join("b"), Numbers(1).bytes(2000));
            let told = queue(&mount);
            let item = |path: &str, bytes: u64| json!({"path": path, "state": "waiting", "bytes": bytes, "tries": 0, "reason": null});
            assert_eq!(told, [item("dir/a", 4), item("b", 2000)]);
            let flush = mount.verb(["flush"]);
            flush.fails(1, &["2 files left", "lfsfs queue resume"]);
            // A commit is not held up, and sends what the queue did not.
            assert_eq!(mount.commit("two")["contents_sent"], 2);
            assert!(queue(&mount).is_empty());
            write(&mount.path().join("c"), "more");
            mount.remount();
            assert_eq!(
                act("retry"),
                "1 file waiting, 0 uploading, 0 failed, paused"
            );
            assert_eq!(act("resume"), "1 file waiting, 0 uploading, 0 failed");
            flush_all(&mount);
            let text = mount.verb(["queue"]).ok();
            assert_eq!(text, "0 files waiting, 0 uploading, 0 failed");
            mount.umount();
        },
    );
}

#[test]
fn who_watches_sees_what_happens() {
    in_namespace("queue::who_watches_sees_what_happens", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        let words = ["queue".as_ref(), mount.path().as_os_str()];
        let mut watch = world.command(words);
        watch.args(["--watch", "--json"]).stdout(Stdio::piped());
        let mut watch = watch.spawn().expect("lfsfs starts");
        let lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
        // It may not have begun; then it tells the file as one that waits.
        write(&mount.path().join("a"), "text");
        let lines = lines.map(|line| line.expect("a line"));
        let mut items = lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
        let remote = items
            .find(|item| item["state"] == "remote")
            .expect("a line");
        assert_eq!(
            (&remote["path"], &remote["bytes"]),
            (&json!("a"), &json!(4))
        );
        watch.kill().expect("it runs");
        let _ = watch.wait().expect("it ends");
        mount.umount();
    });
}

#[test]
fn without_a_queue_the_verbs_say_so() {
    in_namespace("queue::without_a_queue_the_verbs_say_so", || {
        let world = world();
        let mount = world.mount_writable("app", "noupload");
        write(&mount.path().join("a"), "text");
        for verb in ["queue", "flush"] {
            mount
                .verb([verb])
                .fails(1, &["no upload queue", "noupload"]);
        }
        assert_eq!(mount.commit("a")["contents_sent"], 1);
        mount.umount();
        let shown = world.mount("app", "");
        for verb in ["queue", "flush"] {
            shown.verb([verb]).fails(1, &["read-only"]);
        }
        shown.umount();
        world.lfsfs(["flush", "/"]).fails(1, &["not"]);
    });
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    in_namespace("queue::a_server_that_is_away_is_waited_for", || {
        let mut world = world();
        let client = world.another();
        let mount = client.mount_writable("app", "timeout=2");
        assert_eq!(fs::read_dir(mount.path()).expect("a directory").count(), 0);
        world.kill_server();
        for file in 0..30 {
            write(
                &mount.path().join(format!("file-{file}")),
                Numbers(file).bytes(3000),
            );
        }
        let all_failed = || {
            queue(&mount)
                .iter()
                .all(|item| item["tries"].as_u64() >= Some(2))
        };
        assert!(eventually(LIMIT, all_failed), "{:?}", queue(&mount));
        let told = queue(&mount);
        assert_eq!((told.len(), &told[0]["state"]), (30, &json!("retrying")));
        assert!(told[0]["reason"].is_string());
        let run = mount.verb(["flush", "--timeout", "300ms"]);
        run.fails(1, &["30 files left", "nothing is lost", "lfsfs queue"]);
        // The count goes on after a restart, and no attempt is made in vain of what is not there any more.
        mount.kill();
        world.start_server(&[]);
        mount.mount("app");
        fs::remove_file(mount.path().join("file-7")).expect("a file");
        flush_all(&mount);
        assert_eq!(counter(&mount, "queue_uploaded"), 29);
        assert_eq!(mount.commit("back")["bytes_sent"], 0);
        assert_version_is_mount(&client, "app@v1", mount.path());
        mount.umount();
    });
}

/// Kills mounts while a program writes, and returns when all is written.
fn write_through_kills(mount: &Mounted<'_>, local: &Path, seed: u64, kills: u64) {
    let mut numbers = Numbers(seed);
    for kill in 0..kills {
        for file in 0..40 {
            let name = format!("dir-{}/file-{file}", kill % 3);
            let len = if file == 0 {
                3_000_000
            } else {
                1 + numbers.below(20_000)
            };
            let bytes = numbers.bytes(usize::try_from(len).expect("few"));
            for dir in [mount.path(), local] {
                write(&dir.join(&name), &bytes);
            }
        }
        let pause = numbers.below(2_500);
        std::thread::sleep(Duration::from_millis(pause));
        mount.kill_and_mount();
    }
}

fn kill(seed: u64, kills: u64) {
    let mut world = world();
    let local = world.make_dir("local");
    let mount = world.mount_writable("app", "suid,dev");
    write_through_kills(&mount, &local, seed, kills);
    flush_all(&mount);
    let commit = mount.commit("after kills");
    assert_eq!(commit["bytes_sent"], 0, "all was uploaded");
    let shown = world.mount("app", "");
    assert_same_but_times(&local, shown.path());
    shown.umount();
    mount.umount();
    let fsck = world.lfsfs(["fsck"]);
    assert_eq!(fsck.code(), Some(0), "{fsck:?}");
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn kills_lose_no_upload_and_mark_none_wrongly() {
    let name = "queue::kills_lose_no_upload_and_mark_none_wrongly";
    in_namespace_for(name, Duration::from_secs(120), || kill(1, 6));
}

#[test]
#[ignore = "soak: many kills"]
fn many_kills_lose_no_upload() {
    let name = "queue::many_kills_lose_no_upload";
    in_namespace_for(name, Duration::from_secs(14_400), || {
        let first = number_of_environment("LFSFS_MODEL_SEED", 100);
        for seed in first..first + number_of_environment("LFSFS_MODEL_CASES", 20) {
            kill(seed, 30);
        }
    });
}

#[test]
fn what_was_collected_since_is_sent_again() {
    in_namespace("queue::what_was_collected_since_is_sent_again", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        for file in 0..20 {
            let bytes = Numbers(file).bytes(if file == 0 { 5_000_000 } else { 3000 });
            write(&mount.path().join(format!("file-{file}")), bytes);
        }
        flush_all(&mount);
        // No version names what was uploaded; it stays as long as the mount may still send more.
        let gc = || world.lfsfs(["gc", "--grace", "0s", "--json"]).json();
        assert_eq!(gc()["contents"], 0);
        let _ = mount.verb(["umount"]).ok();
        // What was asked for in this second stays, too.
        std::thread::sleep(Duration::from_millis(2100));
        let collected = gc();
        assert!(collected["contents"].as_u64() >= Some(20), "{collected}");
        mount.mount("app");
        let commit = mount.commit("sent again");
        assert!(commit["contents_sent"].as_u64() >= Some(20), "{commit}");
        assert_version_is_mount(&world, "app@v1", mount.path());
        mount.umount();
        let fsck = world.lfsfs(["fsck"]);
        assert_eq!(fsck.code(), Some(0), "{fsck:?}");
    });
}

/// A writer that never stops, and commits beside it: each version is what the mount was at its moment.
#[test]
fn commits_while_files_are_written_and_uploaded_take_what_is_there() {
    let name = "queue::commits_while_files_are_written_and_uploaded_take_what_is_there";
    in_namespace(name, || {
        let world = world();
        let mount = world.mount_writable("app", "");
        for round in 0..6_u64 {
            for file in 0..60 {
                let len = 1 + (round * 37 + file) % 5000;
                let bytes = Numbers(round * 100 + file).bytes(usize::try_from(len).expect("few"));
                write(&mount.path().join(format!("dir/file-{file}")), bytes);
            }
            std::thread::sleep(Duration::from_millis(400 * round));
            let commit = mount.commit("a round");
            let source = format!("app@v{}", commit["version"]);
            assert_version_is_mount(&world, &source, mount.path());
            assert_eq!(mount.changes(), 0);
        }
        assert!(fs::read_dir(mount.path()).is_ok());
        mount.umount();
    });
}
