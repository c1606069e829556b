//! One import from start to end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lfsfs_client::Client;
use lfsfs_common::WorkerPool;
use lfsfs_common::random::random_bytes;
use lfsfs_remote::{Opened, Published, Remote, Retry, SessionParams, Snapshot};
use lfsfs_types::{Origin, ProjectName, Source, VersionId, VersionRecord, VersionRef};
use lfsfs_upload::{ChangeSink, ContentSender, Progress, ProgressFigures, Publishing, SendMode};
use tokio::task::spawn_blocking;

use crate::count::{CountEnd, Counter};
use crate::directories::Directories;
use crate::error::ImportError;
use crate::filter::Filter;
use crate::local::{self, DirHandle};
use crate::problems::{Problem, Problems};
use crate::walk::{Skipped, Walk};
use crate::worker::Workshop;

/// Batches of files that wait for a worker.
const BATCHES_QUEUED_MAX: usize = 4;

/// What to import, and how.
#[derive(Debug, Clone)]
pub struct ImportParams {
    /// The directory.
    pub dir: PathBuf,
    /// The project that gets the version.
    pub project: ProjectName,
    /// Who imports.
    pub author: String,
    /// Why.
    pub message: String,
    /// Patterns of what to leave out.
    pub exclude: Vec<String>,
    /// Publish without the entries that cannot be imported.
    pub skip_unreadable: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What an import did.
#[derive(Debug, Clone)]
pub struct ImportOutcome {
    /// The version that is the directory now; the base if nothing differed or nothing was done.
    pub version: VersionRecord,
    /// True if there is a new version.
    pub is_new: bool,
    /// Rows that the server wrote.
    pub rows: u64,
    /// What was read and sent.
    pub figures: ProgressFigures,
    /// Entries that were left out because they cannot be imported, the first of them and how many.
    pub problems: (Vec<Problem>, u64),
    /// Sockets, which are never imported.
    pub sockets: u64,
    /// Directories on which something else is mounted, imported as empty ones.
    pub mount_points: u64,
    /// Entries that a pattern excluded.
    pub excluded: u64,
}

/// What a walk that came to its end left out.
#[derive(Debug, Default)]
struct Walked {
    skipped: Skipped,
    problems: (Vec<Problem>, u64),
}

/// The version at the end of an import.
struct Ended {
    version: VersionRecord,
    is_new: bool,
    rows: u64,
}

impl Ended {
    fn nothing_done(version: VersionRecord) -> Self {
        Self {
            version,
            is_new: false,
            rows: 0,
        }
    }
}

/// An import that is about to start.
#[derive(Debug)]
pub struct Import {
    remote: Arc<dyn Remote>,
    retry: Retry,
    params: ImportParams,
    filter: Arc<Filter>,
    progress: Arc<Progress>,
    count_end: CountEnd,
}

impl Import {
    /// Checks the parameters.
    pub fn new(client: &Client, params: ImportParams) -> Result<Self, ImportError> {
        let filter = Arc::new(Filter::new(&params.exclude)?);
        Ok(Self {
            remote: Arc::clone(&client.remote),
            retry: client.retry.clone(),
            params,
            filter,
            progress: Arc::default(),
            count_end: CountEnd::default(),
        })
    }

    /// Returns what counts how much there is to import, while [`run`](Self::run) goes on.
    #[must_use]
    pub fn counter(&self) -> Counter {
        let (dir, filter) = (self.params.dir.clone(), Arc::clone(&self.filter));
        Counter::new(dir, filter, &self.progress, &self.count_end)
    }

    /// Returns the counters to watch while [`run`](Self::run) goes on.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Makes the directory the newest version of the project.
    ///
    /// An import that the server went away from begins anew: what was stored stays, and the id of the
    /// version says whether that was published.
    pub async fn run(self) -> Result<ImportOutcome, ImportError> {
        let id = VersionId(random_bytes().map_err(ImportError::Random)?);
        let mut walked = Walked::default();
        let mut tries = self.retry.tries();
        loop {
            match self.run_once(id, &mut walked).await {
                Err(ImportError::Remote(error))
                    if error.may_begin_anew() && tries.pause(&error).await =>
                {
                    self.progress.begin_anew();
                }
                outcome => return outcome,
            }
        }
    }

