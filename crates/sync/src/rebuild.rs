//! A plain directory is brought to a version, from whatever version of the project it has.
//!
//! [`Rebuild::prepare`] reads what the directory remembers ([`place`], [`state`]) and decides what has to be
//! done ([`plan`]); [`Rebuild::run`] has an [`Export`] do it, which looks at all of the version or only at
//! what differs from the version that is there. Before the first change the directory remembers that it is
//! under way, and its version again when everything succeeded: what a crash leaves is compared with the
//! version entry by entry.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_common::full_text;
use lfsfs_remote::{
    RemoteError, RemoteRead, Snapshot, Subdirectory, SubdirectoryError, VersionRange,
};
use lfsfs_types::{ObjectPath, VersionCounts, VersionNumber};
use thiserror::Error;
use tokio::task::spawn_blocking;

use self::early_sync::EarlySync;
use self::place::{Found, Remembered};
use self::plan::{Plan, decide, under_way};
use crate::changes::Changes;
use crate::export::scope::{Reach, Scope};
use crate::export::shared::{SharedFiles, Sharing};
use crate::export::{Export, ExportError, ExportFigures, ExportProgress, Manner, Notes};
use crate::file_match::FileMatch;
use crate::filter::{Filter, PatternError, STATE_DIR};
use crate::local::DirHandle;
use crate::selection::Selection;
use crate::summary::{Known, Looked};

pub(crate) use self::place::Place;
pub use self::plan::Refusal;
pub(crate) use self::sent::Sent;
pub(crate) use self::state::{KnownVersion, Part, Standing, State};

mod early_sync;
mod place;
mod plan;
mod sent;
mod state;
#[cfg(test)]
mod tests;

/// What the caller wants of a rebuild.
#[derive(Debug, Clone, Default)]
pub struct RebuildParams {
    /// The directory; it may be missing, if the one above it is there.
    pub dir: PathBuf,
    /// Whether everything is compared, and everything goes that is not in the version.
    pub is_from_scratch: bool,
    /// Whether that may be done to a directory that would be refused otherwise.
    pub may_replace: bool,
    /// The directory of the version that is the root of this one.
    pub subdirectory: ObjectPath,
    /// Patterns of what is neither written nor removed.
    pub ignore: Vec<String>,
    /// The paths that are written, below the root; all if there are none.
    pub subpaths: Vec<ObjectPath>,
    /// Where files come from that this machine has whole, if any do.
    pub shared: Option<SharedFiles>,
    /// Patterns of which each file that is written has to match one.
    pub match_include: Vec<String>,
    /// Patterns that no file that is written may match.
    pub match_exclude: Vec<String>,
}

