//! The rows that a batch may only put where there is none.

use std::collections::HashSet;

use crate::{Batch, Precondition, Write};

/// How many writes may lie between two that are looked for.
const NEAR: usize = 8;

/// When it is seen that rows are absent that must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    SeenFirst,
    SeenWhenPut,
}

/// The rows of a batch that it puts and that must be absent before: where they stand.
#[derive(Debug, Default)]
pub(super) struct NewRows {
    pub(super) preconditions: HashSet<usize>,
    pub(super) writes: HashSet<usize>,
}

impl NewRows {
    /// Finds them where preconditions and writes are in about the same order; others stay out.
    pub(super) fn of(batch: &Batch) -> Self {
        let mut new = Self::default();
        // What the batch removes itself is absent when it is put.
        let removes = |write: &Write| matches!(write, Write::Delete(_));
        if batch.writes.iter().any(removes) {
            return new;
        }
        let mut writes = batch.writes.iter().enumerate();
        for (index, condition) in batch.preconditions.iter().enumerate() {
            let Precondition::Absent(key) = condition else {
                continue;
            };
            let puts_it = |write: &Write| matches!(write, Write::Put(put, _) if put == key);
            let mut ahead = writes.clone();
            let near = ahead.by_ref().take(NEAR);
            if let Some((at, _)) = near.into_iter().find(|(_, write)| puts_it(write)) {
                new.preconditions.insert(index);
                new.writes.insert(at);
                writes = ahead;
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_rows_are_found_in_the_order_of_their_writes() {
        let mut batch = Batch::new();
        batch.require_equals(*b"a", *b"1").put(*b"a", *b"2");
        batch.require_absent(*b"b").put(*b"b", *b"1");
        batch.put(*b"x", *b"1");
        batch.require_absent(*b"c").put(*b"c", *b"1");
        let new = NewRows::of(&batch);
        assert_eq!(new.preconditions, HashSet::from([1, 2]));
        assert_eq!(new.writes, HashSet::from([1, 3]));
        batch.delete(*b"c");
        assert!(NewRows::of(&batch).writes.is_empty());
    }
}
