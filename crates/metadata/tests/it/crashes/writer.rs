//! The child: publishes random versions in two projects until its end comes, and tells of each.
//!
//! Lines for each: `@ PROJECT ask ID LOOKS` before it is asked for, `@ PROJECT done NUMBER` once it is
//! answered and `@ PROJECT whole DIGEST` once its tree was read; or `same` or `failed`.

use std::io::{Write as _, stdout};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lfsfs_meta_store::{Applied, Batch, Engine, EngineFigures, MetaError, MetaStore, Read, Rows};
use lfsfs_metadata::{
    Begun, Change, ChunkReceipt, CommitParams, CommitSession, ExactVersion, Metadata,
    MetadataError, Project, Published, RollbackParams,
};
use lfsfs_types::{
    ChunkId, ChunkInfo, ContentId, ContentPlace, DirId, Kind, Record, Sha256, VersionId,
    VersionNumber,
};

use super::looks::{digest, looks_of};
use super::{PROJECTS, dir_of_child, number, project, tree};
use crate::merge::merge;
use crate::support::{NODE, Random, clock, content, directory, file, made, name, params, record};
use crate::tree::{Tree, Work};

pub(super) const DIR: &str = "LFSFS_TEST_CRASHES_DIR";
const ENGINE: &str = "LFSFS_TEST_CRASHES_ENGINE";
const SEED: &str = "LFSFS_TEST_CRASHES_OWN_SEED";
const AT: &str = "LFSFS_TEST_CRASHES_AT";
const BATCH: &str = "LFSFS_TEST_CRASHES_BATCH";

/// How many commits a child tries in each project before it ends by itself.
const COMMITS: usize = 14;
/// How many sessions may stay unfinished.
const SESSIONS: usize = 3;

/// How a child writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config {
    pub(super) engine: Engine,
    pub(super) seed: u64,
    /// The operation of the store at which it kills itself; 0 for none.
    pub(super) at: u64,
    /// The largest batch, if the engine would take a larger one.
    pub(super) batch_ops_max: usize,
}

impl Config {
    pub(super) fn pass_to(&self, command: &mut Command, dir: &Path) {
        command
            .env(DIR, dir)
            .env(ENGINE, self.engine.name())
            .env(SEED, self.seed.to_string())
            .env(AT, self.at.to_string())
            .env(BATCH, self.batch_ops_max.to_string());
    }

    fn of_environment() -> Self {
        let known = |variable| number(variable).unwrap();
        Self {
            engine: std::env::var(ENGINE).unwrap().parse().unwrap(),
            seed: known(SEED),
            at: known(AT),
            batch_ops_max: known(BATCH) as usize,
        }
    }
}

/// What the child process does; without its environment, nothing.
#[test]
fn child() {
    let Some(dir) = dir_of_child() else { return };
    let config = Config::of_environment();
    let Ok(store) = config.engine.open(&dir) else {
        return tell(PROJECTS[0], "failed to open the store");
    };
    let store = Killing {
        store,
        config,
        operations: AtomicU64::new(0),
    };
    let metadata = match Metadata::open(Arc::new(store), clock()) {
        Ok(metadata) => metadata,
        Err(error) => return tell(PROJECTS[0], &format!("failed {error}")),
    };
    std::thread::scope(|scope| {
        // As a server does: what the process before left is undone beside what is written.
        scope.spawn(|| {
            if let Err(error) = metadata.recover() {
                tell(PROJECTS[0], &format!("failed {error}"));
            }
        });
        for (number, name) in PROJECTS.into_iter().enumerate() {
            let random = Random(config.seed ^ number as u64);
            let mut writer = Writer::new(metadata.clone(), name, random);
            scope.spawn(move || {
                if let Err(error) = writer.run() {
                    tell(name, &format!("failed {error}"));
                }
            });
        }
    });
}

/// Says a line at once and whole.
fn tell(project: &str, what: &str) {
    let mut out = stdout().lock();
    out.write_all(format!("@ {project} {what}\n").as_bytes())
        .unwrap();
    out.flush().unwrap();
}

/// One project that is written to.
struct Writer {
    metadata: Metadata,
    name: &'static str,
    project: Project,
    random: Random,
    /// Sessions that no publish ends.
    unfinished: Vec<CommitSession>,
}

/// Changes on a version, and what is to come of them.
struct Wanted {
    on: VersionNumber,
    changes: Vec<Change>,
    /// None if they conflict with the head.
    looks: Option<String>,
}

