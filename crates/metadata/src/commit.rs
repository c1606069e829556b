//! Commits: from a session with staged changes to a published version.
//!
//! A session stages changes in rows of its own, in any order and any number. A publisher takes the project's lease, undoes what a dead publisher left ([`undo`]),
//! plans what the changes mean ([`plan`], [`links`]), makes changes of an older version fit the
//! newest one ([`rebase`], [`conflict`], [`force`]), and writes the version ([`publish`]) in the
//! order that docs/durability.md sets down. What a session stages is in memory or in a scratch store, and
//! goes with it.

mod cache_version;
mod cloning;
mod conflict;
mod contents;
mod force;
mod lease;
mod links;
mod merge;
mod objects;
mod pack_rows;
mod packing;
mod paths;
mod plan;
mod publish;
mod rebase;
mod repack;
mod rollback;
mod staging;
mod staging_store;
mod times;
mod told;
mod undo;

use std::collections::BTreeMap;
use std::sync::Arc;

use lfsfs_types::limits::{AUTHOR_LEN_MAX, MESSAGE_LEN_MAX};
use lfsfs_types::{
    DirId, Kind, LinkId, Name, Origin, ProjectId, Record, SessionId, VersionId, VersionNumber,
    VersionRecord,
};

pub use self::cache_version::CacheParams;
pub use self::cloning::CloneParams;
pub use self::objects::{ObjectState, ObjectUpdate, UpdateParams, UpdatePath, UpdatePathError};
use self::repack::Repacked;
pub use self::rollback::RollbackParams;
use self::staging::Staging;
use self::staging_store::StagingStore;
use crate::error::{MetadataError, Refusal, Result};
use crate::exact::ExactVersion;
use crate::metadata::{Metadata, random};
use crate::view::View;

/// What a commit is, apart from its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitParams {
    /// The project.
    pub project: ProjectId,
    /// The version that the changes were made on, by number and random id.
    pub base: ExactVersion,
    /// The random id of the version to be, drawn by the client.
    pub version: VersionId,
    /// Which act makes the version.
    pub origin: Origin,
    /// The author.
    pub author: String,
    /// The message: why it is made.
    pub message: String,
    /// Whether the changes are made even where others changed the same since the base.
    pub force: bool,
    /// Whether what differs in its times alone keeps those that it has.
    pub ignore_times: bool,
}

/// A version that the server makes of what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeParams {
    /// The project.
    pub project: ProjectId,
    /// The random id of the version to be; the same one again is answered with that version.
    pub version: VersionId,
    /// The author.
    pub author: String,
    /// The message: why it is made.
    pub message: String,
}

impl MadeParams {
    fn commit(&self, base: ExactVersion) -> CommitParams {
        CommitParams {
            project: self.project,
            base,
            version: self.version,
            origin: Origin::Commit,
            author: self.author.clone(),
            message: self.message.clone(),
            force: false,
            ignore_times: false,
        }
    }
}

/// The state that one name shall have.
///
/// A directory that the commit makes has an id from [`DirId::SESSION_FIRST`] on, a hard link an id
/// from `LinkId::SESSION_FIRST` on; the version gets others. A directory that keeps its id at a
/// new place is moved with everything below it, and its old place must be removed or replaced.
/// Removing or replacing a directory removes everything below it that the same commit does not
/// move out.
///
/// All names of a hard link have one record. Those that the commit does not name get the one that it
/// states for others, or for the link: [`Change::of_all_names`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The directory.
    pub dir: DirId,
    /// The name in it; none, in [`DirId::ABOVE_ROOT`], for the root's own record and for a link's.
    pub name: Option<Name>,
    /// What it shall be; none removes it.
    pub state: Option<Record>,
}

impl Change {
    /// The record of a hard link, for all its names that the commit does not name. What the base has
    /// not is refused.
    #[must_use]
    pub fn of_all_names(record: Record) -> Self {
        Self {
            dir: DirId::ABOVE_ROOT,
            name: None,
            state: Some(record),
        }
    }

    /// Returns the link whose record this is, if it names no entry.
    fn of_link(&self) -> Option<LinkId> {
        let record = self.state.as_ref().filter(|_| self.name.is_none())?;
        let link = record.link.filter(|_| !record.kind.is_directory());
        link.map(|link| link.id)
    }
}

