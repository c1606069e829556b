//! The contract suite against every engine, and what an engine promises over closing and opening.

use lfsfs_meta_store::{
    Batch, Engine, KeyRange, MemoryStore, MetaError, MetaStoreExt, RedbStore, SledStore, contract,
};

#[test]
fn memory_keeps_the_contract() {
    contract::run_all(&|| Box::new(MemoryStore::new()));
}

fn keeps_the_contract(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    contract::run_all(&|| {
        number.set(number.get() + 1);
        let dir = dir.path().join(number.get().to_string());
        match engine {
            Engine::Redb => Box::new(RedbStore::open(&dir).unwrap()),
            Engine::Sled => Box::new(SledStore::open(&dir).unwrap()),
        }
    });
}

#[test]
fn redb_keeps_the_contract() {
    keeps_the_contract(Engine::Redb);
}

#[test]
fn sled_keeps_the_contract() {
    keeps_the_contract(Engine::Sled);
}

fn numbered(count: u64) -> Batch {
    let mut batch = Batch::new();
    for number in 0..count {
        batch.put(number.to_be_bytes(), *b"value");
    }
    batch
}

#[test]
fn a_store_opens_again_with_all_rows() {
    for engine in Engine::ALL {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("new/store");
        for round in 0..4 {
            let store = engine.open(&place).unwrap();
            let found = store.scan(KeyRange::all(), usize::MAX).unwrap();
            assert_eq!(found.rows.len(), if round == 0 { 0 } else { 700 + round });
            store.write(numbered(700 + round as u64 + 1)).unwrap();
            store.flush().unwrap();
        }
    }
}

#[test]
fn a_store_is_locked_while_open() {
    for engine in Engine::ALL {
        let dir = tempfile::tempdir().unwrap();
        let store = engine.open(dir.path()).unwrap();
        let second = engine.open(dir.path()).unwrap_err();
        assert!(matches!(second, MetaError::Locked { .. }), "{second}");
        assert!(second.is_retryable());
        store.write(numbered(1)).unwrap();
        drop(store);
        let store = engine.open(dir.path()).unwrap();
        assert_eq!(store.get(&[0; 8]).unwrap().unwrap(), b"value");
    }
}

#[test]
fn another_format_is_refused_and_left_alone() {
    for engine in Engine::ALL {
        let dir = tempfile::tempdir().unwrap();
        let name = engine.name();
        let format = format!("lfsfs-meta-store {name} 2\n");
        std::fs::write(dir.path().join("format"), format).unwrap();
        let refused = engine.open(dir.path()).unwrap_err();
        let expected = format!("lfsfs-meta-store {name} 2, expected lfsfs-meta-store {name} 1");
        assert!(matches!(refused, MetaError::Format { .. }));
        assert!(refused.to_string().contains(&expected), "{refused}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn the_store_of_another_engine_is_refused() {
    for (made, opened) in [(Engine::Redb, Engine::Sled), (Engine::Sled, Engine::Redb)] {
        let dir = tempfile::tempdir().unwrap();
        made.open(dir.path()).unwrap().write(numbered(1)).unwrap();
        let refused = opened.open(dir.path()).unwrap_err();
        assert!(matches!(refused, MetaError::Format { .. }), "{refused}");
        let store = made.open(dir.path()).unwrap();
        assert!(store.get(&[0; 8]).unwrap().is_some());
    }
}
