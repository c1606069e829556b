//! One import from start to end.

use std::path::PathBuf;
use std::sync::Arc;

use lfsfs_client::Client;
use lfsfs_common::random::random_bytes;
use lfsfs_remote::{Remote, Retry, SessionParams, Snapshot};
use lfsfs_types::{Origin, ProjectName, Source, VersionId, VersionRecord, VersionRef};
use lfsfs_upload::{IgnoreWarning, IgnoredPaths, Progress, ProgressFigures};

use crate::count::{CountEnd, Counter};
use crate::error::ImportError;
use crate::filter::Filter;
use crate::fit::Fit;
use crate::problems::Problem;
use crate::selection::{Picked, RestOfTree, Selection};
use crate::tree::{Committed, Proceed, Tree, Walked};

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
    /// What becomes of new paths that are ignored.
    pub ignored: IgnoredPaths,
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
    /// New entries that are ignored. What is in an ignored directory is not counted.
    pub ignored: u64,
    /// What in files that say what is ignored says nothing.
    pub ignore_warnings: Vec<IgnoreWarning>,
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
        let ignored = self.params.ignored;
        Counter::new(dir, (filter, ignored), &self.progress, &self.count_end)
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
        let tree = self.tree();
        let root = tree.open()?;
        let source = Source {
            project: self.params.project.clone(),
            version: VersionRef::Latest,
        };
        let base = self.remote.resolve_source(&source).await?;
        if self.params.dry_run {
            let done = tree.count(root, base.clone()).await?;
            return Ok(self.outcome(Ended::nothing_done(base.version), done));
        }
        let (base_id, params) = (base.version.id, self.session(&base, id));
        let always = |_| Ok::<_, ImportError>(Proceed::Publish);
        let committed = tree.commit(root, base, params, walked, always).await?;
        let (version, rows) = match committed {
            Committed::Version { version, rows } => (version, rows),
            Committed::Nothing => return Err(ImportError::Stopped("nothing was published")),
        };
        let ended = Ended {
            is_new: version.id != base_id,
            version,
            rows,
        };
        Ok(self.outcome(ended, std::mem::take(walked)))
    }

    fn tree(&self) -> Tree {
        Tree {
            remote: Arc::clone(&self.remote),
            progress: Arc::clone(&self.progress),
            dir: self.params.dir.clone(),
            picked: Arc::new(Picked {
                selection: Selection::new(Filter::clone(&self.filter), []),
                rest: RestOfTree::Removed,
                ignored: self.params.ignored,
            }),
            fit: Fit::Exact,
            known: None,
            skip_unreadable: self.params.skip_unreadable,
        }
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
            ignore_times: false,
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
            ignored: skipped.ignored,
            ignore_warnings: skipped.ignore_warnings,
        }
    }
}
