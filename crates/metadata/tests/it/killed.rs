//! A real process over each engine that is killed at an operation of the store, and what is found then.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lfsfs_meta_store::{Applied, Batch, Engine, EngineFigures, MetaError, MetaStore, Read, Rows};
use lfsfs_types::{DirId, ProjectName, VersionNumber};

use crate::crash::first_version;
use crate::support::{assert_clean, commit_as, file, new_project, open, put, store_contents};
use crate::tree::{Tree, difference};

const DIR: &str = "LFSFS_TEST_KILLED_DIR";
const AT: &str = "LFSFS_TEST_KILLED_AT";
const ENGINE: &str = "LFSFS_TEST_KILLED_ENGINE";
const VERSION: [u8; 16] = [50; 16];

/// Kills this process before an operation.
#[derive(Debug)]
struct Killing {
    store: Arc<dyn MetaStore>,
    at: u64,
    operations: AtomicU64,
}

impl Killing {
    fn count(&self) {
        if self.operations.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
    }
}

impl MetaStore for Killing {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn batch_ops_max(&self) -> usize {
        20
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        self.store.get(key)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.store.read(reads)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        self.count();
        self.store.apply(batch)
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.count();
        self.store.flush()
    }

    fn figures(&self) -> EngineFigures {
        self.store.figures()
    }
}

/// What the child process does; without its environment, nothing.
#[test]
fn child() {
    let (Ok(dir), Ok(at)) = (std::env::var(DIR), std::env::var(AT)) else {
        return;
    };
    let engine: Engine = std::env::var(ENGINE).unwrap().parse().unwrap();
    let store = Killing {
        store: engine.open(Path::new(&dir)).unwrap(),
        at: at.parse().unwrap(),
        operations: AtomicU64::new(0),
    };
    let metadata = open(Arc::new(store));
    let project = metadata.project(&ProjectName::new("app").unwrap()).unwrap();
    commit_as(&metadata, &project, VERSION, changes(project.head.number)).unwrap();
}

fn changes(head: VersionNumber) -> Vec<lfsfs_metadata::Change> {
    if head == VersionNumber::ZERO {
        return first_version();
    }
    (0..30)
        .map(|number| put(DirId::ROOT, &format!("f{number:02}"), file(9)))
        .collect()
}

#[test]
fn a_process_over_redb_that_is_killed_leaves_whole_versions() {
    kill_everywhere(Engine::Redb);
}

#[test]
fn a_process_over_sled_that_is_killed_leaves_whole_versions() {
    kill_everywhere(Engine::Sled);
}

fn kill_everywhere(engine: Engine) {
    for first in [true, false] {
        let mut killed = 0;
        for at in (1..).step_by(2) {
            if !kill_at(engine, at, first) {
                break;
            }
            killed += 1;
        }
        assert!(killed >= 5, "killed only {killed} times");
    }
}

/// Returns false if the process finished before that operation.
fn kill_at(engine: Engine, at: u64, first: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let metadata = open(engine.open(dir.path()).unwrap());
        store_contents(&metadata);
        let project = new_project(&metadata);
        if !first {
            commit_as(&metadata, &project, [1; 16], first_version()).unwrap();
        }
        let head = metadata.project_by_id(project.id).unwrap().head.number;
        Tree::read(&metadata, &project, head, 100)
    };
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--quiet"])
        .env(DIR, dir.path())
        .env(AT, at.to_string())
        .env(ENGINE, engine.name())
        .output()
        .unwrap()
        .status;
    assert!(status.success() || status.signal() == Some(9), "{status}");

    let metadata = open(engine.open(dir.path()).unwrap());
    let project = metadata.project(&ProjectName::new("app").unwrap()).unwrap();
    let base = VersionNumber(u64::from(!first));
    let head = project.head.number;
    assert!(head == base || head == base.next());
    assert!(
        head != base || !status.success(),
        "an answered version is gone"
    );
    assert_eq!(Tree::read(&metadata, &project, base, 100), before);
    assert_clean(&metadata);
    let published = commit_as(&metadata, &project, VERSION, changes(base)).unwrap();
    let record = published.record;
    assert_eq!(record.number, base.next());
    let after = Tree::read(&metadata, &project, record.number, 100);
    assert!(!difference(&before, &after).is_empty());
    assert_clean(&metadata);
    !status.success()
}
