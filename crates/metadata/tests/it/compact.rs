//! Chunks are rewritten: each content has a place that is whole, at any moment and after any crash.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lfsfs_common::clock::TestClock;
use lfsfs_meta_store::{MemoryStore, MetaStore};
use lfsfs_metadata::{
    ChunkReceipt, CollectParams, ContentMove, Deletion, Keep, Metadata, MetadataError,
    MovedContents, Project, Resolution, StoredFor,
};
use lfsfs_types::content::{Piece, PieceList};
use lfsfs_types::{ChunkId, ContentId, ContentPlace, DirId, Kind, NodeId};

use crate::crash::Double;
use crate::support::{
    CONTENTS, NODE, assert_clean, clock, commit, content, directory, file, made, new_project, put,
    receipt, record, remove, staging_of, store_contents, stored_for,
};

const ALL: CollectParams = CollectParams {
    grace_secs: 0,
    uploads_since: None,
    sample_percent: 100.0,
    marks_bytes: 1 << 16,
    dry_run: false,
};
/// The chunk of all contents of `support`, and the one to which they move.
const OLD: ChunkId = ChunkId([1; 32]);
const NEW: ChunkId = ChunkId([80; 32]);

struct Setup {
    clock: Arc<TestClock>,
    metadata: Metadata,
    project: Project,
}

impl Setup {
    /// The contents 1 to 6 in a version, and 7 to 12 in none.
    fn on(store: Arc<dyn MetaStore>) -> Self {
        let clock = clock();
        let opened = Metadata::open_with(store, clock.clone(), staging_of(4096));
        let metadata = opened.unwrap();
        metadata.recover().unwrap();
        store_contents(&metadata);
        let project = new_project(&metadata);
        let files = (1..=6).map(|it| put(DirId::ROOT, &format!("f{it}"), file(it)));
        commit(&metadata, &project, files.collect());
        Self {
            clock,
            metadata,
            project,
        }
    }

    fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    fn collect(&self) -> u64 {
        self.clock.advance(Duration::from_secs(1));
        self.metadata.collect_contents(&ALL).unwrap().contents
    }
}

/// Returns where the contents lie that have a place.
fn places(metadata: &Metadata) -> Vec<ContentPlace> {
    let ids: Vec<_> = (1..=CONTENTS).map(content).collect();
    let resolved = metadata.resolve_contents(&ids).unwrap();
    let place = |resolution: &Resolution| match resolution {
        Resolution::Place(place) => Some(*place),
        _ => None,
    };
    let found = resolved.contents.iter();
    found.filter_map(|it| place(&it.resolution)).collect()
}

/// The receipt of the new chunk with these contents, in their order, each elsewhere than in the old one.
fn of_new(contents: &[ContentId]) -> ChunkReceipt {
    let mut receipt = receipt(80, contents.iter().rev().copied());
    receipt.places.reverse();
    receipt
}

fn moves(from: &[ContentPlace], receipt: &ChunkReceipt) -> Vec<ContentMove> {
    let to = receipt.places.iter();
    let pairs = from.iter().zip(to).map(|(from, to)| ContentMove {
        from: *from,
        to: *to,
    });
    pairs.collect()
}

/// What the coordinator does once it has read the contents: the chunk is reported, and they move.
fn rewrite(metadata: &Metadata) -> lfsfs_metadata::Result<MovedContents> {
    let from = metadata.contents_in(&HashSet::from([OLD]))?;
    let ids: Vec<_> = from.iter().map(|it| it.content).collect();
    let receipt = of_new(&ids);
    metadata.record_chunk(&receipt)?;
    metadata.move_contents(&moves(&from, &receipt), 1)
}

fn release(metadata: &Metadata, chunk: ChunkId) -> lfsfs_metadata::Result<()> {
    let all: Vec<_> = (1..=CONTENTS).map(content).collect();
    let keep = Keep {
        least: 1,
        live: &[NODE],
    };
    metadata.release_replica(NODE, chunk, &all, keep)
}

