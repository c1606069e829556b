//! The embedded engine of the coordinator: one table of redb in one file.
//!
//! redb carries isolation, order and atomic batches by itself. This module adds what it lacks:
//!
//! - **Damage.** redb sums its pages, but looks at the sums only when it checks the whole file. So opening
//!   a store checks the file, unless it is too large for that ([`OpenOptions::check_max`]), and each row
//!   has a checksum of its own, which each read verifies: a damaged row is a typed error whenever it is
//!   met. What a lookup can still miss, a row to which damaged pages lead no more, is found by
//!   [`MetaStore::verify`].
//! - **Rollback.** A file that was replaced by an older one is whole. So each batch counts up a number in a
//!   row of its own, the [`Tally`], and that of the last flushed batch is kept beside the file. A page of an
//!   older file is whole, too, and so are its rows: the tally has the sum of the checksums of all rows.
//! - **Durability.** A batch waits for no disk; [`MetaStore::flush`] commits with two phases, because
//!   the newest commit of one phase cannot be told from a torn one if it is damaged. Flushes that wait
//!   for the same commit share it.
//! - **Panics.** Every call goes through [`RedbStore::guard`]; after a panic or a failed write the
//!   store stops, until it is opened again.
//! - **Full disks.** A batch is refused while the disk still has some room, and reads go on.
//!
//! The layout is `format` and `flushed` (see [`directory`](crate::directory)) and `rows.redb`. A stored
//! value is stamped as [`checksum`] says; the tally has the empty key, which no caller can use, and two
//! numbers of 8 bytes, little endian.

mod file;
mod new_rows;
mod tally;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{
    AccessGuard, Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, TableDefinition,
};

use crate::checksum;
use crate::directory::{DAMAGE_KINDS, Directory, FlushedFile};
use crate::guarded::Guarded;
use crate::panics;
use crate::{
    Applied, Batch, CacheFigures, CallFigures, EngineFigures, KeyRange, MetaError, MetaStore,
    OpenOptions, Read, Row, Rows, Snapshot, Write,
};
use file::{CountedFile, DeviceCounters};
use new_rows::{Absent, NewRows};
use tally::{Before, Tally};

/// The name of the engine.
pub(crate) const ENGINE: &str = "redb";
/// The file of the rows.
pub(crate) const ROWS_FILE: &str = "rows.redb";

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// Where the [`Tally`] lies: the one key that no caller can use.
const SEQUENCE_KEY: &[u8] = b"";

/// How many rows are verified between two questions whether to go on.
const VERIFIED_AT_ONCE: u64 = 1000;

type ReadOnlyTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;
type Table<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;
type Entry<'a> = (
    AccessGuard<'a, &'static [u8]>,
    AccessGuard<'a, &'static [u8]>,
);

/// A store in a directory of this machine; see the module's documentation.
#[derive(Debug)]
pub struct RedbStore {
    directory: Directory,
    db: Guarded<Database>,
    flushed: FlushedFile,
    /// The last batch that is durable. Held by the flush that is under way.
    durable: Mutex<u64>,
    device: Arc<DeviceCounters>,
    /// How many bytes of pages redb may keep.
    cache_bytes_max: u64,
}

/// Whether a change is written.
enum Change<T> {
    Commit(T),
    Abort(T),
}

impl RedbStore {
    /// The largest batch it takes.
    pub const BATCH_OPS_MAX: usize = 4000;

    /// Opens the store in `dir` with the default options, or creates it there if there is none.
    pub fn open(dir: &Path) -> Result<Self, MetaError> {
        Self::open_with(dir, OpenOptions::default())
    }

    /// Opens the store in `dir`, or creates it there if there is none.
    ///
    /// After a crash, and where the options ask for it, every page of the file is read: that takes about
    /// half a second for a million files.
    pub fn open_with(dir: &Path, options: OpenOptions) -> Result<Self, MetaError> {
        let directory = Directory::new(dir, ENGINE)?;
        // Before redb touches the directory, and again under redb's lock.
        let is_there = directory.has_format()?;
        let path = directory.path().join(ROWS_FILE);
        if is_there && !path.exists() {
            return Err(directory.corrupt("the file of the rows is gone"));
        }
        let device = Arc::default();
        let db = open_redb(&directory, &path, options, &device)?;
        let flushed = FlushedFile::open(&directory)?;
        let store = Self {
            directory,
            db: Guarded::new(db),
            flushed,
            durable: Mutex::default(),
            device,
            cache_bytes_max: options.cache_bytes as u64,
        };
        let sequence = if store.directory.has_format()? {
            store.expect_flushed()?
        } else {
            store.create()?
        };
        *store.durable() = sequence;
        Ok(store)
    }

