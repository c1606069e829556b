//! The contract suite: what every store must do, checked through the seam alone.
//!
//! A store's tests call [`run_all`] with a function that opens a new, empty store; what a store
//! promises beyond the seam, such as surviving a crash, is tested beside it. A broken promise is a
//! panic that names it.

use lfsfs_types::ChunkId;
use lfsfs_types::chunk::{BuiltChunk, ChunkBuilder};
use lfsfs_types::content::small_content_id;
use lfsfs_types::limits::{CHUNK_LEN_DEFAULT, CHUNK_LEN_MAX};

use crate::{ChunkStore, ChunkStoreError, StoredChunk};

/// Opens a new, empty store of the kind under test.
pub type NewStore<'a> = &'a dyn Fn() -> Box<dyn ChunkStore>;

/// Runs all checks, each on a store of its own.
///
/// # Panics
/// If the store breaks the contract.
pub fn run_all(new_store: NewStore<'_>) {
    let checks: [fn(&dyn ChunkStore); 9] = [
        a_stored_chunk_reads_back_in_any_range,
        a_chunk_is_absent_until_it_is_committed,
        bytes_that_are_not_the_announced_chunk_are_rejected,
        a_content_with_a_false_hash_is_rejected,
        lengths_are_kept_to,
        the_same_chunk_may_be_stored_again,
        deleting_tells_whether_there_was_one,
        lists_are_ordered_and_paged,
        a_quarantined_chunk_can_be_stored_again,
    ];
    for check in checks {
        check(new_store().as_ref());
    }
}

/// Builds a chunk of two contents that depend on `seed`.
///
/// # Panics
/// Never: two small contents fit a chunk.
#[must_use]
pub fn sample_chunk(seed: u8) -> BuiltChunk {
    let mut builder = ChunkBuilder::new(CHUNK_LEN_DEFAULT);
    for content in [vec![seed; 5_000], format!("content {seed}").into_bytes()] {
        let id = small_content_id(&content);
        builder.add(id, &content).expect("a new chunk has room");
    }
    builder.finish()
}

/// Builds a chunk whose index claims a hash that its content does not have.
///
/// # Panics
/// Never: one small content fits a chunk.
#[must_use]
pub fn poisoned_chunk() -> BuiltChunk {
    let mut builder = ChunkBuilder::new(CHUNK_LEN_DEFAULT);
    builder
        .add(
            small_content_id(b"what all clients trust"),
            b"something else",
        )
        .expect("a new chunk has room");
    builder.finish()
}

fn store_chunk(store: &dyn ChunkStore, chunk: &BuiltChunk) -> Result<StoredChunk, ChunkStoreError> {
    let mut writer = store.begin(chunk.id, chunk.bytes.len() as u64)?;
    for part in chunk.bytes.chunks(100) {
        writer.write(part)?;
    }
    writer.commit()
}

fn is_absent(store: &dyn ChunkStore, id: ChunkId) -> bool {
    store.open(id).is_err_and(|error| error.is_not_found())
}

fn a_stored_chunk_reads_back_in_any_range(store: &dyn ChunkStore) {
    let chunk = sample_chunk(1);
    let stored = store_chunk(store, &chunk).expect("store a chunk");
    assert_eq!(stored.info.len, chunk.bytes.len() as u64, "its length");
    assert_eq!(stored.info.footer_sha256, chunk.footer_sha256, "its footer");
    assert_eq!(stored.contents.len(), 2, "its contents");
    assert_eq!(
        store.verify(chunk.id).expect("verify"),
        stored,
        "a later verification tells the same"
    );

    let reader = store.open(chunk.id).expect("open");
    let len = reader.chunk_len();
    assert_eq!(len, chunk.bytes.len() as u64, "the length of what is open");
    for (start, end) in [(0, len), (1, 2), (len - 1, len), (7, 7)] {
        let memory = usize::try_from(start).expect("small")..usize::try_from(end).expect("small");
        let bytes = reader.read(start..end).expect("read");
        assert_eq!(bytes, chunk.bytes[memory], "bytes {start} to {end}");
    }
    for range in [0..len + 1, len + 1..len + 2, u64::MAX - 1..u64::MAX] {
        let answer = reader.read(range.clone());
        let refused = matches!(answer, Err(ChunkStoreError::Range { .. }));
        assert!(refused, "bytes {range:?} lie outside the chunk");
    }
}

fn a_chunk_is_absent_until_it_is_committed(store: &dyn ChunkStore) {
    let chunk = sample_chunk(1);
    let before = store.stats().expect("stats");
    let mut writer = store
        .begin(chunk.id, chunk.bytes.len() as u64)
        .expect("begin");
    writer.write(&chunk.bytes).expect("write");
    assert!(is_absent(store, chunk.id), "seen before it is committed");
    drop(writer);
    assert!(
        is_absent(store, chunk.id),
        "a dropped writer stores nothing"
    );
    let ids = store.list(None, 10).expect("list");
    assert!(ids.is_empty(), "a dropped writer lists nothing");
    let after = store.stats().expect("stats");
    assert_eq!(
        before.chunks, after.chunks,
        "a dropped writer counts nothing"
    );
}

