//! A sealed overlay becomes a version.
//!
//! Owns the way from what changed in a mount to a version that the server has: `plan` decides what
//! is told about each entry, `contents` and `recut` hash and send what the server may lack, `made`
//! remembers the ids of what is new. What the mount shows afterwards is not its business:
//! [`Exclusive::end_commit`] does that.
//!
//! A commit is in one of three states. *Not sealed*: nothing was taken. *Sealed*: the changes so far
//! are told to the server under the id that the version will have; a failure gives the seal up and
//! all changes stay. *Unknown*: everything was sent and the answer was lost; the seal stays, and the
//! next commit repeats it under the same id, which the server answers with the version if there is
//! one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::random::random_bytes;
use lfsfs_overlay::{CommitIds, Sealed};
use lfsfs_remote::{Opened, Published, Remote, RemoteError, Retry, SessionParams, Snapshot};
use lfsfs_types::{Origin, SessionId, VersionId, VersionRecord};
use lfsfs_upload::{
    ContentSender, IgnoreWarning, IgnoredPaths, Phase, Progress, ProgressFigures, Publishing,
    SendMode, UploadError, channel,
};
use tokio::runtime::Handle;

use crate::base::BaseVersion;
use crate::blocking::blocking;
use crate::error::VfsError;
use crate::ignored::ignored_of;
use crate::kernel::Kernel;
use crate::tries::tried;
use crate::verb_error::SwitchError;
use crate::writable::{Exclusive, PublishedCommit, SYNC};

mod conflicts;
mod contents;
mod error;
mod made;
mod plan;

pub use self::error::CommitError;

use self::error::is_refusal;
use self::made::{Finder, Made};
use self::plan::{Unsent, Workshop};

const SEAL: &str = "the seal of the overlay";

/// Who makes a version of a mount's changes, why, and how.
#[derive(Debug, Clone)]
pub struct CommitParams {
    /// Who.
    pub author: String,
    /// Why.
    pub message: String,
    /// Whether the changes are made even where others changed the same.
    pub force: bool,
    /// Whether what differs in its times alone keeps those that the version has. The project may say so, too.
    pub ignore_times: bool,
    /// What becomes of new paths that are ignored.
    pub ignored: IgnoredPaths,
    /// When the commit begins anew because the server went away.
    pub retry: Retry,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOutcome {
    /// The version that holds the changes; the base if there were none.
    pub version: VersionRecord,
    /// True if there is a new version.
    pub is_new: bool,
    /// True if others published versions since the base, so that it holds their changes too.
    pub rebased: bool,
    /// Objects that the new version added.
    pub added: u64,
    /// Objects that it modified.
    pub modified: u64,
    /// Objects that it removed.
    pub removed: u64,
    /// Entries that were told to the server; what is as it was is among them.
    pub told: u64,
    /// Rows that the server wrote; 0 if an earlier call had published the version.
    pub rows: u64,
    /// Bytes of chunks that were sent.
    pub bytes_sent: u64,
    /// Contents in them.
    pub contents_sent: u64,
    /// Bytes of contents of what changed that the server lacked.
    pub bytes_new: u64,
    /// Bytes of contents of what changed that it had already.
    pub bytes_known: u64,
    /// How long each phase took, as in [`Phase::ALL`].
    pub spent: [Duration; Phase::ALL.len()],
    /// What in files that say what is ignored says nothing.
    pub ignore_warnings: Vec<IgnoreWarning>,
}

/// What became of the changes that are to be a version later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promised {
    /// Whether there were any.
    pub is_sealed: bool,
    /// What in files that say what is ignored says nothing.
    pub ignore_warnings: Vec<IgnoreWarning>,
}

/// Why what was promised is no version.
#[derive(Debug)]
pub struct PublishFailure {
    /// What happened.
    pub error: CommitError,
    /// Whether it never will be one. Its changes stay sealed until [`Exclusive::give_up`].
    pub is_refused: bool,
}

/// One commit: what all its steps need.
struct Commit<'a> {
    exclusive: &'a Exclusive<'a>,
    remote: &'a Arc<dyn Remote>,
    params: &'a CommitParams,
    progress: &'a Arc<Progress>,
    /// The version below, which stays until the commit lands.
    base: Arc<BaseVersion>,
}

