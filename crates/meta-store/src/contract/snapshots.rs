//! Snapshots: all of a batch or nothing of it, and nothing of what comes later.

use std::thread;

use super::{fill, row, rows};
use crate::{Batch, KeyRange, MetaError, MetaStore, MetaStoreExt as _, Row, Snapshot};

/// Returns a snapshot; an engine may have none, and says so.
fn snapshot_of(store: &dyn MetaStore) -> Option<Box<dyn Snapshot + '_>> {
    let snapshot = store.snapshot();
    if let Err(MetaError::NoSnapshot { engine }) = &snapshot {
        assert_eq!(*engine, "sled", "only sled has no snapshots");
        return None;
    }
    Some(snapshot.expect("a snapshot"))
}

/// Reads a snapshot from its beginning to its end, in pages of so many bytes.
fn all(snapshot: &dyn Snapshot, bytes: usize) -> Vec<Row> {
    let (mut range, mut found) = (KeyRange::all(), Vec::new());
    loop {
        let page = snapshot.page(range.clone(), bytes).expect("a page");
        let Some((last, _)) = page.rows.last() else {
            assert!(!page.more, "an empty page that has more behind it");
            return found;
        };
        range = range.beyond(last, false);
        found.extend(page.rows);
        if !page.more {
            return found;
        }
    }
}

pub(super) fn a_snapshot_stays_as_it_is(store: &dyn MetaStore) {
    let before = [row(*b"a", *b"1"), row(*b"b", *b"2"), row(*b"c", *b"3")];
    fill(store, &before);
    let Some(snapshot) = snapshot_of(store) else {
        return;
    };
    let mut batch = Batch::new();
    batch.put(*b"b", *b"new").delete(*b"c").put(*b"d", *b"4");
    store.write(batch).expect("a batch goes on");
    store.flush().expect("a flush goes on");
    assert_eq!(all(snapshot.as_ref(), 1), before);
    let later = [row(*b"a", *b"1"), row(*b"b", *b"new"), row(*b"d", *b"4")];
    assert_eq!(rows(store, KeyRange::all()), later);
    drop(snapshot);
    let next = snapshot_of(store).expect("another snapshot");
    assert_eq!(all(next.as_ref(), usize::MAX), later);
}

pub(super) fn pages_of_a_snapshot_cover_it(store: &dyn MetaStore) {
    let many: Vec<_> = (0..700_u32)
        .map(|number| row(number.to_be_bytes(), vec![7; number as usize % 40]))
        .collect();
    let Some(empty) = snapshot_of(store) else {
        return;
    };
    fill(store, &many);
    assert_eq!(all(empty.as_ref(), 1), []);
    let snapshot = snapshot_of(store).expect("a snapshot");
    for bytes in [1, 100, 5000, usize::MAX] {
        assert_eq!(all(snapshot.as_ref(), bytes), many, "{bytes} bytes");
    }
    let page = snapshot.page(KeyRange::all(), 1).expect("a page");
    assert_eq!(page.rows.len(), 1, "no more than was asked for");
}

/// Two rows far apart always change together, and one row walks through the keys between them.
pub(super) fn snapshots_see_whole_batches(store: &dyn MetaStore) {
    if snapshot_of(store).is_none() {
        return;
    }
    fill(
        store,
        &[row(*b"a", *b"0"), row(*b"m0", []), row(*b"z", *b"0")],
    );
    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..=500).for_each(|round| advance(store, round)));
        while !writer.is_finished() {
            check_once(store);
        }
    });
    check_once(store);
}

fn advance(store: &dyn MetaStore, round: u32) {
    let walker = |round: u32| format!("m{}", round % 7).into_bytes();
    let number = round.to_string().into_bytes();
    let mut batch = Batch::new();
    batch.put(*b"a", &*number).put(*b"z", number);
    batch.delete(walker(round - 1)).put(walker(round), []);
    store.write(batch).expect("a batch");
}

fn check_once(store: &dyn MetaStore) {
    let snapshot = snapshot_of(store).expect("a snapshot");
    let found = all(snapshot.as_ref(), 1);
    assert_eq!(found.len(), 3, "one walker and the two ends");
    assert_eq!(found[0].1, found[2].1, "half a batch");
}
