//! A directory gets what others published since the version that it had.
//!
//! A place that others changed is written only if the directory has there what it had in either version: what the
//! user changed since, or did not send, stays. As long as entries are written, the directory has its old version
//! and a note of the new one, so that the next update goes on where a process was killed.

use std::collections::HashSet;
use std::sync::Arc;

use lfsfs_remote::{ChangedName, RemoteError, RemoteRead, Snapshot, VersionRange};
use lfsfs_types::{DirId, ObjectPath, VersionId, VersionNumber};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::changed_here::{ChangedHere, History};
use super::own_times::OwnTimes;
use crate::changes::Changes;
use crate::directory_diff::Comparer;
use crate::export::scope::{Reach, Scope};
use crate::export::{Export, ExportProgress, LeftOut, Manner, Notes};
use crate::rebuild::{KnownVersion, RebuildError, Rebuilt, Sent, Standing, State, known};

/// What came of bringing a directory to a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// It has the version.
    Done,
    /// It keeps the version that it had: others changed these paths, and the directory has other changes of them
    /// that are in no version.
    Kept(Vec<ObjectPath>),
    /// Objects could not be written: the first of them, and how many there are. The next update tries again.
    LeftOut(Vec<LeftOut>, u64),
}

/// A directory that is about to be brought to a version.
pub(super) struct Merge<'a> {
    pub(super) remote: Arc<dyn RemoteRead>,
    pub(super) rebuilt: &'a Rebuilt,
    /// The version that it has.
    pub(super) base: &'a Snapshot,
    /// The version that has the changes of the directory.
    pub(super) to: Snapshot,
    /// The id that the update drew for it. Another version has the same changes by chance.
    pub(super) id: VersionId,
    pub(super) history: History,
}

impl Merge<'_> {
    /// Does it, and makes the version the one of the directory.
    pub(super) async fn run(self) -> Result<Merged, RebuildError> {
        let others = Arc::new(Changes::new(self.changed_by_others().await?));
        if !others.is_empty() {
            let kept = self.changed_here(&others).await?;
            if !kept.is_empty() {
                return Ok(Merged::Kept(kept));
            }
            let left_out = self.write(others).await?;
            if left_out != Merged::Done {
                return Ok(left_out);
            }
        }
        let state = State {
            part: self.rebuilt.part.clone(),
            standing: Standing::At(known(&self.to)),
        };
        self.rebuilt.place.sync()?;
        self.rebuilt.place.write(&state)?;
        Ok(Merged::Done)
    }

    /// Returns the names that other versions changed since the base. Of those that the version of the update changed,
    /// only times can be merged.
    async fn changed_by_others(&self) -> Result<Vec<ChangedName>, RebuildError> {
        let (from, to) = (self.base.version.number, self.to.version.number);
        if self.to.version.id != self.id {
            return Ok(self.changed(from, to).await?);
        }
        let before = VersionNumber(to.0.saturating_sub(1));
        if before <= from {
            return Ok(Vec::new());
        }
        let own = self.changed(before, to).await?;
        let paths = own.iter().flat_map(|name| [&name.old, &name.new]);
        let paths: HashSet<ObjectPath> = paths.flatten().cloned().collect();
        let is_others = |path: &ObjectPath| !paths.contains(path);
        let others = self.changed(from, before).await?.into_iter();
        let others = others.map(|name| ChangedName {
            old: name.old.filter(is_others),
            new: name.new.filter(is_others),
            ..name
        });
        let merged = self.own_times(own).await?.into_iter();
        let merged = merged.map(|path| ChangedName {
            dir: DirId::ROOT,
            name: None,
            old: Some(path.clone()),
            new: Some(path),
        });
        Ok(others.chain(merged).collect())
    }

    /// Returns what was sent and has another time in the new version.
    async fn own_times(&self, own: Vec<ChangedName>) -> Result<Vec<ObjectPath>, RebuildError> {
        let (remote, root) = (Arc::clone(&self.remote), Arc::clone(self.rebuilt.root()));
        let (version, runtime) = (self.to.clone(), Handle::current());
        let work = move || {
            let progress = ExportProgress::default();
            let walk = OwnTimes {
                remote: &*remote,
                version: &version,
                root: &root,
                own: &Changes::new(own),
                comparer: Comparer::new(None, &progress),
                runtime: &runtime,
            };
            walk.run()
        };
        spawn_blocking(work).await.map_err(panicked)?
    }

    async fn changed(
        &self,
        from: VersionNumber,
        to: VersionNumber,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        let range = VersionRange { from, to };
        self.remote.changed_names(self.to.project.id, range).await
    }

    /// Returns the places of others at which the directory has what neither version has.
    async fn changed_here(&self, others: &Arc<Changes>) -> Result<Vec<ObjectPath>, RebuildError> {
        let (remote, root) = (Arc::clone(&self.remote), Arc::clone(self.rebuilt.root()));
        let (base, to) = (self.base.clone(), self.to.clone());
        let (selection, others) = (self.rebuilt.selection()?, Arc::clone(others));
        let (history, runtime) = (self.history, Handle::current());
        let work = move || {
            let progress = ExportProgress::default();
            let walk = ChangedHere {
                remote: &*remote,
                versions: [&base, &to],
                root: &root,
                selection: &selection,
                others: &others,
                history,
                comparer: Comparer::new(None, &progress),
                runtime: &runtime,
                pending: Vec::new(),
                found: Vec::new(),
            };
            walk.run()
        };
        spawn_blocking(work).await.map_err(panicked)?
    }

    /// Writes what others changed.
    async fn write(&self, others: Arc<Changes>) -> Result<Merged, RebuildError> {
        let place = &self.rebuilt.place;
        let merging: KnownVersion = known(&self.to);
        place.write_sent(&Sent {
            base: self.rebuilt.version,
            id: self.id,
            merging: Some(merging),
        })?;
        let others = Arc::try_unwrap(others);
        let others = others.map_err(|_| RebuildError::Stopped("the changes are in use"))?;
        let scope = Scope {
            selection: self.rebuilt.selection()?,
            reach: Reach::Since(self.base.version.number, others),
        };
        let export = Export::new(Arc::clone(&self.remote), self.to.clone());
        let progress = export.progress();
        let figures = export
            // What is left of a killed one must not look like a change of the user.
            .rebuild(place.staged()?, (scope, Manner::Live), Notes::default())
            .await?;
        Ok(match figures.left_out {
            0 => Merged::Done,
            count => Merged::LeftOut(progress.first_left_out(), count),
        })
    }
}

fn panicked(_: tokio::task::JoinError) -> RebuildError {
    RebuildError::Stopped("a worker panicked")
}
