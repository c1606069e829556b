//! Packs: how little they take, what they share, their bounds, and repacking.

use std::sync::Arc;

use lfsfs_meta_store::{KeyRange, MemoryStore, MetaStoreExt as _};
use lfsfs_metadata::{
    CollectParams, ExpireParams, MadeParams, Metadata, Project, ProjectSettings, Published,
    Retention,
};
use lfsfs_types::{DirId, ProjectName, Record, Sha256, VersionId, VersionNumber};

use crate::crash::{Double, first_version};
use crate::support::{
    CONTENTS, assert_clean, commit, commit_as, content, directory, file, made, open, put, remove,
    start, store_contents,
};
use crate::tree::Tree;

const PACKAGES: &str = "(^|/)node_modules/[^/]+/$";
// Tables of the store.
const LIVE: u8 = 10;
const DIRECTORY: u8 = 13;
const CHANGE: u8 = 14;
const PACK: u8 = 32;
const LISTING: u8 = 33;

fn project(metadata: &Metadata, name: &str, patterns: &[&str]) -> Project {
    let settings = ProjectSettings {
        pack_patterns: patterns.iter().map(|it| (*it).to_owned()).collect(),
        ..ProjectSettings::default()
    };
    let name = ProjectName::new(name).unwrap();
    metadata.new_project(&name, settings).unwrap()
}

fn rows(store: &MemoryStore, table: u8) -> usize {
    store.scan_all(KeyRange::prefix(&[table]), 1000).count()
}

/// Packages of so many files each, a third of them in a directory below.
fn packages(packages: u64, files: u64) -> Vec<lfsfs_metadata::Change> {
    let top = made(0);
    let mut changes = vec![put(DirId::ROOT, "node_modules", directory(top))];
    for package in 0..packages {
        let (dir, lib) = (made(1 + 2 * package), made(2 + 2 * package));
        changes.push(put(top, &format!("p{package}"), directory(dir)));
        changes.push(put(dir, "lib", directory(lib)));
        for number in 0..files {
            let place = if number % 3 == 0 { lib } else { dir };
            let content = 1 + (number % u64::from(CONTENTS)) as u8;
            changes.push(put(place, &format!("f{number}.js"), file(content)));
        }
    }
    changes
}

fn repack(metadata: &Metadata, project: &Project, version: u8) -> Published {
    let params = MadeParams {
        project: project.id,
        version: VersionId([version; 16]),
        author: "me".to_owned(),
        message: "other packs".to_owned(),
    };
    metadata.repack(&params).unwrap()
}

fn set_patterns(metadata: &Metadata, project: &Project, patterns: &[&str]) {
    let patterns: Vec<_> = patterns.iter().map(|it| (*it).to_owned()).collect();
    let set = metadata.set_project(&project.name, |settings| {
        settings.pack_patterns.clone_from(&patterns);
    });
    set.unwrap();
}

fn tree(metadata: &Metadata, project: &Project, version: u64) -> Tree {
    Tree::read(metadata, project, VersionNumber(version), 100)
}

fn in_store() -> (Arc<MemoryStore>, Metadata) {
    let store = Arc::new(MemoryStore::new());
    let metadata = open(Arc::clone(&store) as _);
    store_contents(&metadata);
    (store, metadata)
}

#[test]
fn a_package_is_one_row_and_a_listing_that_all_projects_share() {
    let (store, metadata) = in_store();
    let (one, other) = (
        project(&metadata, "one", &[PACKAGES]),
        project(&metadata, "other", &[PACKAGES]),
    );
    let plain = project(&metadata, "plain", &[]);
    commit(&metadata, &one, packages(3, 300));
    // node_modules and the packages are objects with a directory row each, the rest is in packs.
    assert_eq!((rows(&store, LIVE), rows(&store, DIRECTORY)), (4, 5));
    // The packages have the same files.
    assert_eq!((rows(&store, PACK), rows(&store, LISTING)), (3, 1));
    commit_as(&metadata, &other, [2; 16], packages(2, 300)).unwrap();
    assert_eq!((rows(&store, PACK), rows(&store, LISTING)), (5, 1));
    let live = rows(&store, LIVE);
    commit_as(&metadata, &plain, [3; 16], packages(1, 300)).unwrap();
    assert_eq!(rows(&store, LIVE) - live, 303);
    assert_clean(&metadata);
}

