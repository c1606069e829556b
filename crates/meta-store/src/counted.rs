//! A store whose calls are counted, once for all engines.
//!
//! The counters are atomics without an order among each other: a reader waits for nothing, and
//! figures that were taken at one moment may differ by the calls of that moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{
    Applied, Batch, CallFigures, EngineFigures, MetaError, MetaStore, Read, Row, Rows, Snapshot,
    Write,
};

/// A call that takes longer is logged and counted.
pub const SLOW_CALL: Duration = Duration::from_millis(100);

/// A store that counts its calls.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    store: S,
    slow: Duration,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    batches: AtomicU64,
    conflicts: AtomicU64,
    rows_written: AtomicU64,
    bytes_written: AtomicU64,
    reads: AtomicU64,
    rows_read: AtomicU64,
    flushes: AtomicU64,
    slow_calls: AtomicU64,
}

/// The rows of a batch.
#[derive(Debug, Clone, Copy, Default)]
struct BatchSize {
    rows: u64,
    bytes: u64,
}

/// Adds to a counter that no other memory depends on.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Returns what a counter has.
pub(crate) fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl<S: MetaStore> Counted<S> {
    pub(crate) fn new(store: S) -> Self {
        Self::with_slow(store, SLOW_CALL)
    }

    fn with_slow(store: S, slow: Duration) -> Self {
        let counters = Counters::default();
        Self {
            store,
            slow,
            counters,
        }
    }

    /// Makes a call; one that takes long is counted, and logged once.
    fn timed<T>(&self, call: impl FnOnce(&S) -> T, describe: impl FnOnce(&T) -> String) -> T {
        let start = Instant::now();
        let answer = call(&self.store);
        let elapsed = start.elapsed();
        if elapsed >= self.slow {
            add(&self.counters.slow_calls, 1);
            let (what, millis) = (describe(&answer), elapsed.as_millis());
            let engine = self.store.name();
            tracing::warn!(
                engine,
                what,
                millis,
                "a call of the metadata store was slow"
            );
        }
        answer
    }

    fn count_read(&self, rows: usize) {
        add(&self.counters.reads, 1);
        add(&self.counters.rows_read, rows as u64);
    }

    fn count_batch(&self, size: BatchSize, applied: Applied) {
        match applied {
            Applied::Conflict { .. } => add(&self.counters.conflicts, 1),
            Applied::Done => {
                add(&self.counters.batches, 1);
                add(&self.counters.rows_written, size.rows);
                add(&self.counters.bytes_written, size.bytes);
            }
        }
    }
}

impl<S: MetaStore> MetaStore for Counted<S> {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn is_exclusive(&self) -> bool {
        self.store.is_exclusive()
    }

    fn batch_ops_max(&self) -> usize {
        self.store.batch_ops_max()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        let found = self.timed(|store| store.get(key), |_| "a read of one key".to_owned())?;
        self.count_read(usize::from(found.is_some()));
        Ok(found)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.read_within(reads, usize::MAX)
    }

    fn read_within(&self, reads: &[Read], bytes: usize) -> Result<Vec<Rows>, MetaError> {
        let describe = |answer: &Result<Vec<Rows>, _>| {
            let rows = answer.as_deref().map_or(0, rows_of);
            format!("a read of {} keys and ranges, {rows} rows", reads.len())
        };
        let found = self.timed(|store| store.read_within(reads, bytes), describe)?;
        self.count_read(rows_of(&found));
        Ok(found)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        let size = BatchSize::of(&batch);
        let BatchSize { rows, bytes } = size;
        let describe = |_: &_| format!("a batch of {rows} rows, {bytes} bytes");
        let applied = self.timed(|store| store.apply(batch), describe)?;
        self.count_batch(size, applied);
        Ok(applied)
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.timed(MetaStore::flush, |_| "a flush".to_owned())?;
        add(&self.counters.flushes, 1);
        Ok(())
    }

    /// Each engine has its own way, which is no call to be counted.
    fn verify(&self, goes_on: &dyn Fn() -> bool) -> Result<bool, MetaError> {
        self.store.verify(goes_on)
    }

    /// A backup is no work of a client.
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, MetaError> {
        self.store.snapshot()
    }

    fn figures(&self) -> EngineFigures {
        EngineFigures {
            calls: self.counters.figures(),
            ..self.store.figures()
        }
    }
}

impl Counters {
    fn figures(&self) -> CallFigures {
        CallFigures {
            batches: value(&self.batches),
            conflicts: value(&self.conflicts),
            rows_written: value(&self.rows_written),
            bytes_written: value(&self.bytes_written),
            reads: value(&self.reads),
            rows_read: value(&self.rows_read),
            flushes: value(&self.flushes),
            slow_calls: value(&self.slow_calls),
        }
    }
}

impl BatchSize {
    fn of(batch: &Batch) -> Self {
        let bytes = |write: &Write| match write {
            Write::Put(key, value) => key.len() + value.len(),
            Write::Delete(key) => key.len(),
        };
        let bytes: usize = batch.writes.iter().map(bytes).sum();
        Self {
            rows: batch.writes.len() as u64,
            bytes: bytes as u64,
        }
    }
}

fn rows_of(found: &[Rows]) -> usize {
    let rows = |part: &Rows| <[Row]>::len(&part.rows);
    found.iter().map(rows).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyRange, MemoryStore, MetaStoreExt as _};

    fn put(key: &[u8], value: &[u8]) -> Batch {
        let mut batch = Batch::new();
        batch.put(key, value);
        batch
    }

    #[test]
    fn each_call_is_counted_with_its_rows() {
        let store = Counted::new(MemoryStore::new());
        store.write(put(b"a", b"123")).unwrap();
        let mut batch = put(b"bb", b"");
        batch.delete(*b"none");
        store.write(batch).unwrap();
        let mut refused = put(b"a", b"45678");
        refused.require_absent(*b"a");
        assert!(!store.apply(refused).unwrap().is_done());
        assert!(store.get(b"a").unwrap().is_some());
        assert!(store.get(b"c").unwrap().is_none());
        assert_eq!(store.scan(KeyRange::all(), 9).unwrap().rows.len(), 2);
        store.flush().unwrap();
        let expected = CallFigures {
            batches: 2,
            conflicts: 1,
            rows_written: 3,
            bytes_written: 4 + 2 + 4,
            reads: 3,
            rows_read: 3,
            flushes: 1,
            slow_calls: 0,
        };
        let counted = store.figures().calls;
        // A machine under load may make any call slow.
        let slow_calls = counted.slow_calls;
        assert_eq!(
            counted,
            CallFigures {
                slow_calls,
                ..expected
            }
        );
    }

    #[test]
    fn a_slow_call_is_counted_and_an_error_is_no_call_that_was_made() {
        let store = Counted::with_slow(MemoryStore::new(), Duration::ZERO);
        assert!(store.write(put(b"", b"")).is_err());
        store.write(put(b"a", b"")).unwrap();
        store.get(b"a").unwrap();
        store.flush().unwrap();
        let calls = store.figures().calls;
        assert_eq!((calls.slow_calls, calls.batches), (4, 1));
    }
}
