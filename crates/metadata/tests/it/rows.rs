//! What a commit costs: rows written, and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lfsfs_meta_store::{
    Applied, Batch, Engine, EngineFigures, MemoryStore, MetaError, MetaStore, Read, Rows,
};
use lfsfs_metadata::Change;
use lfsfs_types::{DirId, VersionNumber};

use crate::support::{
    assert_clean, begin, commit, commit_as, directory, file, made, new_project, open, params, put,
    store_contents,
};

/// Counts the rows written and read.
#[derive(Debug, Default)]
struct Metered {
    store: MemoryStore,
    written: AtomicUsize,
    read: AtomicUsize,
}

impl MetaStore for Metered {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn batch_ops_max(&self) -> usize {
        self.store.batch_ops_max()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        self.store.get(key)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        let found = self.store.read(reads)?;
        let rows: usize = found.iter().map(|rows| rows.rows.len()).sum();
        self.read.fetch_add(rows + 1, Ordering::SeqCst);
        Ok(found)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        self.written.fetch_add(batch.len(), Ordering::SeqCst);
        self.store.apply(batch)
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.store.flush()
    }

    fn figures(&self) -> EngineFigures {
        self.store.figures()
    }
}

fn many_files(count: usize) -> Vec<Change> {
    let dirs = (0..count.div_ceil(10) as u64)
        .map(|dir| put(DirId::ROOT, &format!("d{dir}"), directory(made(dir))));
    let files = (0..count).map(|number| {
        let dir = made(number as u64 / 10);
        put(dir, &format!("f{number}"), file(1 + (number % 10) as u8))
    });
    dirs.chain(files).collect()
}