/// Marks chunks, and has their node drop them.
fn drop_unneeded(metadata: &Metadata, grace_secs: u64) -> lfsfs_metadata::Result<u64> {
    let mut marked = Vec::new();
    metadata.mark_unneeded_chunks(grace_secs, |holders| {
        marked.extend(holders.into_iter().map(|it| it.chunk));
    })?;
    for chunk in &marked {
        match release(metadata, *chunk) {
            Err(MetadataError::ChunkInUse { .. }) => {}
            released => released?,
        }
    }
    Ok(marked.len() as u64)
}

/// Fails unless each of these contents is present, in a chunk that the node has.
#[track_caller]
fn assert_present(metadata: &Metadata, contents: &[ContentId]) {
    assert_eq!(metadata.missing(contents).unwrap(), []);
    let resolved = metadata.resolve_contents(contents).unwrap();
    let is_found = |it: &lfsfs_metadata::Resolved| it.resolution != Resolution::Missing;
    assert!(resolved.contents.iter().all(is_found));
    assert!(resolved.chunks.iter().all(|it| it.nodes == [NODE]));
    assert_clean(metadata);
}

fn of_version() -> Vec<ContentId> {
    (1..=6).map(content).collect()
}

#[test]
fn contents_move_and_their_old_chunk_goes() {
    let setup = Setup::new();
    let metadata = &setup.metadata;
    assert_eq!(setup.collect(), 6);
    let uses = metadata.chunk_uses(&mut None).unwrap();
    let [chunk] = uses.as_slice() else {
        panic!("{uses:?}");
    };
    assert_eq!(
        (chunk.raw_len, chunk.needed_len, chunk.needed),
        (120, 60, 6)
    );
    assert_eq!(rewrite(metadata).unwrap().contents, 6);
    assert_eq!(drop_unneeded(metadata, 0).unwrap(), 1);
    assert_eq!(metadata.holders_of(&[OLD]).unwrap(), []);
    assert!(places(metadata).iter().all(|it| it.chunk == NEW));
    assert_present(metadata, &of_version());
    assert_eq!(rewrite(metadata).unwrap(), MovedContents::default());
}

#[test]
fn contents_move_only_from_where_they_were_read() {
    let setup = Setup::new();
    let metadata = &setup.metadata;
    let from = places(metadata);
    let ids: Vec<_> = from.iter().map(|it| it.content).collect();
    let receipt = of_new(&ids);
    metadata.record_chunk(&receipt).unwrap();
    let mut stale = moves(&from, &receipt);
    stale[0].from.offset += 1;
    stale[1].from.chunk = ChunkId([99; 32]);
    stale[2].to.len += 1;
    let moved = metadata.move_contents(&stale, 1).unwrap();
    assert_eq!(moved.contents, u64::from(CONTENTS) - 3);
    let left = places(metadata).into_iter().filter(|it| it.chunk == OLD);
    assert_eq!(left.count(), 3);
    let mut foreign = moves(&from, &receipt);
    foreign[0].to.content = content(9);
    assert!(metadata.move_contents(&foreign, 1).is_err());
    assert_present(metadata, &of_version());
}