    /// Writes the first sequence row; the format file comes last and makes the store valid.
    fn create(&self) -> Result<u64, MetaError> {
        self.change(Durability::Immediate, |table| {
            let found = table.range::<&[u8]>(KeyRange::all().of_callers().bounds());
            let mut found = found.map_err(|error| self.failed(error))?;
            if found.next().is_some() {
                return Err(self.directory.corrupt("there is data but no format file"));
            }
            drop(found);
            self.put_tally(table, Tally::default())?;
            Ok(Change::Commit(()))
        })?;
        lfsfs_common::durable::sync_dir(self.directory.path())
            .map_err(|error| self.directory.path_error(error))?;
        self.flushed.create(&self.directory)?;
        self.directory.write_format()?;
        Ok(0)
    }

    /// Checks that the file is not older than the last flush, and makes durable what it holds.
    fn expect_flushed(&self) -> Result<u64, MetaError> {
        let flushed = self.flushed.read(&self.directory)?;
        let sequence = self.change(Durability::Immediate, |table| {
            let tally = self.tally(table)?;
            // A store of an earlier program has no sum in it.
            self.put_tally(table, tally)?;
            Ok(Change::Commit(tally.sequence))
        })?;
        self.directory.expect_flushed(flushed, sequence)?;
        Ok(sequence)
    }

    /// Runs a call of redb; a panic in it becomes an error and stops the store.
    fn guard<T>(
        &self,
        call: impl FnOnce(&Database) -> Result<T, MetaError>,
    ) -> Result<T, MetaError> {
        self.db.call(&self.directory, call)
    }

    /// Runs one transaction that only reads.
    fn look<T>(
        &self,
        work: impl FnOnce(&ReadOnlyTable) -> Result<T, MetaError>,
    ) -> Result<T, MetaError> {
        self.guard(|db| {
            let transaction = db.begin_read().map_err(|error| self.failed(error))?;
            let table = transaction.open_table(ROWS);
            work(&table.map_err(|error| self.failed(error))?)
        })
    }

