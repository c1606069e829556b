//! What was changed in a rebuilt directory becomes a version.
//!
//! The directory is walked beside the version that it has, as an import walks one beside the newest version, and
//! the changes are one commit with that version as its base. Files that the directory's summary knows are not read.
//! What others published meanwhile is merged by the server, and written into the directory ([`merge`]).
//!
//! Nothing that the directory remembers changes before the server has published: an update that fails forgets
//! nothing. Before it publishes, it notes the random id of the version to be, so that the next one finds out
//! whether a process that was killed had published.

mod changed_here;
mod error;
mod merge;
mod own_times;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use lfsfs_client::Client;
use lfsfs_common::random::random_bytes;
use lfsfs_remote::{Opened, Remote, RemoteRead, Retry, SessionParams, Snapshot};
use lfsfs_types::{ObjectPath, Origin, ProjectName, VersionId, VersionRecord};
use lfsfs_upload::{IgnoreWarning, IgnoredPaths, Progress, ProgressFigures};

use self::changed_here::History;
use self::merge::Merge;
use crate::error::ImportError;
use crate::filter::Filter;
use crate::fit::Fit;
use crate::problems::Problem;
use crate::rebuild::{Rebuilt, Sent, known, remember};
use crate::selection::{Picked, RestOfTree, Selection, narrowed};
use crate::summary::Looked;
use crate::tree::{Committed, Proceed, Tree, Walked};

pub use self::error::UpdateError;
pub use self::merge::Merged;

/// What to send, and how.
#[derive(Debug, Clone, Default)]
pub struct UpdateParams {
    /// The directory, which a rebuild made.
    pub dir: PathBuf,
    /// The paths of which changes are sent; all if there are none.
    pub subpaths: Vec<ObjectPath>,
    /// Who made the changes.
    pub author: String,
    /// Why.
    pub message: String,
    /// Publish the changes even where others changed the same.
    pub force: bool,
    /// What becomes of new paths that are ignored.
    pub ignored: IgnoredPaths,
    /// Publish without the entries that cannot be read: they stay what they are in the version.
    pub skip_unreadable: bool,
}

/// What an update did.
#[derive(Debug, Clone)]
pub struct UpdateOutcome {
    /// The project.
    pub project: ProjectName,
    /// The version that has the changes; the one that the directory had if there are none.
    pub version: VersionRecord,
    /// True if this update made it.
    pub is_new: bool,
    /// True if others published since the version that the directory had.
    pub is_rebased: bool,
    /// Whether the directory has it.
    pub merged: Merged,
    /// What was read and sent.
    pub figures: ProgressFigures,
    /// Entries that were left out because they cannot be sent, the first of them and how many.
    pub problems: (Vec<Problem>, u64),
    /// Sockets, which are never sent.
    pub sockets: u64,
    /// Directories on which something else is mounted. They are left alone.
    pub mount_points: u64,
    /// New entries that are ignored. What is in an ignored directory is not counted.
    pub ignored: u64,
    /// What in files that say what is ignored says nothing.
    pub ignore_warnings: Vec<IgnoreWarning>,
}

/// An update that is about to start. No other process rebuilds or updates the directory.
#[derive(Debug)]
pub struct Update {
    remote: Arc<dyn Remote>,
    retry: Retry,
    params: UpdateParams,
    rebuilt: Rebuilt,
    /// What an earlier update noted.
    sent: Option<Sent>,
    picked: Arc<Picked>,
    progress: Arc<Progress>,
}

impl Update {
    /// Reads what the directory remembers. Nothing is changed.
    pub fn open(client: &Client, params: UpdateParams) -> Result<Self, UpdateError> {
        Self::with_remote(Arc::clone(&client.remote), client.retry.clone(), params)
    }

    fn with_remote(
        remote: Arc<dyn Remote>,
        retry: Retry,
        params: UpdateParams,
    ) -> Result<Self, UpdateError> {
        let (rebuilt, sent) = Rebuilt::open_to_update(&params.dir)?;
        let subdirectory = &rebuilt.part.subdirectory;
        if !subdirectory.is_root() {
            return Err(UpdateError::Subdirectory {
                dir: params.dir,
                subdirectory: subdirectory.clone(),
            });
        }
        let outside = |subpath| UpdateError::Outside {
            dir: params.dir.clone(),
            subpath,
        };
        let subpaths = narrowed(&rebuilt.part.subpaths, &params.subpaths).map_err(outside)?;
        let picked = Picked {
            selection: Selection::new(Filter::new(&rebuilt.part.ignore)?, subpaths),
            rest: RestOfTree::Kept,
            ignored: params.ignored,
        };
        Ok(Self {
            remote,
            retry,
            params,
            rebuilt,
            sent,
            picked: Arc::new(picked),
            progress: Arc::default(),
        })
    }

