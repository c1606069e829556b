//! The embedded engine: one sled 0.34 tree behind one lock.
//!
//! sled does not carry the whole contract alone; this module adds what it lacks:
//!
//! - **Isolation.** sled scans see half of a batch, so batches hold the write side of one lock and
//!   reads its read side.
//! - **Damage.** sled checks every log message, but treats a damaged one as the end of what was
//!   written: it opens with rows missing, or with some of a later batch. So each batch also updates
//!   the [`Witness`] (how many batches and rows there are, and the sum of the rows' checksums),
//!   opening a store adds up all rows against it, and the number of the last flushed batch is kept
//!   beside sled's files. What opens is therefore exactly the state after some batch at or
//!   behind the last flush.
//! - **Durability.** sled's flush asks Linux to start and await the writing of pages, which is not
//!   an fsync; [`MetaStore::flush`] adds that. What is left: between two flushes sled reuses log
//!   space that it takes for superseded, so a power loss on a disk that loses or reorders what was
//!   not synced can damage flushed rows. That is found when the store is opened, not repaired.
//! - **Panics.** sled panics on some damage, in its callers and in its threads. Every call goes
//!   through [`SledStore::guard`], and after a panic or a failed write the store stops for good.
//! - **Full disks.** A write without space would be such a failure, so a batch is refused while
//!   the disk still has some, and reads go on.
//!
//! The layout is `format` and `flushed` (see [`directory`](crate::directory)) and `sled/`.

mod place;
mod witness;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use sled::{Db, IVec};

use crate::checksum;
use crate::directory::FlushedFile;
use crate::guarded::{Closing, Guarded};
use crate::panics;
use crate::{
    Applied, Batch, EngineFigures, MetaError, MetaStore, OpenOptions, Read, Row, Rows, Write,
};
use place::Place;
pub(crate) use place::{DATA_DIR, ENGINE};
use witness::Witness;

/// How long closing waits for sled's threads at most.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The size of sled's log segments. Pages above a quarter of it go to files of their own, whose
/// writing sled does not order with the log, so it is large enough that few do.
const SEGMENT_BYTES: usize = 2 << 20;

/// Where the witness lies: the one key that no caller can use.
const WITNESS_KEY: &[u8] = b"";

/// A store in a directory of this machine; see the module's documentation.
#[derive(Debug)]
pub struct SledStore {
    place: Place,
    db: Guarded<Db>,
    /// What the tree holds; its lock also orders reads and batches.
    witness: RwLock<Witness>,
    flushed: FlushedFile,
}

impl SledStore {
    /// The largest batch it takes.
    pub const BATCH_OPS_MAX: usize = 1000;

    /// Opens the store in `dir` with the default options, or creates it there if there is none.
    pub fn open(dir: &Path) -> Result<Self, MetaError> {
        Self::open_with(dir, OpenOptions::default())
    }

    /// Opens the store in `dir`, or creates it there if there is none.
    ///
    /// Reads every row once to find damage, so it takes time in proportion to the store.
    pub fn open_with(dir: &Path, options: OpenOptions) -> Result<Self, MetaError> {
        let place = Place::new(dir)?;
        // Before sled touches the directory, and again under sled's lock.
        place.directory().has_format()?;
        let db = open_sled(&place, options)?;
        let flushed = FlushedFile::open(place.directory())?;
        let mut store = Self {
            place,
            db: Guarded::new(db),
            witness: RwLock::default(),
            flushed,
        };
        let witness = if store.place.directory().has_format()? {
            store.verify()?
        } else {
            store.create()?
        };
        store.witness = RwLock::new(witness);
        Ok(store)
    }

    /// Writes the first witness; the format file comes last and makes the store valid.
    fn create(&self) -> Result<Witness, MetaError> {
        let empty = Witness::default();
        let found = self.guard(|db| self.add_up(db))?;
        if found.is_some_and(|found| found != empty) {
            return Err(self
                .place
                .directory()
                .corrupt("there is data but no format file"));
        }
        self.guard(|db| {
            db.insert(WITNESS_KEY, empty.encode())
                .map_err(|error| self.place.sled(error))?;
            db.flush().map_err(|error| self.place.sled(error))
        })?;
        self.place.sync_sled_dir()?;
        self.place.sync_data()?;
        self.flushed.create(self.place.directory())?;
        self.place.directory().write_format()?;
        Ok(empty)
    }