#[test]
fn a_change_in_a_package_writes_its_listing_anew_and_one_change_row() {
    let (store, metadata) = in_store();
    let project = project(&metadata, "app", &[PACKAGES]);
    commit(&metadata, &project, packages(3, 300));
    let dir = dir_at(&metadata, &project, &["node_modules", "p1"]);
    let before = [LIVE, PACK, LISTING, CHANGE].map(|table| rows(&store, table));
    let changes = vec![
        put(dir, "f1.js", file(9)),
        put(dir, "new.js", file(3)),
        remove(dir, "f2.js"),
    ];
    let record = commit(&metadata, &project, changes);
    assert_eq!(
        (
            record.counts.added,
            record.counts.modified,
            record.counts.removed
        ),
        (1, 1, 1)
    );
    let after = [LIVE, PACK, LISTING, CHANGE].map(|table| rows(&store, table));
    let [live, pack, listing, change] = before;
    assert_eq!(after, [live, pack + 1, listing + 1, change + 1]);
    assert_clean(&metadata);
}

fn dir_at(metadata: &Metadata, project: &Project, names: &[&str]) -> DirId {
    let head = metadata.project_by_id(project.id).unwrap().head.number;
    let path = lfsfs_types::ObjectPath::new(names.join("/").as_bytes()).unwrap();
    let found = metadata.lookup(project.id, head, &path).unwrap().unwrap();
    found.record.dir().unwrap()
}

#[test]
fn what_no_listing_holds_is_a_row_in_a_package() {
    let (store, metadata) = in_store();
    let project = project(&metadata, "app", &[PACKAGES]);
    commit(&metadata, &project, packages(1, 10));
    let dir = dir_at(&metadata, &project, &["node_modules", "p0"]);
    let hashed = Record {
        sha256: Some(Sha256([1; 32])),
        ..file(1)
    };
    let live = rows(&store, LIVE);
    commit(&metadata, &project, vec![put(dir, "f1.js", hashed)]);
    assert_eq!(rows(&store, LIVE), live + 1);
    commit(&metadata, &project, vec![put(dir, "f1.js", file(2))]);
    assert_eq!(rows(&store, LIVE), live, "it is in the pack again");
    assert_eq!(tree(&metadata, &project, 1).dirs[&dir].len(), 7);
    assert_clean(&metadata);
}

#[test]
fn a_package_that_is_too_large_is_rows_and_a_full_one_takes_no_more() {
    let (store, metadata) = in_store();
    let too_large = project(&metadata, "large", &[PACKAGES]);
    commit(&metadata, &too_large, packages(1, 16_400));
    assert_eq!(rows(&store, PACK), 0);
    assert_eq!(rows(&store, LIVE), 16_403);
    let full = project(&metadata, "full", &[PACKAGES]);
    commit_as(&metadata, &full, [2; 16], packages(1, 16_300)).unwrap();
    assert_eq!((rows(&store, PACK), rows(&store, LIVE)), (1, 16_405));
    let dir = dir_at(&metadata, &full, &["node_modules", "p0"]);
    let mut changes = vec![put(dir, "more", directory(made(0)))];
    changes.extend((0..200).map(|number| put(made(0), &format!("x{number}"), file(1))));
    commit_as(&metadata, &full, [3; 16], changes).unwrap();
    assert_eq!(rows(&store, LIVE), 16_405 + 201);
    assert_clean(&metadata);
}

#[test]
fn a_directory_that_leaves_a_package_takes_its_pack_along() {
    let (store, metadata) = in_store();
    let project = project(&metadata, "app", &[PACKAGES]);
    commit(&metadata, &project, packages(1, 300));
    let [top, dir, lib] = [
        &["node_modules"][..],
        &["node_modules", "p0"],
        &["node_modules", "p0", "lib"],
    ]
    .map(|names| dir_at(&metadata, &project, names));
    let live = rows(&store, LIVE);
    let changes = vec![remove(dir, "lib"), put(top, "lib", directory(lib))];
    commit(&metadata, &project, changes);
    // One for the directory at its new place; none of its hundred files is written.
    assert_eq!(rows(&store, LIVE), live + 1);
    assert_eq!(tree(&metadata, &project, 2).dirs[&lib].len(), 100);
    let changes = vec![remove(top, "lib"), put(dir, "back", directory(lib))];
    commit(&metadata, &project, changes);
    assert_eq!(tree(&metadata, &project, 3).dirs[&lib].len(), 100);
    assert_clean(&metadata);
}

