//! Mounts that are killed and disks that lose power while a program writes.
//!
//! The program makes random calls. What it did is then done again on a local directory, call by
//! call, which shows up to which call the mount has kept everything.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::requirements::require_loop_devices;
use lfsfs_tests::{Mounted, Numbers, World, in_namespace};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::model::call::{Call, Outcome, Side, Step};
use crate::model::first_tree;
use crate::model::generate::Generator;
use crate::model::seen::Tree;
use crate::support::assert_version_is_mount;

/// One request of the kernel carries so much at least, so such a write is done or not.
const WRITE_LEN_MAX: usize = 64 * 1024;
const PAGE_LEN: u64 = 4096;
const CALLS_PER_SYNC: usize = 40;
/// Calls that are made at most before something happens.
const CALLS_MAX: usize = 20_000;

/// What a program has done since the last crash.
#[derive(Debug, Default)]
struct Work {
    /// Calls with what was answered.
    acknowledged: VecDeque<(Step, Outcome)>,
    /// The call that was under way when the end came: done or not.
    pending: Option<Step>,
    /// So many of the acknowledged calls were before the last fsync.
    synced: usize,
}

/// Returns how much the kernel writes at an offset in one request: of a page that it does not hold in
/// full, the rest alone.
fn one_request(offset: u64) -> usize {
    match offset % PAGE_LEN {
        0 => WRITE_LEN_MAX,
        begun => usize::try_from(PAGE_LEN - begun).expect("less than a page"),
    }
}

/// Returns the next call that the kernel makes one request of.
fn next_step(generator: &mut Generator) -> Step {
    loop {
        let mut step = generator.step();
        match &mut step.call {
            // Truncating is a request of its own, and so is each page of a mapping. What is appended
            // may begin anywhere.
            Call::Open(_, _, flags, _) => *flags -= OFlags::TRUNC | OFlags::APPEND,
            Call::WriteMapped(..) => continue,
            Call::Write(_, offset, len, _) => *len = (*len).min(one_request(*offset)),
            _ => {}
        }
        return step;
    }
}

/// Makes calls until the mount is dead, or `is_over`. `tree` is what is there.
fn work(dir: &Path, tree: &Tree, (seed, syncs): (u64, bool), is_over: impl Fn() -> bool) -> Work {
    let mut generator = Generator::new(seed);
    generator.learn(tree);
    let mut side = Side::new(dir);
    let mut work = Work::default();
    while work.acknowledged.len() < CALLS_MAX && !is_over() {
        let is_sync = syncs && work.acknowledged.len() % CALLS_PER_SYNC == CALLS_PER_SYNC - 1;
        let step = if is_sync {
            Step {
                user: 0,
                call: Call::SyncAll,
            }
        } else {
            next_step(&mut generator)
        };
        let outcome = side.perform(&step);
        if let Err(Errno::NOTCONN | Errno::CONNABORTED | Errno::IO) = outcome {
            work.pending = Some(step);
            break;
        }
        if is_sync {
            work.synced = work.acknowledged.len() + 1;
        }
        work.acknowledged.push_back((step, outcome));
    }
    work
}

/// A local directory that is brought to where the mount is.
struct Replay {
    local: PathBuf,
}

impl Replay {
    /// Does the work again and checks that the mount is where it is after one of the calls from
    /// `first` on, counted from 1; a call under way counts too.
    #[track_caller]
    fn assert_prefix(&self, work: Work, first: usize, dir: &Path, what: &str) {
        let shown = Tree::of(dir);
        let mut side = Side::new(&self.local);
        let last = work.acknowledged.len() + usize::from(work.pending.is_some());
        let pending = work.pending.map(|step| (step, None));
        let calls = work
            .acknowledged
            .into_iter()
            .map(|(step, it)| (step, Some(it)));
        let mut done = 0;
        let mut is_there = first == 0 && shown.is_like(&Tree::of(&self.local));
        for (step, outcome) in calls.chain(pending) {
            if is_there {
                break;
            }
            let answer = side.perform(&step);
            if let Some(outcome) = outcome {
                assert_eq!(
                    outcome, answer,
                    "{what}: {step:?}: ours, then the local one"
                );
            }
            done += 1;
            is_there = done >= first && shown.is_like(&Tree::of(&self.local));
        }
        assert!(
            is_there,
            "{what}: not what it was after any of the calls {first} to {last}; the last differs:\n{}",
            shown.unlike(&Tree::of(&self.local))
        );
    }
}