    /// Checks that the rows are those after some batch at or behind the last flush.
    fn verify(&self) -> Result<Witness, MetaError> {
        let flushed = self.flushed.read(self.place.directory())?;
        let found = self.guard(|db| self.add_up(db))?;
        let Some(witness) = found else {
            return Err(self.place.directory().corrupt("all rows are gone"));
        };
        let directory = self.place.directory();
        directory.expect_flushed(flushed, witness.sequence)?;
        // What sled recovered after a crash may be in the page cache only, and sled's own flush
        // does nothing where it has nothing to write.
        self.place.sync_data()?;
        Ok(witness)
    }

    /// Returns the stored witness, if the rows are exactly those that it stands for.
    fn add_up(&self, db: &Db) -> Result<Option<Witness>, MetaError> {
        let mut stored = None;
        let mut found = Witness::default();
        for entry in db.iter() {
            let (key, value) = entry.map_err(|error| self.place.sled(error))?;
            if *key == *WITNESS_KEY {
                stored = Some(Witness::decode(&value)?);
            } else {
                found.add(checksum::check(&key, &value)?.0);
            }
        }
        found.sequence = stored.map_or(0, |stored: Witness| stored.sequence);
        if found == stored.unwrap_or_default() {
            Ok(stored)
        } else {
            Err(self
                .place
                .directory()
                .corrupt("rows are missing or belong to different states"))
        }
    }

    /// Runs a sled call; a panic in it becomes an error and stops the store.
    fn guard<T>(&self, call: impl FnOnce(&Db) -> Result<T, MetaError>) -> Result<T, MetaError> {
        self.db.call(self.place.directory(), call)
    }

    /// Like [`Self::guard`], for calls that write: no later call may build on one that failed.
    fn guard_write<T>(
        &self,
        call: impl FnOnce(&Db) -> Result<T, MetaError>,
    ) -> Result<T, MetaError> {
        self.guard(call).inspect_err(|error| self.db.stop(error))
    }

    /// A panic under the lock is caught below it, and the witness changes last.
    fn reading(&self) -> RwLockReadGuard<'_, Witness> {
        self.witness.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, Witness> {
        self.witness.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the checksum and value of `key`.
    fn find(&self, db: &Db, key: &[u8]) -> Result<Option<(u32, Vec<u8>)>, MetaError> {
        if key == WITNESS_KEY {
            return Ok(None);
        }
        let stored = db.get(key).map_err(|error| self.place.sled(error))?;
        stored
            .map(|stored| checksum::check(key, &stored).map(|(sum, value)| (sum, value.to_vec())))
            .transpose()
    }

    fn value(&self, db: &Db, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        Ok(self.find(db, key)?.map(|(_, value)| value))
    }

    fn read_one(&self, db: &Db, read: &Read) -> Result<Rows, MetaError> {
        match read {
            Read::Get(key) => {
                let row = self.find(db, key)?.map(|(_, value)| (key.clone(), value));
                Ok(Rows::of(row))
            }
            Read::Scan {
                range,
                limit,
                reverse,
            } => {
                let range = range.of_callers();
                if range.is_empty() {
                    return Ok(Rows::default());
                }
                let found = db.range::<&[u8], _>(range.bounds());
                let found = found.map(|entry| entry.map_err(|error| self.place.sled(error)));
                if *reverse {
                    Rows::take(found.rev(), *limit, row)
                } else {
                    Rows::take(found, *limit, row)
                }
            }
        }
    }

    /// Returns what sled must write, and the witness of the state after it.
    fn prepare(
        &self,
        db: &Db,
        writes: Vec<Write>,
        witness: Witness,
    ) -> Result<(sled::Batch, Witness), MetaError> {
        let mut next = witness;
        next.sequence += 1;
        let mut prepared = sled::Batch::default();
        for (key, value) in last_of_each_key(writes) {
            if let Some((sum, _)) = self.find(db, &key)? {
                next.remove(sum);
            }
            match value {
                Some(value) => {
                    let (sum, stored) = checksum::stamp(&key, &value);
                    next.add(sum);
                    prepared.insert(key, stored);
                }
                None => prepared.remove(key),
            }
        }
        prepared.insert(WITNESS_KEY, next.encode());
        Ok((prepared, next))
    }
}

impl MetaStore for SledStore {
    fn name(&self) -> &'static str {
        ENGINE
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn batch_ops_max(&self) -> usize {
        Self::BATCH_OPS_MAX
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        let _lock = self.reading();
        self.guard(|db| self.value(db, key))
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.read_within(reads, usize::MAX)
    }

