//! The contract suite: what every engine must do, checked through the seam alone.
//!
//! An engine's tests call [`run_all`] with a function that opens a new, empty store; what an engine
//! promises beyond the seam, such as surviving a crash, is tested beside it. A broken promise is a
//! panic that names it.

mod batches;
mod concurrency;
mod reads;
mod snapshots;

use crate::{Batch, KeyRange, MetaStore, MetaStoreExt, Row};

/// Opens a new, empty store of the engine under test.
pub type NewStore<'a> = &'a dyn Fn() -> Box<dyn MetaStore>;

/// Runs all checks, each on a store of its own.
///
/// # Panics
///
/// If the engine breaks the contract.
pub fn run_all(new_store: NewStore<'_>) {
    let checks: [fn(&dyn MetaStore); 20] = [
        reads::absent_keys_are_none,
        reads::rows_come_in_byte_order,
        reads::ranges_have_exact_ends,
        reads::limits_and_more,
        reads::reverse_scans_start_at_the_end,
        reads::one_read_answers_each_part,
        reads::reads_end_with_their_bytes,
        reads::pages_cover_a_range_of_any_size,
        batches::values_of_any_bytes_and_size,
        batches::preconditions_decide_over_all_writes,
        batches::preconditions_are_of_the_moment_before,
        batches::conflict_names_the_first_failure,
        batches::last_write_to_a_key_counts,
        batches::limits_are_typed_errors,
        batches::ranges_are_deleted_in_batches,
        concurrency::increments_are_never_lost,
        concurrency::reads_see_whole_batches,
        snapshots::a_snapshot_stays_as_it_is,
        snapshots::pages_of_a_snapshot_cover_it,
        snapshots::snapshots_see_whole_batches,
    ];
    for check in checks {
        let store = new_store();
        check(store.as_ref());
        store.flush().expect("flush after a check");
    }
    constants_are_sane(new_store);
}

fn constants_are_sane(new_store: NewStore<'_>) {
    let (left, right) = (new_store(), new_store());
    assert_eq!(left.name(), right.name(), "an engine has one name");
    assert!(
        left.batch_ops_max() >= 128,
        "callers count on batches of 128 operations"
    );
}

/// Writes rows, in as many batches as it takes.
fn fill(store: &dyn MetaStore, rows: &[Row]) {
    for part in rows.chunks(store.batch_ops_max()) {
        let mut batch = Batch::new();
        for (key, value) in part {
            batch.put(key.as_slice(), value.as_slice());
        }
        store.write(batch).expect("write rows");
    }
}

/// Returns all rows of a range.
fn rows(store: &dyn MetaStore, range: KeyRange) -> Vec<Row> {
    store.scan(range, usize::MAX).expect("scan").rows
}

/// Returns a row with this key.
fn row(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Row {
    (key.into(), value.into())
}
