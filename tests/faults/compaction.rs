//! Chunks are rewritten: many small commits become few chunks that are read like those of an import, space of mostly
//! dead chunks comes back, and versions are read all the time while servers are killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lfsfs_tests::{Cluster, Numbers, Run, World, eventually, in_namespace_for};
use serde_json::Value;

use crate::versions::{RETRY, assert_same_files, check, new_project};

/// Datanodes drop chunks beside other calls.
const SOON: Duration = Duration::from_secs(60);
/// How long a cluster may take to be whole again.
const CALM_MAX: Duration = Duration::from_secs(120);

/// Writes some files of a directory anew.
fn change(tree: &Path, files: u64, count: usize, len: usize, numbers: &mut Numbers) {
    for _ in 0..count {
        let name = format!("file-{:03}", numbers.below(files));
        fs::write(tree.join(name), numbers.bytes(len)).expect("a file");
    }
}

fn fill(tree: &Path, files: u64, len: usize, numbers: &mut Numbers) {
    for number in 0..files {
        let name = format!("file-{number:03}");
        fs::write(tree.join(name), numbers.bytes(len)).expect("a file");
    }
}

fn gc(world: &World, words: &[&str]) -> Value {
    let words: Vec<_> = ["gc", "--json", "--grace", "0s"]
        .iter()
        .chain(words)
        .collect();
    world.lfsfs(words).json()
}

fn count(collected: &Value, key: &str) -> u64 {
    collected[key].as_u64().expect(key)
}

/// A cluster of one datanode, which counts its calls.
fn cluster_of_one() -> Cluster {
    let mut cluster = Cluster::new(0, &["--replication", "1"]);
    cluster.start_node(&["--metrics", "127.0.0.1:0"]);
    cluster
}

fn chunk_bytes(cluster: &Cluster) -> u64 {
    let files = cluster.chunk_files(0).into_iter();
    let lens = files.filter_map(|file| fs::metadata(file).ok());
    lens.map(|it| it.len()).sum()
}

/// Returns how many ranges of chunks were read from the datanode.
fn range_reads(cluster: &Cluster) -> u64 {
    let mut server = TcpStream::connect(cluster.metrics_of(0)).expect("it serves metrics");
    server
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .expect("it reads");
    let mut page = String::new();
    server.read_to_string(&mut page).expect("a page");
    let is_it = |line: &&str| {
        line.starts_with("lfsfs_calls_total{") && line.contains("method=\"DownloadChunkStream\"")
    };
    let values = page.lines().filter(is_it).map(|line| {
        let value = line.rsplit(' ').next().expect("a value");
        value.parse::<u64>().expect("a number")
    });
    values.sum()
}

/// Exports a version that must be that tree, and returns how many ranges that took.
fn cold_reads(cluster: &Cluster, source: &str, tree: &Path) -> u64 {
    let before = range_reads(cluster);
    let out = cluster.world.path("out");
    let _ = cluster
        .world
        .lfsfs(["export", source, out.to_str().expect("UTF-8")])
        .ok();
    assert_same_files(tree, &out);
    fs::remove_dir_all(out).expect("a directory");
    range_reads(cluster) - before
}

fn assert_whole(cluster: &mut Cluster, nodes: usize) {
    let fsck = cluster.world.lfsfs(["fsck"]);
    assert_eq!(fsck.code(), Some(0), "{fsck:?}");
    for node in 0..nodes {
        cluster.kill_node(node);
    }
    cluster.kill_coordinator();
    let nodes = (0..nodes).map(|node| format!("node-{node}"));
    for data in nodes.chain(["coordinator".to_owned()]) {
        let mut command = cluster.world.lfsfsd(["check", "--data"]);
        command.arg(cluster.world.path(&data));
        let checked = Run::of(command);
        assert!(checked.ok().ends_with(": 0 findings"), "{checked:?}");
    }
}

