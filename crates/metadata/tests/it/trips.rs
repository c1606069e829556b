//! How often a commit goes to the store: a store on the network answers each time after milliseconds.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lfsfs_meta_store::{
    Applied, Batch, EngineFigures, MemoryStore, MetaError, MetaStore, Read, Rows,
};
use lfsfs_metadata::{Change, Metadata, ObjectQuery, Project, Selection};
use lfsfs_types::{DirId, VersionNumber};

use crate::support::{
    assert_clean, begin, clock, commit, content, directory, file, made, new_project, params, put,
    receipt, remove, store_contents, stored_for,
};

/// A store that counts how often it is asked, and answers after a while.
#[derive(Debug, Default)]
struct Far {
    store: MemoryStore,
    reads: AtomicU64,
    batches: AtomicU64,
    flushes: AtomicU64,
    /// Microseconds for each trip.
    delay: AtomicU64,
}

impl Far {
    fn travel(&self, trips: &AtomicU64) {
        trips.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(self.delay.load(Ordering::SeqCst)));
    }

    /// Returns the trips since the last call.
    fn trips(&self) -> Trips {
        let take = |trips: &AtomicU64| trips.swap(0, Ordering::SeqCst);
        Trips {
            reads: take(&self.reads),
            batches: take(&self.batches),
            flushes: take(&self.flushes),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trips {
    reads: u64,
    batches: u64,
    flushes: u64,
}

impl MetaStore for Far {
    fn name(&self) -> &'static str {
        "far"
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn batch_ops_max(&self) -> usize {
        self.store.batch_ops_max()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        self.travel(&self.reads);
        self.store.get(key)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.read_within(reads, usize::MAX)
    }

    fn read_within(&self, reads: &[Read], bytes: usize) -> Result<Vec<Rows>, MetaError> {
        self.travel(&self.reads);
        self.store.read_within(reads, bytes)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        self.travel(&self.batches);
        self.store.apply(batch)
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.travel(&self.flushes);
        self.store.flush()
    }

    fn figures(&self) -> EngineFigures {
        self.store.figures()
    }
}

/// Directories of the project, and files in each.
const DIRS: u64 = 200;
const FILES: u64 = 100;

struct Scene {
    store: Arc<Far>,
    metadata: Metadata,
    project: Project,
}

/// A project of 20,000 files, of which nothing is in memory.
fn scene() -> Scene {
    let store = Arc::new(Far::default());
    let metadata = Metadata::open(store.clone(), clock()).unwrap();
    store_contents(&metadata);
    let project = new_project(&metadata);
    commit(&metadata, &project, twenty_thousand(1));
    Scene {
        store,
        metadata,
        project,
    }
}

fn twenty_thousand(content: u8) -> Vec<Change> {
    let mut changes = Vec::new();
    for dir in 1..=DIRS {
        changes.push(put(DirId::ROOT, &format!("d{dir}"), directory(made(dir))));
        for number in 0..FILES {
            changes.push(put(made(dir), &format!("f{number}"), file(content)));
        }
    }
    changes
}

/// The same names in directories that are there.
fn in_old_directories(metadata: &Metadata, project: &Project, text: &str) -> Vec<Change> {
    let head = metadata.project_by_id(project.id).unwrap().head.number;
    let mut changes = Vec::new();
    for dir in 1..=DIRS {
        let path = lfsfs_types::ObjectPath::new(format!("d{dir}").as_bytes()).unwrap();
        let found = metadata.lookup(project.id, head, &path).unwrap().unwrap();
        let dir = found.record.dir().unwrap();
        for number in 0..FILES {
            changes.push(put(dir, &format!("{text}{number}"), file(2)));
        }
    }
    changes
}

/// Commits, and returns the trips that it took.
fn trips_of(scene: &Scene, changes: Vec<Change>) -> Trips {
    scene.store.trips();
    commit(&scene.metadata, &scene.project, changes);
    scene.store.trips()
}

fn assert_few(trips: Trips, changes: u64, what: &str) {
    println!("{what}: {trips:?}");
    let most = changes / 250;
    assert!(
        trips.reads <= most,
        "{what}: {trips:?}, at most {most} reads"
    );
    assert!(
        trips.batches <= most,
        "{what}: {trips:?}, at most {most} batches"
    );
}

#[test]
fn a_commit_goes_to_the_store_once_for_every_250_changes() {
    let scene = scene();
    let head = |text| in_old_directories(&scene.metadata, &scene.project, text);
    let modified = trips_of(&scene, head("f"));
    assert_few(modified, 20_000, "20,000 files modified");
    let added = trips_of(&scene, head("g"));
    assert_few(added, 20_000, "20,000 files added");
    let removed = head("g").into_iter().map(|change| Change {
        state: None,
        ..change
    });
    let removed = trips_of(&scene, removed.collect());
    assert_few(removed, 20_000, "20,000 files removed");
    let gone = (1..=DIRS).map(|dir| remove(DirId::ROOT, &format!("d{dir}")));
    let gone = trips_of(&scene, gone.collect());
    println!("200 directories of 100 files removed: {gone:?}");
    let again = trips_of(&scene, twenty_thousand(3));
    assert_few(again, 20_000, "20,000 files in new directories");
    assert_clean(&scene.metadata);
}

#[test]
fn a_commit_on_an_older_version_does_so_for_the_changes_of_both() {
    let scene = scene();
    let mine = in_old_directories(&scene.metadata, &scene.project, "mine");
    let theirs = in_old_directories(&scene.metadata, &scene.project, "theirs");
    let mut session = begin(
        &scene.metadata,
        params(&scene.metadata, &scene.project, [9; 16]),
    );
    session.stage(mine).unwrap();
    commit(&scene.metadata, &scene.project, theirs);
    scene.store.trips();
    assert!(session.publish().unwrap().is_rebased);
    assert_few(
        scene.store.trips(),
        40_000,
        "20,000 changes rebased on 20,000",
    );
    assert_clean(&scene.metadata);
}

#[test]
fn a_commit_of_one_file_is_three_batches_and_one_flush() {
    let scene = scene();
    let dir = in_old_directories(&scene.metadata, &scene.project, "f")[0].dir;
    scene.store.trips();
    let chunk = receipt(77, [content(99)]);
    scene.metadata.record_chunk(&chunk).unwrap();
    commit(
        &scene.metadata,
        &scene.project,
        vec![put(dir, "f0", file(99))],
    );
    let trips = scene.store.trips();
    println!("one file: {trips:?}");
    assert!(trips.batches <= 3, "{trips:?}");
    assert_eq!(trips.flushes, 1);
    let hundred: Vec<_> = (0..100)
        .map(|number| put(dir, &format!("f{number}"), file(5)))
        .collect();
    let trips = trips_of(&scene, hundred);
    println!("100 files: {trips:?}");
    assert!(trips.batches <= 2, "{trips:?}");
    assert_eq!(trips.flushes, 1);
    assert_clean(&scene.metadata);
}

#[test]
fn contents_are_looked_up_many_at_once() {
    let scene = scene();
    let contents: Vec<_> = (0..9000_u32)
        .map(|number| {
            let mut id = [3; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            lfsfs_types::ContentId(id)
        })
        .collect();
    let chunk = receipt(88, contents.clone());
    let project = stored_for(scene.project.id);
    scene.store.trips();
    scene.metadata.record_chunk_for(project, &chunk).unwrap();
    let trips = scene.store.trips();
    assert_eq!(trips.batches, 1, "the rows of contents wait: {trips:?}");
    // The first question has them written.
    assert!(scene.metadata.missing(&contents[..1]).unwrap().is_empty());
    let trips = scene.store.trips();
    assert!(trips.batches <= 4, "{trips:?}");
    assert!(scene.metadata.missing(&contents).unwrap().is_empty());
    let trips = scene.store.trips();
    assert!(trips.reads <= 6 && trips.batches == 0, "{trips:?}");
    let resolved = scene.metadata.resolve_contents(&contents).unwrap();
    assert_eq!(resolved.contents.len(), contents.len());
    let trips = scene.store.trips();
    assert!(trips.reads <= 7 && trips.batches == 0, "{trips:?}");
}

/// Prints how much longer a commit takes if each trip takes 2 ms.
#[test]
#[ignore = "soak: prints times"]
fn two_milliseconds_a_trip() {
    for delay in [0, 2000] {
        let scene = scene();
        let changes = in_old_directories(&scene.metadata, &scene.project, "f");
        scene.store.delay.store(delay, Ordering::SeqCst);
        let start = Instant::now();
        let trips = trips_of(&scene, changes);
        println!("{delay} us a trip: {:?}, {trips:?}", start.elapsed());
    }
}

/// Asks for objects of the newest version, and returns how many were told and what it cost to read.
fn objects_cost(scene: &Scene, from: u64, query: ObjectQuery) -> (usize, u64) {
    let head = scene.metadata.project_by_id(scene.project.id).unwrap().head;
    let _ = scene.store.trips();
    let mut told = 0;
    let selection = Selection::new(vec![query]);
    let from = VersionNumber(from);
    let asked =
        scene
            .metadata
            .objects(scene.project.id, from, head.number, &selection, &mut |_| {
                told += 1;
                ControlFlow::Continue(())
            });
    assert!(asked.unwrap().is_continue());
    (told, scene.store.trips().reads)
}

#[test]
fn objects_cost_what_is_told_and_not_the_tree() {
    let scene = scene();
    let changes = vec![
        put(DirId::ROOT, "one", file(2)),
        put(DirId::ROOT, "two", file(2)),
    ];
    commit(&scene.metadata, &scene.project, changes);
    let exact = |path: &str| ObjectQuery::exact(path.as_bytes().to_vec());
    let prefix = |path: &str| ObjectQuery::prefix(path.as_bytes().to_vec());
    for (from, query, expected, reads_max) in [
        (0, exact("d7/f3"), 1, 6),
        (0, exact("d7/none"), 0, 6),
        (0, prefix("d7/f3"), 11, 6),
        (0, prefix("d7/"), 100, 6),
        (0, prefix("d19"), 11 * 100, 40),
        (1, prefix(""), 2, 20),
    ] {
        let (told, reads) = objects_cost(&scene, from, query.clone());
        assert_eq!(told, expected, "{query:?}");
        assert!(reads <= reads_max, "{reads} reads for {query:?}");
    }
}