/// Rows written and read by a commit of one changed file among `count`.
fn cost_of_one(count: usize) -> (usize, usize) {
    let store = Arc::new(Metered::default());
    let metadata = open(store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    commit(&metadata, &project, many_files(count));
    let meter = || {
        (
            store.written.load(Ordering::SeqCst),
            store.read.load(Ordering::SeqCst),
        )
    };
    let before = meter();
    commit(&metadata, &project, vec![put(DirId::ROOT, "one", file(2))]);
    let after = meter();
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn one_changed_file_costs_the_same_in_any_tree() {
    let few = cost_of_one(20);
    let many = cost_of_one(4000);
    assert_eq!(few, many);
    assert!(few.0 <= 16, "{} rows were written", few.0);
    assert!(few.1 <= 60, "{} rows were read", few.1);
}

/// Rows written and read by the commit that renames a directory with 10,000 files below, in a
/// project of `others` further objects, and by one of a changed file.
fn costs_among(others: usize) -> [(usize, usize); 2] {
    let store = Arc::new(Metered::default());
    let metadata = open(store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    let big = made(1_000_000);
    let mut changes = many_files(others);
    changes.push(put(DirId::ROOT, "big", directory(big)));
    changes.extend((0..10_000).map(|number| put(big, &format!("f{number}"), file(1))));
    let mut session = begin(&metadata, params(&metadata, &project, [1; 16]));
    for part in changes.chunks(1000) {
        session.stage(part.to_vec()).unwrap();
    }
    let published = session.publish().unwrap();
    let big = published.dirs[&big];
    let cost = |changes: Vec<Change>| {
        let meter = || {
            let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
            (count(&store.written), count(&store.read))
        };
        let before = meter();
        commit(&metadata, &project, changes);
        let after = meter();
        (after.0 - before.0, after.1 - before.1)
    };
    let rename = vec![
        crate::support::remove(DirId::ROOT, "big"),
        put(DirId::ROOT, "large", directory(big)),
    ];
    [cost(rename), cost(vec![put(big, "f77", file(2))])]
}

#[test]
fn a_renamed_directory_and_a_changed_file_cost_the_same_among_1000_and_100000() {
    let few = costs_among(1_000);
    assert_eq!(few, costs_among(90_000));
    assert!(few[0].0 <= 30 && few[0].1 <= 80, "{few:?}");
}

/// Rows read to list the first version of a directory of 20 files that all change in each version.
fn cost_of_listing_the_first_of(versions: u8) -> usize {
    let store = Arc::new(Metered::default());
    let metadata = open(store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    for version in 0..versions {
        let files = (0..20).map(|number| {
            let file = file(1 + version % 12);
            put(DirId::ROOT, &format!("f{number}"), file)
        });
        commit(&metadata, &project, files.collect());
    }
    let before = store.read.load(Ordering::SeqCst);
    let listing = metadata
        .list(project.id, VersionNumber(1), DirId::ROOT, None, 0)
        .unwrap();
    assert!(listing.entries.len() == 20 && !listing.more);
    assert!(listing.entries.iter().all(|(_, record)| *record == file(1)));
    store.read.load(Ordering::SeqCst) - before
}

#[test]
fn an_old_version_is_listed_at_the_same_cost_however_long_the_history_is() {
    let few = cost_of_listing_the_first_of(20);
    assert_eq!(few, cost_of_listing_the_first_of(200));
    assert!(few < 500, "{few} rows were read");
}

/// Between the two ways to read a directory: more closed rows than are read at first, but not many for
/// each name.
#[test]
fn a_large_directory_that_changed_once_is_listed_as_it_was() {
    let metadata = crate::support::in_memory();
    let project = new_project(&metadata);
    for (version, content) in [(1, 1), (2, 2)] {
        let files = (0..500).map(|number| put(DirId::ROOT, &format!("f{number}"), file(content)));
        let record = commit(&metadata, &project, files.collect());
        assert_eq!(record.number, VersionNumber(version));
    }
    for (version, content) in [(1, 1), (2, 2)] {
        for limit in [7, 200, 499, 500, 0] {
            let mut entries = Vec::new();
            loop {
                let after = entries.last().map(|(name, _)| name);
                let listing = metadata
                    .list(
                        project.id,
                        VersionNumber(version),
                        DirId::ROOT,
                        after,
                        limit,
                    )
                    .unwrap();
                entries.extend(listing.entries);
                if !listing.more {
                    break;
                }
            }
            assert_eq!(entries.len(), 500, "{version} {limit}");
            assert!(entries.iter().all(|(_, record)| *record == file(content)));
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}

#[test]
fn an_unchanged_tree_leaves_no_row_behind() {
    let store = Arc::new(Metered::default());
    let metadata = open(store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    commit(&metadata, &project, many_files(50));
    let rows = || {
        let all = lfsfs_meta_store::KeyRange::all();
        lfsfs_meta_store::MetaStoreExt::scan(store.as_ref(), all, 10_000)
            .unwrap()
            .rows
    };
    let objects = |rows: Vec<lfsfs_meta_store::Row>| -> Vec<_> {
        // All but the lease, whose number is raised.
        rows.into_iter().filter(|(key, _)| key[0] != 6).collect()
    };
    let before = objects(rows());
    let mut same = many_files(50);
    same.retain(|change| change.dir == DirId::ROOT);
    let again = many_files(50);
    let published = commit_as(&metadata, &project, [9; 16], again).unwrap();
    assert!(!published.is_new);
    // Directories made again take ids, which are given back only by not being given.
    assert_eq!(objects(rows()), before);
}

#[test]
fn a_large_first_version_in_redb_is_quick() {
    make_a_large_first_version(Engine::Redb);
}

#[test]
fn a_large_first_version_in_sled_is_quick() {
    make_a_large_first_version(Engine::Sled);
}

/// Version 1 of 22,000 files takes about a second; the bound leaves room for a busy machine.
fn make_a_large_first_version(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(engine.open(dir.path()).unwrap());
    store_contents(&metadata);
    let project = new_project(&metadata);
    let changes = many_files(22_000);
    let started = Instant::now();
    let mut session = begin(&metadata, params(&metadata, &project, [1; 16]));
    for part in changes.chunks(1000) {
        session.stage(part.to_vec()).unwrap();
    }
    let staged = started.elapsed();
    session.publish().unwrap();
    let published = started.elapsed();
    println!(
        "{engine}: staged in {staged:?}, published in {:?}",
        published - staged
    );
    assert!(published.as_secs() < 10, "{published:?}");
    assert_clean(&metadata);
    let listing = metadata
        .list(project.id, VersionNumber(1), DirId::ROOT, None, 0)
        .unwrap();
    assert_eq!(listing.entries.len(), 2200);
}