#[test]
fn nothing_moves_into_a_chunk_that_is_not_safe() {
    let nothing = MovedContents::default();
    let setup = Setup::new();
    let metadata = &setup.metadata;
    let from = places(metadata);
    let ids: Vec<_> = from.iter().map(|it| it.content).collect();
    let receipt = of_new(&ids);
    let moves = moves(&from, &receipt);
    assert_eq!(
        metadata.move_contents(&moves, 1).unwrap(),
        nothing,
        "unknown"
    );
    let two = StoredFor {
        copies_min: 2,
        ..StoredFor::default()
    };
    metadata.record_chunk_for(two, &receipt).unwrap();
    assert_eq!(
        metadata.move_contents(&moves, 1).unwrap(),
        nothing,
        "awaited"
    );
    let other = NodeId([8; 16]);
    metadata
        .upsert_node(other, "127.0.0.1:2", lfsfs_metadata::NodeFigures::default())
        .unwrap();
    let copy = ChunkReceipt {
        node: other,
        ..receipt.clone()
    };
    metadata.record_chunk_for(two, &copy).unwrap();
    assert_eq!(
        metadata.move_contents(&moves, 3).unwrap(),
        nothing,
        "too few"
    );
    metadata.forget_replicas(other, &[NEW]).unwrap();
    assert_eq!(metadata.move_contents(&moves, 2).unwrap(), nothing, "lost");
    metadata.mark_unneeded_chunks(0, drop).unwrap();
    assert_eq!(
        metadata.move_contents(&moves, 1).unwrap(),
        nothing,
        "marked"
    );
    metadata.record_chunk(&receipt).unwrap();
    let moved = metadata.move_contents(&moves, 1).unwrap();
    assert_eq!(moved.contents, u64::from(CONTENTS));
    assert_present(metadata, &of_version());
}

#[test]
fn an_old_chunk_stays_for_the_grace() {
    let setup = Setup::new();
    let metadata = &setup.metadata;
    rewrite(metadata).unwrap();
    setup.clock.advance(Duration::from_secs(99));
    assert_eq!(drop_unneeded(metadata, 100).unwrap(), 0);
    assert_eq!(metadata.holders_of(&[OLD]).unwrap()[0].nodes, [NODE]);
    setup.clock.advance(Duration::from_secs(1));
    assert_eq!(drop_unneeded(metadata, 100).unwrap(), 1);
    assert_present(metadata, &of_version());
}

/// docs/formats.md "Metadata keys", table 17.
#[test]
fn the_row_of_a_chunk_says_when_contents_were_moved_out_of_it() {
    let store = Arc::new(MemoryStore::new());
    let setup = Setup::on(Arc::clone(&store) as _);
    let key = [&[17], OLD.as_bytes().as_slice()].concat();
    let before = store.get(&key).unwrap().unwrap();
    assert_eq!(before[0], 3);
    rewrite(&setup.metadata).unwrap();
    let after = store.get(&key).unwrap().unwrap();
    // 1,700,000,000 as a varint.
    let expected = [&[4], &before[1..], &[0x80, 0xe2, 0xcf, 0xaa, 0x06]].concat();
    assert_eq!(after, expected);
}

/// The store stops at any operation of a rewriting, the marks and the drop, and keeps any of the batches behind the
/// last flush.
#[test]
fn a_move_that_crashes_leaves_each_content_in_a_whole_place() {
    let whole = Arc::new(Double::new(true));
    drop(Setup::on(Arc::clone(&whole) as _));
    whole.flush().unwrap();
    let mut states = HashSet::new();
    for stop in 1..200 {
        let mut is_done = false;
        for made in [false, true] {
            let store = Arc::new(whole.after_crash(0, Some((stop, made))));
            let opened = Metadata::open_with(Arc::clone(&store) as _, clock(), staging_of(4096));
            let Ok(metadata) = opened else { continue };
            let ended = metadata
                .recover()
                .and_then(|()| rewrite(&metadata))
                .and_then(|_| drop_unneeded(&metadata, 0));
            is_done = ended.is_ok();
            for kept in 0..12 {
                let after = Arc::new(store.after_crash(kept, None));
                let metadata = Metadata::open_with(after as _, clock(), staging_of(4096)).unwrap();
                metadata.recover().unwrap();
                // A datanode deletes a file only after it was told that the chunk is released.
                assert_present(&metadata, &of_version());
                let found = places(&metadata);
                states.insert(found.iter().filter(|it| it.chunk == NEW).count());
                assert_eq!(found.len(), usize::from(CONTENTS));
                // The next rewriting and the next collection finish it.
                rewrite(&metadata).unwrap();
                drop_unneeded(&metadata, 0).unwrap();
                assert_present(&metadata, &of_version());
                let chunks = metadata.chunk_holders(None, 10).unwrap().items;
                assert_eq!(chunks.len(), 1, "one is left: {chunks:?}");
            }
        }
        if is_done {
            break;
        }
        assert!(stop < 199, "it does not end");
    }
    assert!(
        states.len() > 2,
        "no crash cut the moves in two: {states:?}"
    );
}