fn bytes_that_are_not_the_announced_chunk_are_rejected(store: &dyn ChunkStore) {
    let chunk = sample_chunk(1);
    let mut flipped = chunk.clone();
    flipped.bytes[40] ^= 1;
    let other = BuiltChunk {
        id: chunk.id,
        ..sample_chunk(2)
    };
    for wrong in [flipped, other] {
        let answer = store_chunk(store, &wrong);
        let rejected = matches!(answer, Err(ChunkStoreError::Rejected { .. }));
        assert!(rejected, "{answer:?}");
        assert!(is_absent(store, chunk.id), "a rejected chunk is not there");
    }
}

fn a_content_with_a_false_hash_is_rejected(store: &dyn ChunkStore) {
    let poisoned = poisoned_chunk();
    let answer = store_chunk(store, &poisoned);
    let rejected = matches!(answer, Err(ChunkStoreError::Rejected { .. }));
    assert!(rejected, "{answer:?}");
    assert!(
        is_absent(store, poisoned.id),
        "a poisoned chunk is not there"
    );
}

fn lengths_are_kept_to(store: &dyn ChunkStore) {
    let chunk = sample_chunk(1);
    for len in [0, CHUNK_LEN_MAX + 1] {
        let answer = store.begin(chunk.id, len);
        let refused = matches!(answer, Err(ChunkStoreError::Length { .. }));
        assert!(refused, "a chunk of {len} bytes");
    }
    let mut writer = store.begin(chunk.id, 10).expect("begin");
    let answer = writer.write(&[0; 11]);
    let refused = matches!(answer, Err(ChunkStoreError::WrongLength { .. }));
    assert!(refused, "more than was announced");
    writer.write(&[0; 9]).expect("write");
    let answer = writer.commit();
    let refused = matches!(answer, Err(ChunkStoreError::WrongLength { .. }));
    assert!(refused, "less than was announced");
}

fn the_same_chunk_may_be_stored_again(store: &dyn ChunkStore) {
    let chunk = sample_chunk(1);
    let first = store_chunk(store, &chunk).expect("store a chunk");
    let second = store_chunk(store, &chunk).expect("store it again");
    assert_eq!(first, second);
    let stats = store.stats().expect("stats");
    let counted = (stats.chunks, stats.chunk_bytes);
    let len = chunk.bytes.len() as u64;
    assert_eq!(counted, (1, len), "it is there once");
}

fn deleting_tells_whether_there_was_one(store: &dyn ChunkStore) {
    let chunk = sample_chunk(1);
    assert!(!store.delete(chunk.id).expect("delete"), "there was none");
    store_chunk(store, &chunk).expect("store a chunk");
    let reader = store.open(chunk.id).expect("open");
    assert!(store.delete(chunk.id).expect("delete"), "there was one");
    assert!(is_absent(store, chunk.id), "deleted");
    assert!(reader.read(0..4).is_ok(), "who has it open reads on");
    let stats = store.stats().expect("stats");
    assert_eq!((stats.chunks, stats.chunk_bytes), (0, 0), "none is left");
}

fn lists_are_ordered_and_paged(store: &dyn ChunkStore) {
    let mut expected = Vec::new();
    for seed in 0..20 {
        let chunk = sample_chunk(seed);
        store_chunk(store, &chunk).expect("store a chunk");
        expected.push(chunk.id);
    }
    expected.sort();
    assert_eq!(store.list(None, 100).expect("list"), expected);
    for page in [1, 3, 19, 20, 21] {
        let (mut all, mut after) = (Vec::<ChunkId>::new(), None);
        loop {
            let ids = store.list(after, page).expect("list");
            assert!(ids.len() <= page, "a page is no longer than asked for");
            after = ids.last().copied();
            all.extend(&ids);
            if ids.len() < page {
                break;
            }
        }
        assert_eq!(all, expected, "pages of {page}");
    }
}

fn a_quarantined_chunk_can_be_stored_again(store: &dyn ChunkStore) {
    let chunk = sample_chunk(1);
    let answer = store.quarantine(chunk.id);
    assert!(answer.is_err_and(|error| error.is_not_found()));
    for _ in 0..2 {
        store_chunk(store, &chunk).expect("store a chunk");
        store.quarantine(chunk.id).expect("quarantine");
        assert!(is_absent(store, chunk.id), "moved aside");
        let ids = store.list(None, 10).expect("list");
        assert!(ids.is_empty(), "moved aside");
    }
    store_chunk(store, &chunk).expect("store it once more");
}
