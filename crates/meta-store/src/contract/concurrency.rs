//! Lost updates and torn reads.

use std::thread;

use super::{fill, row};
use crate::{Batch, KeyRange, MetaStore, Read};

const COUNTER: &[u8] = b"counter";

pub(super) fn increments_are_never_lost(store: &dyn MetaStore) {
    let (threads, rounds) = (8, 100);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..rounds).for_each(|_| increment(store)));
        }
    });
    let counted = store.get(COUNTER).expect("get").expect("a counter");
    assert_eq!(number(&counted), threads * rounds, "an update was lost");
}

/// Adds one by compare and swap, as often as others come first.
fn increment(store: &dyn MetaStore) {
    loop {
        let seen = store.get(COUNTER).expect("get");
        let next = seen.as_deref().map_or(0, number) + 1;
        let mut batch = Batch::new();
        batch
            .require_unchanged(COUNTER, seen)
            .put(COUNTER, next.to_be_bytes());
        if store.apply(batch).expect("apply").is_done() {
            return;
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

/// Two rows far apart always change together, and one row walks through the keys between them.
pub(super) fn reads_see_whole_batches(store: &dyn MetaStore) {
    fill(
        store,
        &[
            row(*b"a", 0_u64.to_be_bytes()),
            row(*b"z", 0_u64.to_be_bytes()),
        ],
    );
    fill(store, &[row(walker(0), [])]);
    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..=1000).for_each(|round| advance(store, round)));
        while !writer.is_finished() {
            check_once(store);
        }
    });
    check_once(store);
}

fn walker(round: u64) -> Vec<u8> {
    format!("m{:03}", round * 37 % 1000).into_bytes()
}

fn advance(store: &dyn MetaStore, round: u64) {
    let mut batch = Batch::new();
    batch
        .put(*b"a", round.to_be_bytes())
        .put(*b"z", round.to_be_bytes());
    batch.delete(walker(round - 1)).put(walker(round), []);
    assert!(store.apply(batch).expect("apply").is_done());
}

fn check_once(store: &dyn MetaStore) {
    let reads = [
        Read::get(*b"z"),
        Read::scan(KeyRange::all(), 9),
        Read::get(*b"a"),
    ];
    let found = store.read(&reads).expect("read");
    let [last, all, first] = found.try_into().expect("three answers");
    assert_eq!(all.rows.len(), 3, "one walker and the two ends");
    assert_eq!(all.rows[0].1, all.rows[2].1, "one scan saw half a batch");
    assert_eq!(
        first.into_value().as_ref(),
        Some(&all.rows[0].1),
        "two parts of a read differ"
    );
    assert_eq!(
        last.into_value().as_ref(),
        Some(&all.rows[0].1),
        "two parts of a read differ"
    );
}
