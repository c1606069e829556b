//! What grows with a store that is large already: nothing that users wait for.
//!
//! Two stores over redb, one with ten times the contents and versions of the other. The same work takes
//! nearly the same time in both. `LFSFS_FLAT_CONTENTS` sets how many contents the larger one has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lfsfs_meta_store::{
    Applied, Batch, Engine, EngineFigures, MetaError, MetaStore, OpenOptions, Read, Rows,
};
use lfsfs_metadata::{ChunkReceipt, Metadata, NodeFigures, Project, Renames};
use lfsfs_types::{
    ChunkId, ChunkInfo, ContentId, ContentPlace, DirId, Kind, Record, Sha256, Timestamp,
    VersionNumber,
};

use crate::support::{
    NODE, Random, commit_as, diff, directory, made, new_project, open, put, record,
};

/// Contents of the larger store; each hundredth has a version.
const CONTENTS: u64 = 10_000_000;
const CONTENTS_PER_VERSION: u64 = 100;
const CONTENTS_PER_CHUNK: u64 = 10_000;
/// Names in a version: so many directories of so many files.
const DIRECTORIES: u64 = 10;
const FILES: usize = 100;
/// Memory for pages that a server has by default.
const PAGES: usize = 96 << 20;
/// How many times longer work may take in the larger store.
const TIMES_MAX: f64 = 1.5;
/// How often each work is done in each store.
const ROUNDS: usize = 101;
/// How many contents are resolved at once, from how many chunks.
const RESOLVED: usize = 1_000;
const RESOLVED_CHUNKS: usize = 100;
/// While a store is filled, one of so many flushes is made.
const FLUSHES_LEFT_OUT: u64 = 1_000;

/// Leaves out most flushes while a test wants it to.
#[derive(Debug)]
struct Hasty {
    store: Arc<dyn MetaStore>,
    hastens: AtomicBool,
    flushes: AtomicU64,
}

impl MetaStore for Hasty {
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
        self.store.get(key)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.store.read(reads)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        self.store.apply(batch)
    }

    fn flush(&self) -> Result<(), MetaError> {
        let number = self.flushes.fetch_add(1, Ordering::Relaxed);
        if self.hastens.load(Ordering::Relaxed) && !number.is_multiple_of(FLUSHES_LEFT_OUT) {
            return Ok(());
        }
        self.store.flush()
    }

    fn figures(&self) -> EngineFigures {
        self.store.figures()
    }
}

/// A store with many contents and versions of one project.
struct Large {
    store: Arc<Hasty>,
    metadata: Metadata,
    project: Project,
    dirs: Vec<DirId>,
    contents: u64,
    versions: u64,
    random: Random,
    _dir: tempfile::TempDir,
}