#[test]
fn small_commits_are_gathered_and_read_like_an_import() {
    const FILES: u64 = 300;
    let mut cluster = cluster_of_one();
    let tree = cluster.world.make_dir("tree");
    let mut numbers = Numbers(21);
    fill(&tree, FILES, 2000, &mut numbers);
    let _ = cluster.world.import(&tree, "app");
    for _ in 0..200 {
        change(&tree, FILES, 10, 2000, &mut numbers);
        let _ = cluster.world.import(&tree, "app");
    }
    let fresh = cluster_of_one();
    let _ = fresh.world.import(&tree, "app");
    let reads = cold_reads(&fresh, "app", &tree);
    let before = cold_reads(&cluster, "app", &tree);
    assert!(before > 20 * reads, "{before} reads of many small chunks");
    assert_eq!(cluster.chunk_files(0).len(), 201);

    let planned = gc(&cluster.world, &["--dry-run"]);
    assert_eq!(count(&planned, "rewritten_chunks"), 201, "{planned}");
    let told = cluster.world.lfsfs(["gc", "-n"]).ok();
    assert!(told.contains("would rewrite 201 chunks"), "{told}");
    assert_eq!(cluster.chunk_files(0).len(), 201);
    let collected = gc(&cluster.world, &[]);
    assert_eq!(count(&collected, "rewritten_chunks"), 201, "{collected}");
    assert_eq!(count(&collected, "new_chunks"), 1, "{collected}");
    assert_eq!(count(&collected, "chunks"), 201, "{collected}");
    assert!(count(&collected, "rewritten_bytes") > 0, "{collected}");
    let are_few = || cluster.chunk_files(0).len() == 1;
    assert!(eventually(SOON, are_few), "the old chunks stay");
    let after = cold_reads(&cluster, "app", &tree);
    assert!(
        after <= 2 * reads,
        "{after} reads, and {reads} of an import"
    );
    let again = gc(&cluster.world, &[]);
    assert_eq!(count(&again, "rewritten_chunks"), 0, "{again}");

    // The old versions go, and most of the chunk with them.
    let words = ["gc", "--keep", "1", "--grace", "0s"];
    let told = cluster.world.lfsfs(words).ok();
    assert!(told.contains("rewrote 1 chunk into 1 new one"), "{told}");
    let is_small = || chunk_bytes(&cluster) * 10 <= chunk_bytes(&fresh) * 12;
    assert!(eventually(SOON, is_small), "{}", chunk_bytes(&cluster));
    let after = cold_reads(&cluster, "app", &tree);
    assert!(
        after <= 2 * reads,
        "{after} reads, and {reads} of an import"
    );
    assert_whole(&mut cluster, 1);
}

#[test]
fn what_is_left_of_a_mostly_dead_chunk_moves_and_its_space_comes_back() {
    const FILES: u64 = 60;
    let mut cluster = Cluster::new(3, &["--repair-after", "5"]);
    let tree = cluster.world.make_dir("tree");
    let mut numbers = Numbers(22);
    fill(&tree, FILES, 100_000, &mut numbers);
    let _ = cluster.world.import(&tree, "app");
    let _ = cluster
        .world
        .lfsfs(["clone", "app@v1", "copy", "--create"])
        .ok();
    for number in 10..FILES {
        fs::remove_file(tree.join(format!("file-{number:03}"))).expect("a file");
    }
    let _ = cluster.world.import(&tree, "app");
    let rewritten = |collected: &Value| count(collected, "rewritten_chunks");
    let collected = gc(&cluster.world, &["app", "--keep", "1"]);
    assert_eq!(count(&collected, "versions"), 1);
    assert_eq!(rewritten(&gc(&cluster.world, &[])), 0, "the clone needs it");
    let _ = cluster
        .world
        .lfsfs(["project", "delete", "copy", "--purge", "--yes"])
        .ok();

    let with_grace = cluster.world.lfsfs(["gc", "--json", "--grace", "1h"]);
    assert_eq!(rewritten(&with_grace.json()), 0, "its contents were needed");
    let collected = gc(&cluster.world, &[]);
    assert_eq!(rewritten(&collected), 1, "{collected}");
    // Three copies of five sixths of 6 MB.
    assert!(
        count(&collected, "rewritten_bytes") > 14_000_000,
        "{collected}"
    );
    let is_back = || (0..3).all(|node| bytes_of(&cluster, node) < 1_200_000);
    assert!(eventually(SOON, is_back), "{collected}");
    cluster.wait_for_copies(3, SOON);
    let out = cluster.world.path("out");
    let out_word = out.to_str().expect("UTF-8");
    let _ = cluster.world.lfsfs(["export", "app", out_word]).ok();
    assert_same_files(&tree, &out);
    let inspected = cluster
        .world
        .lfsfs(["project", "inspect", "app", "--json"])
        .json();
    assert!(count(&inspected, "stored_bytes") < 1_200_000, "{inspected}");
    assert_whole(&mut cluster, 3);
}

