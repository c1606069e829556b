//! Two machines and a project, with random changes on both sides, kills in the middle of passes, and servers that go away.
//!
//! When it is quiet, both trees and the project are equal, and no bytes that a machine wrote last at a path are gone: each
//! is at a path, or it was replaced or removed by that machine later.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_tests::World;

use crate::support::{Machine, Thing, Tree, assert_project_is, world};

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        // xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "B"];

fn random_path(random: &mut Random) -> PathBuf {
    let depth = 1 + random.next(3);
    let names = (0..depth).map(|_| NAMES[usize::try_from(random.next(4)).expect("small")]);
    names.collect()
}

/// Returns true if no link is on the way to a path: what is done there is done at that path.
fn is_plain(machine: &Machine, path: &std::path::Path) -> bool {
    let mut above = path.ancestors().skip(1);
    above
        .all(|above| !fs::symlink_metadata(machine.dir.join(above)).is_ok_and(|it| it.is_symlink()))
}

/// What a machine wrote, and has to be found at the end.
#[derive(Debug, Default)]
struct Written(BTreeSet<Vec<u8>>);

impl Written {
    /// Forgets what the machine itself takes away.
    fn forget(&mut self, tree: &Tree, path: &std::path::Path) {
        for (it, thing) in tree {
            if let (true, Thing::File { bytes, .. }) = (it.starts_with(path), thing) {
                let _ = self.0.remove(bytes);
            }
        }
    }
}

/// Makes a random change. The counter makes bytes that no other file has.
fn edit(
    machine: &Machine,
    random: &mut Random,
    counter: &mut u64,
    written: &mut [Written; 2],
    me: usize,
) {
    let path = random_path(random);
    if !is_plain(machine, &path) {
        return;
    }
    let full = machine.dir.join(&path);
    let tree = machine.tree();
    // What a machine takes away that both had is gone by intent, of either machine: it is seen here.
    let mut forget = |path: &std::path::Path| {
        for written in written.iter_mut() {
            written.forget(&tree, path);
        }
    };
    match random.next(10) {
        0..5 => {
            if fs::create_dir_all(full.parent().expect("a directory")).is_err() || full.is_dir() {
                return;
            }
            forget(&path);
            *counter += 1;
            let bytes = format!("{counter} of {me}").into_bytes();
            let _ = fs::remove_file(&full);
            if fs::write(&full, &bytes).is_ok() {
                let _ = written[me].0.insert(bytes);
            }
        }
        5..7 => {
            forget(&path);
            if full.is_dir() {
                let _ = fs::remove_dir_all(&full);
            } else {
                let _ = fs::remove_file(&full);
            }
        }
        7 => {
            let _ = fs::create_dir_all(&full);
        }
        8 => {
            let to = random_path(random);
            if !is_plain(machine, &to)
                || to.starts_with(&path)
                || path.starts_with(&to)
                || !full.exists()
            {
                return;
            }
            let target = machine.dir.join(&to);
            let can = target.parent().is_some_and(|it| it.is_dir());
            if can && !target.exists() {
                let _ = rustix::fs::rename(&full, &target);
            }
        }
        _ => {
            if fs::symlink_metadata(&full).is_err() && full.parent().is_some_and(|it| it.is_dir()) {
                let _ = std::os::unix::fs::symlink("a", &full);
            }
        }
    }
}

/// Tells what happened, which is shown where the test fails.
#[expect(clippy::print_stdout, reason = "shown where the test fails")]
fn tell(text: &str) {
    println!("{text}");
}

/// Syncs, and kills that after some milliseconds.
fn sync_killed(machine: &Machine, random: &mut Random) {
    let command = machine.world.command(machine.words("once", &[]));
    let mut process = Program::start(command).expect("a process");
    std::thread::sleep(Duration::from_millis(10 + random.next(250)));
    process.kill().expect("a process can be killed");
    tell(&format!("killed: {}", process.output()));
}

fn sync(machine: &Machine) {
    // All gone in one pass waits for the user.
    let _ = machine.run("confirm", &[]).ok();
    let run = machine.run("once", &[]);
    assert!(matches!(run.code(), Some(0 | 1)), "{run:?}");
    assert!(!run.stderr().contains("panicked"), "{run:?}");
    tell(&format!("{run:?}"));
}

/// Runs a history.
fn history(seed: u64, rounds: u64) {
    tell(&format!("LFSFS_MODEL_SEED={seed}"));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world: World = world();
    let machines = [Machine::new(&world, "app"), Machine::new(&world, "app")];
    let mut written = [Written::default(), Written::default()];
    let mut counter = 0;
    for machine in &machines {
        machine.write("keep", "keep");
        sync(machine);
    }
    for _ in 0..rounds {
        for (me, machine) in machines.iter().enumerate() {
            for _ in 0..random.next(6) {
                edit(machine, &mut random, &mut counter, &mut written, me);
            }
        }
        match random.next(8) {
            0 | 1 => sync_killed(
                &machines[usize::try_from(random.next(2)).expect("small")],
                &mut random,
            ),
            2 => {
                world.kill_server();
                let run = machines[0].run("once", &[]);
                assert_eq!(run.code(), Some(1), "{run:?}");
                world.start_server(&[]);
            }
            _ => sync(&machines[usize::try_from(random.next(2)).expect("small")]),
        }
    }
    // Quiet: what one sends the other gets, and once more for what that sends.
    for _ in 0..3 {
        machines.iter().for_each(sync);
    }
    let trees = [machines[0].tree(), machines[1].tree()];
    if trees[0] != trees[1] {
        tell(&world.lfsfs(["ls", "-R", "app:notes"]).ok());
        tell(&world.lfsfs(["log", "app"]).ok());
    }
    assert_eq!(trees[0], trees[1], "seed {seed}");
    assert_project_is(&world, "app:notes", &trees[0]);
    let there: BTreeSet<&Vec<u8>> = trees[0]
        .values()
        .filter_map(|thing| match thing {
            Thing::File { bytes, .. } => Some(bytes),
            _ => None,
        })
        .collect();
    for bytes in written.iter().flat_map(|written| &written.0) {
        let text = String::from_utf8_lossy(bytes);
        assert!(there.contains(bytes), "seed {seed}: {text:?} is gone");
    }
    for machine in &machines {
        let again = machine.once();
        assert_eq!(
            (&again["sent"], &again["received"]),
            (&0.into(), &0.into()),
            "seed {seed}"
        );
    }
}

fn seed() -> u64 {
    let set = std::env::var("LFSFS_MODEL_SEED").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn two_machines_come_to_one_state_and_lose_nothing() {
    for seed in seed()..seed() + 3 {
        history(seed, 12);
    }
}

#[test]
#[ignore = "soak: many histories"]
fn two_machines_come_to_one_state_over_many_histories() {
    let cases = std::env::var("LFSFS_MODEL_CASES").ok();
    let cases: u64 = cases.and_then(|text| text.parse().ok()).unwrap_or(100);
    for seed in seed()..seed() + cases {
        history(seed, 30);
    }
}
