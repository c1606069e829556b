//! Garbage is collected without any grace, all the time, while versions are made, read, cloned and rolled back, and
//! while the coordinator is killed. What an acknowledged version has stays as long as the version.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lfsfs_tests::{Cluster, Numbers, Run, World};

use crate::versions::{RETRY, Versions, assert_same_files, new_project};

const NODES: usize = 3;
/// Versions that stay: a reader has time to read one of them.
const KEEP: &str = "3";
const CI_VERSIONS: usize = 25;
const SOAK_VERSIONS: usize = 1000;
/// How long a cluster may take to be whole again.
const CALM_MAX: Duration = Duration::from_secs(120);

fn lfsfs(world: &World, words: &[&str]) -> Run {
    world.lfsfs(RETRY.iter().chain(words))
}

/// Checks a command that works on a version which may have expired meanwhile. Returns whether it had not.
#[track_caller]
fn done_unless_expired(run: &Run) -> bool {
    let is_expired = run.code() == Some(1) && run.stderr().contains("has expired");
    assert!(run.code() == Some(0) || is_expired, "{run:?}");
    !is_expired
}

/// The trees of the versions of `app` that were acknowledged.
type Acknowledged = Mutex<Vec<std::path::PathBuf>>;

fn newest(acknowledged: &Acknowledged) -> Option<(usize, std::path::PathBuf)> {
    let trees = acknowledged.lock().expect("no holder panics");
    trees.last().map(|tree| (trees.len(), tree.clone()))
}

fn write(world: &World, versions: usize, acknowledged: &Acknowledged) {
    let (mut made, mut numbers) = (Versions::default(), Numbers(11));
    for _ in 0..versions {
        made.import_next(world, &mut numbers);
        let mut trees = acknowledged.lock().expect("no holder panics");
        trees.clone_from(&made.trees);
    }
}

fn read(world: &World, acknowledged: &Acknowledged, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let Some((number, tree)) = newest(acknowledged) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        read_version(world, &format!("app@v{number}"), &tree);
    }
}

fn read_version(world: &World, source: &str, tree: &Path) {
    let out = world.path("out");
    let exported = lfsfs(world, &["export", source, out.to_str().expect("UTF-8")]);
    if done_unless_expired(&exported) {
        assert_same_files(tree, &out);
    }
    if out.exists() {
        std::fs::remove_dir_all(out).expect("a directory");
    }
}

fn head(world: &World, project: &str) -> u64 {
    let inspected = lfsfs(world, &["project", "inspect", project, "--json"]);
    inspected.json()["head"].as_u64().expect("a number")
}

/// Makes versions of another project, of versions of the first one and of its own.
fn derive(world: &World, acknowledged: &Acknowledged, is_over: &AtomicBool) {
    let mut numbers = Numbers(12);
    while !is_over.load(Ordering::Relaxed) {
        let Some((number, _)) = newest(acknowledged) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let source = format!("app@v{number}");
        let _ = done_unless_expired(&lfsfs(world, &["clone", &source, "copy", "--create"]));
        let head = head(world, "copy");
        let back = format!("copy@v{}", head.saturating_sub(numbers.below(3)).max(1));
        let _ = done_unless_expired(&lfsfs(world, &["rollback", &back]));
        let removed = format!("copy:file-{}", numbers.below(200));
        let removed = lfsfs(world, &["rm", &removed]);
        assert!(matches!(removed.code(), Some(0 | 1)), "{removed:?}");
    }
}

fn collect(world: &World, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let words = ["gc", "--keep", KEEP, "--grace", "0s"];
        let collected = lfsfs(world, &words);
        assert_eq!(collected.code(), Some(0), "{collected:?}");
    }
}

fn run(versions: usize, kill_every: Option<Duration>) {
    let mut cluster = Cluster::new(NODES, &["--repair-after", "5"]);
    new_project(&cluster.world);
    let acknowledged = Acknowledged::default();
    let is_over = AtomicBool::new(false);
    let world = cluster.world.another();
    std::thread::scope(|scope| {
        let workers = [
            scope.spawn(|| read(&world.another(), &acknowledged, &is_over)),
            scope.spawn(|| derive(&world.another(), &acknowledged, &is_over)),
            scope.spawn(|| collect(&world.another(), &is_over)),
        ];
        // Its trees are compared with as long as there are versions of them.
        let writer = scope.spawn(|| write(&world, versions, &acknowledged));
        while !writer.is_finished() && workers.iter().all(|worker| !worker.is_finished()) {
            std::thread::sleep(kill_every.unwrap_or(Duration::from_millis(200)));
            if kill_every.is_some() {
                cluster.kill_coordinator();
                cluster.start_coordinator();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let world = &cluster.world;
    let (number, tree) = newest(&acknowledged).expect("a version");
    assert_eq!(number, versions);
    let collected = lfsfs(world, &["gc", "--keep", "1", "--grace", "0s"]);
    assert_eq!(collected.code(), Some(0), "{collected:?}");
    read_version(world, &format!("app@v{number}"), &tree);
    let exported = world.path("copy");
    let run = lfsfs(
        world,
        &["export", "copy", exported.to_str().expect("UTF-8")],
    );
    assert_eq!(run.code(), Some(0), "{run:?}");
    cluster.wait_for_copies(NODES, CALM_MAX);
    let fsck = lfsfs(world, &["fsck"]);
    assert_eq!(fsck.code(), Some(0), "{fsck:?}");
    cluster.kill_coordinator();
    let mut check = cluster.world.lfsfsd(["check", "--data"]);
    check.arg(cluster.world.path("coordinator"));
    let check = Run::of(check);
    assert!(check.ok().ends_with(": 0 findings"), "{check:?}");
}

#[test]
fn what_a_version_has_stays_while_garbage_goes() {
    run(CI_VERSIONS, None);
}

#[test]
fn what_a_version_has_stays_while_the_coordinator_is_killed() {
    run(CI_VERSIONS / 2, Some(Duration::from_millis(2500)));
}

#[test]
#[ignore = "soak: many versions"]
fn what_many_versions_have_stays() {
    run(SOAK_VERSIONS, None);
    run(SOAK_VERSIONS / 4, Some(Duration::from_millis(2500)));
}
