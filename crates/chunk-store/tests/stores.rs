//! All stores against the contract, and what the disk promises beyond it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use lfsfs_chunk_store::contract::{self, sample_chunk};
use lfsfs_chunk_store::{
    ChunkStore, ChunkStoreError, DiskChunkStore, MemoryChunkStore, SpreadChunkStore,
};
use lfsfs_common::durable::rename_without_sync;
use lfsfs_types::ChunkId;
use lfsfs_types::chunk::BuiltChunk;

fn store_chunk(store: &dyn ChunkStore, chunk: &BuiltChunk) {
    let len = chunk.bytes.len() as u64;
    let mut writer = store.begin(chunk.id, len).expect("begin");
    writer.write(&chunk.bytes).expect("write");
    writer.commit().expect("commit");
}

fn path_of(dir: &Path, id: ChunkId) -> PathBuf {
    let hex = id.to_string();
    dir.join(&hex[..2]).join(hex)
}

/// Makes of a store one of format 1, with these chunks.
fn bring_to_format_1(dir: &Path, chunks: &[BuiltChunk]) {
    for chunk in chunks {
        let hex = chunk.id.to_string();
        let two_down = dir.join(&hex[..2]).join(&hex[2..4]);
        fs::create_dir_all(&two_down).expect("two directories");
        rename_without_sync(&path_of(dir, chunk.id), &two_down.join(hex)).expect("a chunk");
    }
    fs::write(dir.join("format"), b"lfsfs chunk store, format 1\n").expect("a format");
}

#[test]
fn memory_keeps_the_contract() {
    contract::run_all(&|| Box::new(MemoryChunkStore::new(u64::from(u32::MAX))));
}

#[test]
fn the_disk_keeps_the_contract() {
    let parent = tempfile::tempdir().unwrap();
    contract::run_all(&|| {
        let dir = tempfile::tempdir_in(&parent).unwrap().keep();
        Box::new(DiskChunkStore::open(&dir, 0).unwrap())
    });
}

#[test]
fn chunks_are_there_when_the_store_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let chunk = sample_chunk(1);
    store_chunk(&DiskChunkStore::open(dir.path(), 0).unwrap(), &chunk);

    let store = DiskChunkStore::open(dir.path(), 0).unwrap();
    assert_eq!(store.list(None, 10).unwrap(), [chunk.id]);
    let stats = store.stats().unwrap();
    let len = chunk.bytes.len() as u64;
    assert_eq!((stats.chunks, stats.chunk_bytes), (1, len));
    store.verify(chunk.id).unwrap();
    assert_eq!(
        fs::read(path_of(dir.path(), chunk.id)).unwrap(),
        chunk.bytes
    );
}

#[test]
fn a_store_of_format_1_is_brought_to_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let chunks: Vec<_> = (1..=20).map(sample_chunk).collect();
    let store = DiskChunkStore::open(dir.path(), 0).unwrap();
    chunks.iter().for_each(|chunk| store_chunk(&store, chunk));
    drop(store);
    // A crash after half of the chunks were moved leaves this.
    bring_to_format_1(dir.path(), &chunks[..10]);
    let foreign = dir.path().join("00").join("11");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("notes"), b"of another program").unwrap();
    let error = DiskChunkStore::open_existing(dir.path()).unwrap_err();
    assert!(error.to_string().contains("start the server"), "{error}");

    let store = DiskChunkStore::open(dir.path(), 0).unwrap();
    assert_eq!(store.list(None, 100).unwrap().len(), chunks.len());
    for chunk in &chunks {
        store.verify(chunk.id).unwrap();
        let hex = chunk.id.to_string();
        assert!(!dir.path().join(&hex[..2]).join(&hex[2..4]).exists());
    }
    assert!(foreign.join("notes").exists());
    DiskChunkStore::open_existing(dir.path()).unwrap();
}

#[test]
fn opening_sweeps_what_a_crash_left_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskChunkStore::open(dir.path(), 0).unwrap();
    drop(store);
    let temp = dir.path().join("temp");
    fs::write(temp.join(".tmp-left"), b"half a chunk").unwrap();
    fs::write(temp.join("notes"), b"of another program").unwrap();

    DiskChunkStore::open_existing(dir.path()).unwrap();
    assert_eq!(
        fs::read_dir(&temp).unwrap().count(),
        2,
        "a look changes nothing"
    );
    DiskChunkStore::open(dir.path(), 0).unwrap();
    let left: Vec<_> = fs::read_dir(&temp).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn flipped_and_cut_files_are_found_and_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskChunkStore::open(dir.path(), 0).unwrap();
    let chunk = sample_chunk(1);
    let path = path_of(dir.path(), chunk.id);
    let damages: [fn(&Path, usize); 3] = [
        |path, _| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(b"!", 20).unwrap();
        },
        |path, len| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(len as u64 - 1).unwrap();
        },
        |path, _| fs::write(path, b"").unwrap(),
    ];
    for damage in damages {
        store_chunk(&store, &chunk);
        damage(&path, chunk.bytes.len());

        let error = store.verify(chunk.id).unwrap_err();
        assert!(error.is_corrupt() && !error.is_retryable(), "{error:?}");
        store.quarantine(chunk.id).unwrap();
        assert!(store.verify(chunk.id).unwrap_err().is_not_found());
    }
    let aside = fs::read_dir(dir.path().join("damaged")).unwrap().count();
    assert_eq!(aside, 3, "every damaged file is kept");
}