    fn read_within(&self, reads: &[Read], bytes: usize) -> Result<Vec<Rows>, MetaError> {
        let _lock = self.reading();
        self.guard(|db| Rows::within(reads, bytes, |read| self.read_one(db, read)))
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        batch.check(self.batch_ops_max())?;
        let mut witness = self.writing();
        if let Some(index) = self.guard(|db| batch.first_failed(|key| self.value(db, key)))? {
            return Ok(Applied::Conflict { index });
        }
        if batch.is_empty() {
            return Ok(Applied::Done);
        }
        // Before anything is written, so that a full disk does not stop the store.
        self.place.directory().check_room()?;
        let (prepared, next) = self.guard(|db| self.prepare(db, batch.writes, *witness))?;
        self.guard_write(|db| {
            db.apply_batch(prepared)
                .map_err(|error| self.place.sled(error))
        })?;
        *witness = next;
        Ok(Applied::Done)
    }

    fn flush(&self) -> Result<(), MetaError> {
        // Batches that come while sled flushes need not wait, and are not claimed to be flushed.
        let sequence = self.reading().sequence;
        self.guard_write(|db| {
            db.flush().map_err(|error| self.place.sled(error))?;
            self.place.sync_data()?;
            self.flushed.advance(self.place.directory(), sequence)
        })
    }

    /// sled counts neither its pages nor what it writes.
    fn figures(&self) -> EngineFigures {
        let size = self.guard(|db| db.size_on_disk().map_err(|error| self.place.sled(error)));
        EngineFigures {
            file_bytes: size.unwrap_or(0),
            ..EngineFigures::default()
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if self.db.close() == Closing::Closed {
            // sled's threads still hold its file and its lock for a moment; the process that opens
            // the store next must not meet them.
            self.place.wait_until_unlocked(CLOSE_WAIT);
        }
    }
}

fn row((key, stored): (IVec, IVec)) -> Result<Row, MetaError> {
    let (_, value) = checksum::check(&key, &stored)?;
    Ok((key.to_vec(), value.to_vec()))
}

fn open_sled(place: &Place, options: OpenOptions) -> Result<Db, MetaError> {
    let config = sled::Config::new()
        .path(place.sled_dir())
        .cache_capacity(options.cache_bytes as u64)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None);
    panics::catch(|| config.open())
        .map_err(|message| place.directory().corrupt(message))?
        .map_err(|error| place.sled(error))
}

/// Of several writes to one key the last one counts.
fn last_of_each_key(writes: Vec<Write>) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let entry = |write| match write {
        Write::Put(key, value) => (key, Some(value)),
        Write::Delete(key) => (key, None),
    };
    writes.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::guarded::testing::{assert_stopped, one_row};
    use crate::{KeyRange, MetaStoreExt};

    #[test]
    fn a_panic_of_the_engine_is_an_error_and_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let error = store.guard::<()>(|_| panic!("page gone")).unwrap_err();
        assert!(
            error.is_corrupt() && error.to_string().contains("page gone"),
            "{error}"
        );
        assert_stopped(&store, "page gone");
    }

    #[test]
    fn nothing_is_durable_after_a_failed_write() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        assert!(store.apply(one_row()).unwrap().is_done());
        let failed = io::Error::from(io::ErrorKind::StorageFull);
        let error = store
            .guard_write::<()>(|_| Err(store.place.sled(sled::Error::Io(failed))))
            .unwrap_err();
        assert!(matches!(error, MetaError::Full { .. }), "{error}");
        assert_stopped(&store, "no space left");
    }

    #[test]
    fn a_failed_read_does_not_stop_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let bad = store.guard(|db| {
            db.insert(b"bad", b"no stamp")
                .map_err(|e| store.place.sled(e))
        });
        assert!(bad.unwrap().is_none());
        let error = store.get(b"bad").unwrap_err();
        assert!(
            matches!(error, MetaError::Corrupt { ref key, .. } if key == b"bad"),
            "{error}"
        );
        assert!(store.scan(KeyRange::all(), 9).unwrap_err().is_corrupt());
        assert!(store.apply(one_row()).unwrap().is_done());
        assert_eq!(store.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
        drop(store);
        assert!(SledStore::open(dir.path()).unwrap_err().is_corrupt());
    }

    #[test]
    fn data_without_a_format_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        assert!(store.apply(one_row()).unwrap().is_done());
        drop(store);
        std::fs::remove_file(dir.path().join("format")).unwrap();
        assert!(SledStore::open(dir.path()).unwrap_err().is_corrupt());
    }
}