fn kill_at_moments(moments: u64) {
    let world = World::new();
    let local = world.path("local");
    first_tree(&local);
    let source = world.import(&local, "app");
    let mount = world.mount_writable(&source, "suid,dev");
    let replay = Replay { local };
    let mut numbers = Numbers(7);
    let mut calls = 0;
    for moment in 0..moments {
        let delay = Duration::from_millis(5 + numbers.below(150));
        let tree = Tree::of(mount.path());
        let done = std::thread::scope(|scope| {
            let writer = scope.spawn(|| work(mount.path(), &tree, (moment + 1, false), || false));
            std::thread::sleep(delay);
            mount.kill();
            writer.join().expect("the writer ends")
        });
        calls += done.acknowledged.len();
        mount.mount(&source);
        let acknowledged = done.acknowledged.len();
        let what = format!("moment {moment}");
        replay.assert_prefix(done, acknowledged, mount.path(), &what);
    }
    assert!(calls > 1_000, "only {calls} calls");
    mount.commit("after all of it");
    assert_version_is_mount(&world, "app@v2", mount.path());
    mount.umount();
}

#[test]
fn killed_at_twenty_moments_every_acknowledged_call_is_there() {
    let name = "crash::killed_at_twenty_moments_every_acknowledged_call_is_there";
    in_namespace(name, || kill_at_moments(20));
}

#[test]
#[ignore = "soak: many moments"]
fn killed_at_five_hundred_moments_every_acknowledged_call_is_there() {
    let name = "crash::killed_at_five_hundred_moments_every_acknowledged_call_is_there";
    lfsfs_tests::in_namespace_for(name, Duration::from_secs(3_600), || kill_at_moments(500));
}

/// Lets the power of the disk with the overlay fail while a program writes.
fn lose_power(world: &World, disk: &mut LoopDisk, mount: &Mounted<'_>, seed: u64) -> Work {
    let source = mount.source();
    let time = Duration::from_millis(100 + 40 * seed);
    let tree = Tree::of(mount.path());
    let start = Instant::now();
    let done = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            work(mount.path(), &tree, (seed, true), || {
                start.elapsed() > 3 * time
            })
        });
        std::thread::sleep(time);
        disk.shutdown_without_log()
            .expect("a disk that loses power");
        writer.join().expect("the writer ends")
    });
    mount.kill();
    // The dead mount holds nothing of the disk any more.
    let _ = world.lfsfs(["umount".as_ref(), mount.path().as_os_str()]);
    disk.remount().expect("a disk that comes back");
    mount.mount(&source);
    done
}

fn lose_power_often(times: u64) {
    let mut disk = LoopDisk::new(128 * 1024 * 1024).expect("a disk");
    let world = World::new();
    let local = world.path("local");
    first_tree(&local);
    let source = world.import(&local, "app");
    // The log of the mount lies there too, so it cannot complain either.
    let options = format!("suid,dev,state={}", disk.path().join("state").display());
    let mount = world.mount_writable(&source, &options);
    let replay = Replay { local };
    let mut synced = 0;
    for time in 1..=times {
        let done = lose_power(&world, &mut disk, &mount, time);
        synced += done.synced;
        let first = done.synced;
        replay.assert_prefix(done, first, mount.path(), &format!("power loss {time}"));
    }
    assert!(synced > 100, "only {synced} calls were synced");
    mount.commit("after all of it");
    assert_version_is_mount(&world, "app@v2", mount.path());
    mount.umount();
}

#[test]
fn after_a_power_loss_everything_synced_is_there() {
    if require_loop_devices().is_err() {
        return;
    }
    let name = "crash::after_a_power_loss_everything_synced_is_there";
    in_namespace(name, || lose_power_often(6));
}

#[test]
#[ignore = "soak: many power losses"]
fn after_a_hundred_power_losses_everything_synced_is_there() {
    if require_loop_devices().is_err() {
        return;
    }
    let name = "crash::after_a_hundred_power_losses_everything_synced_is_there";
    lfsfs_tests::in_namespace_for(name, Duration::from_secs(3_600), || lose_power_often(100));
}