#[test]
fn a_reader_notices_a_file_that_became_shorter() {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskChunkStore::open(dir.path(), 0).unwrap();
    let chunk = sample_chunk(1);
    store_chunk(&store, &chunk);
    let reader = store.open(chunk.id).unwrap();
    fs::File::options()
        .write(true)
        .open(path_of(dir.path(), chunk.id))
        .unwrap()
        .set_len(10)
        .unwrap();

    let error = reader.read(0..reader.chunk_len()).unwrap_err();
    assert!(error.is_corrupt(), "{error:?}");
}

#[test]
fn a_disk_below_its_reserve_takes_no_chunk_and_serves_reads() {
    let dir = tempfile::tempdir().unwrap();
    let chunk = sample_chunk(1);
    store_chunk(&DiskChunkStore::open(dir.path(), 0).unwrap(), &chunk);

    let store = DiskChunkStore::open(dir.path(), u64::MAX).unwrap();
    let error = store.begin(sample_chunk(2).id, 1).unwrap_err();
    assert!(
        matches!(
            error,
            ChunkStoreError::Full {
                reserve: u64::MAX,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_full());
    assert!(store.stats().unwrap().is_full);
    store.open(chunk.id).unwrap().read(0..4).unwrap();
}

#[test]
fn a_full_memory_takes_no_chunk_and_a_dropped_writer_gives_its_space_back() {
    let store = MemoryChunkStore::new(100);
    let writer = store.begin(sample_chunk(1).id, 60).unwrap();
    assert!(store.begin(sample_chunk(2).id, 60).unwrap_err().is_full());
    drop(writer);
    store.begin(sample_chunk(2).id, 60).unwrap();
}

#[test]
fn damage_in_memory_is_found() {
    let store = MemoryChunkStore::new(1 << 20);
    let chunk = sample_chunk(1);
    store_chunk(&store, &chunk);
    store.damage(chunk.id, vec![0; chunk.bytes.len()].into());
    assert!(store.verify(chunk.id).unwrap_err().is_corrupt());
}

#[test]
fn another_format_and_other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    DiskChunkStore::open(dir.path(), 0).unwrap();
    fs::write(dir.path().join("format"), b"lfsfs chunk store, format 9\n").unwrap();
    let error = DiskChunkStore::open(dir.path(), 0).unwrap_err();
    assert!(matches!(&error, ChunkStoreError::Format { found, .. } if found.contains('9')));

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("thesis.txt"), b"precious").unwrap();
    let error = DiskChunkStore::open(other.path(), 0).unwrap_err();
    assert!(matches!(error, ChunkStoreError::Format { .. }), "{error:?}");

    let missing = other.path().join("missing");
    assert!(DiskChunkStore::open_existing(&missing).is_err());
    assert!(!missing.exists(), "a look makes nothing");
}

fn directories(parent: &Path, count: usize) -> Vec<PathBuf> {
    let dirs = (0..count).map(|number| parent.join(number.to_string()));
    dirs.collect()
}

#[test]
fn several_disks_keep_the_contract() {
    let parent = tempfile::tempdir().unwrap();
    contract::run_all(&|| {
        let dir = tempfile::tempdir_in(&parent).unwrap().keep();
        Box::new(SpreadChunkStore::open(&directories(&dir, 3), 0).unwrap())
    });
}

#[test]
fn a_directory_that_fails_takes_its_chunks_with_it_and_no_others() {
    let parent = tempfile::tempdir().unwrap();
    let dirs = directories(parent.path(), 2);
    let chunks: Vec<_> = (1..=8).map(sample_chunk).collect();
    // Each directory has chunks of its own.
    for (dir, chunks) in dirs.iter().zip(chunks.chunks(4)) {
        let store = DiskChunkStore::open(dir, 0).unwrap();
        chunks.iter().for_each(|chunk| store_chunk(&store, chunk));
    }
    let store = SpreadChunkStore::open(&dirs, 0).unwrap();
    assert_eq!(store.list(None, 100).unwrap().len(), 8);
    assert_eq!(
        (
            store.stats().unwrap().chunks,
            store.stats().unwrap().failed_disks
        ),
        (8, 0)
    );
    fs::remove_dir_all(&dirs[0]).unwrap();
    // A heartbeat asks for this.
    let stats = store.stats().unwrap();
    assert_eq!((stats.chunks, stats.failed_disks), (4, 1));
    for (number, chunk) in chunks.iter().enumerate() {
        assert_eq!(store.verify(chunk.id).is_ok(), number >= 4);
    }
    assert!(store.open(chunks[0].id).unwrap_err().is_not_found());
    assert_eq!(store.list(None, 100).unwrap().len(), 4);
    store_chunk(&store, &chunks[0]);
    store.verify(chunks[0].id).unwrap();
}

#[test]
fn a_directory_that_cannot_be_opened_is_left_out() {
    let parent = tempfile::tempdir().unwrap();
    let dirs = directories(parent.path(), 2);
    fs::write(&dirs[0], b"a file").unwrap();
    let store = SpreadChunkStore::open(&dirs, 0).unwrap();
    store_chunk(&store, &sample_chunk(1));
    assert!(SpreadChunkStore::open(&dirs[..1], 0).is_err());
}

#[test]
fn a_disk_that_takes_nothing_is_still_read() {
    let parent = tempfile::tempdir().unwrap();
    let dirs = directories(parent.path(), 2);
    let chunks: Vec<_> = (1..=2).map(sample_chunk).collect();
    store_chunk(&DiskChunkStore::open(&dirs[0], 0).unwrap(), &chunks[0]);
    let store = SpreadChunkStore::open(&dirs, 0).unwrap();
    // Without a place for files that are written it can only be read.
    fs::remove_dir(dirs[0].join("temp")).unwrap();
    store_chunk(&store, &chunks[1]);
    store.verify(chunks[0].id).unwrap();
    assert!(path_of(&dirs[1], chunks[1].id).exists());
}
