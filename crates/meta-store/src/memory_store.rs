//! The engine for tests: an ordered map under a mutex. Nothing of it survives the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    Applied, Batch, EngineFigures, KeyRange, MetaError, MetaStore, Read, Row, Rows, Snapshot, Write,
};

/// The rows of the store.
type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store in memory, as strict as the strictest engine about what the seam promises.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<Map>,
}

impl MemoryStore {
    /// The largest batch it takes.
    pub const BATCH_OPS_MAX: usize = 4000;

    /// Returns an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// No method panics between two changes of the map, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetaStore for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn batch_ops_max(&self) -> usize {
        Self::BATCH_OPS_MAX
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        Ok(self.lock().get(key).cloned())
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.read_within(reads, usize::MAX)
    }

    fn read_within(&self, reads: &[Read], bytes: usize) -> Result<Vec<Rows>, MetaError> {
        let map = self.lock();
        Rows::within(reads, bytes, |read| read_one(&map, read))
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        batch.check(self.batch_ops_max())?;
        let mut map = self.lock();
        if let Some(index) = batch.first_failed(|key| Ok(map.get(key)))? {
            return Ok(Applied::Conflict { index });
        }
        for write in batch.writes {
            match write {
                Write::Put(key, value) => map.insert(key, value),
                Write::Delete(key) => map.remove(&key),
            };
        }
        Ok(Applied::Done)
    }

    fn flush(&self) -> Result<(), MetaError> {
        Ok(())
    }

    /// Copies all rows.
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, MetaError> {
        Ok(Box::new(MapSnapshot(self.lock().clone())))
    }

    fn figures(&self) -> EngineFigures {
        EngineFigures::default()
    }
}

/// The rows of a moment.
#[derive(Debug)]
struct MapSnapshot(Map);

impl Snapshot for MapSnapshot {
    fn page(&self, range: KeyRange, bytes: usize) -> Result<Rows, MetaError> {
        if range.is_empty() {
            return Ok(Rows::default());
        }
        let found = self.0.range::<[u8], _>(range.bounds()).map(Ok);
        Rows::take_bytes(found, bytes, |entry| Ok(owned(entry)))
    }
}

fn read_one(map: &Map, read: &Read) -> Result<Rows, MetaError> {
    match read {
        Read::Get(key) => Ok(Rows::of(map.get_key_value(key).map(owned))),
        // An ordered map panics on a range that ends before it starts.
        Read::Scan { range, .. } if range.is_empty() => Ok(Rows::default()),
        Read::Scan {
            range,
            limit,
            reverse,
        } => {
            let found = map.range::<[u8], _>(range.bounds()).map(Ok);
            let row = |entry| Ok(owned(entry));
            if *reverse {
                Rows::take(found.rev(), *limit, row)
            } else {
                Rows::take(found, *limit, row)
            }
        }
    }
}

fn owned((key, value): (&Vec<u8>, &Vec<u8>)) -> Row {
    (key.clone(), value.clone())
}
