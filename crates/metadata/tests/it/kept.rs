//! Deleted projects that are kept: no call finds them, all comes back, and nothing of them is collected before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::clock::TestClock;
use lfsfs_meta_store::{KeyRange, MemoryStore, MetaStore, MetaStoreExt as _};
use lfsfs_metadata::{
    CollectParams, Deletion, ExactVersion, ExpireParams, Hold, Metadata, MetadataError, Project,
    ProjectSettings, Retention,
};
use lfsfs_types::{
    ChunkId, ContentId, DirId, ProjectId, ProjectName, SessionId, TagName, VersionNumber,
};

use crate::crash::Double;
use crate::support::{
    NODE, assert_clean, begin, clock, commit, content, file, new_project, params, put, receipt,
    staging_of, store_contents, stored_for,
};
use crate::tree::Tree;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

struct Setup {
    store: Arc<dyn MetaStore>,
    clock: Arc<TestClock>,
    metadata: Metadata,
    project: Project,
}

impl Setup {
    fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    fn on(store: Arc<dyn MetaStore>) -> Self {
        let clock = clock();
        let opened = Metadata::open_with(store.clone(), clock.clone(), staging_of(4096));
        let metadata = opened.unwrap();
        metadata.recover().unwrap();
        store_contents(&metadata);
        let project = new_project(&metadata);
        Self {
            store,
            clock,
            metadata,
            project,
        }
    }

    fn delete(&self) {
        let name = &self.project.name;
        self.metadata.delete_project(name, Deletion::Kept).unwrap();
        assert_clean(&self.metadata);
    }

    fn undelete(&self) -> Project {
        let id = self
            .metadata
            .find_deleted(self.project.name.as_str())
            .unwrap();
        let back = self.metadata.undelete_project(id, None).unwrap();
        assert_clean(&self.metadata);
        back
    }

    fn deleted(&self) -> Vec<ProjectId> {
        let page = self.metadata.list_deleted(None, 9).unwrap();
        page.items.iter().map(|it| it.project.id).collect()
    }

    fn commit(&self, name: &str, number: u8) {
        let change = put(DirId::ROOT, name, file(number));
        commit(&self.metadata, &self.project, vec![change]);
    }

    /// Collects contents, and returns those of these that are missing then.
    fn collect(&self, contents: &[ContentId]) -> Vec<ContentId> {
        self.clock.advance(Duration::from_secs(1));
        let params = CollectParams {
            grace_secs: 0,
            uploads_since: None,
            sample_percent: 100.0,
            marks_bytes: 1 << 16,
            dry_run: false,
        };
        self.metadata.collect_contents(&params).unwrap();
        self.metadata.missing(contents).unwrap()
    }

    fn rows_of_project(&self) -> usize {
        let id = self.project.id.as_bytes();
        let rows = self.store.scan_all(KeyRange::all(), 1000);
        let names = |bytes: &[u8]| bytes.windows(id.len()).any(|part| part == id);
        rows.filter(|row| names(&row.as_ref().unwrap().0)).count()
    }
}

fn name(text: &str) -> ProjectName {
    ProjectName::new(text).unwrap()
}

fn is_unknown(error: &MetadataError) -> bool {
    matches!(error, MetadataError::UnknownProjectId { .. })
}