    /// Runs one transaction that may write. An error of it has changed nothing.
    fn change<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&mut Table<'_>) -> Result<Change<T>, MetaError>,
    ) -> Result<T, MetaError> {
        self.guard(|db| {
            let mut transaction = db.begin_write().map_err(|error| self.failed(error))?;
            let set = transaction.set_durability(durability);
            set.map_err(|error| self.failed(error))?;
            transaction.set_two_phase_commit(true);
            let changed = {
                let table = transaction.open_table(ROWS);
                work(&mut table.map_err(|error| self.failed(error))?)?
            };
            match changed {
                // No later call may build on a commit that failed.
                Change::Commit(value) => transaction
                    .commit()
                    .map(|()| value)
                    .map_err(|error| self.failed(error))
                    .inspect_err(|error| self.db.stop(error)),
                Change::Abort(value) => transaction
                    .abort()
                    .map(|()| value)
                    .map_err(|error| self.failed(error)),
            }
        })
    }

    /// Makes a batch; `None` if a row is there that must not be, which aborts it.
    ///
    /// That a row is absent which the batch puts is seen when it is put, where that is in the order of the
    /// writes. It saves a lookup for each new row.
    fn apply_to(
        &self,
        table: &mut Table<'_>,
        batch: &Batch,
        absent: Absent,
    ) -> Result<Change<Option<Applied>>, MetaError> {
        let new = match absent {
            Absent::SeenFirst => NewRows::default(),
            Absent::SeenWhenPut => NewRows::of(batch),
        };
        let others = |index: &usize| !new.preconditions.contains(index);
        if let Some(index) = batch.first_failed_of(others, |key| self.find(table, key))? {
            return Ok(Change::Abort(Some(Applied::Conflict { index })));
        }
        if batch.is_empty() {
            return Ok(Change::Abort(Some(Applied::Done)));
        }
        // Before anything is written, so that a full disk does not stop the store.
        self.directory.check_room()?;
        let mut tally = self.tally(table)?;
        for (index, write) in batch.writes.iter().enumerate() {
            let before = match write {
                Write::Put(key, value) => self.put(table, &mut tally, key, value)?,
                Write::Delete(key) => self.delete(table, &mut tally, key)?,
            };
            if before == Before::Present && new.writes.contains(&index) {
                return Ok(Change::Abort(None));
            }
        }
        tally.sequence += 1;
        self.put_tally(table, tally)?;
        Ok(Change::Commit(Some(Applied::Done)))
    }

    fn put(
        &self,
        table: &mut Table<'_>,
        tally: &mut Tally,
        key: &[u8],
        value: &[u8],
    ) -> Result<Before, MetaError> {
        let (sum, stored) = checksum::stamp(key, value);
        let before = table.insert(key, stored.as_slice());
        let before = before.map_err(|error| self.failed(error))?;
        tally.sum = tally.sum.wrapping_add(u64::from(sum));
        tally.take_off(key, before)
    }

    fn delete(
        &self,
        table: &mut Table<'_>,
        tally: &mut Tally,
        key: &[u8],
    ) -> Result<Before, MetaError> {
        let before = table.remove(key);
        tally.take_off(key, before.map_err(|error| self.failed(error))?)
    }

    fn put_tally(&self, table: &mut Table<'_>, tally: Tally) -> Result<(), MetaError> {
        let (_, stored) = checksum::stamp(SEQUENCE_KEY, &tally.encode());
        let before = table.insert(SEQUENCE_KEY, stored.as_slice());
        before.map(drop).map_err(|error| self.failed(error))
    }

    /// Returns the number of the last batch, and the sum of the rows.
    fn tally(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    ) -> Result<Tally, MetaError> {
        let stored = self.stored(table, SEQUENCE_KEY)?;
        let stored = stored.ok_or_else(|| self.directory.corrupt("all rows are gone"))?;
        match stored.as_slice().as_chunks() {
            ([sequence, sum], []) => Ok(Tally {
                sequence: u64::from_le_bytes(*sequence),
                sum: u64::from_le_bytes(*sum),
            }),
            ([sequence], []) => Ok(Tally {
                sequence: u64::from_le_bytes(*sequence),
                sum: self.add_up(table)?,
            }),
            _ => Err(MetaError::corrupt(
                "a tally of a wrong length",
                SEQUENCE_KEY,
            )),
        }
    }

    fn add_up(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    ) -> Result<u64, MetaError> {
        let mut sum = 0_u64;
        let rows = table.range::<&[u8]>(KeyRange::all().of_callers().bounds());
        for entry in rows.map_err(|error| self.failed(error))? {
            let (key, stored) = entry.map_err(|error| self.failed(error))?;
            let (one, _) = checksum::check(key.value(), stored.value())?;
            sum = sum.wrapping_add(u64::from(one));
        }
        Ok(sum)
    }

    fn find(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, MetaError> {
        if key == SEQUENCE_KEY {
            return Ok(None);
        }
        self.stored(table, key)
    }

    fn stored(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, MetaError> {
        let stored = table.get(key).map_err(|error| self.failed(error))?;
        stored
            .map(|stored| Ok(checksum::check(key, stored.value())?.1.to_vec()))
            .transpose()
    }

    fn read_one(
        &self,
        table: &impl ReadableTable<&'static [u8], &'static [u8]>,
        read: &Read,
    ) -> Result<Rows, MetaError> {
        match read {
            Read::Get(key) => {
                let row = self.find(table, key)?.map(|value| (key.clone(), value));
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
                let found = table.range::<&[u8]>(range.bounds());
                let found = found.map_err(|error| self.failed(error))?;
                let found = found.map(|entry| entry.map_err(|error| self.failed(error)));
                if *reverse {
                    Rows::take(found.rev(), *limit, row)
                } else {
                    Rows::take(found, *limit, row)
                }
            }
        }
    }

    /// Returns what redb tells of its pages; a store that stopped tells nothing.
    fn cache_figures(&self) -> Option<CacheFigures> {
        let stats = self.guard(|db| Ok(db.cache_stats())).ok()?;
        Some(CacheFigures {
            bytes: stats.used_bytes() as u64,
            bytes_max: self.cache_bytes_max,
            hits: stats.read_hits(),
            misses: stats.read_misses(),
            evictions: stats.evictions(),
        })
    }

    /// Reads all rows in their order, and looks each of them up as well: a page between the root and a
    /// row may be damaged so that a scan passes it and a lookup is misled.
    fn verify_rows(
        &self,
        table: &ReadOnlyTable,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<bool, MetaError> {
        let rows = table
            .range::<&[u8]>(..)
            .map_err(|error| self.failed(error))?;
        let (mut count, mut sum) = (0, 0_u64);
        for entry in rows {
            let (key, stored) = entry.map_err(|error| self.failed(error))?;
            let (key, stored) = (key.value(), stored.value());
            let (one, _) = checksum::check(key, stored)?;
            if key != SEQUENCE_KEY {
                sum = sum.wrapping_add(u64::from(one));
            }
            let found = table.get(key).map_err(|error| self.failed(error))?;
            if found.is_none_or(|found| found.value() != stored) {
                return Err(self.misled(key));
            }
            count += 1;
            if count % VERIFIED_AT_ONCE == 0 && !goes_on() {
                return Ok(false);
            }
        }
        let expected = table.len().map_err(|error| self.failed(error))?;
        let what = if count != expected {
            format!("{count} rows are there of {expected}")
        } else if sum != self.tally(table)?.sum {
            "rows are those of an earlier moment".to_owned()
        } else {
            return Ok(true);
        };
        Err(self.stopped_by(self.directory.corrupt(what)))
    }

    fn misled(&self, key: &[u8]) -> MetaError {
        let what = format!("a page leads away from key {}", key.escape_ascii());
        self.stopped_by(self.directory.corrupt(what))
    }

    /// Lets no further call through: an answer that a row is not there cannot be trusted.
    fn stopped_by(&self, error: MetaError) -> MetaError {
        self.db.stop(&error);
        error
    }

    fn durable(&self) -> MutexGuard<'_, u64> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: impl Into<redb::Error>) -> MetaError {
        meaning(&self.directory, error.into())
    }
}

impl MetaStore for RedbStore {
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
        let rows = self.read(&[Read::get(key)])?;
        Ok(rows.into_iter().next().and_then(Rows::into_value))
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.read_within(reads, usize::MAX)
    }

    fn read_within(&self, reads: &[Read], bytes: usize) -> Result<Vec<Rows>, MetaError> {
        self.look(|table| Rows::within(reads, bytes, |read| self.read_one(table, read)))
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        batch.check(self.batch_ops_max())?;
        let apply = |absent| {
            self.change(Durability::None, |table| {
                self.apply_to(table, &batch, absent)
            })
        };
        let applied = match apply(Absent::SeenWhenPut)? {
            Some(applied) => Some(applied),
            None => apply(Absent::SeenFirst)?,
        };
        applied.ok_or_else(|| self.directory.corrupt("a row is there and is not found"))
    }

    fn flush(&self) -> Result<(), MetaError> {
        // What was applied before this call is in every commit that begins from here on.
        let wanted = self.look(|table| self.tally(table))?.sequence;
        let mut durable = self.durable();
        if *durable >= wanted {
            return Ok(());
        }
        let sequence = self.change(Durability::Immediate, |table| {
            Ok(Change::Commit(self.tally(table)?.sequence))
        })?;
        *durable = sequence;
        self.flushed
            .advance(&self.directory, sequence)
            .inspect_err(|error| self.db.stop(error))
    }

    fn figures(&self) -> EngineFigures {
        let file = fs::metadata(self.directory.path().join(ROWS_FILE));
        EngineFigures {
            file_bytes: file.map_or(0, |file| file.len()),
            cache: self.cache_figures(),
            device: Some(self.device.figures()),
            calls: CallFigures::default(),
        }
    }

    fn verify(&self, goes_on: &dyn Fn() -> bool) -> Result<bool, MetaError> {
        self.look(|table| self.verify_rows(table, goes_on))
    }

    /// Is one read transaction: its pages stay as they are, and the file grows by those that batches write
    /// meanwhile.
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, MetaError> {
        let table = self.guard(|db| {
            let transaction = db.begin_read().map_err(|error| self.failed(error))?;
            let table = transaction.open_table(ROWS);
            table.map_err(|error| self.failed(error))
        })?;
        Ok(Box::new(RedbSnapshot { store: self, table }))
    }
}