    async fn run_once(
        &self,
        id: VersionId,
        walked: &mut Walked,
    ) -> Result<ImportOutcome, ImportError> {
        let error = |source: rustix::io::Errno| ImportError::Directory {
            path: self.params.dir.clone(),
            source: source.into(),
        };
        let root = local::open_root(&self.params.dir).map_err(error)?;
        let source = Source {
            project: self.params.project.clone(),
            version: VersionRef::Latest,
        };
        let base = self.remote.resolve_source(&source).await?;
        let (sink, stream) = lfsfs_upload::channel(Arc::clone(&self.progress));
        if self.params.dry_run {
            let counted = tokio::spawn(futures::StreamExt::count(stream));
            let done = self.walk(root, base.clone(), sink).await;
            counted.abort();
            return Ok(self.outcome(Ended::nothing_done(base.version), done?));
        }
        let params = self.session(&base, id);
        let session = match self.remote.open_session(&params).await? {
            Opened::Session(session) => session,
            Opened::Published(version) => {
                let ended = Ended {
                    version,
                    is_new: true,
                    rows: 0,
                };
                return Ok(self.outcome(ended, std::mem::take(walked)));
            }
        };
        let remote = Arc::clone(&self.remote);
        let commit = Publishing::start(remote, session, params, stream);
        let base_id = base.version.id;
        match self.walk(root, base, sink).await {
            Ok(done) => {
                *walked = done;
                let Published { version, rows, .. } = commit.finish().await?;
                let ended = Ended {
                    is_new: version.id != base_id,
                    version,
                    rows,
                };
                Ok(self.outcome(ended, std::mem::take(walked)))
            }
            // The walk stops when the commit fails, and then that is the reason to tell.
            Err(ImportError::Stopped(what)) => match commit.failure().await {
                Some(error) => Err(error.into()),
                None => Err(ImportError::Stopped(what)),
            },
            Err(error) => Err(error),
        }
    }

    /// Looks at everything, sends what is new, and ends the stream of changes.
    async fn walk(
        &self,
        root: DirHandle,
        base: Snapshot,
        changes: ChangeSink,
    ) -> Result<Walked, ImportError> {
        let mode = if self.params.dry_run {
            SendMode::DryRun
        } else {
            SendMode::Send
        };
        let contents = ContentSender::new(
            Arc::clone(&self.remote),
            &base.project,
            mode,
            Arc::clone(&self.progress),
        );
        let workshop = Arc::new(Workshop {
            directories: Directories::new(DirHandle::clone(&root)),
            contents,
            changes,
            links: Mutex::default(),
            problems: Problems::default(),
            progress: Arc::clone(&self.progress),
        });
        let skipped = self.run_walk(root, base, &workshop).await?;
        let links = Arc::clone(&workshop);
        spawn_blocking(move || links.settle_links())
            .await
            .map_err(stopped)??;
        let problems = workshop.problems.take();
        if problems.1 > 0 && !self.params.skip_unreadable {
            return Err(ImportError::Problems {
                first: problems.0,
                count: problems.1,
            });
        }
        spawn_blocking(move || finish(&workshop))
            .await
            .map_err(stopped)??;
        Ok(Walked { skipped, problems })
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
        let filter = Arc::clone(&self.filter);
        let (shop, dir) = (Arc::clone(workshop), self.params.dir.clone());
        let walk =
            move |batches| Walk::new(&*remote, &base, &filter, &shop, batches).run(root, &dir);
        let shop = Arc::clone(workshop);
        pool.run(walk, move |batch| shop.process(batch)).await
    }

    fn session(&self, base: &Snapshot, id: VersionId) -> SessionParams {
        SessionParams {
            project: base.project.id,
            base: (base.version.number, base.version.id),
            version: id,
            origin: Origin::Import,
            author: self.params.author.clone(),
            message: self.params.message.clone(),
            force: false,
            want_ids: false,
        }
    }

    fn outcome(&self, ended: Ended, walked: Walked) -> ImportOutcome {
        let Walked { skipped, problems } = walked;
        ImportOutcome {
            version: ended.version,
            is_new: ended.is_new,
            rows: ended.rows,
            figures: self.progress.figures(),
            problems,
            sockets: skipped.sockets,
            mount_points: skipped.mount_points,
            excluded: skipped.excluded,
        }
    }
}

/// Sends what had to wait for the end.
fn finish(workshop: &Workshop) -> Result<(), ImportError> {
    workshop.contents.finish()?;
    Ok(workshop.changes.end()?)
}

fn stopped(_: tokio::task::JoinError) -> ImportError {
    ImportError::Stopped("a worker panicked")
}

/// More workers than cores, since each waits for the server now and then.
fn workers_count() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from) * 2
}