#[test]
fn no_call_finds_a_deleted_project_and_all_of_it_comes_back() {
    let setup = Setup::new();
    let Setup { metadata, .. } = &setup;
    for number in 1..=3 {
        setup.commit("f", number);
    }
    let tag = TagName::new("t").unwrap();
    let id = setup.project.id;
    metadata.set_tag(id, &tag, VersionNumber(1), false).unwrap();
    let ignored = |settings: &mut ProjectSettings| {
        settings.ignore_patterns = vec!["x".to_owned()];
        settings.ignore_times = true;
    };
    metadata.set_project(&setup.project.name, ignored).unwrap();
    let chunk = receipt(50, [content(50)]);
    metadata.record_chunk_for(stored_for(id), &chunk).unwrap();
    let before = metadata.project_by_id(id).unwrap();
    let stored = metadata.stored_bytes(id).unwrap();
    let trees = |metadata: &Metadata| {
        [1, 2, 3].map(|version| Tree::read(metadata, &setup.project, VersionNumber(version), 9))
    };
    let trees_before = trees(metadata);
    let open = begin(metadata, params(metadata, &setup.project, [5; 16]));
    let mut waits = begin(metadata, params(metadata, &setup.project, [6; 16]));
    waits
        .stage(vec![put(DirId::ROOT, "waits", file(4))])
        .unwrap();

    setup.delete();
    assert!(metadata.project(&setup.project.name).is_err());
    assert!(is_unknown(&open.publish().unwrap_err()));
    let first = VersionNumber(1);
    assert!(is_unknown(&metadata.version(id, first).unwrap_err()));
    let listed = metadata.list(id, first, DirId::ROOT, None, 9);
    assert!(listed.unwrap_err().is_not_found());
    assert!(is_unknown(&metadata.delete_tag(id, &tag).unwrap_err()));
    assert!(is_unknown(&metadata.list_tags(id, None, 9).unwrap_err()));
    assert!(metadata.set_tag(id, &tag, first, true).is_err());
    assert_eq!(metadata.list_projects(None, 9).unwrap().items, []);
    assert_eq!(metadata.usage(1 << 20).unwrap(), Some(Vec::new()));
    let page = metadata.list_deleted(None, 9).unwrap();
    assert_eq!(page.items[0].project, before);

    assert_eq!(setup.undelete(), before);
    assert_eq!(setup.deleted(), []);
    assert_eq!(trees(metadata), trees_before);
    let tags = metadata.list_tags(id, None, 9).unwrap().items;
    assert_eq!(tags, [(tag, first)]);
    assert_eq!(metadata.stored_bytes(id).unwrap(), stored);
    // What was begun before the deletion goes on, and the project too.
    assert_eq!(waits.publish().unwrap().record.number, VersionNumber(4));
    setup.commit("g", 4);
    assert_clean(metadata);
}

#[test]
fn a_name_that_is_taken_or_that_several_had_is_told() {
    let setup = Setup::new();
    let Setup { metadata, .. } = &setup;
    setup.delete();
    let second = new_project(metadata);
    let taken = metadata.undelete_project(setup.project.id, None);
    assert!(matches!(taken, Err(MetadataError::ProjectExists { .. })));
    assert_eq!(setup.deleted(), [setup.project.id]);
    metadata
        .delete_project(&second.name, Deletion::Kept)
        .unwrap();
    let several = metadata.find_deleted(second.name.as_str()).unwrap_err();
    let MetadataError::AmbiguousDeleted { ids, .. } = &several else {
        panic!("{several}");
    };
    let ids: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(ids, BTreeSet::from([setup.project.id, second.id]));
    assert!(several.to_string().contains(&second.id.to_string()));
    let by_id = metadata.find_deleted(&second.id.to_string()).unwrap();
    let old = name("old");
    let back = metadata.undelete_project(by_id, Some(&old)).unwrap();
    assert_eq!((back.id, back.name), (second.id, old));
    assert_eq!(setup.undelete().id, setup.project.id);
    for gone in ["app", "none", &second.id.to_string()] {
        let error = metadata.find_deleted(gone).unwrap_err();
        assert!(
            matches!(error, MetadataError::UnknownDeleted { .. }),
            "{error}"
        );
    }
    assert!(metadata.undelete_project(second.id, None).is_err());
    assert!(metadata.purge_deleted(second.id).is_err());
    assert_clean(metadata);
}

#[test]
fn deleted_projects_are_listed_by_pages() {
    let setup = Setup::new();
    for text in ["a", "b", "c"] {
        let name = name(text);
        let made = setup
            .metadata
            .new_project(&name, ProjectSettings::default());
        made.unwrap();
        let deleted = setup.metadata.delete_project(&name, Deletion::Kept);
        deleted.unwrap();
    }
    let all = setup.deleted();
    let first = setup.metadata.list_deleted(None, 2).unwrap();
    assert!(first.more);
    let last = first.items.last().map(|it| it.project.id);
    let rest = setup.metadata.list_deleted(last, 9).unwrap();
    assert!(!rest.more);
    let both = first.items.iter().chain(&rest.items);
    let both: Vec<_> = both.map(|it| it.project.id).collect();
    assert_eq!((both.len(), both), (3, all));
}