/// What is known of a seal before it is told to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seal {
    /// It was made just now.
    New,
    /// An earlier call left it, and may have published it.
    LeftBehind,
}

/// A version that was published, with what it made.
struct Finished {
    published: Published,
    ids: CommitIds,
}

/// How a commit failed.
struct Failure {
    error: CommitError,
    /// Whether the version may be there, or may come yet, so that the seal must stay.
    may_be_published: bool,
}

impl Exclusive<'_> {
    /// Makes the changes so far the next version, and goes on from there.
    ///
    /// Writers go on meanwhile; what they change after the start is in the next commit. On an error
    /// all changes stay. If it is [`CommitError::AnswerLost`] the version may be there; the next
    /// commit finds out. Dropping the future gives the commit up at the same terms.
    pub async fn commit(
        &self,
        remote: &Arc<dyn Remote>,
        params: &CommitParams,
        kernel: &Kernel,
        progress: &Arc<Progress>,
    ) -> Result<CommitOutcome, CommitError> {
        kernel.barrier.settle().await;
        let before = progress.figures();
        let mut outcome = None;
        self.give_up_draft().await?;
        // One that an earlier process or call left behind comes first.
        if let Some(sealed) = self.vfs.overlay().and_then(|overlay| overlay.sealed()) {
            let commit = Commit::new(self, remote, params, progress);
            let done = commit.finish(sealed, Seal::LeftBehind, kernel).await?;
            outcome = Some(done);
        }
        let mut warnings = Vec::new();
        let id = VersionId(random_bytes().map_err(CommitError::Random)?);
        if let Some(sealed) = self.seal(id, params, kernel, &mut warnings).await? {
            let commit = Commit::new(self, remote, params, progress);
            let done = commit.finish(sealed, Seal::New, kernel).await?;
            outcome = Some(done.after(outcome));
        }
        let outcome = outcome.unwrap_or_else(|| CommitOutcome::none(self.vfs.base().snapshot()));
        Ok(CommitOutcome {
            ignore_warnings: warnings,
            ..outcome.counted(&before, &progress.figures())
        })
    }

    /// Takes the changes so far for the version with this id, which [`publish`](Self::publish) makes. On return they
    /// survive a power loss.
    pub async fn promise(
        &self,
        id: VersionId,
        params: &CommitParams,
        kernel: &Kernel,
    ) -> Result<Promised, CommitError> {
        kernel.barrier.settle().await;
        self.give_up_draft().await?;
        let overlay = self.vfs.overlay().cloned();
        if overlay.as_ref().is_some_and(|it| it.sealed().is_some()) {
            return Err(CommitError::Unfinished);
        }
        let mut ignore_warnings = Vec::new();
        let sealed = self.seal(id, params, kernel, &mut ignore_warnings).await?;
        let is_sealed = sealed.is_some();
        if let Some(overlay) = overlay.filter(|_| is_sealed) {
            let synced = blocking(self.vfs.base().spawner(), SYNC, move || overlay.sync()).await;
            if let Err(error) = synced
                .map_err(CommitError::from)
                .and_then(|it| it.map_err(CommitError::from))
            {
                self.give_up(id).await?;
                return Err(error);
            }
        }
        Ok(Promised {
            is_sealed,
            ignore_warnings,
        })
    }

    /// Makes the version that was promised under this id, and goes on from there. `None` if nothing is sealed for it.
    ///
    /// It is the same version, however often this is called. Dropping the future changes nothing of that.
    pub async fn publish(
        &self,
        id: VersionId,
        remote: &Arc<dyn Remote>,
        params: &CommitParams,
        kernel: &Kernel,
        progress: &Arc<Progress>,
    ) -> Result<Option<CommitOutcome>, PublishFailure> {
        let sealed = self.vfs.overlay().and_then(|overlay| overlay.sealed());
        let Some(sealed) = sealed.filter(|it| it.commit() == id && !it.is_draft()) else {
            return Ok(None);
        };
        let before = progress.figures();
        let commit = Commit::new(self, remote, params, progress);
        let done = commit.try_finish(sealed, Seal::LeftBehind, kernel).await;
        let outcome = done.map_err(|failure| PublishFailure {
            is_refused: !failure.may_be_published,
            error: failure.error,
        })?;
        Ok(Some(outcome.counted(&before, &progress.figures())))
    }

    /// Takes the changes so far for the version with this id, if there are any.
    async fn seal(
        &self,
        id: VersionId,
        params: &CommitParams,
        kernel: &Kernel,
        warnings: &mut Vec<IgnoreWarning>,
    ) -> Result<Option<Sealed>, CommitError> {
        let Some(overlay) = self.vfs.overlay().cloned() else {
            return Ok(None);
        };
        // Times of directories alone make no version, but a commit gives them up.
        if overlay.state().changed().next().is_none() {
            return Ok(None);
        }
        let ignored = params.ignored;
        let barrier = Arc::clone(&kernel.barrier);
        let seal = move || {
            let _held = barrier.hold();
            match ignored {
                IgnoredPaths::LeftOut => overlay.draft(id),
                IgnoredPaths::Taken => overlay.seal(id),
            }
        };
        let sealed = blocking(self.vfs.base().spawner(), SEAL, seal).await??;
        if ignored == IgnoredPaths::Taken {
            return Ok(Some(sealed));
        }
        match self.leave_out(sealed, params, warnings).await {
            Ok(sealed) => Ok(sealed),
            Err(error) => {
                self.give_up(id).await?;
                Err(error)
            }
        }
    }

    /// Begins the commit of a draft without what is ignored; `None` if nothing else changed.
    async fn leave_out(
        &self,
        draft: Sealed,
        params: &CommitParams,
        warnings: &mut Vec<IgnoreWarning>,
    ) -> Result<Option<Sealed>, CommitError> {
        let (base, commit) = (self.vfs.base(), draft.commit());
        let find = || ignored_of(&base, draft.view());
        let ignored = tried(&params.retry, find).await?;
        warnings.extend(ignored.warnings);
        let rest = draft.view().without(&ignored.names)?;
        if !ignored.names.is_empty() && rest.state().is_unchanged() {
            self.give_up(commit).await?;
            return Ok(None);
        }
        let overlay = self.vfs.overlay().cloned();
        let begin = move || overlay.map(|overlay| overlay.begin(commit, &ignored.names));
        let begun = blocking(base.spawner(), SEAL, begin).await?;
        Ok(begun.transpose()?)
    }

    /// Gives up what a commit left that was dropped before it told anything to the server.
    pub(crate) async fn give_up_draft(&self) -> Result<(), VfsError> {
        let Some(overlay) = self.vfs.overlay().cloned() else {
            return Ok(());
        };
        let give_up = move || overlay.give_up_draft();
        Ok(blocking(self.vfs.base().spawner(), SEAL, give_up).await??)
    }

    /// Gives a seal up; all changes stay.
    pub async fn give_up(&self, commit: VersionId) -> Result<(), CommitError> {
        let Some(overlay) = self.vfs.overlay().cloned() else {
            return Ok(());
        };
        let give_up = move || overlay.aborted(commit);
        Ok(blocking(self.vfs.base().spawner(), "the end of a seal", give_up).await??)
    }
}

