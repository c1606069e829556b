//! What is asked of a system and what it answers, checked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_types::{
    ChunkId, ChunkInfo, ClusterId, ContentId, ContentPlace, DirId, LinkId, Name, ObjectPath,
    Origin, ProjectId, ProjectName, Record, SessionId, Timestamp, VersionId, VersionNumber,
    VersionRecord,
};

/// A project as the server tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its identity, never used again.
    pub id: ProjectId,
    /// The name that points to it now.
    pub name: ProjectName,
    /// The newest version and its random id.
    pub head: (VersionNumber, VersionId),
    /// When it was made.
    pub created: Timestamp,
    /// Which directories are packed.
    pub pack_patterns: Vec<String>,
    /// Lines of gitignore(5): new paths that match stay out of versions.
    pub ignore_patterns: Vec<String>,
    /// Whether commits of mounts let what differs in its times alone keep those that it has.
    pub ignore_times: bool,
    /// Whether the packs do not follow the pack patterns yet.
    pub repacking: bool,
    /// How many datanodes keep each chunk.
    pub replication: u32,
    /// Bytes that go into a chunk before the next one begins.
    pub chunk_len: u64,
}

/// One version of one project, resolved from what a user typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The cluster that answered.
    pub cluster: ClusterId,
    /// The project.
    pub project: Project,
    /// The version.
    pub version: VersionRecord,
    /// The record of the root directory.
    pub root: Record,
    /// The id by which the server has the root: [`DirId::ROOT`], unless this is a
    /// [`Subdirectory`](crate::Subdirectory).
    pub root_dir: DirId,
}

/// A version that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The project.
    pub project: ProjectId,
    /// The version.
    pub version: VersionNumber,
    /// Its random id.
    pub version_id: VersionId,
    /// Drawn by the one who holds it. One may hold several versions.
    pub holder: SessionId,
}

/// All entries of a directory at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryListing {
    /// In the order of the names.
    pub entries: Vec<(Name, Record)>,
    /// The random id of the last version that changed this listing. Equal id, equal listing.
    pub listing_version: VersionId,
}

/// Which listings of a version are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeParams {
    /// The project.
    pub project: ProjectId,
    /// The version.
    pub version: VersionNumber,
    /// The directory to begin with, which comes first; those below it follow.
    pub top: DirId,
    /// The last directory that the caller has: those behind it come. It must be one that comes without this.
    pub after: Option<DirId>,
    /// A version of which the caller has all listings in and below the same directory: only directories with
    /// another listing come, in the order of their ids.
    pub since: Option<(VersionNumber, VersionId)>,
}

/// A chunk and the addresses of those who have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkLocation {
    /// What it takes to read and check it.
    pub info: ChunkInfo,
    /// host:port of each datanode, best first.
    pub nodes: Vec<String>,
}

/// A range of a chunk's stored bytes, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkBytes {
    /// As many as were asked for.
    pub bytes: Bytes,
    /// host:port of the datanode that gave them. If they are damaged, another one is asked.
    pub node: String,
}

/// The list of the pieces of a content that has too many to tell at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredList {
    /// The content that is the encoded list.
    pub content: ContentId,
    /// How many pieces it has.
    pub count: u32,
}

/// Where contents lie.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// One place for a small content; one a piece, in order, for a large one. A content that the
    /// server does not have is absent.
    pub contents: HashMap<ContentId, Vec<ContentPlace>>,
    /// What a content of too many pieces has instead of places.
    pub lists: HashMap<ContentId, StoredList>,
    /// Every chunk that a place names.
    pub chunks: HashMap<ChunkId, Arc<ChunkLocation>>,
}

/// A name whose object, or whose times, may differ between two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedName {
    /// The directory.
    pub dir: DirId,
    /// The name in it; none, in [`DirId::ABOVE_ROOT`], for the root's own record.
    pub name: Option<Name>,
    /// Its path in the first version, if that has something there.
    pub old: Option<ObjectPath>,
    /// Its path in the second version, if that has something there.
    pub new: Option<ObjectPath>,
}

/// Where a directory is: its id, the directory above, and its name there.
pub type DirectoryPlace = (DirId, DirId, Name);

/// Two versions of a project that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// The one that is left.
    pub from: VersionNumber,
    /// The one that is gone to, which may be older.
    pub to: VersionNumber,
}

/// How a difference shows directories that moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renames {
    /// As one line.
    Shown,
    /// As removals and additions of all that is below.
    Expanded,
}

/// One line of a difference between two versions. Paths are in the second version, but for those of
/// removals and the old path of a rename.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiffEntry {
    /// Only the second version has it.
    Added(ObjectPath),
    /// Only the first version has it.
    Removed(ObjectPath),
    /// Content, kind, mode, owner or extended attributes differ.
    Modified(ObjectPath),
    /// Times alone differ.
    Touched(ObjectPath),
    /// A directory kept its identity at a new place.
    Renamed {
        /// Where it was.
        old: ObjectPath,
        /// Where it is.
        new: ObjectPath,
    },
}

/// One entry's new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The directory that has the entry.
    pub dir: DirId,
    /// Its name; `None`, in [`DirId::ABOVE_ROOT`], for the root's own record and for a link's.
    pub name: Option<Name>,
    /// What it is now; `None` for a removal, which takes along everything below.
    pub state: Option<Record>,
}

impl Change {
    /// The record of a hard link, for all its names that the session does not change by name: for
    /// clients that do not know them all.
    ///
    /// The base must have the link. All names get what is said of one, too, so this is needed only
    /// if no name can be told.
    #[must_use]
    pub fn of_all_names(record: Record) -> Self {
        Self {
            dir: DirId::ABOVE_ROOT,
            name: None,
            state: Some(record),
        }
    }
}

/// What a session is opened with.
#[derive(Debug, Clone)]
pub struct SessionParams {
    /// The project.
    pub project: ProjectId,
    /// The version that the changes were made on.
    pub base: (VersionNumber, VersionId),
    /// The random id that the new version will have. Repeating a session with the id of one whose
    /// answer was lost returns the version that it made.
    pub version: VersionId,
    /// How the version came to be.
    pub origin: Origin,
    /// Who makes it.
    pub author: String,
    /// Why.
    pub message: String,
    /// Whether the changes are made even where others changed the same since the base.
    pub force: bool,
    /// Whether what differs in its times alone keeps those that the version before has.
    pub ignore_times: bool,
    /// Whether [`Published`] tells the ids of what the session makes.
    pub want_ids: bool,
}

/// A version that holds the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version; the newest one if nothing had changed.
    pub version: VersionRecord,
    /// Rows that the server wrote for it.
    pub rows: u64,
    /// Whether others published versions since the base, so that it holds more than the changes.
    pub rebased: bool,
    /// The real id of each directory that the session made, by the session's, if it was asked for;
    /// empty if an earlier call had published the version, whose paths can be looked up.
    pub dirs: BTreeMap<DirId, DirId>,
    /// The same for hard links.
    pub links: BTreeMap<LinkId, LinkId>,
}

/// A session in which changes can be sent, or the version it made when it was opened before.
#[derive(Debug)]
pub enum Opened {
    /// Send the changes.
    Session(SessionId),
    /// They were published already.
    Published(VersionRecord),
}
