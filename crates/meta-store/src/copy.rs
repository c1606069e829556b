//! Copies all rows of a store into another one: the way from one engine to another.

use crate::{Batch, KeyRange, MetaError, MetaStore, MetaStoreExt, Read, Row};

/// Why rows were not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] MetaError),
    /// The target does not have the rows of the source: one of them was written meanwhile.
    #[error("the copy differs from the original at key {}", key.escape_ascii())]
    Different {
        /// The first key that differs.
        key: Vec<u8>,
    },
}

/// Copies the rows of `from` to `to`, makes them durable, and compares all of them. Returns how many there
/// are.
///
/// Goes on behind the last row that `to` has: an earlier call may have been interrupted. `progress` is
/// called with the number of rows copied so far, and again with those compared.
pub fn copy(
    from: &dyn MetaStore,
    to: &dyn MetaStore,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, CopyError> {
    let page = to.batch_ops_max().min(from.batch_ops_max());
    let mut range = match last_key(to)? {
        Some(key) => KeyRange::all().beyond(&key, false),
        None => KeyRange::all(),
    };
    let mut count = 0;
    loop {
        let found = from.scan(range.clone(), page)?;
        let Some((last, _)) = found.rows.last() else {
            break;
        };
        range = range.beyond(last, false);
        count += found.rows.len() as u64;
        let mut batch = Batch::new();
        for (key, value) in found.rows {
            batch.put(key, value);
        }
        to.write(batch)?;
        progress(count);
        if !found.more {
            break;
        }
    }
    to.flush()?;
    compare(from, to, page, progress)
}

fn last_key(store: &dyn MetaStore) -> Result<Option<Vec<u8>>, MetaError> {
    let found = store.read(&[Read::scan_reverse(KeyRange::all(), 1)])?;
    let row = found.into_iter().next().and_then(|rows| rows.into_first());
    Ok(row.map(|(key, _)| key))
}

fn compare(
    from: &dyn MetaStore,
    to: &dyn MetaStore,
    page: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, CopyError> {
    let mut range = KeyRange::all();
    let mut count = 0;
    loop {
        let left = from.scan(range.clone(), page)?;
        let right = to.scan(range.clone(), page)?;
        if let Some(key) = first_difference(&left.rows, &right.rows) {
            return Err(CopyError::Different { key });
        }
        let Some((last, _)) = left.rows.last() else {
            return Ok(count);
        };
        range = range.beyond(last, false);
        count += left.rows.len() as u64;
        progress(count);
    }
}

fn first_difference(left: &[Row], right: &[Row]) -> Option<Vec<u8>> {
    let differs = left.iter().zip(right).find(|(left, right)| left != right);
    let differs = differs.map(|(left, _)| left);
    let behind = || left.get(right.len()).or_else(|| right.get(left.len()));
    differs.or_else(behind).map(|(key, _)| key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    fn filled(count: u32) -> MemoryStore {
        let store = MemoryStore::new();
        for number in 0..count {
            let mut batch = Batch::new();
            batch.put(number.to_be_bytes(), vec![7; number as usize % 50]);
            store.write(batch).unwrap();
        }
        store
    }

    #[test]
    fn a_copy_has_all_rows_and_goes_on_where_one_ended() {
        let (from, to) = (filled(2500), MemoryStore::new());
        let mut batch = Batch::new();
        for number in 0..700u32 {
            batch.put(number.to_be_bytes(), vec![7; number as usize % 50]);
        }
        to.write(batch).unwrap();
        let mut told = Vec::new();
        assert_eq!(
            copy(&from, &to, &mut |count| told.push(count)).unwrap(),
            2500
        );
        assert!(
            told.contains(&1800) && told.last() == Some(&2500),
            "{told:?}"
        );
        let rows = |store: &MemoryStore| store.scan(KeyRange::all(), 9999).unwrap().rows;
        assert_eq!(rows(&from), rows(&to));
    }

    #[test]
    fn rows_that_differ_are_named() {
        let (from, to) = (filled(10), filled(10));
        let mut batch = Batch::new();
        batch.put(5u32.to_be_bytes(), *b"other");
        to.write(batch).unwrap();
        let error = copy(&from, &to, &mut |_| ()).unwrap_err();
        assert!(matches!(&error, CopyError::Different { key } if *key == 5u32.to_be_bytes()));
        let to = filled(11);
        let error = copy(&from, &to, &mut |_| ()).unwrap_err();
        assert!(matches!(&error, CopyError::Different { key } if *key == 10u32.to_be_bytes()));
    }
}