impl<'a> Commit<'a> {
    fn new(
        exclusive: &'a Exclusive<'a>,
        remote: &'a Arc<dyn Remote>,
        params: &'a CommitParams,
        progress: &'a Arc<Progress>,
    ) -> Self {
        Self {
            base: exclusive.vfs.base(),
            exclusive,
            remote,
            params,
            progress,
        }
    }

    /// Publishes a seal and moves the mount to what came of it.
    async fn finish(
        &self,
        sealed: Sealed,
        seal: Seal,
        kernel: &Kernel,
    ) -> Result<CommitOutcome, CommitError> {
        let commit = sealed.commit();
        let failure = match self.try_finish(sealed, seal, kernel).await {
            Ok(outcome) => return Ok(outcome),
            Err(failure) => failure,
        };
        if !failure.may_be_published {
            self.exclusive.give_up(commit).await?;
        }
        Err(failure.error)
    }

    /// As [`finish`](Self::finish), and leaves the seal to the caller if there will be no version.
    async fn try_finish(
        &self,
        sealed: Sealed,
        seal: Seal,
        kernel: &Kernel,
    ) -> Result<CommitOutcome, Failure> {
        let commit = sealed.commit();
        let Finished { published, ids } = self.publish(sealed, seal).await?;
        // If the changes make no version, the one that is there has what they say.
        let is_new = published.version.id == commit;
        let version = published.version.number;
        let snapshot = self.snapshot(&published.version).await;
        let end = PublishedCommit {
            commit,
            snapshot: snapshot
                .map_err(|source| Failure::behind(CommitError::AnswerLost { source }))?,
            ids,
        };
        self.end_commit(&end, kernel)
            .await
            .map_err(|source| Failure::behind(CommitError::Switch { version, source }))?;
        Ok(CommitOutcome::of(published, is_new))
    }