/// The rows of a moment.
struct RedbSnapshot<'a> {
    store: &'a RedbStore,
    table: ReadOnlyTable,
}

impl Snapshot for RedbSnapshot<'_> {
    fn page(&self, range: KeyRange, bytes: usize) -> Result<Rows, MetaError> {
        let (store, range) = (self.store, range.of_callers());
        if range.is_empty() {
            return Ok(Rows::default());
        }
        // A store that stopped is not read any further.
        store.guard(|_| {
            let found = self.table.range::<&[u8]>(range.bounds());
            let found = found.map_err(|error| store.failed(error))?;
            let found = found.map(|entry| entry.map_err(|error| store.failed(error)));
            Rows::take_bytes(found, bytes, row)
        })
    }
}

fn row((key, stored): Entry<'_>) -> Result<Row, MetaError> {
    let (_, value) = checksum::check(key.value(), stored.value())?;
    Ok((key.value().to_vec(), value.to_vec()))
}

fn open_redb(
    directory: &Directory,
    path: &Path,
    options: OpenOptions,
    device: &Arc<DeviceCounters>,
) -> Result<Database, MetaError> {
    let len = path.metadata().map_or(0, |metadata| metadata.len());
    let open = || {
        let file = CountedFile::open(path, Arc::clone(device), options.is_durable)?;
        Builder::new()
            .set_cache_size(options.cache_bytes)
            .set_check_integrity_on_open(len <= options.check_max)
            .create_with_backend(file)
    };
    panics::catch(open)
        .map_err(|message| directory.corrupt(message))?
        .map_err(|error: DatabaseError| meaning(directory, error.into()))
}