fn bytes_of(cluster: &Cluster, node: usize) -> u64 {
    let files = cluster.chunk_files(node).into_iter();
    let lens = files.filter_map(|file| fs::metadata(file).ok());
    lens.map(|it| it.len()).sum()
}

/// Old chunks stay for the grace: a reader of before needs them.
#[test]
fn a_server_rewrites_by_itself_and_keeps_old_chunks_for_the_grace() {
    let arguments = ["--gc-every", "1", "--gc-grace", "5", "--replication", "1"];
    let cluster = Cluster::new(1, &arguments);
    let tree = cluster.world.make_dir("tree");
    let mut numbers = Numbers(23);
    for _ in 0..10 {
        change(&tree, 100, 10, 1000, &mut numbers);
        let _ = cluster.world.import(&tree, "app");
    }
    let chunks = || cluster.chunk_files(0).len();
    assert!(eventually(SOON, || chunks() > 10), "{}", chunks());
    assert!(eventually(SOON, || chunks() <= 8), "{}", chunks());
    check(&cluster.world, 9, &tree);
    let off = Cluster::new(1, &["--gc-rate", "0", "--replication", "1"]);
    for _ in 0..10 {
        change(&tree, 100, 10, 1000, &mut numbers);
        let _ = off.world.import(&tree, "app");
    }
    assert_eq!(count(&gc(&off.world, &["-n"]), "rewritten_chunks"), 0);
    assert_eq!(count(&gc(&off.world, &[]), "rewritten_chunks"), 0);
}

/// The trees of the versions of `app` that were acknowledged.
type Acknowledged = Mutex<Vec<PathBuf>>;

fn of_number(acknowledged: &Acknowledged, numbers: &mut Numbers) -> Option<(usize, PathBuf)> {
    let trees = acknowledged.lock().expect("no holder panics");
    let count = u64::try_from(trees.len()).expect("few");
    let number = usize::try_from(numbers.below(count.max(1))).expect("few");
    trees.get(number).map(|tree| (number, tree.clone()))
}

fn write_versions(world: &World, acknowledged: &Acknowledged, is_over: &AtomicBool) {
    let mut numbers = Numbers(24);
    let mut last: Option<PathBuf> = None;
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let tree = world.make_dir(&format!("tree-{number}"));
        if let Some(last) = &last {
            let entries = fs::read_dir(last).expect("a directory");
            for file in entries.map(|entry| entry.expect("an entry")) {
                fs::copy(file.path(), tree.join(file.file_name())).expect("a copy");
            }
        }
        change(&tree, 60, 10, 12_000, &mut numbers);
        let tree_word = tree.to_str().expect("UTF-8");
        let imported = world.lfsfs([RETRY[0], RETRY[1], "import", tree_word, "app"]);
        assert_eq!(imported.code(), Some(0), "{imported:?}");
        acknowledged
            .lock()
            .expect("no holder panics")
            .push(tree.clone());
        last = Some(tree);
    }
}