#[test]
fn listings_that_no_version_has_are_collected() {
    let (store, metadata) = in_store();
    let project = project(&metadata, "app", &[PACKAGES]);
    commit(&metadata, &project, packages(1, 30));
    let dir = dir_at(&metadata, &project, &["node_modules", "p0"]);
    for number in 1..=5 {
        commit(
            &metadata,
            &project,
            vec![put(dir, "f1.js", file(5 + number))],
        );
    }
    assert_eq!((rows(&store, PACK), rows(&store, LISTING)), (6, 6));
    let expired = metadata.expire_versions(&ExpireParams {
        project: project.id,
        retention: Retention {
            keep: Some(2),
            older_than: None,
            from: None,
            grace: std::time::Duration::ZERO,
        },
        in_use: &Default::default,
        dry_run: false,
    });
    assert!(expired.unwrap().versions > 0);
    let collect = |dry_run| {
        let params = CollectParams {
            grace_secs: 0,
            uploads_since: None,
            sample_percent: 100.0,
            marks_bytes: 1 << 16,
            dry_run,
        };
        metadata.collect_contents(&params).unwrap();
    };
    collect(true);
    assert_eq!((rows(&store, PACK), rows(&store, LISTING)), (2, 6));
    collect(false);
    assert_eq!((rows(&store, PACK), rows(&store, LISTING)), (2, 2));
    let missing = metadata.missing(&[content(1), content(10)]).unwrap();
    assert_eq!(missing, [], "contents that packs name");
    assert_clean(&metadata);
    assert_eq!(tree(&metadata, &project, 6).dirs[&dir].len(), 21);
}

#[test]
fn packs_follow_patterns_that_change() {
    let (store, metadata) = in_store();
    let project = project(&metadata, "app", &[]);
    commit(&metadata, &project, packages(3, 30));
    let shown = tree(&metadata, &project, 1);
    assert!(!repack(&metadata, &project, 9).is_new);
    set_patterns(&metadata, &project, &[PACKAGES]);
    let packed = repack(&metadata, &project, 10);
    assert!(packed.is_new);
    assert_eq!(
        (
            rows(&store, PACK),
            rows(&store, LISTING),
            rows(&store, LIVE)
        ),
        (3, 1, 4)
    );
    assert_eq!(
        packed.record.counts.objects,
        shown.dirs.values().map(|dir| dir.len() as u64).sum::<u64>()
    );
    assert!(!repack(&metadata, &project, 11).is_new, "it is done");
    set_patterns(&metadata, &project, &["^node_modules/$"]);
    assert!(repack(&metadata, &project, 12).is_new);
    assert_eq!(rows(&store, LIVE), 1);
    set_patterns(&metadata, &project, &[]);
    assert!(repack(&metadata, &project, 13).is_new);
    assert_eq!(rows(&store, LIVE), 97);
    for version in 1..=4 {
        assert_eq!(
            tree(&metadata, &project, version),
            shown,
            "version {version}"
        );
        let lines = crate::support::diff(
            &metadata,
            &project,
            VersionNumber(1),
            VersionNumber(version),
            lfsfs_metadata::Renames::Told,
        );
        assert_eq!(lines, [], "version {version}");
    }
    assert_clean(&metadata);
}

/// A crash at each operation of a repacking leaves the version before, or the one behind.
#[test]
fn a_repacking_that_crashes_is_whole_or_absent() {
    for patterns in [[".*"], ["s$"]] {
        let store = Arc::new(Double::new(true));
        let metadata = open(store.clone());
        store_contents(&metadata);
        let project = project(&metadata, "app", &["s/$"]);
        commit(&metadata, &project, first_version());
        set_patterns(&metadata, &project, &patterns);
        let shown = tree(&metadata, &project, 1);
        let mut crashes = 0;
        for at in 1.. {
            let double = Arc::new(store.after_crash(usize::MAX, Some((at, at % 2 == 0))));
            let Ok(metadata) = start(double.clone()) else {
                continue;
            };
            let params = MadeParams {
                project: project.id,
                version: VersionId([9; 16]),
                author: String::new(),
                message: String::new(),
            };
            let result = metadata.repack(&params);
            for kept in [0, double.pending() / 2, double.pending()] {
                let after = open(Arc::new(double.after_crash(kept, None)));
                assert_clean(&after);
                let head = after.project_by_id(project.id).unwrap().head.number;
                assert!(
                    result.is_err() || head == VersionNumber(2),
                    "an answered version is gone"
                );
                (1..=head.0).for_each(|version| assert_eq!(tree(&after, &project, version), shown));
                after.repack(&params).unwrap();
                assert_eq!(tree(&after, &project, 2), shown);
                assert_clean(&after);
            }
            if result.is_ok() {
                break;
            }
            crashes += 1;
        }
        assert!(crashes > 5, "only {crashes} operations");
    }
}
