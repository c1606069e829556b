//! The rows of a store at one moment, for a reader that takes its time.

use crate::{KeyRange, MetaError, MetaStore, MetaStoreExt as _, Rows};

/// How many rows a store is asked for at once that cannot count their bytes.
const STILL_ROWS: usize = 64;

/// The rows of a store as they were at one moment, while batches go on.
pub trait Snapshot: Send {
    /// Returns the first rows of `range`, until they have `bytes` bytes together; at least one if there is
    /// one.
    fn page(&self, range: KeyRange, bytes: usize) -> Result<Rows, MetaError>;
}

/// A store that its caller alone has, and does not write to: then it needs no snapshot of it.
#[derive(Debug)]
pub struct Still<'a>(pub &'a dyn MetaStore);

impl Snapshot for Still<'_> {
    fn page(&self, range: KeyRange, _: usize) -> Result<Rows, MetaError> {
        self.0.scan(range, STILL_ROWS)
    }
}
