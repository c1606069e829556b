//! Conveniences over any store, written once on top of the required methods.

use std::vec;

use crate::{Applied, Batch, KeyRange, MetaError, MetaStore, Read, Row, Rows};

/// What every [`MetaStore`] can do by way of its required methods.
pub trait MetaStoreExt: MetaStore {
    /// Returns the first `limit` rows of `range`.
    fn scan(&self, range: KeyRange, limit: usize) -> Result<Rows, MetaError> {
        self.read_one(Read::scan(range, limit))
    }

    /// Makes one read.
    fn read_one(&self, read: Read) -> Result<Rows, MetaError> {
        Ok(self.read(&[read])?.pop().unwrap_or_default())
    }

    /// Returns the first row of `range`.
    fn first(&self, range: KeyRange) -> Result<Option<Row>, MetaError> {
        Ok(self.read_one(Read::scan(range, 1))?.into_first())
    }

    /// Returns the last row of `range`.
    fn last(&self, range: KeyRange) -> Result<Option<Row>, MetaError> {
        Ok(self.read_one(Read::scan_reverse(range, 1))?.into_first())
    }

    /// Iterates over a range of any size, `page` rows at a time.
    ///
    /// Only the rows of one page are read at one point in time. After an error it ends.
    fn scan_all(&self, range: KeyRange, page: usize) -> ScanAll<'_, Self> {
        ScanAll {
            store: self,
            rest: Some(range),
            page: page.max(1),
            rows: Vec::new().into_iter(),
        }
    }

    /// Makes a batch that asks nothing, so that no conflict is possible.
    fn write(&self, batch: Batch) -> Result<(), MetaError> {
        assert!(
            batch.preconditions.is_empty(),
            "a conditional batch goes through `apply`"
        );
        let Applied::Done = self.apply(batch)? else {
            unreachable!("a batch without preconditions cannot conflict");
        };
        Ok(())
    }

    /// Removes all rows of a range of any size, in batches; returns how many there were.
    ///
    /// It is not atomic: a reader may see the range half empty, and so may the process that opens the
    /// store after a crash. It does not flush.
    fn delete_range(&self, range: KeyRange) -> Result<u64, MetaError> {
        let mut removed = 0;
        loop {
            let page = self.delete_page(range.clone())?;
            removed += page.removed;
            if !page.more {
                return Ok(removed);
            }
        }
    }

    /// Removes the first rows of a range, as many as one batch takes.
    fn delete_page(&self, range: KeyRange) -> Result<Deleted, MetaError> {
        let found = self.scan(range, self.batch_ops_max())?;
        let removed = found.rows.len() as u64;
        let mut batch = Batch::new();
        for (key, _) in found.rows {
            batch.delete(key);
        }
        if !batch.is_empty() {
            self.write(batch)?;
        }
        Ok(Deleted {
            removed,
            more: found.more,
        })
    }
}

/// What [`MetaStoreExt::delete_page`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// How many rows were removed.
    pub removed: u64,
    /// Whether the range has further ones.
    pub more: bool,
}

impl<S: MetaStore + ?Sized> MetaStoreExt for S {}

/// The rows of a range, page by page; see [`MetaStoreExt::scan_all`].
#[derive(Debug)]
pub struct ScanAll<'a, S: ?Sized> {
    store: &'a S,
    /// What was not read yet; `None` when the end was seen.
    rest: Option<KeyRange>,
    page: usize,
    rows: vec::IntoIter<Row>,
}

impl<S: MetaStore + ?Sized> ScanAll<'_, S> {
    fn next_page(&mut self, range: KeyRange) -> Result<(), MetaError> {
        let found = self.store.scan(range.clone(), self.page)?;
        if let (true, Some((key, _))) = (found.more, found.rows.last()) {
            self.rest = Some(range.beyond(key, false));
        }
        self.rows = found.rows.into_iter();
        Ok(())
    }
}

impl<S: MetaStore + ?Sized> Iterator for ScanAll<'_, S> {
    type Item = Result<Row, MetaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows.len() == 0 {
            let range = self.rest.take()?;
            if let Err(error) = self.next_page(range) {
                return Some(Err(error));
            }
        }
        self.rows.next().map(Ok)
    }
}
