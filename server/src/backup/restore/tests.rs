//! Restores into new places, over what is there, and after one that was interrupted.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use lfsfs_common::clock::SystemClock;
use lfsfs_meta_store::{KeyRange, MetaStore, MetaStoreExt as _, OpenOptions, Row};
use lfsfs_metadata::{Metadata, NodeFigures, ProjectSettings};
use lfsfs_types::{NodeId, ProjectName};

use super::*;
use crate::backup::{Origin, Replace, back_up};

const NODE: NodeId = NodeId([3; 16]);

fn private_dir() -> tempfile::TempDir {
    let mode = fs::Permissions::from_mode(0o700);
    let made = tempfile::Builder::new().permissions(mode).tempdir();
    made.unwrap()
}

fn metadata_at(place: &MetaPlace) -> Metadata {
    let store = place.open(OpenOptions::default()).unwrap();
    Metadata::open(store, Arc::new(SystemClock)).unwrap()
}

fn rows_at(place: &MetaPlace) -> Vec<Row> {
    let store: Arc<dyn MetaStore> = place.open(OpenOptions::default()).unwrap();
    store.scan(KeyRange::all(), usize::MAX).unwrap().rows
}

/// Makes the metadata of a stopped server, with a project and a node.
fn stopped(data: &Path, engine: Engine) -> MetaPlace {
    drop(DataDir::open(data).unwrap());
    let dir = data.join("meta");
    let place = MetaPlace { engine, dir };
    let metadata = metadata_at(&place);
    let name = ProjectName::new("app").unwrap();
    metadata
        .new_project(&name, ProjectSettings::default())
        .unwrap();
    metadata
        .upsert_node(NODE, "127.0.0.1:1", NodeFigures::default())
        .unwrap();
    metadata.flush().unwrap();
    place
}

fn backed_up(data: &Path, file: &Path) -> Result<Backup, BackUpError> {
    let origin = Origin::Data {
        data: data.to_owned(),
        meta: None,
    };
    back_up(&origin, file, Replace::Never, &mut |_, _| ())
}

fn restored(file: &Path, data: &Path, meta: Option<MetaPlace>) -> Result<Restored, BackUpError> {
    let data = data.to_owned();
    restore(file, &RestoreTarget { data, meta }, &mut |_, _| ())
}

#[test]
fn a_backup_of_each_engine_is_restored_to_each() {
    for (from, to) in [(Engine::Redb, Engine::Sled), (Engine::Sled, Engine::Redb)] {
        let dir = private_dir();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let source = stopped(&old, from);
        let file = dir.path().join("backup");
        let made = backed_up(&old, &file).unwrap();
        assert_eq!(check(&file).unwrap(), made);
        let target = MetaPlace {
            engine: to,
            dir: dir.path().join("elsewhere"),
        };
        let restored = restored(&file, &new, Some(target.clone())).unwrap();
        assert_eq!((restored.backup, &restored.place), (made, &target));
        let keys = |rows: Vec<Row>| -> Vec<_> { rows.into_iter().map(|(key, _)| key).collect() };
        let mut expected = keys(rows_at(&source));
        // The row that notes the restore.
        expected.push(vec![27]);
        assert_eq!(keys(rows_at(&target)), expected);
        let (before, after) = (metadata_at(&source), metadata_at(&target));
        assert_eq!(before.cluster_id(), after.cluster_id());
        let generation = |metadata: &Metadata| metadata.node(NODE).unwrap().unwrap().generation;
        assert!(generation(&after) > generation(&before) + 1_000_000);
    }
}

#[test]
fn nothing_is_replaced() {
    let dir = private_dir();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let source = stopped(&old, Engine::Redb);
    let rows = rows_at(&source);
    let file = dir.path().join("backup");
    backed_up(&old, &file).unwrap();
    let again = backed_up(&old, &file).unwrap_err();
    assert!(matches!(again, BackUpError::Exists { .. }), "{again}");
    let occupied = |data: &Path, meta| {
        let error = restored(&file, data, meta).unwrap_err();
        assert!(matches!(error, BackUpError::Occupied { .. }), "{error}");
    };
    occupied(&old, None);
    // The data directory has metadata, and another place is named.
    let dir_elsewhere = dir.path().join("elsewhere");
    let elsewhere = MetaPlace {
        engine: Engine::Redb,
        dir: dir_elsewhere.clone(),
    };
    occupied(&old, Some(elsewhere.clone()));
    fs::create_dir(&dir_elsewhere).unwrap();
    fs::write(dir_elsewhere.join("letter"), b"of a user").unwrap();
    occupied(&new, Some(elsewhere));
    assert_eq!(
        fs::read(dir_elsewhere.join("letter")).unwrap(),
        b"of a user"
    );
    assert_eq!(rows_at(&source), rows);
}

#[test]
fn a_backup_that_is_not_whole_makes_nothing() {
    let dir = private_dir();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    stopped(&old, Engine::Redb);
    let file = dir.path().join("backup");
    backed_up(&old, &file).unwrap();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for wrong in [&whole[..whole.len() - 1], &flipped, b"a letter", b""] {
        fs::write(&file, wrong).unwrap();
        let error = restored(&file, &new, None).unwrap_err();
        assert!(matches!(error, BackUpError::File { .. }), "{error}");
        assert!(check(&file).is_err());
        assert!(!new.exists());
    }
}

#[test]
fn half_a_restore_is_not_served_and_begins_again() {
    let dir = private_dir();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    stopped(&old, Engine::Redb);
    let file = dir.path().join("backup");
    backed_up(&old, &file).unwrap();
    // What a restore leaves that died: its mark, and a store with some rows.
    let half = stopped(&new, Engine::Sled);
    fs::write(half.dir.join(RESTORING_FILE), "").unwrap();
    let error = half.open(OpenOptions::default()).unwrap_err();
    assert!(
        matches!(error, ServerError::UnfinishedRestore { .. }),
        "{error}"
    );
    let restored = restored(&file, &new, None).unwrap();
    assert_eq!(restored.place.engine, Engine::Redb);
    let metadata = metadata_at(&restored.place);
    assert!(metadata.restored_from().unwrap().unwrap().is_new);
    assert_eq!(metadata.list_projects(None, 9).unwrap().items.len(), 1);
    assert!(!new.join("meta/sled").exists(), "the half store is gone");
}

#[test]
fn a_backup_needs_metadata_that_no_server_has() {
    let dir = private_dir();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let file = dir.path().join("backup");
    let error = backed_up(&old, &file).unwrap_err();
    assert!(error.to_string().contains("holds no data"), "{error}");
    stopped(&old, Engine::Redb);
    let held = DataDir::open(&old).unwrap();
    let error = backed_up(&old, &file).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(held);
    fs::remove_dir_all(old.join("meta")).unwrap();
    fs::create_dir(old.join("chunks")).unwrap();
    let error = backed_up(&old, &file).unwrap_err();
    assert!(error.to_string().contains("no metadata"), "{error}");
    assert!(!file.exists() && !new.exists());
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "temporary files are gone");
}
