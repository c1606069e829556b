//! A log with every operation, cut at every byte and with every byte damaged.

use std::collections::BTreeSet;
use std::fs;

use lfsfs_overlay::{Operation, Overlay, OverlayError, ProjectBase, State};
use tempfile::TempDir;

use crate::common::{open, options, source};
use crate::every::{log_len, make};

/// A directory in memory where there is one: thousands of logs are repaired and synced.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// A log, and the state that it holds from each length on.
struct Log {
    dir: TempDir,
    bytes: Vec<u8>,
    states: Vec<(usize, State)>,
}

impl Log {
    fn new() -> Self {
        let dir = scratch();
        let overlay = open(dir.path());
        // Lengths are known only for operations that were made one by one.
        let mut states = make(&overlay);
        drop(overlay);
        let bytes = fs::read(dir.path().join("00000001.log")).unwrap();
        assert_eq!(bytes.len() as u64, log_len(dir.path()));
        let ends = record_ends(&bytes);
        assert_eq!(
            ends.len(),
            states.len() + 1,
            "a record each, and the one that begins the process"
        );
        states.insert(0, State::new(source().base));
        let states = ends.into_iter().zip(states).collect();
        Self { dir, bytes, states }
    }

    /// Returns a copy of the overlay with other bytes of the log.
    fn with(&self, bytes: &[u8]) -> TempDir {
        let copy = scratch();
        for file in ["format", "source"] {
            fs::copy(self.dir.path().join(file), copy.path().join(file)).unwrap();
        }
        fs::write(copy.path().join("00000001.log"), bytes).unwrap();
        copy
    }

    /// Returns the state that a log of this length holds.
    fn state_at(&self, len: usize) -> State {
        let whole = self.states.iter().rev().find(|(end, _)| *end <= len);
        whole.map_or_else(|| State::new(source().base), |(_, state)| state.clone())
    }
}

#[test]
fn the_history_has_every_operation() {
    let log = Log::new();
    // The tag is the first byte of an operation, which begins behind the record's header.
    let starts = [56]
        .into_iter()
        .chain(log.states.iter().map(|(end, _)| *end));
    let starts = starts.filter(|start| *start < log.bytes.len());
    let tags: BTreeSet<u8> = starts.map(|start| log.bytes[start + 28]).collect();
    assert_eq!(tags, (1..=15).chain(18..=25).collect());
}

fn record_ends(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (56, Vec::new());
    while at < bytes.len() {
        let len = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        at += len as usize;
        ends.push(at);
    }
    ends
}

/// Compares without what only a process has: objects without names, and how often it began.
pub(crate) fn assert_same(found: &State, expected: &State, what: &str) {
    let sealed = |state: &State| {
        let sealed = state.sealed_state()?;
        let changed = sealed.changed().map(|(ino, inode)| (ino, inode.clone()));
        Some((state.sealed_commit(), changed.collect::<Vec<_>>()))
    };
    assert!(
        found.changed().eq(expected.changed())
            && found.unchanged().eq(expected.unchanged())
            && found.base() == expected.base()
            && sealed(found) == sealed(expected),
        "{what}: {found:#?}\n{expected:#?}"
    );
}

#[test]
fn a_log_of_every_operation_cut_at_every_byte_keeps_everything_before() {
    let log = Log::new();
    for len in 0..=log.bytes.len() {
        let dir = log.with(&log.bytes[..len]);
        let open = |base| {
            let source = ProjectBase { base, ..source() };
            Overlay::open(dir.path(), &source, &options()).unwrap()
        };
        let expected = log.state_at(len);
        let overlay = open(expected.base());
        assert_same(&overlay.state(), &expected, &format!("cut at {len}"));
        // The log goes on, and is whole the next time.
        let commit = lfsfs_types::VersionId([77; 16]);
        let goes_on = match overlay.state().sealed_commit() {
            Some(commit) => Operation::Aborted { commit },
            None => Operation::Seal { commit },
        };
        overlay.apply(&[goes_on.into()]).unwrap();
        let expected = overlay.state();
        drop(overlay);
        let again = open(expected.base()).state();
        assert_same(&again, &expected, &format!("cut at {len}, again"));
    }
}

#[test]
fn every_damaged_byte_is_found_or_was_never_promised() {
    let log = Log::new();
    let last = log.states[log.states.len() - 2].0;
    for at in 0..log.bytes.len() {
        let mut bytes = log.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let dir = log.with(&bytes);
        match Overlay::open(dir.path(), &source(), &options()) {
            Err(OverlayError::Damaged { .. }) => {
                assert_eq!(
                    fs::read(dir.path().join("00000001.log")).unwrap(),
                    bytes,
                    "nothing may be cut off"
                );
            }
            Err(error) => panic!("byte {at}: {error}"),
            // A torn last write looks the same.
            Ok(overlay) => {
                assert!(at >= last, "byte {at} was not missed");
                assert_same(&overlay.state(), &log.state_at(last), &format!("byte {at}"));
            }
        }
    }
}
