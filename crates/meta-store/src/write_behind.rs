//! A store that writes some rows later, many of them together.
//!
//! Rows with random keys touch a page each, so the same rows cost much less in few large runs than in many
//! small ones. [`WriteBehind::put_later`] takes rows and writes them, in the order of their keys, when there
//! are many, or when a call looks at one of them. So no caller ever sees a row that is missing.
//!
//! What waits is in memory only: [`MetaStore::flush`] makes no such row durable at which no call looked.
//! [`WriteBehind::flush_all`] does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{
    Applied, Batch, EngineFigures, KeyRange, MetaError, MetaStore, Read, Row, Rows, Snapshot,
};

/// What a waiting row takes beside its key and its value: two buffers and a place in a map.
const ROW_OVERHEAD: usize = 100;

/// A store, and the rows that it has not got yet.
#[derive(Debug)]
pub struct WriteBehind {
    store: Arc<dyn MetaStore>,
    bytes_max: usize,
    late: RwLock<LateRows>,
    /// Held while late rows are written.
    writer: Mutex<()>,
}

/// Rows that are not in the store yet, or may not be.
#[derive(Debug, Default)]
struct LateRows {
    waiting: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the waiting rows take.
    bytes: usize,
    /// Those that are being written now.
    in_writing: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl LateRows {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_writing.is_empty()
    }

    fn has(&self, key: &[u8]) -> bool {
        self.waiting.contains_key(key) || self.in_writing.contains_key(key)
    }

    fn has_any_of(&self, range: &KeyRange) -> bool {
        let has_one = |rows: &BTreeMap<Vec<u8>, Vec<u8>>| {
            !range.is_empty() && rows.range::<[u8], _>(range.bounds()).next().is_some()
        };
        has_one(&self.waiting) || has_one(&self.in_writing)
    }

    fn has_any_read(&self, reads: &[Read]) -> bool {
        !self.is_empty()
            && reads.iter().any(|read| match read {
                Read::Get(key) => self.has(key),
                Read::Scan { range, .. } => self.has_any_of(range),
            })
    }

    fn has_any_in(&self, batch: &Batch) -> bool {
        let looked_at = batch.preconditions.iter().map(|it| it.key());
        let mut keys = looked_at.chain(batch.writes.iter().map(|it| it.key()));
        !self.is_empty() && keys.any(|key| self.has(key))
    }

    /// Takes a row, unless there is one with this key.
    fn add(&mut self, (key, value): Row) {
        if self.has(&key) {
            return;
        }
        self.bytes += key.len() + value.len() + ROW_OVERHEAD;
        self.waiting.insert(key, value);
    }

    fn begin_writing(&mut self) -> Arc<BTreeMap<Vec<u8>, Vec<u8>>> {
        self.bytes = 0;
        self.in_writing = Arc::new(std::mem::take(&mut self.waiting));
        Arc::clone(&self.in_writing)
    }

    /// Lets the rows wait again of which it is not known that they were written.
    fn give_up_writing(&mut self) {
        for (key, value) in std::mem::take(&mut self.in_writing).iter() {
            self.bytes += key.len() + value.len() + ROW_OVERHEAD;
            self.waiting.insert(key.clone(), value.clone());
        }
    }
}

impl WriteBehind {
    /// Returns a store in which rows may wait that take about `bytes_max` bytes. In a store that is not
    /// [exclusive](MetaStore::is_exclusive) none waits: other processes could not see it.
    pub fn new(store: Arc<dyn MetaStore>, bytes_max: usize) -> Self {
        Self {
            bytes_max: if store.is_exclusive() { bytes_max } else { 0 },
            store,
            late: RwLock::default(),
            writer: Mutex::default(),
        }
    }

