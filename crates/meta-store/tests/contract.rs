//! The contract suite against every engine, and what an engine promises over closing and opening.

use lfsfs_meta_store::{
    Batch, KeyRange, MemoryStore, MetaError, MetaStore, MetaStoreExt, SledStore, contract,
};

#[test]
fn memory_keeps_the_contract() {
    contract::run_all(&|| Box::new(MemoryStore::new()));
}

#[test]
fn sled_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    contract::run_all(&|| {
        number.set(number.get() + 1);
        Box::new(SledStore::open(&dir.path().join(number.get().to_string())).unwrap())
    });
}

fn numbered(count: u64) -> Batch {
    let mut batch = Batch::new();
    for number in 0..count {
        batch.put(number.to_be_bytes(), *b"value");
    }
    batch
}

#[test]
fn sled_opens_again_with_all_rows() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("new/store");
    for round in 0..4 {
        let store = SledStore::open(&place).unwrap();
        let found = store.scan(KeyRange::all(), usize::MAX).unwrap();
        assert_eq!(found.rows.len(), if round == 0 { 0 } else { 700 + round });
        store.write(numbered(700 + round as u64 + 1)).unwrap();
        store.flush().unwrap();
    }
}

#[test]
fn sled_is_locked_while_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    let second = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(second, MetaError::Locked { .. }), "{second}");
    assert!(second.is_retryable());
    store.write(numbered(1)).unwrap();
    drop(store);
    assert_eq!(
        SledStore::open(dir.path())
            .unwrap()
            .get(&[0; 8])
            .unwrap()
            .unwrap(),
        b"value"
    );
}

#[test]
fn another_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("format"), "lfsfs-meta-store sled 2\n").unwrap();
    let refused = SledStore::open(dir.path()).unwrap_err();
    let expected = "lfsfs-meta-store sled 2, expected lfsfs-meta-store sled 1";
    assert!(matches!(refused, MetaError::Format { .. }));
    assert!(refused.to_string().contains(expected), "{refused}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
