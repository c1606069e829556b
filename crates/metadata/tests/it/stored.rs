//! The bytes that projects count as stored: each chunk counts once, for one project, or for none.

use std::sync::Arc;

use lfsfs_meta_store::{Batch, KeyRange, MemoryStore, MetaStore, MetaStoreExt as _};
use lfsfs_metadata::{ChunkReceipt, Deletion, Metadata, NodeFigures, Project, ProjectSettings};
use lfsfs_types::{DirId, NodeId, ProjectName};

use crate::crash::Double;
use crate::support::{
    NODE, assert_clean, commit, content, file, in_memory, new_project, open, put, receipt,
    store_contents, stored_for,
};

const OTHER_NODE: NodeId = NodeId([8; 16]);

fn second_project(metadata: &Metadata) -> Project {
    let name = ProjectName::new("second").unwrap();
    metadata
        .new_project(&name, ProjectSettings::default())
        .unwrap()
}

/// The receipt of a chunk of 1,000 bytes.
fn chunk(number: u8) -> ChunkReceipt {
    receipt(number, [content(number)])
}

fn stored(metadata: &Metadata, project: &Project) -> u64 {
    metadata.stored_bytes(project.id).unwrap()
}

#[test]
fn a_chunk_counts_once_for_the_project_that_stored_it_first() {
    let metadata = in_memory();
    let (first, second) = (new_project(&metadata), second_project(&metadata));
    let record = |project: &Project, receipt: &ChunkReceipt| {
        let recorded = metadata.record_chunk_for(stored_for(project.id), receipt);
        recorded.unwrap();
    };
    record(&first, &chunk(50));
    record(&first, &chunk(50));
    record(&second, &chunk(50));
    metadata
        .upsert_node(OTHER_NODE, "127.0.0.1:2", NodeFigures::default())
        .unwrap();
    let replica = ChunkReceipt {
        node: OTHER_NODE,
        ..chunk(50)
    };
    record(&second, &replica);
    assert_eq!(stored(&metadata, &first), 1000);
    assert_eq!(stored(&metadata, &second), 0);
    record(&second, &chunk(51));
    record(&second, &chunk(52));
    metadata.record_chunk(&chunk(53)).unwrap();
    assert_eq!(stored(&metadata, &second), 2000);
    assert_clean(&metadata);
}

#[test]
fn a_chunk_that_was_lost_and_comes_again_was_counted() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let lost = chunk(50);
    metadata
        .record_chunk_for(stored_for(project.id), &lost)
        .and_then(|_| metadata.forget_replicas(NODE, &[lost.info.id]).map(drop))
        .and_then(|_| metadata.record_chunk_for(stored_for(project.id), &lost))
        .unwrap();
    assert_eq!(stored(&metadata, &project), 1000);
    assert_clean(&metadata);
}

#[test]
fn projects_are_listed_with_what_they_have() {
    let metadata = in_memory();
    let (app, second) = (new_project(&metadata), second_project(&metadata));
    for number in 1..=2 {
        let name = format!("f{number}");
        commit(&metadata, &app, vec![put(DirId::ROOT, &name, file(number))]);
    }
    metadata
        .record_chunk_for(stored_for(second.id), &chunk(50))
        .unwrap();
    let page = metadata.count_projects(None, 1).unwrap();
    assert!(page.more);
    let [counted] = &page.items[..] else {
        panic!("{page:?}");
    };
    assert_eq!(counted.project.name, app.name);
    let head = counted.project.head.number.0;
    assert_eq!((head, counted.counts.bytes, counted.stored), (2, 20, 0));
    let page = metadata.count_projects(Some(&app.name), 9).unwrap();
    let [counted] = &page.items[..] else {
        panic!("{page:?}");
    };
    assert_eq!(counted.project.name, second.name);
    assert_eq!((counted.counts.objects, counted.stored), (0, 1000));
    assert!(!page.more);
}

#[test]
fn a_deleted_project_counts_nothing_and_leaves_no_row() {
    let store = Arc::new(MemoryStore::new());
    let metadata = open(store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    metadata
        .record_chunk_for(stored_for(project.id), &chunk(50))
        .unwrap();
    metadata
        .delete_project(&project.name, Deletion::AtOnce)
        .unwrap();
    metadata
        .record_chunk_for(stored_for(project.id), &chunk(51))
        .unwrap();
    let rows = store.scan(KeyRange::prefix(&[24]), 9).unwrap().rows;
    assert_eq!(rows, []);
    assert_clean(&metadata);
}

#[test]
fn a_crash_leaves_the_chunk_and_its_bytes_or_neither() {
    let store = Arc::new(Double::new(true));
    let metadata = open(store.clone() as Arc<dyn MetaStore>);
    store_contents(&metadata);
    let project = new_project(&metadata);
    for number in 50..53 {
        let recorded = metadata.record_chunk_for(stored_for(project.id), &chunk(number));
        recorded.unwrap();
    }
    let mut seen = Vec::new();
    for kept in 0.. {
        let after = open(Arc::new(store.after_crash(kept, None)));
        let chunks = after.chunk_holders(None, 99).unwrap().items;
        let counted = chunks.iter().filter(|chunk| chunk.chunk.0[0] >= 50);
        let counted = counted.count() as u64;
        assert_eq!(stored(&after, &project), counted * 1000);
        assert_clean(&after);
        seen.push(counted);
        // The datanode sends the receipts again; each chunk counts once.
        for number in 50..53 {
            after
                .record_chunk_for(stored_for(project.id), &chunk(number))
                .unwrap();
        }
        assert_eq!(stored(&after, &project), 3000);
        if counted == 3 {
            break;
        }
    }
    assert_eq!(seen.first(), Some(&0));
}

#[test]
fn many_threads_lose_no_byte() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (metadata, project) = (&metadata, project.id);
            scope.spawn(move || {
                for number in 0..40 {
                    let recorded = metadata
                        .record_chunk_for(stored_for(project), &chunk(50 + thread * 40 + number));
                    recorded.unwrap();
                }
            });
        }
    });
    assert_eq!(stored(&metadata, &project), 160_000);
    assert_clean(&metadata);
}

/// docs/formats.md "Metadata keys", table 24.
#[test]
fn the_row_has_its_format_and_a_wrong_one_is_found() {
    let store = Arc::new(MemoryStore::new());
    let metadata = open(store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    metadata
        .record_chunk_for(stored_for(project.id), &chunk(50))
        .unwrap();
    let key = [&[24], project.id.as_bytes().as_slice()].concat();
    let value = store.get(&key).unwrap();
    assert_eq!(value.as_deref(), Some(&[1, 0xe8, 0x07][..]));
    let gone = [&[24], [7; 16].as_slice()].concat();
    let wrong = [
        (&key, vec![1], "row of stored bytes"),
        (&key, vec![2, 0], "row of stored bytes"),
        (&key, vec![1, 0xd1, 0x0f], "than all chunks have"),
        (&gone, vec![1, 0], "is gone"),
    ];
    for (key, value, expected) in wrong {
        let before = store.get(key).unwrap();
        write(&store, key, Some(value));
        let mut found = Vec::new();
        metadata.check(&mut |it| found.push(it.what)).unwrap();
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        write(&store, key, before);
    }
    assert_clean(&metadata);
}

fn write(store: &MemoryStore, key: &[u8], value: Option<Vec<u8>>) {
    let mut batch = Batch::new();
    match value {
        Some(value) => batch.put(key, value),
        None => batch.delete(key),
    };
    store.write(batch).unwrap();
}