impl Large {
    fn new(contents: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            cache_bytes: PAGES,
            ..OpenOptions::default()
        };
        let store = Arc::new(Hasty {
            store: Engine::Redb.open_with(dir.path(), options).unwrap(),
            hastens: AtomicBool::new(true),
            flushes: AtomicU64::new(0),
        });
        let metadata = open(store.clone());
        let project = new_project(&metadata);
        let mut large = Self {
            store,
            metadata,
            project,
            dirs: Vec::new(),
            contents,
            versions: 0,
            random: Random(contents),
            _dir: dir,
        };
        let start = Instant::now();
        large.store_contents();
        let stored = start.elapsed();
        large.make_versions();
        let made = start.elapsed() - stored;
        println!(
            "{contents} contents in {stored:.1?}, {} versions in {made:.1?}",
            large.versions
        );
        large.store.flush().unwrap();
        large.store.hastens.store(false, Ordering::Relaxed);
        large
    }

    fn store_contents(&self) {
        let figures = NodeFigures::default();
        let added = self.metadata.upsert_node(NODE, "127.0.0.1:1", figures);
        added.unwrap();
        for chunk in 0..self.contents / CONTENTS_PER_CHUNK {
            self.metadata.record_chunk(&self.receipt(chunk)).unwrap();
            self.store.flush().unwrap();
        }
    }

    /// Returns the id of a content. Ids come in the order of numbers, which fills a store much faster.
    fn content(&self, number: u64) -> ContentId {
        let mut id = [7; 32];
        let spread = u64::MAX / self.contents;
        id[..8].copy_from_slice(&(number * spread).to_be_bytes());
        ContentId(id)
    }

    fn receipt(&self, number: u64) -> ChunkReceipt {
        let mut chunk = [0; 32];
        chunk[..8].copy_from_slice(&Random(number).next().to_be_bytes());
        let chunk = ChunkId(chunk);
        let places = (0..CONTENTS_PER_CHUNK).map(|at| ContentPlace {
            content: self.content(number * CONTENTS_PER_CHUNK + at),
            chunk,
            block: 0,
            offset: at as u32 * 10,
            len: 10,
        });
        ChunkReceipt {
            node: NODE,
            info: ChunkInfo {
                id: chunk,
                len: 1_000_000,
                footer_len: 100,
                footer_sha256: Sha256([9; 32]),
            },
            places: places.collect(),
        }
    }

    fn file(&mut self) -> Record {
        let number = self.random.next() % self.contents;
        let content = self.content(number);
        let mut file = record(Kind::File { size: 10, content });
        file.mtime = Timestamp {
            secs: self.versions as i64,
            nanos: 0,
        };
        file
    }

    fn make_versions(&mut self) {
        let mut changes = Vec::new();
        for dir in 0..DIRECTORIES {
            changes.push(put(
                DirId::ROOT,
                &format!("dir {dir}"),
                directory(made(dir)),
            ));
            for file in 0..FILES {
                changes.push(put(made(dir), &format!("file {file}"), self.file()));
            }
        }
        let id = self.random.id();
        let published = commit_as(&self.metadata, &self.project, id, changes).unwrap();
        self.dirs = published.dirs.into_values().collect();
        self.versions = 1;
        while self.versions < self.contents / CONTENTS_PER_VERSION {
            self.commit();
        }
    }

    fn some_dir(&mut self) -> DirId {
        let dirs = std::mem::take(&mut self.dirs);
        let dir = self.random.pick(&dirs).unwrap();
        self.dirs = dirs;
        dir
    }

    /// Returns a version that is neither the first nor the head.
    fn some_version(&mut self) -> VersionNumber {
        VersionNumber(2 + self.random.next() % (self.versions - 2))
    }

    fn commit(&mut self) {
        let (dir, name) = (
            self.some_dir(),
            format!("file {}", self.random.below(FILES)),
        );
        let change = vec![put(dir, &name, self.file())];
        let id = self.random.id();
        let published = commit_as(&self.metadata, &self.project, id, change).unwrap();
        self.versions += 1;
        assert_eq!(published.record.number.0, self.versions);
    }

    fn list(&mut self, version: VersionNumber) {
        let dir = self.some_dir();
        let listing = self
            .metadata
            .list(self.project.id, version, dir, None, 1000);
        assert_eq!(listing.unwrap().entries.len(), FILES);
    }

    fn compare_neighbours(&mut self) {
        let version = self.some_version();
        let (a, b) = (VersionNumber(version.0 - 1), version);
        let lines = diff(&self.metadata, &self.project, a, b, Renames::Told);
        assert_eq!(lines.len(), 1);
    }

    fn log(&mut self) {
        let before = self.some_version().0.max(150);
        let page = self
            .metadata
            .log(self.project.id, Some(VersionNumber(before)), 100);
        assert_eq!(page.unwrap().items.len(), 100);
    }

    fn resolve(&mut self) {
        let chunks = self.contents / CONTENTS_PER_CHUNK;
        let first = self.random.next() % chunks;
        let mut asked = Vec::new();
        for chunk in 0..RESOLVED_CHUNKS as u64 {
            let chunk = (first + chunk * chunks / RESOLVED_CHUNKS as u64) % chunks;
            for _ in 0..RESOLVED / RESOLVED_CHUNKS {
                let at = self.random.next() % CONTENTS_PER_CHUNK;
                asked.push(self.content(chunk * CONTENTS_PER_CHUNK + at));
            }
        }
        let resolved = self.metadata.resolve_contents(&asked).unwrap();
        assert_eq!(resolved.contents.len(), RESOLVED);
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Commit => self.commit(),
            Work::ListFirst => self.list(VersionNumber(1)),
            Work::ListLast => self.list(VersionNumber(self.versions)),
            Work::Diff => self.compare_neighbours(),
            Work::Log => self.log(),
            Work::Resolve => self.resolve(),
        }
    }
}

/// What is timed.
#[derive(Debug, Clone, Copy)]
enum Work {
    Commit,
    ListFirst,
    ListLast,
    Diff,
    Log,
    Resolve,
}

const ALL: [Work; 6] = [
    Work::Commit,
    Work::ListFirst,
    Work::ListLast,
    Work::Diff,
    Work::Log,
    Work::Resolve,
];

/// Returns how many times longer work takes in the larger store, by the medians.
fn times(few: &mut Large, many: &mut Large, work: Work) -> f64 {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        // By turns, so that what else the machine does meets both.
        for (large, took) in [&mut *few, &mut *many].into_iter().zip(&mut took) {
            let start = Instant::now();
            large.work(work);
            took.push(start.elapsed());
        }
    }
    let [few, many] = took.map(median);
    let times = many.as_secs_f64() / few.as_secs_f64();
    println!("{work:?}: {few:.1?}, then {many:.1?}: {times:.2} times");
    times
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

#[test]
#[ignore = "soak: ten million rows"]
fn work_takes_as_long_among_ten_times_as_much() {
    let number = std::env::var("LFSFS_FLAT_CONTENTS").ok();
    let contents = number.map_or(CONTENTS, |number| number.parse().unwrap());
    let mut few = Large::new(contents / 10);
    let mut many = Large::new(contents);
    let mut slow = Vec::new();
    for work in ALL {
        // The first rounds fill the cache, and the machine may have other work.
        let fits = (0..3).any(|_| times(&mut few, &mut many, work) <= TIMES_MAX);
        slow.extend((!fits).then_some(work));
    }
    assert!(slow.is_empty(), "{slow:?} take too long among many");
}