/// Says what an error of redb means.
fn meaning(directory: &Directory, error: redb::Error) -> MetaError {
    match error {
        redb::Error::DatabaseAlreadyOpen => MetaError::Locked {
            path: directory.path().to_owned(),
        },
        redb::Error::Io(source) if DAMAGE_KINDS.contains(&source.kind()) => {
            directory.corrupt(source.to_string())
        }
        redb::Error::Io(source) => directory.io("use", directory.path().join(ROWS_FILE), source),
        redb::Error::PreviousIo => MetaError::Stopped {
            reason: error.to_string(),
        },
        other => directory.corrupt(other.to_string()),
    }
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
        let store = RedbStore::open(dir.path()).unwrap();
        let error = store.guard::<()>(|_| panic!("page gone")).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        assert_stopped(&store, "page gone");
    }

    #[test]
    fn what_goes_to_the_disk_and_what_is_read_again_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        let device = || store.figures().device.unwrap();
        let opened = device();
        assert!(store.apply(one_row()).unwrap().is_done());
        assert_eq!(device().syncs, opened.syncs, "a batch waits for no disk");
        store.flush().unwrap();
        let flushed = device();
        assert!(flushed.syncs > opened.syncs && flushed.bytes > opened.bytes);
        store.flush().unwrap();
        assert_eq!(device(), flushed, "nothing is new");
        let before = store.figures().cache.unwrap();
        assert!(store.get(b"a").unwrap().is_some());
        let after = store.figures().cache.unwrap();
        assert!(after.hits > before.hits, "{after:?}");
        assert!((1..=after.bytes_max).contains(&after.bytes), "{after:?}");
        assert!(store.figures().file_bytes > 0);
    }

    #[test]
    fn errors_of_the_disk_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        let io = |kind: io::ErrorKind| store.failed(redb::Error::Io(kind.into()));
        assert!(matches!(
            io(io::ErrorKind::StorageFull),
            MetaError::Full { .. }
        ));
        assert!(io(io::ErrorKind::UnexpectedEof).is_corrupt());
        assert!(matches!(
            io(io::ErrorKind::PermissionDenied),
            MetaError::Io { .. }
        ));
        let stopped = store.failed(redb::Error::PreviousIo);
        assert!(matches!(stopped, MetaError::Stopped { .. }));
    }

    #[test]
    fn a_damaged_row_is_an_error_of_that_row_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        let bad = store.change(Durability::None, |table| {
            let before = table.insert(&b"bad"[..], &b"no stamp"[..]);
            before.map_err(|error| store.failed(error))?;
            Ok(Change::Commit(()))
        });
        bad.unwrap();
        let error = store.get(b"bad").unwrap_err();
        assert!(
            matches!(error, MetaError::Corrupt { ref key, .. } if key == b"bad"),
            "{error}"
        );
        assert!(store.scan(KeyRange::all(), 9).unwrap_err().is_corrupt());
        assert!(store.apply(one_row()).unwrap().is_done());
        assert_eq!(store.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    }

    #[test]
    fn data_without_a_format_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        assert!(store.apply(one_row()).unwrap().is_done());
        drop(store);
        std::fs::remove_file(dir.path().join("format")).unwrap();
        assert!(RedbStore::open(dir.path()).unwrap_err().is_corrupt());
    }

    #[test]
    fn a_flush_of_nothing_new_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        let file = || std::fs::read(dir.path().join(ROWS_FILE)).unwrap();
        let before = file();
        assert!(store.apply(one_row()).unwrap().is_done());
        store.flush().unwrap();
        let flushed = file();
        assert_ne!(flushed, before);
        store.flush().unwrap();
        assert_eq!(file(), flushed);
    }
}