    /// Takes rows to be written later, each unless there is one with its key. From now on every call sees
    /// them.
    pub fn put_later(&self, rows: impl IntoIterator<Item = Row>) -> Result<(), MetaError> {
        // Rows that could not be written before must not become ever more.
        self.write_if_many()?;
        let mut late = self.late_mut();
        rows.into_iter().for_each(|row| late.add(row));
        drop(late);
        self.write_if_many()
    }

    /// Writes all rows that wait, and makes everything durable.
    pub fn flush_all(&self) -> Result<(), MetaError> {
        self.write_late()?;
        self.store.flush()
    }

    fn write_if_many(&self) -> Result<(), MetaError> {
        if self.late().bytes > self.bytes_max {
            self.write_late()?;
        }
        Ok(())
    }

    fn write_late(&self) -> Result<(), MetaError> {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = self.late_mut().begin_writing();
        let written = self.put_absent(&rows);
        let mut late = self.late_mut();
        match written {
            Ok(()) => late.in_writing = Arc::default(),
            Err(_) => late.give_up_writing(),
        }
        written
    }

    fn put_absent(&self, rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), MetaError> {
        let mut rows = rows.iter().peekable();
        while rows.peek().is_some() {
            let page = rows.by_ref().take(self.store.batch_ops_max());
            self.put_absent_page(page.collect())?;
        }
        Ok(())
    }

    fn put_absent_page(&self, mut page: Vec<(&Vec<u8>, &Vec<u8>)>) -> Result<(), MetaError> {
        while !page.is_empty() {
            let mut batch = Batch::new();
            for (key, value) in &page {
                batch.require_absent(key.as_slice());
                batch.put(key.as_slice(), value.as_slice());
            }
            if self.store.apply(batch)?.is_done() {
                break;
            }
            let reads: Vec<_> = page
                .iter()
                .map(|(key, _)| Read::get(key.as_slice()))
                .collect();
            let mut found = self.store.read(&reads)?.into_iter();
            page.retain(|_| found.next().is_some_and(|found| found.rows.is_empty()));
        }
        Ok(())
    }