/// Calls a function on another thread when the store comes to an operation, and goes on beside it.
struct Beside {
    count: Arc<AtomicU64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Beside {
    fn at_operation(store: &Double, at: u64, call: impl FnOnce() + Send + 'static) -> Self {
        let beside = Self {
            count: Arc::default(),
            thread: Arc::default(),
        };
        let (count, thread) = (Arc::clone(&beside.count), Arc::clone(&beside.thread));
        let mut call = Some(call);
        store.on_operation(move |_| {
            if count.fetch_add(1, Ordering::SeqCst) + 1 == at
                && let Some(call) = call.take()
            {
                *thread.lock().unwrap() = Some(std::thread::spawn(call));
            }
        });
        beside
    }

    /// Waits for the call. Returns whether there was one.
    fn end(&self) -> bool {
        let thread = self.thread.lock().unwrap().take();
        thread.map(|it| it.join().unwrap()).is_some()
    }
}

#[test]
fn a_collection_at_any_operation_of_a_move_keeps_what_is_needed() {
    // The two go on beside each other: each time in another way.
    for number in 0.. {
        let store = Arc::new(Double::new(true));
        let setup = Setup::on(Arc::clone(&store) as _);
        setup.clock.advance(Duration::from_secs(1));
        let metadata = setup.metadata.clone();
        let beside = Beside::at_operation(&store, 1 + number / 5, move || {
            metadata.collect_contents(&ALL).unwrap();
            drop_unneeded(&metadata, 0).unwrap();
        });
        rewrite(&setup.metadata).unwrap();
        drop_unneeded(&setup.metadata, 0).unwrap();
        let was_called = beside.end();
        assert_present(&setup.metadata, &of_version());
        // What came back is garbage, and goes.
        setup.collect();
        assert_eq!(places(&setup.metadata).len(), 6, "round {number}");
        rewrite(&setup.metadata).unwrap();
        drop_unneeded(&setup.metadata, 0).unwrap();
        assert_present(&setup.metadata, &of_version());
        if !was_called {
            assert!(number > 20, "it was never beside");
            break;
        }
    }
}

/// A datanode asks whether it may drop a copy, while the chunk is reported again and contents move into it.
#[test]
fn a_marked_chunk_that_is_reported_again_is_not_released() {
    for round in 0..200 {
        let setup = Setup::new();
        let from = places(&setup.metadata);
        let ids: Vec<_> = from.iter().map(|it| it.content).collect();
        let receipt = of_new(&ids);
        setup.metadata.record_chunk(&receipt).unwrap();
        let marked = setup.metadata.mark_unneeded_chunks(0, drop).unwrap();
        assert_eq!(marked.count, 1);
        let metadata = setup.metadata.clone();
        let moves = moves(&from, &receipt);
        std::thread::scope(|scope| {
            let moving = scope.spawn(move || {
                // Now a little earlier, now a little later.
                for _ in 0..round % 7 {
                    let _ = metadata.chunk_holders(None, 10).unwrap();
                }
                metadata.record_chunk(&receipt).unwrap();
                metadata.move_contents(&moves, 1).unwrap();
            });
            match release(&setup.metadata, NEW) {
                Ok(()) | Err(MetadataError::ChunkInUse { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            moving.join().unwrap();
        });
        let resolved = setup.metadata.resolve_contents(&ids).unwrap();
        let is_there = |it: &lfsfs_metadata::ChunkLocation| it.nodes == [NODE];
        assert!(resolved.chunks.iter().all(is_there), "round {round}");
    }
}

#[test]
fn contents_are_ordered_as_a_reader_of_the_head_meets_them() {
    let setup = Setup::new();
    let (metadata, project) = (&setup.metadata, &setup.project);
    let mut large = receipt(50, [content(50), content(51)]);
    for place in &mut large.places {
        place.len = 800_000;
        place.offset = 0;
    }
    metadata.record_chunk(&large).unwrap();
    let pieces = [51, 50].map(|number| Piece {
        hash: content(number),
        len: 800_000,
    });
    let list = PieceList::new(pieces.to_vec()).unwrap();
    metadata.put_pieces(list.content_id(), &list).unwrap();
    let large = record(Kind::File {
        size: list.total_len(),
        content: list.content_id(),
    });
    commit(
        metadata,
        project,
        vec![
            put(DirId::ROOT, "b", directory(made(0))),
            put(made(0), "large", large),
            put(DirId::ROOT, "a", file(6)),
            remove(DirId::ROOT, "f1"),
            remove(DirId::ROOT, "f6"),
            put(DirId::ROOT, "z", file(5)),
        ],
    );
    let all = HashSet::from([OLD, ChunkId([50; 32])]);
    let mut places = metadata.contents_in(&all).unwrap();
    metadata
        .order_as_read(Some(project.id), &mut places)
        .unwrap();
    let order: Vec<_> = places.iter().map(|it| it.content.0[0]).collect();
    // `a`, `b/large`, `f2` to `f5`; then what no file of the head has.
    assert_eq!(order, [6, 51, 50, 2, 3, 4, 5, 1, 7, 8, 9, 10, 11, 12]);
    metadata
        .delete_project(&project.name, Deletion::AtOnce)
        .unwrap();
    metadata
        .order_as_read(Some(project.id), &mut places)
        .unwrap();
    assert_eq!(places.len(), 14);
}

#[test]
fn a_chunk_is_told_with_its_project_and_copies() {
    let setup = Setup::new();
    let metadata = &setup.metadata;
    let stored = StoredFor {
        copies: 3,
        ..stored_for(setup.project.id)
    };
    metadata
        .record_chunk_for(stored, &receipt(50, [content(50)]))
        .unwrap();
    let uses = metadata.chunk_uses(&mut None).unwrap();
    let found = uses
        .iter()
        .find(|it| it.chunk == ChunkId([50; 32]))
        .unwrap();
    assert_eq!(found.project, Some(setup.project.id));
    assert_eq!((found.wanted, found.copies, found.needed), (3, 1, 1));
    metadata.forget_replicas(NODE, &[OLD]).unwrap();
    assert_eq!(
        metadata.chunk_uses(&mut None).unwrap().len(),
        1,
        "no node has the other"
    );
}

/// The metadata is that of a backup of before a rewriting. The datanode finds the new chunk, and another one tells
/// later that it has the old one no more.
#[test]
fn chunks_that_are_found_after_a_restore_are_the_places_of_their_contents() {
    let setup = Setup::new();
    let metadata = &setup.metadata;
    let other = NodeId([8; 16]);
    metadata
        .upsert_node(other, "127.0.0.1:2", lfsfs_metadata::NodeFigures::default())
        .unwrap();
    let ids: Vec<_> = (1..=CONTENTS).map(content).collect();
    let found = StoredFor {
        copies_min: 2,
        is_found: true,
        ..StoredFor::default()
    };
    metadata.record_chunk_for(found, &of_new(&ids)).unwrap();
    assert!(
        places(metadata).iter().all(|it| it.chunk == OLD),
        "one copy"
    );
    let copy = ChunkReceipt {
        node: other,
        ..of_new(&ids)
    };
    metadata.record_chunk_for(found, &copy).unwrap();
    assert!(places(metadata).iter().all(|it| it.chunk == NEW));
    // What was known is no find.
    metadata
        .record_chunk_for(found, &receipt(1, ids.clone()))
        .unwrap();
    assert!(places(metadata).iter().all(|it| it.chunk == NEW));
    metadata.forget_replicas(NODE, &[OLD]).unwrap();
    assert_eq!(metadata.missing(&ids).unwrap(), []);
    assert_clean(metadata);
}