fn export_versions(world: &World, acknowledged: &Acknowledged, is_over: &AtomicBool) {
    let mut numbers = Numbers(25);
    while !is_over.load(Ordering::Relaxed) {
        match of_number(acknowledged, &mut numbers) {
            Some((number, tree)) => check(world, number, &tree),
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// One mount lives through all rewritings; its places grow old.
fn read_mount(world: &World, acknowledged: &Acknowledged, is_over: &AtomicBool) {
    let first = loop {
        let trees = acknowledged.lock().expect("no holder panics");
        if let Some(tree) = trees.first() {
            break tree.clone();
        }
        drop(trees);
        std::thread::sleep(Duration::from_millis(50));
    };
    // Hardly anything fits into this cache.
    let mount = world.mount("app@v1", "cache-size=1MiB");
    while !is_over.load(Ordering::Relaxed) {
        assert_same_files(&first, mount.path());
        std::thread::sleep(Duration::from_millis(200));
    }
    mount.umount();
}

/// A call ends only when nothing is left to rewrite: the coordinator may be killed before, each time.
fn rewrite(world: &World, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let words = ["--retry-for", "5", "gc", "--json", "--grace", "0s"];
        let collected = world.lfsfs(words);
        let is_away = collected.stderr().contains("is not available");
        assert!(collected.code() == Some(0) || is_away, "{collected:?}");
    }
}

/// Kills the coordinator and the datanodes in turn, `kills` times, while versions are made, read and rewritten.
fn run(kills: usize) {
    const NODES: usize = 3;
    // So slow that most kills come while chunks are rewritten.
    let arguments = [
        "--repair-after",
        "5",
        "--chunk-size",
        "1MiB",
        "--gc-rate",
        "3MiB",
    ];
    let mut cluster = Cluster::new(NODES, &arguments);
    new_project(&cluster.world);
    let (acknowledged, is_over) = (Acknowledged::default(), AtomicBool::new(false));
    let world = cluster.world.another();
    let (mut numbers, mut seen) = (Numbers(26), BTreeSet::new());
    std::thread::scope(|scope| {
        let workers = [
            scope.spawn(|| write_versions(&world, &acknowledged, &is_over)),
            scope.spawn(|| export_versions(&world.another(), &acknowledged, &is_over)),
            scope.spawn(|| read_mount(&world.another(), &acknowledged, &is_over)),
        ];
        let rewriting = scope.spawn(|| rewrite(&world.another(), &is_over));
        for number in 0..kills {
            std::thread::sleep(Duration::from_millis(1000 + numbers.below(1500)));
            if workers.iter().any(|worker| worker.is_finished()) || rewriting.is_finished() {
                break;
            }
            seen.extend(cluster.copies().into_keys());
            match number % 4 {
                0 | 2 => {
                    cluster.kill_coordinator();
                    cluster.start_coordinator();
                }
                _ => {
                    let node = (number / 2) % NODES;
                    cluster.kill_node(node);
                    std::thread::sleep(Duration::from_millis(numbers.below(1000)));
                    cluster.start_node_again(node);
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        rewriting.join().expect("it collects");
    });
    let left = cluster.copies();
    let has_gone = |chunk: &String| !left.contains_key(chunk);
    assert!(seen.iter().any(has_gone), "nothing was rewritten");
    let trees = acknowledged.into_inner().expect("no holder panics");
    let _ = gc(&cluster.world, &[]);
    for (number, tree) in trees.iter().enumerate() {
        check(&cluster.world, number, tree);
    }
    cluster.wait_for_copies(NODES, CALM_MAX);
    let chunks = cluster.copies().len();
    assert!(chunks < trees.len(), "{chunks} chunks of {}", trees.len());
    assert_whole(&mut cluster, NODES);
}

#[test]
fn versions_are_read_while_servers_are_killed_that_rewrite_chunks() {
    let name = "compaction::versions_are_read_while_servers_are_killed_that_rewrite_chunks";
    in_namespace_for(name, Duration::from_secs(300), || run(6));
}

#[test]
#[ignore = "soak: many kills"]
fn versions_are_read_while_many_kills_come() {
    let name = "compaction::versions_are_read_while_many_kills_come";
    in_namespace_for(name, Duration::from_secs(3600), || run(100));
}