    /// Writes the rows that a call looks at. None can come before the caller drops the answer.
    fn settle(
        &self,
        looks_at_late: impl Fn(&LateRows) -> bool,
    ) -> Result<RwLockReadGuard<'_, LateRows>, MetaError> {
        loop {
            let late = self.late();
            if !looks_at_late(&late) {
                return Ok(late);
            }
            drop(late);
            self.write_late()?;
        }
    }

    /// No method panics while it holds it.
    fn late(&self) -> RwLockReadGuard<'_, LateRows> {
        self.late.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn late_mut(&self) -> RwLockWriteGuard<'_, LateRows> {
        self.late.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetaStore for WriteBehind {
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
        let _settled = self.settle(|late| late.has(key))?;
        self.store.get(key)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        let _settled = self.settle(|late| late.has_any_read(reads))?;
        self.store.read(reads)
    }

    fn read_within(&self, reads: &[Read], bytes: usize) -> Result<Vec<Rows>, MetaError> {
        let _settled = self.settle(|late| late.has_any_read(reads))?;
        self.store.read_within(reads, bytes)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        let _settled = self.settle(|late| late.has_any_in(&batch))?;
        self.store.apply(batch)
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.store.flush()
    }

    fn verify(&self, goes_on: &dyn Fn() -> bool) -> Result<bool, MetaError> {
        self.store.verify(goes_on)
    }

    /// Has the rows that wait, too.
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, MetaError> {
        self.write_late()?;
        self.store.snapshot()
    }

    fn figures(&self) -> EngineFigures {
        self.store.figures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, MetaStoreExt as _, contract};

    const MANY: usize = 1 << 20;

    fn row(key: &str, value: &str) -> Row {
        (key.into(), value.into())
    }

    fn put(key: &str, value: &str) -> Batch {
        let mut batch = Batch::new();
        batch.put(key, value);
        batch
    }

    /// A store in which the rows `a` and `c` wait, and the store below it.
    fn waiting() -> (Arc<MemoryStore>, WriteBehind) {
        let below = Arc::new(MemoryStore::new());
        let store = WriteBehind::new(below.clone(), MANY);
        store.put_later([row("a", "1"), row("c", "3")]).unwrap();
        assert_eq!(below.get(b"a").unwrap(), None, "it waits");
        (below, store)
    }

    #[test]
    fn it_keeps_the_contract() {
        contract::run_all(&|| Box::new(WriteBehind::new(Arc::new(MemoryStore::new()), MANY)));
    }

    #[test]
    fn a_call_that_looks_at_a_late_row_finds_it() {
        let looks: [fn(&WriteBehind); 5] = [
            |store| assert_eq!(store.get(b"c").unwrap().unwrap(), b"3"),
            |store| {
                let found = store.scan(KeyRange::prefix(b""), 9).unwrap().rows;
                assert_eq!(found, [row("a", "1"), row("c", "3")]);
            },
            |store| {
                let found = store.read_within(&[Read::get("a")], 1).unwrap();
                assert_eq!(found[0].rows, [row("a", "1")]);
            },
            |store| {
                let mut batch = put("b", "2");
                batch.require_absent("a");
                assert_eq!(store.apply(batch).unwrap(), Applied::Conflict { index: 0 });
            },
            |store| {
                assert!(store.apply(put("a", "new")).unwrap().is_done());
                assert_eq!(store.get(b"a").unwrap().unwrap(), b"new");
            },
        ];
        for look in looks {
            let (below, store) = waiting();
            look(&store);
            assert_eq!(below.get(b"c").unwrap().unwrap(), b"3", "all were written");
        }
    }

    #[test]
    fn calls_that_look_elsewhere_let_them_wait() {
        let (below, store) = waiting();
        assert_eq!(store.get(b"b").unwrap(), None);
        assert!(store.apply(put("b", "2")).unwrap().is_done());
        let between = store.scan(KeyRange::new("b", "c"), 9).unwrap().rows;
        assert_eq!(between, [row("b", "2")]);
        store.flush().unwrap();
        assert_eq!(below.get(b"a").unwrap(), None);
        store.flush_all().unwrap();
        assert_eq!(below.get(b"a").unwrap().unwrap(), b"1");
    }

    #[test]
    fn a_snapshot_has_the_rows_that_wait() {
        let (below, store) = waiting();
        let snapshot = store.snapshot().unwrap();
        store.put_later([row("b", "2")]).unwrap();
        let found = snapshot.page(KeyRange::all(), usize::MAX).unwrap().rows;
        assert_eq!(found, [row("a", "1"), row("c", "3")]);
        assert_eq!(below.get(b"a").unwrap().unwrap(), b"1");
    }

    #[test]
    fn the_first_row_with_a_key_stays() {
        let below = Arc::new(MemoryStore::new());
        let store = WriteBehind::new(below.clone(), MANY);
        below.write(put("b", "first")).unwrap();
        store
            .put_later([row("a", "first"), row("b", "2"), row("c", "3")])
            .unwrap();
        store.put_later([row("a", "2")]).unwrap();
        let found = store.scan(KeyRange::all(), 9).unwrap().rows;
        assert_eq!(found, [row("a", "first"), row("b", "first"), row("c", "3")]);
    }

    #[test]
    fn rows_are_written_when_they_are_many() {
        let below = Arc::new(MemoryStore::new());
        let store = WriteBehind::new(below.clone(), 10 * ROW_OVERHEAD);
        let count = || below.scan(KeyRange::all(), usize::MAX).unwrap().rows.len();
        for number in 0..100_u32 {
            let key = format!("{number:05}");
            store.put_later([row(&key, "value")]).unwrap();
            assert!(count() + 10 > number as usize, "ten wait at most");
        }
        assert!(count() % 10 == 0, "{} were written one by one", count());
    }
}
