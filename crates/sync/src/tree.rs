//! A directory is walked beside a version, and what differs is committed: what an import and an update have in
//! common.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use lfsfs_common::WorkerPool;
use lfsfs_remote::{Opened, Published, Remote, SessionParams, Snapshot};
use lfsfs_types::VersionRecord;
use lfsfs_upload::{ChangeSink, ContentSender, Progress, Publishing, SendMode};
use tokio::task::spawn_blocking;

use crate::directories::Directories;
use crate::error::ImportError;
use crate::fit::Fit;
use crate::links::NamesSeen;
use crate::local::{self, DirHandle};
use crate::problems::{Problem, Problems};
use crate::selection::{Picked, RestOfTree};
use crate::summary::Known;
use crate::walk::{Skipped, Walk};
use crate::worker::Workshop;

/// Batches of files that wait for a worker.
const BATCHES_QUEUED_MAX: usize = 4;

/// A directory whose changes become a version.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) dir: PathBuf,
    pub(crate) picked: Arc<Picked>,
    pub(crate) fit: Fit,
    /// Files that need not be read.
    pub(crate) known: Option<Arc<Known>>,
    pub(crate) skip_unreadable: bool,
}

/// What a walk that came to its end left out.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) skipped: Skipped,
    pub(crate) problems: (Vec<Problem>, u64),
}

/// Whether changes are published that were all found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proceed {
    Publish,
    GiveUp,
}

/// What came of a commit.
#[derive(Debug)]
pub(crate) enum Committed {
    /// This version has the changes; it may be one that had them before.
    Version { version: VersionRecord, rows: u64 },
    /// The commit was given up.
    Nothing,
}

impl Tree {
    /// Opens the directory.
    pub(crate) fn open(&self) -> Result<DirHandle, ImportError> {
        local::open_root(&self.dir).map_err(|source| ImportError::Directory {
            path: self.dir.clone(),
            source: source.into(),
        })
    }

    /// Looks at everything and counts what would be sent.
    pub(crate) async fn count(
        &self,
        root: DirHandle,
        base: Snapshot,
    ) -> Result<Walked, ImportError> {
        let (sink, stream) = lfsfs_upload::channel(Arc::clone(&self.progress));
        let counted = tokio::spawn(stream.count());
        let looked = self.look(root, base, sink, SendMode::DryRun).await;
        let done = match looked {
            Ok((walked, workshop)) => finish(workshop).await.map(|()| walked),
            Err(error) => Err(error),
        };
        counted.abort();
        done
    }

    /// Commits what differs from the base. `ready` is told how many changes there are, and nothing is published
    /// before it has returned.
    pub(crate) async fn commit<E: From<ImportError>>(
        &self,
        root: DirHandle,
        base: Snapshot,
        params: SessionParams,
        walked: &mut Walked,
        ready: impl FnOnce(u64) -> Result<Proceed, E>,
    ) -> Result<Committed, E> {
        let opened = self.remote.open_session(&params).await;
        let session = match opened.map_err(ImportError::from)? {
            Opened::Session(session) => session,
            Opened::Published(version) => return Ok(Committed::Version { version, rows: 0 }),
        };
        let (sink, stream) = lfsfs_upload::channel(Arc::clone(&self.progress));
        let commit = Publishing::start(Arc::clone(&self.remote), session, params, stream);
        let looked = match self.look(root, base, sink, SendMode::Send).await {
            Ok((done, workshop)) => {
                *walked = done;
                match ready(self.progress.figures().changes)? {
                    Proceed::Publish => finish(workshop).await,
                    Proceed::GiveUp => return Ok(Committed::Nothing),
                }
            }
            Err(error) => Err(error),
        };
        match looked {
            Ok(()) => {
                let published = commit.finish().await.map_err(ImportError::from)?;
                let Published { version, rows, .. } = published;
                Ok(Committed::Version { version, rows })
            }
            // The walk stops when the commit fails, and then that is the reason to tell.
            Err(ImportError::Stopped(what)) => Err(match commit.failure().await {
                Some(error) => ImportError::from(error).into(),
                None => ImportError::Stopped(what).into(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at everything and sends what is new. The stream of changes is left open.
    async fn look(
        &self,
        root: DirHandle,
        base: Snapshot,
        changes: ChangeSink,
        mode: SendMode,
    ) -> Result<(Walked, Arc<Workshop>), ImportError> {
        let progress = Arc::clone(&self.progress);
        let contents = ContentSender::new(Arc::clone(&self.remote), &base.project, mode, progress);
        let is_partial = self.picked.rest == RestOfTree::Kept && self.picked.selection.is_partial();
        let workshop = Arc::new(Workshop {
            directories: Directories::new(DirHandle::clone(&root)),
            contents,
            changes,
            links: Mutex::default(),
            names_seen: if is_partial {
                NamesSeen::Some
            } else {
                NamesSeen::All
            },
            problems: Problems::default(),
            progress: Arc::clone(&self.progress),
            fit: self.fit,
            known: self.known.clone(),
        });
        let skipped = self.run_walk(root, base, &workshop).await?;
        let links = Arc::clone(&workshop);
        spawn_blocking(move || links.settle_links())
            .await
            .map_err(stopped)??;
        let problems = workshop.problems.take();
        if problems.1 > 0 && !self.skip_unreadable {
            return Err(ImportError::Problems {
                first: problems.0,
                count: problems.1,
            });
        }
        Ok((Walked { skipped, problems }, workshop))
    }

    async fn run_walk(
        &self,
        root: DirHandle,
        base: Snapshot,
        workshop: &Arc<Workshop>,
    ) -> Result<Skipped, ImportError> {
        let pool = WorkerPool {
            workers: workers_count(),
            queued_max: BATCHES_QUEUED_MAX,
        };
        let remote = Arc::clone(&self.remote);
        let picked = Arc::clone(&self.picked);
        let (shop, dir) = (Arc::clone(workshop), self.dir.clone());
        let walk =
            move |batches| Walk::new(&*remote, &base, &picked, &shop, batches).run(root, &dir);
        let shop = Arc::clone(workshop);
        pool.run(walk, move |batch| shop.process(batch)).await
    }
}

/// Sends what had to wait for the end, and ends the changes.
async fn finish(workshop: Arc<Workshop>) -> Result<(), ImportError> {
    let rest = move || {
        workshop.contents.finish()?;
        Ok::<_, ImportError>(workshop.changes.end()?)
    };
    spawn_blocking(rest).await.map_err(stopped)?
}

fn stopped(_: tokio::task::JoinError) -> ImportError {
    ImportError::Stopped("a worker panicked")
}

/// More workers than cores, since each waits for the server now and then.
fn workers_count() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from) * 2
}