    /// Returns the counters to watch while [`run`](Self::run) goes on.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Makes what was changed a version, and brings the directory to that.
    ///
    /// If it fails, the directory remembers what it did before, and the next update sends the same changes. One
    /// that the server went away from begins anew, as an import does.
    pub async fn run(mut self) -> Result<UpdateOutcome, UpdateError> {
        let mut base = self.rebuilt.snapshot(&*self.remote).await?;
        if let Some(sent) = self.sent.take() {
            base = self.recover(base, &sent).await?;
        }
        let known = Arc::new(self.rebuilt.place.known()?);
        let tree = Tree {
            remote: Arc::clone(&self.remote),
            progress: Arc::clone(&self.progress),
            dir: self.params.dir.clone(),
            picked: Arc::clone(&self.picked),
            fit: Fit::of_this_process(),
            known: Some(Arc::clone(&known)),
            skip_unreadable: self.params.skip_unreadable,
        };
        let id = VersionId(random_bytes().map_err(ImportError::Random)?);
        let mut walked = Walked::default();
        let published = self.publish(&tree, &base, id, &mut walked).await?;
        let (version, merged) = match published {
            None => (base.version.clone(), Merged::Done),
            Some(version) => {
                let has_ignored = walked.skipped.ignored > 0;
                let merged = self.merge(&base, version.clone(), id, has_ignored);
                (version, merged.await?)
            }
        };
        if merged == Merged::Done {
            let looked = if self.params.subpaths.is_empty() {
                Looked::Everywhere
            } else {
                Looked::AtAPart
            };
            remember(&self.rebuilt.place, &known, looked);
        }
        Ok(self.outcome((base, version, id), merged, walked))
    }

    /// Finds out whether a version was published that an earlier update noted, and brings the directory to it.
    /// Returns the version that the directory has then.
    async fn recover(&mut self, base: Snapshot, sent: &Sent) -> Result<Snapshot, UpdateError> {
        let opened = self
            .remote
            .open_session(&self.session(&base, sent.id))
            .await?;
        // A session in which nothing is sent is forgotten by the server.
        let Opened::Published(version) = opened else {
            return Ok(base);
        };
        let (project, number) = (base.project.id, version.number);
        let to = self.remote.snapshot(project, number).await?;
        let merge = Merge {
            remote: self.read_half(),
            rebuilt: &self.rebuilt,
            base: &base,
            to: to.clone(),
            id: sent.id,
            history: if sent.merging.is_some() {
                History::Begun
            } else {
                History::SomeUnsent
            },
        };
        if merge.run().await? == Merged::Done {
            self.rebuilt.version = known(&to);
            return Ok(to);
        }
        Ok(base)
    }

    /// Returns the version that has the changes, or nothing if there are none.
    async fn publish(
        &self,
        tree: &Tree,
        base: &Snapshot,
        id: VersionId,
        walked: &mut Walked,
    ) -> Result<Option<VersionRecord>, UpdateError> {
        let mut tries = self.retry.tries();
        loop {
            match self.publish_once(tree, base, id, walked).await {
                Err(UpdateError::Send(ImportError::Remote(error)))
                    if error.may_begin_anew() && tries.pause(&error).await =>
                {
                    self.progress.begin_anew();
                }
                published => return published,
            }
        }
    }

    async fn publish_once(
        &self,
        tree: &Tree,
        base: &Snapshot,
        id: VersionId,
        walked: &mut Walked,
    ) -> Result<Option<VersionRecord>, UpdateError> {
        let sent = Sent {
            base: self.rebuilt.version,
            id,
            merging: None,
        };
        let ready = |changes| {
            if changes == 0 {
                return Ok(Proceed::GiveUp);
            }
            self.rebuilt.place.write_sent(&sent)?;
            Ok::<_, UpdateError>(Proceed::Publish)
        };
        let params = self.session(base, id);
        let root = Arc::clone(self.rebuilt.root());
        let committed = tree.commit(root, base.clone(), params, walked, ready);
        Ok(match committed.await? {
            Committed::Version { version, .. } => Some(version),
            Committed::Nothing => None,
        })
    }

    async fn merge(
        &self,
        base: &Snapshot,
        version: VersionRecord,
        id: VersionId,
        has_ignored: bool,
    ) -> Result<Merged, UpdateError> {
        let failed = |source| UpdateError::Merge {
            version: format!("{}@{}", base.project.name, version.number),
            source,
        };
        let to = self.remote.snapshot(base.project.id, version.number).await;
        let merge = Merge {
            remote: self.read_half(),
            rebuilt: &self.rebuilt,
            base,
            to: to.map_err(|error| failed(error.into()))?,
            id,
            history: if self.params.subpaths.is_empty() && !has_ignored {
                History::AllSent
            } else {
                History::SomeUnsent
            },
        };
        merge.run().await.map_err(failed)
    }

    fn session(&self, base: &Snapshot, id: VersionId) -> SessionParams {
        SessionParams {
            project: base.project.id,
            base: (base.version.number, base.version.id),
            version: id,
            origin: Origin::Commit,
            author: self.params.author.clone(),
            message: self.params.message.clone(),
            force: self.params.force,
            ignore_times: false,
            want_ids: false,
        }
    }

    fn read_half(&self) -> Arc<dyn RemoteRead> {
        Arc::clone(&self.remote) as Arc<dyn RemoteRead>
    }

    fn outcome(
        &self,
        (base, version, id): (Snapshot, VersionRecord, VersionId),
        merged: Merged,
        walked: Walked,
    ) -> UpdateOutcome {
        let Walked { skipped, problems } = walked;
        UpdateOutcome {
            is_new: version.id == id,
            is_rebased: version.number.0 > base.version.number.0 + 1,
            project: base.project.name,
            version,
            merged,
            figures: self.progress.figures(),
            problems,
            sockets: skipped.sockets,
            mount_points: skipped.mount_points,
            ignored: skipped.ignored,
            ignore_warnings: skipped.ignore_warnings,
        }
    }
}
