//! Metadata that comes back from a backup: what was there is there, and numbers that were given since are not
//! given again.

use std::sync::Arc;

use lfsfs_meta_store::{BackupHead, BackupReader, BackupWriter, Engine, MemoryStore};
use lfsfs_metadata::{
    ExactVersion, Metadata, NodeFigures, Project, RestoreError, back_up_store, restore_backup,
    verify_backup,
};
use lfsfs_types::{ClusterId, DirId, NodeId, Timestamp, VersionId, VersionNumber};

use crate::support::{
    assert_clean, clock, commit, commit_as, directory, file, made, name, new_project, open, put,
    store_contents,
};
use crate::tree::Tree;

const BEFORE: NodeId = NodeId([1; 16]);
const LATER: NodeId = NodeId([2; 16]);
/// When the clock of these tests stands.
const BACKUP: i64 = 1_700_000_000;

fn at(secs: i64) -> Timestamp {
    Timestamp { secs, nanos: 0 }
}

fn backup_of(metadata: &Metadata) -> Vec<u8> {
    let mut bytes = Vec::new();
    metadata.back_up(&mut bytes, "test", &mut |_| ()).unwrap();
    bytes
}

fn restored(bytes: &[u8], secs: i64) -> (Arc<MemoryStore>, Metadata) {
    let store = Arc::new(MemoryStore::new());
    restore_backup(bytes, store.as_ref(), at(secs), &mut |_| ()).unwrap();
    let metadata = open(store.clone());
    (store, metadata)
}

fn register(metadata: &Metadata, node: NodeId) -> u64 {
    let node = metadata.upsert_node(node, "host:1", NodeFigures::default());
    node.unwrap().generation
}

#[test]
fn generations_that_were_given_after_the_backup_are_not_given_again() {
    let store = Arc::new(MemoryStore::new());
    let old = open(store.clone());
    register(&old, BEFORE);
    let backup = backup_of(&old);
    let given: Vec<_> = (0..50).map(|_| register(&old, BEFORE)).collect();
    let given_later = register(&old, LATER);
    let (_, new) = restored(&backup, BACKUP + 100);
    let known = new.node(BEFORE).unwrap().unwrap().generation;
    assert!(known > given[49], "the old process is fenced at once");
    let first = register(&new, BEFORE);
    assert!(first > known);
    assert!(register(&new, LATER) > given_later + 1_000_000);
    // The same backup once more: what the first restored coordinator gave is not given again either.
    let (_, again) = restored(&backup, BACKUP + 200);
    assert!(register(&again, BEFORE) > first);
    assert!(again.node(LATER).unwrap().is_none());
    // Nor by a coordinator that was restored from a backup of a restored one.
    let (_, third) = restored(&backup_of(&again), BACKUP + 300);
    assert!(register(&third, BEFORE) > register(&again, BEFORE));
}

#[test]
fn a_restore_is_told_until_a_coordinator_has_seen_it() {
    let store = Arc::new(MemoryStore::new());
    let old = open(store.clone());
    assert_eq!(old.restored_from().unwrap(), None);
    let backup = backup_of(&old);
    let (store, new) = restored(&backup, BACKUP + 100);
    let from = new.restored_from().unwrap().unwrap();
    assert_eq!((from.backup, from.restored), (at(BACKUP), at(BACKUP + 100)));
    assert!(from.is_new);
    new.note_restore_seen().unwrap();
    let from = open(store).restored_from().unwrap().unwrap();
    assert!(!from.is_new);
    // A clock that was set back does not lead to times, and numbers, of before.
    let (_, early) = restored(&backup, 5);
    let from = early.restored_from().unwrap().unwrap();
    assert_eq!(from.restored, at(BACKUP));
}

/// Makes a directory in a new version, and returns its id.
fn make_directory(metadata: &Metadata, project: &Project, text: &str) -> DirId {
    let changes = vec![put(DirId::ROOT, text, directory(made(0)))];
    let record = commit(metadata, project, changes);
    let tree = Tree::read(metadata, project, record.number, 100);
    tree.dirs[&DirId::ROOT][&name(text)].dir().unwrap()
}