/// The answer to the opening of a commit.
#[derive(Debug)]
pub enum Begun {
    /// A version has the random id already: the client lost an answer, and the commit is done.
    AlreadyDone(VersionRecord),
    /// Changes can be staged.
    Session(CommitSession),
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version that holds the changes: the one that was published, and survives any crash; or
    /// the newest one, if the changes change nothing in it.
    pub record: VersionRecord,
    /// Whether this call published it.
    pub is_new: bool,
    /// Whether others published versions between the base and this one, so that it holds more than
    /// the changes of the commit.
    pub is_rebased: bool,
    /// The real id of each directory that the session made, by the id that the session gave it; a
    /// removed directory that was made again has its old id, one that another commit made at the same
    /// place has that one's. Empty if an earlier call published the changes: a client that lost the
    /// answer looks its paths up.
    pub dirs: BTreeMap<DirId, DirId>,
    /// The real id of each hard link that the session made, by the id that the session gave it; as
    /// for `dirs`.
    pub links: BTreeMap<LinkId, LinkId>,
}

impl Published {
    /// A version that an earlier call made of the same commit.
    fn found(record: VersionRecord) -> Self {
        Self {
            is_rebased: record.parent != record.base,
            record,
            is_new: false,
            dirs: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }
}

/// How the changes of a session become a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// On the newest version, if no other commit changed what they change.
    Rebase,
    /// On the newest version in any case.
    Force,
    /// On the base, which must be the newest version; what an older version had comes back.
    Rollback(VersionNumber),
    /// On the base, which must be the newest version; what a version of another project has comes.
    Clone,
    /// On the base, which must be the newest version; only where things are kept changes.
    Repack,
    /// On the base, which must be the newest version.
    Newest,
}

impl Mode {
    /// Returns whether the records are those of a version, which were accepted when that was published.
    fn takes_a_version(self) -> bool {
        matches!(self, Self::Rollback(_) | Self::Clone | Self::Repack)
    }

    /// Returns whether nothing is published if the base is not the newest version any more.
    fn needs_newest(self) -> bool {
        self.takes_a_version() || self == Self::Newest
    }
}

/// A commit whose changes are being staged. Dropping it removes them.
#[derive(Debug)]
pub struct CommitSession {
    metadata: Metadata,
    params: CommitParams,
    mode: Mode,
    staged: StagingStore,
    /// In which packs directories come, where only that changes.
    repacked: Repacked,
}

impl Metadata {
    /// Checks what a commit is, apart from its changes, and writes nothing. Returns the version that
    /// it has become already, if it has.
    pub fn check_commit(&self, params: &CommitParams) -> Result<Option<VersionRecord>> {
        check_params(params)?;
        if let Some(record) = self.already_done(params)? {
            return Ok(Some(record));
        }
        self.expect_exact(params.project, params.base)?;
        self.check_origin(params)?;
        Ok(None)
    }

    /// Opens a commit on a base.
    pub fn begin_commit(&self, params: CommitParams) -> Result<Begun> {
        if let Some(record) = self.check_commit(&params)? {
            return Ok(Begun::AlreadyDone(record));
        }
        let session = CommitSession {
            metadata: self.clone(),
            mode: if params.force {
                Mode::Force
            } else {
                Mode::Rebase
            },
            staged: self.new_staging_store()?,
            repacked: Repacked::default(),
            params,
        };
        Ok(Begun::Session(session))
    }