impl Writer {
    fn new(metadata: Metadata, name: &'static str, random: Random) -> Self {
        let project = project(&metadata, name);
        Self {
            metadata,
            name,
            project,
            random,
            unfinished: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), MetadataError> {
        for _ in 0..COMMITS {
            match self.random.below(20) {
                0 => self.roll_back()?,
                1..=3 => self.leave_unfinished()?,
                _ => self.commit()?,
            }
        }
        Ok(())
    }

    fn head(&self) -> Result<VersionNumber, MetadataError> {
        Ok(self.metadata.project_by_id(self.project.id)?.head.number)
    }

    fn tree(&self, version: VersionNumber) -> Tree {
        tree(&self.metadata, &self.project, version)
    }

    fn commit(&mut self) -> Result<(), MetadataError> {
        let wanted = self.wanted()?;
        let id = self.random.id();
        let looks = wanted.looks.clone().unwrap_or_default();
        tell(self.name, &format!("ask {} {looks}", VersionId(id)));
        let mut session = self.begin(id, wanted.on)?;
        for part in wanted.changes.chunks(1000) {
            session.stage(part.to_vec())?;
        }
        match session.publish() {
            Err(MetadataError::Conflicts { .. }) if wanted.looks.is_none() => {
                tell(self.name, "same");
                Ok(())
            }
            published => self.answered(&published?, &looks),
        }
    }

    fn answered(&self, published: &Published, looks: &str) -> Result<(), MetadataError> {
        if !published.is_new {
            tell(self.name, "same");
            return Ok(());
        }
        let number = published.record.number;
        tell(self.name, &format!("done {}", number.0));
        let tree = self.tree(number);
        assert_eq!(looks_of(&tree), looks, "{number} is not what was asked");
        tell(self.name, &format!("whole {}", digest(&tree)));
        Ok(())
    }

    fn begin(&self, id: [u8; 16], on: VersionNumber) -> Result<CommitSession, MetadataError> {
        let base = ExactVersion {
            number: on,
            id: self.metadata.version(self.project.id, on)?.id,
        };
        let params = CommitParams {
            base,
            ..params(&self.metadata, &self.project, id)
        };
        match self.metadata.begin_commit(params)? {
            Begun::Session(session) => Ok(session),
            Begun::AlreadyDone(record) => panic!("{record:?} has a new id"),
        }
    }

    /// Draws changes of the head, or of a version somewhat older.
    fn wanted(&mut self) -> Result<Wanted, MetadataError> {
        let head = self.head()?;
        let age = if self.random.chance(20) {
            self.random.below(3)
        } else {
            0
        };
        let on = VersionNumber(head.0.saturating_sub(age as u64));
        let base = self.tree(on);
        let fresh = self.fresh_content()?;
        let mut random = self.random.clone();
        let mut work = Work::on(&base, &mut random);
        (0..=work.random.below(8)).for_each(|_| work.step());
        if let Some(record) = fresh {
            work.tree.put(DirId::ROOT, name("fresh"), record);
        }
        toggle_many(&mut work);
        let changes = work.changes(&base);
        let mine = work.tree;
        self.random = random;
        let looks = if on == head {
            Some(looks_of(&mine))
        } else {
            merge(&base, &mine, &self.tree(head)).map(|tree| looks_of(&tree))
        };
        Ok(Wanted { on, changes, looks })
    }

    /// Notes a chunk, which no call flushes, with a content that no version has yet.
    fn fresh_content(&mut self) -> Result<Option<Record>, MetadataError> {
        if !self.random.chance(40) {
            return Ok(None);
        }
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.random.id());
        id[16..].copy_from_slice(&self.random.id());
        let (chunk, content) = (ChunkId(id), ContentId(id));
        let place = ContentPlace {
            content,
            chunk,
            block: 0,
            offset: 0,
            len: 10,
        };
        self.metadata.record_chunk(&ChunkReceipt {
            node: NODE,
            info: ChunkInfo {
                id: chunk,
                len: 1000,
                footer_len: 100,
                footer_sha256: Sha256([9; 32]),
            },
            places: vec![place],
        })?;
        Ok(Some(record(Kind::File { size: 10, content })))
    }

    /// Begins a commit, stages changes, and leaves it or throws it away.
    fn leave_unfinished(&mut self) -> Result<(), MetadataError> {
        let (id, on) = (self.random.id(), self.head()?);
        let mut session = self.begin(id, on)?;
        let count = self.random.below(400);
        let changes = (0..count).map(|number| {
            let file = file(1 + (number % 12) as u8);
            crate::support::put(DirId::ROOT, &format!("unfinished {number}"), file)
        });
        session.stage(changes.collect())?;
        self.unfinished.push(session);
        if self.unfinished.len() > SESSIONS {
            drop(self.unfinished.remove(0));
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), MetadataError> {
        let head = self.head()?;
        let to = VersionNumber(self.random.next() % (head.0 + 1));
        let id = VersionId(self.random.id());
        let looks = looks_of(&self.tree(to));
        tell(self.name, &format!("ask {id} {looks}"));
        let params = RollbackParams {
            project: self.project.id,
            to,
            version: id,
            author: String::new(),
            message: String::new(),
        };
        let published = self.metadata.rollback(&params)?;
        self.answered(&published, &looks)
    }
}

/// Adds a directory of some hundred files, which needs several batches; or removes the one that is there.
fn toggle_many(work: &mut Work<'_>) {
    let many = name("many");
    let is_there = work.tree.dirs[&DirId::ROOT].contains_key(&many);
    match (is_there, work.random.chance(if is_there { 80 } else { 10 })) {
        (_, false) => {}
        (true, true) => work.tree.remove(DirId::ROOT, &many),
        (false, true) => {
            let dir = made(1_000_000);
            work.tree.put(DirId::ROOT, many, directory(dir));
            for number in 0..90 + work.random.below(500) {
                let file = record(Kind::File {
                    size: 10,
                    content: content(1 + (number % 12) as u8),
                });
                work.tree.put(dir, name(&format!("file {number}")), file);
            }
        }
    }
}

/// Kills this process at an operation, half of the time after it.
#[derive(Debug)]
struct Killing {
    store: Arc<dyn MetaStore>,
    config: Config,
    operations: AtomicU64,
}

impl Killing {
    fn operate<T>(&self, operation: impl FnOnce() -> T) -> T {
        let is_last = self.operations.fetch_add(1, Ordering::SeqCst) + 1 == self.config.at;
        let after = self.config.seed.is_multiple_of(2);
        if is_last && !after {
            kill_this_process();
        }
        let done = operation();
        if is_last {
            kill_this_process();
        }
        done
    }
}

fn kill_this_process() {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
}

impl MetaStore for Killing {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn batch_ops_max(&self) -> usize {
        self.store.batch_ops_max().min(self.config.batch_ops_max)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        self.store.get(key)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.store.read(reads)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        self.operate(|| self.store.apply(batch))
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.operate(|| self.store.flush())
    }

    fn figures(&self) -> EngineFigures {
        self.store.figures()
    }
}