    /// Moves the mount to the version that was made.
    async fn end_commit(&self, end: &PublishedCommit, kernel: &Kernel) -> Result<(), SwitchError> {
        self.progress.begin(Phase::Show);
        let attempt = || self.exclusive.end_commit(end, &kernel.cache);
        tried(&self.params.retry, attempt).await
    }

    async fn publish(&self, sealed: Sealed, seal: Seal) -> Result<Finished, Failure> {
        // A server that has the version says so before it refuses project or base.
        let refuses = |error: &RemoteError| {
            matches!(error, RemoteError::Invalid(_) | RemoteError::NotFound(_))
        };
        let unopened = |error: RemoteError| Failure {
            may_be_published: seal == Seal::LeftBehind && !refuses(&error),
            error: error.into(),
        };
        let params = self.session(&sealed);
        let mut tries = self.params.retry.tries();
        loop {
            let opened = self.remote.open_session(&params).await;
            let session = match opened.map_err(unopened)? {
                Opened::Published(version) => return self.found(&sealed, version).await,
                Opened::Session(session) => session,
            };
            let failure = match self.send(&sealed, session, &params).await {
                Ok(finished) => return Ok(finished),
                Err(failure) => failure,
            };
            // The session says whether the version is there: sending it all again is safe.
            if let Some(error) = failure.error.passing()
                && tries.pause(error).await
            {
                continue;
            }
            return Err(Failure {
                may_be_published: failure.may_be_published
                    || seal == Seal::LeftBehind && !failure.error.is_refusal(),
                ..failure
            });
        }
    }

    fn session(&self, sealed: &Sealed) -> SessionParams {
        let base = sealed.base();
        SessionParams {
            project: self.base.snapshot().project.id,
            base: (base.number, base.id),
            version: sealed.commit(),
            origin: Origin::Commit,
            author: self.params.author.clone(),
            message: self.params.message.clone(),
            force: self.params.force,
            ignore_times: self.params.ignore_times || self.base.snapshot().project.ignore_times,
            want_ids: true,
        }
    }

    /// Sends contents and changes, and waits for the version.
    async fn send(
        &self,
        sealed: &Sealed,
        session: SessionId,
        params: &SessionParams,
    ) -> Result<Finished, Failure> {
        let (changes, stream) = channel(Arc::clone(self.progress));
        let remote = Arc::clone(self.remote);
        let contents = ContentSender::new(
            Arc::clone(&remote),
            &self.base.snapshot().project,
            SendMode::Send,
            Arc::clone(self.progress),
        );
        let publishing = Publishing::start(remote, session, params.clone(), stream);
        let workshop = Arc::new(Workshop {
            base: Arc::clone(&self.base),
            runtime: Handle::current(),
            sealed: sealed.clone(),
            contents,
            changes,
            progress: Arc::clone(self.progress),
        });
        let made = match workshop.run(self.params.force).await {
            Ok(made) => made,
            Err(unsent) => return Err(self.unsent(unsent, publishing).await),
        };
        match publishing.finish().await {
            Ok(published) => self.made(sealed, published, &made).await,
            Err(UploadError::Remote(error)) if is_refusal(&error) => {
                Err(Failure::before(error.into()))
            }
            Err(error) => self.learn(sealed, params, error).await,
        }
    }

    /// Returns why the changes were not all sent. Their stream did not end, so nothing is published.
    async fn unsent(&self, unsent: Unsent, publishing: Publishing) -> Failure {
        let error = match unsent {
            Unsent::Touched(conflicts) => conflicts.name(&**self.remote, &self.base).await,
            // The sending stops when the commit fails, and then that is the reason to tell.
            Unsent::Failed(error @ CommitError::Stopped(_)) => {
                let failure = publishing.failure().await;
                failure.map_or(error, CommitError::from)
            }
            Unsent::Failed(error) => error,
        };
        Failure::before(error)
    }