/// Why a directory was not brought to a version.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// A pattern is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The directory is left as it is.
    #[error("cannot use {}: {refusal}", dir.display())]
    Refused {
        /// The directory.
        dir: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// The version has an object where the directory keeps its state.
    #[error("the version has an object {STATE_DIR}, where a rebuilt directory keeps its state")]
    Reserved,
    /// Another process rebuilds or updates the directory.
    #[error("another process rebuilds or updates {}", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// Root can write to every file, and so to one of the cache by each name that it has in a directory.
    #[error("root can write to read-only files, and so no file of the cache gets a name in {}", dir.display())]
    HardLinksOfRoot {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory, or its state, cannot be used.
    #[error("cannot {action} {}", path.display())]
    Place {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry could not be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The version does not have the directory that is the root here.
    #[error(transparent)]
    Subdirectory(#[from] SubdirectoryError),
    /// The server failed or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A part of the work stopped without saying why, which is a defect.
    #[error("the rebuild stopped: {0}")]
    Stopped(&'static str),
}

/// What came of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RebuildOutcome {
    /// What was written and removed. Objects that were left out leave the directory under way.
    pub figures: ExportFigures,
    /// True if a file was written, and all that were match what was asked for.
    pub is_file_match: bool,
    /// True if files were to share what the cache has, and cannot here.
    pub is_unshared: bool,
}

/// A directory that is about to be brought to a version.
#[derive(Debug)]
pub struct Rebuild {
    remote: Arc<dyn RemoteRead>,
    snapshot: Snapshot,
    /// Its place, unless there is nothing to do.
    place: Option<Place>,
    plan: Plan,
    part: Part,
    selection: Selection,
    file_match: Arc<FileMatch>,
    progress: Arc<ExportProgress>,
    shared: Option<SharedFiles>,
}

impl Rebuild {
    /// Finds out what has to be done. Nothing is changed but that the directory and its `.lfsfs` are made.
    pub async fn prepare(
        remote: Arc<dyn RemoteRead>,
        snapshot: Snapshot,
        params: RebuildParams,
    ) -> Result<Self, RebuildError> {
        check_user(&params)?;
        let file_match = FileMatch::new(&params.match_include, &params.match_exclude)?;
        let filter = Filter::new(&params.ignore)?;
        let ids = (snapshot.cluster, snapshot.project.id);
        let part = Part::new(
            ids,
            params.subdirectory.clone(),
            params.ignore.clone(),
            params.subpaths.clone(),
        );
        let (remote, snapshot) = rooted(remote, snapshot, &part.subdirectory).await?;
        let mut rebuild = Self {
            remote,
            place: None,
            plan: Plan::Nothing,
            selection: Selection::new(filter, part.subpaths.iter().cloned()),
            part,
            file_match: Arc::new(file_match),
            progress: Arc::default(),
            shared: params.shared.clone(),
            snapshot,
        };
        rebuild.find(&params).await?;
        Ok(rebuild)
    }

    /// Returns the counters to watch, and the way to stop, while the work goes on.
    #[must_use]
    pub fn progress(&self) -> Arc<ExportProgress> {
        Arc::clone(&self.progress)
    }

    /// Returns how much there is to look at, if that is the whole version.
    #[must_use]
    pub fn expected(&self) -> Option<VersionCounts> {
        let is_whole = matches!(self.plan, Plan::Replace | Plan::Repair(_));
        (is_whole && self.is_all_of_version()).then_some(self.snapshot.version.counts)
    }

    fn is_all_of_version(&self) -> bool {
        self.selection.takes_root() && self.part.subdirectory.is_root()
    }

    /// Does the work.
    ///
    /// If it fails, each entry is what it was or what it is in the version, and the directory remembers
    /// that: the next rebuild compares everything.
    pub async fn run(self) -> Result<RebuildOutcome, RebuildError> {
        let Some(place) = self.place else {
            return Ok(RebuildOutcome::default());
        };
        let version = known(&self.snapshot);
        let reach = reach(&self.remote, &self.snapshot, &self.plan).await?;
        place.write(&under_way(&self.plan, self.part.clone(), version))?;
        let scope = Scope {
            selection: self.selection,
            reach,
        };
        let staged = place.staged()?;
        let wanted = self.shared.is_some();
        let shared = self.shared.filter(|shared| can_share(shared, &staged.1));
        let is_unshared = wanted && shared.is_none();
        let export = Export::with_progress(self.remote, self.snapshot, self.progress);
        let export = export.sharing(shared);
        let known = known_files(&place, &self.plan)?;
        let notes = Notes {
            file_match: Arc::clone(&self.file_match),
            known: known.clone(),
        };
        let syncing = EarlySync::of(Arc::clone(place.root()));
        let figures = export
            .rebuild(staged, (scope, Manner::UnderWay), notes)
            .await?;
        drop(syncing);
        if figures.left_out == 0 {
            let (part, standing) = (self.part, Standing::At(version));
            let state = State { part, standing };
            let end = move || end(&place, &state, known.as_deref());
            let panicked = |_| RebuildError::Stopped("a worker panicked");
            spawn_blocking(end).await.map_err(panicked)??;
        }
        Ok(RebuildOutcome {
            figures,
            is_file_match: self.file_match.is_match(),
            is_unshared,
        })
    }

    async fn find(&mut self, params: &RebuildParams) -> Result<(), RebuildError> {
        let dir = params.dir.clone();
        let found = Found::look(&dir)?;
        let (state, is_empty) = match &found {
            Found::Bare { is_empty, .. } => (Ok(None), *is_empty),
            Found::Own { place, is_empty } => (place.read()?, *is_empty),
        };
        let refused = |refusal| RebuildError::Refused {
            dir: dir.clone(),
            refusal,
        };
        let decided = decide(state, is_empty, &self.part, known(&self.snapshot));
        self.plan = match decided {
            Err(refusal) if params.is_from_scratch && !params.may_replace => {
                return Err(refused(Refusal::Replaces(Box::new(refusal))));
            }
            _ if params.is_from_scratch => Plan::Replace,
            decided => decided.map_err(refused)?,
        };
        if self.plan == Plan::Nothing {
            return Ok(());
        }
        self.check_reserved().await?;
        self.check_known().await?.map_err(refused)?;
        self.place = Some(match found {
            Found::Own { place, .. } => place,
            Found::Bare { root, .. } => created(dir, root)?,
        });
        Ok(())
    }

    /// Fails if the version has an object where the state is.
    async fn check_reserved(&self) -> Result<(), RebuildError> {
        let (project, version) = (self.snapshot.project.id, self.snapshot.version.number);
        let path = ObjectPath::new(STATE_DIR.as_bytes()).map_err(ExportError::from)?;
        match self.remote.lookup(project, version, &path).await {
            Ok(_) => Err(RebuildError::Reserved),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that the server still has the versions that the directory has entries of.
    async fn check_known(&self) -> Result<Result<(), Refusal>, RebuildError> {
        let known_versions = match &self.plan {
            Plan::Nothing | Plan::Replace => &[][..],
            Plan::Repair(versions) => versions,
            Plan::Update(version) => std::slice::from_ref(version),
        };
        for version in known_versions {
            let project = self.snapshot.project.id;
            let found = match self.remote.snapshot(project, version.number).await {
                Ok(found) => Some(known(&found)),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error.into()),
            };
            if found != Some(*version) {
                return Ok(Err(Refusal::VersionGone(version.number)));
            }
        }
        Ok(Ok(()))
    }
}

/// A directory that has a version, in which no rebuild runs.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    pub(crate) dir: PathBuf,
    pub(crate) place: Place,
    pub(crate) part: Part,
    pub(crate) version: KnownVersion,
}

impl Rebuilt {
    /// Finds out which version a directory has.
    pub(crate) fn open(dir: &Path) -> Result<Self, RebuildError> {
        Self::found(dir, Place::read)
    }

    /// As [`open`](Self::open). An update that was bringing the directory to its version when it was killed is
    /// no reason to refuse it: what that noted is returned.
    pub(crate) fn open_to_update(dir: &Path) -> Result<(Self, Option<Sent>), RebuildError> {
        let mut noted = None;
        let rebuilt = Self::found(dir, |place| {
            let found = place.read_with_sent()?;
            Ok(found.map(|found| {
                found.map(|(state, sent)| {
                    noted = sent;
                    state
                })
            }))
        })?;
        let version = rebuilt.version;
        Ok((rebuilt, noted.filter(|sent| sent.base == version)))
    }

    fn found(
        dir: &Path,
        read: impl FnOnce(&Place) -> Remembered<State>,
    ) -> Result<Self, RebuildError> {
        let dir = dir.to_owned();
        let refused = |refusal| RebuildError::Refused {
            dir: dir.clone(),
            refusal,
        };
        let Found::Own { place, .. } = Found::look(&dir)? else {
            return Err(refused(Refusal::NotRebuilt));
        };
        let state = read(&place)?.map_err(Refusal::Damaged).map_err(refused)?;
        let State { part, standing } = state.ok_or_else(|| refused(Refusal::NotRebuilt))?;
        let Standing::At(version) = standing else {
            return Err(refused(Refusal::Unfinished));
        };
        Ok(Self {
            dir,
            place,
            part,
            version,
        })
    }

    /// Returns what the directory has as a version, if the server still has it, and the remote to ask about that.
    pub(crate) async fn rooted(
        &self,
        remote: Arc<dyn RemoteRead>,
    ) -> Result<(Arc<dyn RemoteRead>, Snapshot), RebuildError> {
        let whole = self.snapshot(&*remote).await?;
        Ok(rooted(remote, whole, &self.part.subdirectory).await?)
    }

    /// Returns the whole version, if the server still has it.
    pub(crate) async fn snapshot(&self, remote: &dyn RemoteRead) -> Result<Snapshot, RebuildError> {
        let found = remote
            .snapshot(self.part.project, self.version.number)
            .await;
        let refusal = match found {
            Ok(found) if found.cluster != self.part.cluster => Refusal::OtherProject,
            Ok(found) if known(&found) == self.version => return Ok(found),
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => Refusal::VersionGone(self.version.number),
        };
        let dir = self.dir.clone();
        Err(RebuildError::Refused { dir, refusal })
    }

    /// Returns which paths of the version the directory has.
    pub(crate) fn selection(&self) -> Result<Selection, RebuildError> {
        let filter = Filter::new(&self.part.ignore)?;
        Ok(Selection::new(filter, self.part.subpaths.iter().cloned()))
    }

    pub(crate) const fn root(&self) -> &DirHandle {
        self.place.root()
    }
}

/// Returns a version with one of its directories as its root, and the remote to ask about that.
async fn rooted(
    remote: Arc<dyn RemoteRead>,
    whole: Snapshot,
    subdirectory: &ObjectPath,
) -> Result<(Arc<dyn RemoteRead>, Snapshot), SubdirectoryError> {
    if subdirectory.is_root() {
        return Ok((remote, whole));
    }
    let inside = Subdirectory::new(remote, subdirectory.clone());
    let snapshot = inside.of(whole).await?;
    Ok((Arc::new(inside), snapshot))
}

/// Fails where a mode keeps no process of this user from writing to what it shares.
fn check_user(params: &RebuildParams) -> Result<(), RebuildError> {
    let sharing = params.shared.as_ref().map(SharedFiles::sharing);
    if sharing == Some(Sharing::HardLink) && rustix::process::geteuid().is_root() {
        let dir = params.dir.clone();
        return Err(RebuildError::HardLinksOfRoot { dir });
    }
    Ok(())
}

/// Returns true if entries of a directory can share what the cache has.
fn can_share(shared: &SharedFiles, staging: &DirHandle) -> bool {
    let checked = shared.check(staging);
    if let Err(error) = &checked {
        tracing::debug!(error = full_text(error), "no file of the cache is shared");
    }
    checked.is_ok()
}

/// Makes the place, in which another process may have begun since it was looked at.
fn created(dir: PathBuf, root: Option<DirHandle>) -> Result<Place, RebuildError> {
    let place = Place::create(&dir, root)?;
    match place.read()? {
        Ok(None) => Ok(place),
        _ => Err(RebuildError::Busy { dir }),
    }
}

/// Returns how far the walk has to go.
async fn reach(
    remote: &Arc<dyn RemoteRead>,
    snapshot: &Snapshot,
    plan: &Plan,
) -> Result<Reach, RebuildError> {
    let numbers = |versions: &[KnownVersion]| -> Vec<VersionNumber> {
        versions.iter().map(|version| version.number).collect()
    };
    match plan {
        Plan::Nothing | Plan::Replace => Ok(Reach::Everything),
        Plan::Repair(versions) => Ok(Reach::Repair(numbers(versions))),
        Plan::Update(at) => {
            let range = VersionRange {
                from: at.number,
                to: snapshot.version.number,
            };
            let changed = remote.changed_names(snapshot.project.id, range).await?;
            Ok(Reach::Since(at.number, Changes::new(changed)))
        }
    }
}

/// Makes what was written durable, and then that the directory has the version, and what is known of its files.
fn end(place: &Place, state: &State, known: Option<&Known>) -> Result<(), RebuildError> {
    place.sync()?;
    place.write(state)?;
    if let Some(known) = known {
        remember(place, known, Looked::Everywhere);
    }
    Ok(())
}

/// Replaces the summary where it has changed. Without it the next update is slower and nothing else.
pub(crate) fn remember(place: &Place, known: &Known, looked: Looked) {
    let written = known
        .summary(looked)
        .map(|summary| place.write_summary(&summary));
    if let Some(Err(error)) = written {
        tracing::warn!(error = full_text(&error), "no summary was written");
    }
}

/// Returns what notes the files that are written, if the rebuild looks at all of them: to write the whole summary
/// for a few changes costs more than to read their files once.
fn known_files(place: &Place, plan: &Plan) -> Result<Option<Arc<Known>>, RebuildError> {
    match plan {
        Plan::Nothing | Plan::Update(_) => Ok(None),
        Plan::Replace | Plan::Repair(_) => Ok(Some(Arc::new(place.known()?))),
    }
}

pub(crate) const fn known(snapshot: &Snapshot) -> KnownVersion {
    KnownVersion {
        number: snapshot.version.number,
        id: snapshot.version.id,
    }
}