#[test]
fn what_was_there_is_there_and_later_versions_are_gone_by_their_ids() {
    let old = open(Arc::new(MemoryStore::new()));
    store_contents(&old);
    let project = new_project(&old);
    make_directory(&old, &project, "dir");
    let before = Tree::read(&old, &project, VersionNumber(1), 100);
    let backup = backup_of(&old);
    commit(&old, &project, vec![put(DirId::ROOT, "file", file(1))]);
    let gone = old.version(project.id, VersionNumber(2)).unwrap();

    let (_, new) = restored(&backup, BACKUP + 100);
    assert_clean(&new);
    assert_eq!(new.cluster_id(), old.cluster_id());
    assert!(Tree::read(&new, &project, VersionNumber(1), 100) == before);
    let exact = |number, id| {
        let number = VersionNumber(number);
        new.expect_exact(project.id, ExactVersion { number, id })
    };
    let first = new.version(project.id, VersionNumber(1)).unwrap();
    exact(1, first.id).unwrap();
    assert!(exact(2, gone.id).unwrap_err().is_not_found());
    // Another version gets the number.
    let changes = vec![put(DirId::ROOT, "other", file(2))];
    commit_as(&new, &project, [99; 16], changes).unwrap();
    exact(2, VersionId([99; 16])).unwrap();
    let error = exact(2, gone.id).unwrap_err();
    assert!(error.is_not_found());
    let text = error.to_string();
    assert!(
        text.contains("version v2 of app is not on the server"),
        "{text}"
    );
    assert_clean(&new);
}

#[test]
fn ids_that_were_given_after_the_backup_are_not_given_again() {
    let old = open(Arc::new(MemoryStore::new()));
    let project = new_project(&old);
    let backup = backup_of(&old);
    let given = make_directory(&old, &project, "dir");
    let (_, new) = restored(&backup, BACKUP);
    let first = make_directory(&new, &project, "dir");
    assert!(first.0 > given.0 + (1 << 32), "{first:?} after {given:?}");
    let (_, again) = restored(&backup, BACKUP + 1);
    assert!(make_directory(&again, &project, "dir").0 > first.0 + 1000);
    assert_clean(&again);
}

#[test]
fn what_is_no_metadata_is_refused() {
    let refused = |bytes: &[u8]| {
        let error = verify_backup(bytes, &mut |_| ()).unwrap_err();
        let store = MemoryStore::new();
        let same = restore_backup(bytes, &store, at(0), &mut |_| ()).unwrap_err();
        assert_eq!(error.to_string(), same.to_string());
        error
    };
    let store = MemoryStore::new();
    let mut bytes = Vec::new();
    let made = back_up_store(&store, at(0), &mut bytes, "test", &mut |_| ());
    assert!(matches!(made, Err(RestoreError::NoCluster)));
    assert!(bytes.is_empty());
    let metadata = open(Arc::new(MemoryStore::new()));
    new_project(&metadata);
    let whole = backup_of(&metadata);
    verify_backup(&*whole, &mut |_| ()).unwrap();
    assert!(matches!(
        refused(&whole[..whole.len() - 1]),
        RestoreError::Backup(_)
    ));
    let mut other = Vec::new();
    let head = BackupHead {
        cluster: ClusterId([9; 16]),
        time: at(0),
        program: String::new(),
    };
    let writer = BackupWriter::new(&mut other, &head).unwrap();
    writer.finish().unwrap();
    assert!(matches!(refused(&other), RestoreError::NoCluster));
    let mut mixed = Vec::new();
    let mut writer = BackupWriter::new(&mut mixed, &head).unwrap();
    let reader = BackupReader::open(&*whole);
    let mut reader = reader.unwrap();
    while let Some(rows) = reader.next_rows().unwrap() {
        for (key, value) in rows {
            writer.row(&key, &value).unwrap();
        }
    }
    writer.finish().unwrap();
    assert!(matches!(refused(&mixed), RestoreError::OtherCluster { .. }));
}

#[test]
fn a_store_that_cannot_show_a_moment_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Engine::Sled.open(dir.path()).unwrap();
    let metadata = Metadata::open(store.clone(), clock()).unwrap();
    let error = metadata
        .back_up(Vec::new(), "test", &mut |_| ())
        .unwrap_err();
    assert!(
        error.to_string().contains("sled cannot be backed up while"),
        "{error}"
    );
    drop(metadata);
    let mut bytes = Vec::new();
    let made = back_up_store(store.as_ref(), at(1), &mut bytes, "test", &mut |_| ());
    let (head, summary) = made.unwrap();
    assert_eq!(
        verify_backup(&*bytes, &mut |_| ()).unwrap(),
        (head, summary)
    );
    assert!(store.batch_ops_max() > 0 && summary.rows > 0);
}