    /// Publishes changes of the newest version: `stage` stages what shall differ from that. Begins anew where another commit is published meanwhile.
    fn publish_on_newest(
        &self,
        project: ProjectId,
        mode: Mode,
        params: impl Fn(ExactVersion) -> CommitParams,
        stage: impl Fn(&mut CommitSession, View<'_>) -> Result<()>,
    ) -> Result<Published> {
        loop {
            // The newest version may be replaced while its rows are read, and expire.
            let _reading = self.reading();
            let head = self.head(project)?;
            let base = ExactVersion {
                number: head.number,
                id: head.id,
            };
            let mut session = match self.begin_commit(params(base))? {
                Begun::AlreadyDone(record) => return Ok(Published::found(record)),
                Begun::Session(session) => session,
            };
            session.mode = mode;
            stage(&mut session, self.view_unchecked(project, head.number))?;
            match session.publish() {
                Err(MetadataError::Stale { .. }) => {}
                published => return published,
            }
        }
    }

    fn new_staging_store(&self) -> Result<StagingStore> {
        let session = SessionId(random()?);
        Ok(StagingStore::new(session, Arc::clone(&self.inner.staging)))
    }

    /// Checks that the version that a commit is said to come from is there.
    fn check_origin(&self, params: &CommitParams) -> Result<()> {
        let (project, version) = match params.origin {
            Origin::Import | Origin::Commit | Origin::Put => return Ok(()),
            Origin::Rollback(version) => (params.project, version),
            Origin::Clone(project, version) => (project, version),
        };
        match self.version(project, version) {
            Err(error) if error.is_not_found() => Err(MetadataError::InvalidOrigin {
                problem: error.to_string(),
            }),
            found => found.map(drop),
        }
    }

    /// Returns the version that a commit has become already.
    fn already_done(&self, params: &CommitParams) -> Result<Option<VersionRecord>> {
        let Some(found) = self.version_by_id(params.version)? else {
            return Ok(None);
        };
        if found.project != params.project {
            return Err(MetadataError::InvalidVersionId { id: params.version });
        }
        // The thread that published it may not have flushed yet, and what is answered must be
        // durable.
        self.store().flush()?;
        self.version(found.project, found.number).map(Some)
    }
}

impl CommitSession {
    /// Stages changes. Of several changes of one name the last one counts.
    ///
    /// What depends on other changes or on the base is checked when the commit is published.
    pub fn stage(&mut self, changes: Vec<Change>) -> Result<()> {
        for change in &changes {
            check_change(change).map_err(|error| self.with_path(error))?;
            if !self.mode.takes_a_version() {
                check_fields(change).map_err(|error| self.with_path(error))?;
            }
        }
        self.staging().add(&changes)
    }

    fn staging(&self) -> Staging<'_> {
        Staging::new(&self.staged)
    }
}

fn check_params(params: &CommitParams) -> Result<()> {
    if params.version == VersionId::ZERO {
        return Err(MetadataError::InvalidVersionId { id: params.version });
    }
    let texts = [
        ("author", params.author.len(), AUTHOR_LEN_MAX),
        ("message", params.message.len(), MESSAGE_LEN_MAX),
    ];
    if let Some((what, _, max)) = texts.into_iter().find(|(_, len, max)| len > max) {
        return Err(MetadataError::TextTooLong { what, max });
    }
    // A message has lines; an author is one word of a line.
    let forbidden =
        |text: &str, is_forbidden: fn(char) -> bool| text.chars().find(|c| is_forbidden(*c));
    if let Some(character) = forbidden(&params.author, char::is_control) {
        return Err(MetadataError::TextForbidden {
            what: "author",
            character,
        });
    }
    if let Some(character) = forbidden(&params.message, |c| c == '\0') {
        return Err(MetadataError::TextForbidden {
            what: "message",
            character,
        });
    }
    Ok(())
}

/// Checks what can be told from the change alone.
fn check_change(change: &Change) -> Result<()> {
    let refused = |refusal: Refusal| Err(refusal.at(change.dir, change.name.clone()));
    let root = change.dir == DirId::ABOVE_ROOT;
    if root != change.name.is_none() {
        return refused(Refusal::InvalidPlace);
    }
    let of_link = change.of_link();
    if let Some(link) = of_link.filter(|link| link.is_session()) {
        return refused(Refusal::UnknownLink { link });
    }
    let is_root = change.state.as_ref().and_then(Record::dir) == Some(DirId::ROOT);
    if root != is_root && of_link.is_none() {
        return refused(Refusal::RootReplaced);
    }
    let Some(record) = &change.state else {
        return Ok(());
    };
    match &record.kind {
        Kind::Directory { .. } if record.link.is_some() => {
            return refused(Refusal::LinkedDirectory);
        }
        _ => {}
    }
    // What encodes and decodes again keeps to every limit of the format.
    match Record::decode(&record.encode()) {
        Ok(_) => Ok(()),
        Err(error) => refused(Refusal::InvalidRecord(error)),
    }
}

/// Checks that the fields of the new state are what a file system can give.
fn check_fields(change: &Change) -> Result<()> {
    match change.state.as_ref().map_or(Ok(()), Record::check_fields) {
        Ok(()) => Ok(()),
        Err(fault) => Err(Refusal::InvalidField(fault).at(change.dir, change.name.clone())),
    }
}
