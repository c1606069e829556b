//! `lfsfs sync run`: what begins a pass, and what users see of it.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use serde_json::Value;

use crate::support::{Machine, assert_project_is, wait_until, world};

/// A service that must not be found by events.
const POLL: &[&str] = &["--set", "watch=false", "--set", "poll_interval=1"];
/// One that must not be found by the poll.
const EVENTS: &[&str] = &["--set", "poll_interval=86400"];

pub(crate) fn start(machine: &Machine, more: &[&str]) -> Program {
    Program::start(machine.world.command(machine.words("run", more))).expect("a service")
}

fn status(machine: &Machine) -> Value {
    machine.run("status", &["--json"]).json()
}

fn wait_for_state(machine: &Machine, state: &str) {
    wait_until(state, || status(machine)["state"] == state);
}

fn end(mut service: Program) {
    let status = service.terminate(Duration::from_secs(20)).expect("an end");
    assert!(status.success(), "{status}: {}", service.output());
}

/// Two machines that run, changes on both, and the same on both at the end.
fn converges(more: &[&str]) {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    one.write("d/first", "first");
    let services = [start(&one, more), start(&two, more)];
    wait_until("the first file", || two.dir.join("d/first").exists());
    one.write("d/second", "second");
    fs::remove_file(one.dir.join("d/first")).expect("a file");
    two.write("e/third", "third");
    wait_until("one state", || {
        two.dir.join("d/second").exists()
            && one.dir.join("e/third").exists()
            && !two.dir.join("d/first").exists()
    });
    rustix::fs::rename(one.dir.join("d"), one.dir.join("moved")).expect("a rename");
    wait_until("the rename", || {
        two.dir.join("moved/second").exists() && !two.dir.join("d").exists()
    });
    for machine in [&one, &two] {
        wait_for_state(machine, "idle");
    }
    assert_eq!(one.tree(), two.tree());
    services.into_iter().for_each(end);
    assert_project_is(&world, "app:notes", &one.tree());
}

#[test]
fn events_alone_reach_one_state() {
    converges(EVENTS);
}

#[test]
fn the_poll_alone_reaches_the_same_state() {
    converges(&[POLL, &["--set", "debounce_ms=50"]].concat());
}

#[test]
fn a_burst_is_one_version() {
    let world = world();
    let one = Machine::new(&world, "app");
    one.write("first", "first");
    let service = start(&one, &[EVENTS, &["--set", "debounce_ms=1500"]].concat());
    wait_until("the first version", || world.head("app") == 1);
    wait_for_state(&one, "idle");
    for number in 0..2000 {
        one.write(&format!("d{}/f{number}", number % 10), &number.to_string());
    }
    wait_until("the second version", || world.head("app") >= 2);
    wait_for_state(&one, "idle");
    let project = world.lfsfs(["ls", "-R", "app@v2:notes"]).ok();
    let is_new = |line: &&str| line.contains("/f") && !line.ends_with("first");
    assert_eq!(project.lines().filter(is_new).count(), 2000);
    end(service);
    assert_project_is(&world, "app:notes", &one.tree());
}

#[test]
fn a_pause_holds_and_a_resume_goes_on() {
    let world = world();
    let one = Machine::new(&world, "app");
    one.write("first", "first");
    let service = start(&one, EVENTS);
    wait_until("the first version", || world.head("app") == 1);
    let _ = one.run("pause", &[]).ok();
    wait_for_state(&one, "paused");
    one.write("second", "second");
    one.run("once", &[]).fails(1, &["another process syncs"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(world.head("app"), 1);
    assert!(
        one.run("status", &[])
            .ok()
            .contains("paused: lfsfs sync resume")
    );
    let _ = one.run("resume", &[]).ok();
    wait_until("the second version", || world.head("app") == 2);
    wait_for_state(&one, "idle");
    end(service);
    assert!(one.run("status", &[]).ok().contains("not running"));
    let _ = one.run("pause", &[]).ok();
    one.run("once", &[])
        .fails(1, &["is paused", "lfsfs sync resume"]);
    let _ = one.run("resume", &[]).ok();
    let _ = one.once();
}

#[test]
fn a_server_that_goes_away_is_waited_for() {
    let mut world = world();
    let one = Machine::new(&world, "app");
    one.write("first", "first");
    let service = start(&one, &["--set", "poll_interval=2"]);
    wait_until("the first version", || world.head("app") == 1);
    world.kill_server();
    one.write("second", "second");
    wait_for_state(&one, "failed");
    let told = one.run("status", &[]).ok();
    assert!(
        told.contains("failing: ") && told.contains("lfsfs server"),
        "{told}"
    );
    world.start_server(&[]);
    wait_until("the second version", || world.head("app") == 2);
    wait_for_state(&one, "idle");
    end(service);
    assert_project_is(&world, "app:notes", &one.tree());
}

#[test]
fn a_root_that_goes_away_stops_and_nothing_is_removed() {
    let world = world();
    let one = Machine::new(&world, "app");
    one.write("first", "first");
    let service = start(&one, &["--set", "poll_interval=1"]);
    wait_until("the first version", || world.head("app") == 1);
    wait_for_state(&one, "idle");
    let away = one.world.path("away");
    rustix::fs::rename(&one.dir, &away).expect("a rename");
    wait_for_state(&one, "failed");
    fs::create_dir(&one.dir).expect("a directory");
    wait_until("the reason", || {
        let told = one.run("status", &[]).ok();
        told.contains("not the directory that was synced before")
    });
    assert_eq!(world.head("app"), 1);
    fs::remove_dir(&one.dir).expect("a directory without anything in it");
    rustix::fs::rename(&away, &one.dir).expect("a rename");
    one.write("second", "second");
    wait_until("the second version", || world.head("app") == 2);
    end(service);
}

#[test]
fn what_is_written_is_waited_for() {
    let world = world();
    let one = Machine::new(&world, "app");
    one.write("other", "other");
    let more = [EVENTS, &["--set", "debounce_ms=1500"]].concat();
    let service = start(&one, &more);
    wait_until("the first version", || world.head("app") == 1);
    wait_for_state(&one, "idle");
    let mut file = fs::File::create(one.dir.join("growing")).expect("a file");
    one.write("quiet", "quiet");
    for _ in 0..20 {
        file.write_all(&[b'x'; 4096]).expect("bytes");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(file);
    wait_until("the whole file", || {
        let cat = world.lfsfs(["cat", "app:notes/growing"]);
        cat.code() == Some(0) && cat.stdout_bytes().len() == 20 * 4096
    });
    // It was not sent in parts.
    let log = world.lfsfs(["log", "app", "notes/growing"]).ok();
    assert_eq!(
        log.lines()
            .filter(|line| line.starts_with('v'))
            .count()
            .max(1),
        1,
        "{log}"
    );
    end(service);
}

#[test]
fn metrics_are_told() {
    let world = world();
    let one = Machine::new(&world, "app");
    one.write("first", "first");
    let file = one.world.path("sync.prom");
    let text = file.to_str().expect("text").to_owned();
    let service = start(&one, &[EVENTS, &["--metrics-file", &text]].concat());
    wait_until("the metrics", || {
        let told = fs::read_to_string(&file).unwrap_or_default();
        told.lines()
            .any(|line| line.starts_with("lfsfs_sync_sent_total{") && line.ends_with(" 1"))
    });
    end(service);
}