/// A collection marks what the deleted project names, with a store that has snapshots and with one that has none.
#[test]
fn what_only_a_deleted_project_names_stays_until_its_time_is_over() {
    let stores: [Arc<dyn MetaStore>; 2] = [
        Arc::new(MemoryStore::new()),
        Arc::new(Double::new(true)) as Arc<dyn MetaStore>,
    ];
    for store in stores {
        let setup = Setup::on(store);
        setup.commit("f", 1);
        setup.delete();
        assert_eq!(setup.collect(&[content(1)]), []);
        setup.clock.advance(WEEK - Duration::from_secs(60));
        assert_eq!(setup.metadata.purge_kept_for(WEEK, false).unwrap(), 0);
        assert_eq!(setup.undelete().head.number, VersionNumber(1));
        setup.delete();
        setup.clock.advance(WEEK);
        assert_eq!(setup.metadata.purge_kept_for(WEEK, true).unwrap(), 1);
        assert_eq!(setup.deleted(), [setup.project.id]);
        assert_eq!(setup.metadata.purge_kept_for(WEEK, false).unwrap(), 1);
        assert_eq!(setup.metadata.purge_kept_for(WEEK, false).unwrap(), 0);
        assert_eq!((setup.deleted(), setup.rows_of_project()), (vec![], 0));
        assert_eq!(setup.collect(&[content(1)]), [content(1)]);
        assert_clean(&setup.metadata);
    }
}

#[test]
fn a_chunk_that_goes_meanwhile_is_not_counted_afterwards() {
    let setup = Setup::new();
    let id = setup.project.id;
    let chunk = receipt(50, [content(50)]);
    let stored = stored_for(id);
    setup.metadata.record_chunk_for(stored, &chunk).unwrap();
    assert_ne!(setup.metadata.stored_bytes(id).unwrap(), 0);
    setup.delete();
    assert_eq!(setup.collect(&[content(50)]), [content(50)]);
    let unneeded = setup.metadata.mark_unneeded_chunks(0, drop).unwrap().count;
    assert_ne!(unneeded, 0);
    let forgotten = setup.metadata.forget_replicas(NODE, &[ChunkId([50; 32])]);
    forgotten.unwrap();
    setup.metadata.mark_unneeded_chunks(0, drop).unwrap();
    setup.undelete();
    assert_eq!(setup.metadata.stored_bytes(id).unwrap(), 0);
}

/// Versions that were held when the project was deleted are held for a while when it is back: mounts are told late.
#[test]
fn what_was_held_is_held_when_the_project_is_back() {
    let setup = Setup::new();
    for number in 1..=3 {
        setup.commit("f", number);
    }
    let version = VersionNumber(1);
    let record = setup.metadata.version(setup.project.id, version).unwrap();
    let hold = Hold {
        project: setup.project.id,
        version: ExactVersion {
            number: version,
            id: record.id,
        },
        holder: SessionId([5; 16]),
    };
    let minute = Duration::from_secs(60);
    setup.metadata.hold_version(&hold, minute).unwrap();
    setup.delete();
    let renewed = setup.metadata.hold_version(&hold, minute);
    assert!(is_unknown(&renewed.unwrap_err()));
    setup.clock.advance(WEEK);
    setup.undelete();
    setup.clock.advance(10 * minute);
    let expired = setup.metadata.expire_versions(&ExpireParams {
        project: setup.project.id,
        retention: Retention {
            keep: Some(1),
            ..Retention::default()
        },
        in_use: &BTreeSet::new,
        dry_run: false,
    });
    assert_eq!(expired.unwrap().versions, 1);
    setup.metadata.hold_version(&hold, minute).unwrap();
}
