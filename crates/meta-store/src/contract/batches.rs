//! Atomic writes, preconditions and their limits.

use super::{fill, row, rows};
use crate::{Applied, Batch, KeyRange, MetaError, MetaStore, MetaStoreExt};

pub(super) fn values_of_any_bytes_and_size(store: &dyn MetaStore) {
    let large: Vec<u8> = (0..=u8::MAX).cycle().take(400_000).collect();
    let all = [
        row(*b"all", (0..=u8::MAX).collect::<Vec<_>>()),
        row(*b"empty", []),
        row(*b"large", large),
    ];
    fill(store, &all);
    assert_eq!(rows(store, KeyRange::all()), all);
    assert_eq!(store.get(b"empty").expect("get"), Some(Vec::new()));
}

pub(super) fn preconditions_decide_over_all_writes(store: &dyn MetaStore) {
    fill(store, &[row(*b"here", *b"1"), row(*b"other", *b"2")]);
    let try_batch = |prepare: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        prepare(&mut batch);
        batch.put(*b"new", *b"3").delete(*b"other");
        store.apply(batch).expect("apply")
    };
    let before = rows(store, KeyRange::all());
    let failing: [&dyn Fn(&mut Batch); 5] = [
        &|batch| _ = batch.require_equals(*b"here", *b"2"),
        &|batch| _ = batch.require_equals(*b"absent", *b""),
        &|batch| _ = batch.require_absent(*b"here"),
        &|batch| _ = batch.require_present(*b"absent"),
        &|batch| _ = batch.require_present(*b"new"),
    ];
    for prepare in failing {
        assert_eq!(try_batch(prepare), Applied::Conflict { index: 0 });
        assert_eq!(
            rows(store, KeyRange::all()),
            before,
            "a conflict changes nothing"
        );
    }
    let done = try_batch(&|batch| {
        batch
            .require_equals(*b"here", *b"1")
            .require_absent(*b"new")
            .require_present(*b"other");
    });
    assert!(done.is_done());
    assert_eq!(
        rows(store, KeyRange::all()),
        [row(*b"here", *b"1"), row(*b"new", *b"3")]
    );
}

pub(super) fn preconditions_are_of_the_moment_before(store: &dyn MetaStore) {
    fill(store, &[row(*b"a", *b"1")]);
    let mut batch = Batch::new();
    batch.require_absent(*b"a").delete(*b"a").put(*b"a", *b"2");
    let applied = store.apply(batch).expect("apply");
    assert_eq!(applied, Applied::Conflict { index: 0 });
    let mut batch = Batch::new();
    batch
        .require_absent(*b"b")
        .put(*b"b", *b"1")
        .put(*b"b", *b"2");
    assert!(store.apply(batch).expect("apply").is_done(), "it is absent");
    let mut batch = Batch::new();
    batch.require_absent(*b"c").require_absent(*b"b");
    batch.put(*b"c", *b"1").put(*b"b", *b"3");
    let applied = store.apply(batch).expect("apply");
    assert_eq!(applied, Applied::Conflict { index: 1 });
    let found = rows(store, KeyRange::all());
    assert_eq!(found, [row(*b"a", *b"1"), row(*b"b", *b"2")]);
}

pub(super) fn conflict_names_the_first_failure(store: &dyn MetaStore) {
    fill(store, &[row(*b"a", *b"1")]);
    let mut batch = Batch::new();
    batch.require_present(*b"a").require_equals(*b"a", *b"1");
    batch.require_absent(*b"a").require_present(*b"b");
    assert_eq!(
        store.apply(batch).expect("apply"),
        Applied::Conflict { index: 2 }
    );
    let mut only_asks = Batch::new();
    only_asks.require_present(*b"a");
    assert!(store.apply(only_asks).expect("apply").is_done());
    assert!(store.apply(Batch::new()).expect("apply nothing").is_done());
}

pub(super) fn last_write_to_a_key_counts(store: &dyn MetaStore) {
    let mut batch = Batch::new();
    batch.put(*b"a", *b"1").delete(*b"a").put(*b"a", *b"2");
    batch
        .put(*b"b", *b"1")
        .delete(*b"b")
        .delete(*b"never there");
    store.write(batch).expect("write");
    assert_eq!(rows(store, KeyRange::all()), [row(*b"a", *b"2")]);
}

pub(super) fn limits_are_typed_errors(store: &dyn MetaStore) {
    let max = store.batch_ops_max();
    let numbered = |count: usize| {
        let mut batch = Batch::new();
        for number in 0..count {
            batch
                .require_absent(number.to_be_bytes())
                .put(number.to_be_bytes(), *b"x");
        }
        batch
    };
    let refused = store
        .apply(numbered(max + 1))
        .expect_err("a batch above the limit");
    assert!(matches!(refused, MetaError::TooLarge { .. }), "{refused}");
    assert!(!refused.is_retryable());
    let mut empty_key = Batch::new();
    empty_key.put(*b"a", *b"1").put([], *b"1");
    assert!(matches!(store.apply(empty_key), Err(MetaError::EmptyKey)));
    assert_eq!(
        rows(store, KeyRange::all()),
        [],
        "what was refused changed nothing"
    );
    assert!(
        store
            .apply(numbered(max))
            .expect("a batch at the limit")
            .is_done()
    );
    assert_eq!(rows(store, KeyRange::all()).len(), max);
}

pub(super) fn ranges_are_deleted_in_batches(store: &dyn MetaStore) {
    let many = store.batch_ops_max() * 2 + 1;
    let all: Vec<_> = (0..many)
        .map(|number| row([b"k", &number.to_be_bytes()[..]].concat(), []))
        .collect();
    fill(store, &all);
    fill(store, &[row(*b"j", []), row(*b"l", [])]);
    let removed = store.delete_range(KeyRange::prefix(b"k")).expect("delete");
    assert_eq!(removed, many as u64);
    assert_eq!(
        rows(store, KeyRange::all()),
        [row(*b"j", []), row(*b"l", [])]
    );
}
