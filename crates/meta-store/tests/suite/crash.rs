//! A process that is killed: what it flushed survives, and of every batch all or nothing.

use std::env;
use std::io::{BufRead, BufReader, Write, stdout};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lfsfs_meta_store::{Batch, KeyRange, MetaStore, MetaStoreExt};

use lfsfs_meta_store::Engine;

/// Set in the child: where it writes until it is killed.
const CHILD_DIR: &str = "LFSFS_TEST_CRASH_DIR";
/// Set in the child: the engine.
const CHILD_ENGINE: &str = "LFSFS_TEST_CRASH_ENGINE";

/// How many rows each batch writes.
const WIDTH: u64 = 40;

/// All rows of a batch carry its number, so half a batch shows.
fn write_batch(store: &dyn MetaStore, number: u64) {
    let mut batch = Batch::new();
    for column in 0..WIDTH {
        batch.put(column.to_be_bytes(), number.to_be_bytes());
    }
    batch.put(
        [b"log".as_slice(), &number.to_be_bytes()].concat(),
        vec![b'x'; 300],
    );
    store.write(batch).unwrap();
}

/// The child: writes batches for ever, flushes each third one and then tells its number.
fn write_until_killed(dir: &Path) {
    let engine = env::var(CHILD_ENGINE).unwrap().parse::<Engine>().unwrap();
    let store = engine.open(dir).unwrap();
    let first = check(&*store) + 1;
    for number in first.. {
        write_batch(&*store, number);
        if number % 3 == 0 {
            store.flush().unwrap();
            let mut line = stdout().lock();
            writeln!(line, "flushed {number}").unwrap();
        }
    }
}

/// Returns the number of the last batch, after checking that exactly the batches up to it are there.
fn check(store: &dyn MetaStore) -> u64 {
    let found: Result<Vec<_>, _> = store.scan_all(KeyRange::all(), 1000).collect();
    let found = found.unwrap();
    let number_of = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    let Some((_, last)) = found.first() else {
        return 0;
    };
    let columns = found.iter().take_while(|(key, _)| key.len() == 8);
    assert_eq!(columns.clone().count() as u64, WIDTH);
    assert!(
        columns.into_iter().all(|(_, value)| value == last),
        "half a batch"
    );
    let log: Vec<_> = found
        .iter()
        .skip_while(|(key, _)| key.len() == 8)
        .map(|(key, _)| number_of(&key[3..]))
        .collect();
    assert_eq!(log, (1..=number_of(last)).collect::<Vec<_>>());
    number_of(last)
}

/// Kills the child even if the test fails meanwhile.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts this test binary as the child; returns the last number that it had flushed when killed.
fn run_and_kill(engine: Engine, dir: &Path, flushes: usize) -> u64 {
    let child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::flushed_batches_survive_a_kill",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_DIR, dir)
        .env(CHILD_ENGINE, engine.name())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Killed(child.unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut flushed = lines.filter_map(|line| line.split_once("flushed ")?.1.parse().ok());
    let last = flushed.nth(flushes).unwrap();
    drop(child);
    // What it still said before it died was flushed as well.
    flushed.last().unwrap_or(last)
}

#[test]
fn flushed_batches_survive_a_kill() {
    if let Some(dir) = env::var_os(CHILD_DIR) {
        return write_until_killed(Path::new(&dir));
    }
    for engine in Engine::ALL {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..12 {
            let flushed = run_and_kill(engine, dir.path(), 3 + round * 5);
            let there = check(&*engine.open(dir.path()).unwrap());
            assert!(
                there >= flushed,
                "{engine:?}: batch {flushed} was flushed, {there} is the last one there"
            );
        }
    }
}