    /// Asks whether the version is there, after the answer to its changes was lost.
    async fn learn(
        &self,
        sealed: &Sealed,
        params: &SessionParams,
        error: UploadError,
    ) -> Result<Finished, Failure> {
        if let Ok(Opened::Published(version)) = self.remote.open_session(params).await {
            return self.found(sealed, version).await;
        }
        let error = match error {
            UploadError::Remote(source) => CommitError::AnswerLost { source },
            error => error.into(),
        };
        Err(Failure {
            error,
            may_be_published: true,
        })
    }

    /// Returns the version that has the changes, with the ids of what they made.
    async fn made(
        &self,
        sealed: &Sealed,
        published: Published,
        made: &Made,
    ) -> Result<Finished, Failure> {
        match made.ids(&published) {
            Some(ids) => Ok(Finished { published, ids }),
            None => self.found(sealed, published.version).await,
        }
    }

    /// Returns a version that had the changes before.
    async fn found(&self, sealed: &Sealed, version: VersionRecord) -> Result<Finished, Failure> {
        let project = self.base.snapshot().project.id;
        let base = sealed.base().number;
        let finder = Finder::new(&**self.remote, project, base, version.number);
        let ids = finder.find(sealed).await.map_err(|source| Failure {
            may_be_published: version.id == sealed.commit(),
            error: source.into(),
        })?;
        let published = Published {
            rows: 0,
            rebased: version.parent != version.base,
            version,
            dirs: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        Ok(Finished { published, ids })
    }

    /// Returns what a mount shows of a version that was published.
    async fn snapshot(&self, version: &VersionRecord) -> Result<Snapshot, RemoteError> {
        let project = self.base.snapshot().project.id;
        self.remote.snapshot(project, version.number).await
    }
}

impl Failure {
    /// A failure behind which the version is there.
    fn behind(error: CommitError) -> Self {
        Self {
            error,
            may_be_published: true,
        }
    }

    /// A failure of which it is certain that nothing was published.
    fn before(error: CommitError) -> Self {
        Self {
            error,
            may_be_published: false,
        }
    }
}

impl CommitOutcome {
    fn of(published: Published, is_new: bool) -> Self {
        let counts = Some(published.version.counts).filter(|_| is_new);
        let counts = counts.unwrap_or_default();
        Self {
            version: published.version,
            is_new,
            rebased: is_new && published.rebased,
            added: counts.added,
            modified: counts.modified,
            removed: counts.removed,
            told: 0,
            rows: published.rows,
            bytes_sent: 0,
            contents_sent: 0,
            bytes_new: 0,
            bytes_known: 0,
            spent: Default::default(),
            ignore_warnings: Vec::new(),
        }
    }

    /// Returns the outcome of a commit that had nothing to do.
    fn none(base: &Snapshot) -> Self {
        Self {
            version: base.version.clone(),
            is_new: false,
            rebased: false,
            added: 0,
            modified: 0,
            removed: 0,
            told: 0,
            rows: 0,
            bytes_sent: 0,
            contents_sent: 0,
            bytes_new: 0,
            bytes_known: 0,
            spent: Default::default(),
            ignore_warnings: Vec::new(),
        }
    }

    /// Adds what a commit that was finished before did.
    fn after(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        Self {
            is_new: self.is_new || earlier.is_new,
            rebased: self.rebased || earlier.rebased,
            added: self.added + earlier.added,
            modified: self.modified + earlier.modified,
            removed: self.removed + earlier.removed,
            rows: self.rows + earlier.rows,
            ..self
        }
    }

    /// Returns how many objects the new version added, modified and removed.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.added + self.modified + self.removed
    }

    fn counted(self, before: &ProgressFigures, after: &ProgressFigures) -> Self {
        Self {
            told: after.changes - before.changes,
            bytes_sent: after.bytes_sent - before.bytes_sent,
            contents_sent: after.contents_sent - before.contents_sent,
            bytes_new: after.bytes_new - before.bytes_new,
            bytes_known: after.bytes_known - before.bytes_known,
            spent: after.spent,
            ..self
        }
    }
}
