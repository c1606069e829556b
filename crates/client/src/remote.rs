//! What a mount needs of a server, and how it fails.

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lfsfs_types::{
    ChunkId, ChunkInfo, ClusterId, ContentId, ContentPlace, DirId, Name, ObjectPath, ProjectId,
    ProjectName, Record, Source, Timestamp, VersionId, VersionNumber, VersionRecord,
};

use crate::error::RemoteError;

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
    /// How many datanodes keep each chunk.
    pub replication: u32,
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
}

/// All entries of a directory at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryListing {
    /// In the order of the names.
    pub entries: Vec<(Name, Record)>,
    /// The random id of the last version that changed this listing. Equal id, equal listing.
    pub listing_version: VersionId,
}

/// A chunk and the addresses of those who have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkLocation {
    /// What it takes to read and check it.
    pub info: ChunkInfo,
    /// host:port of each datanode, best first.
    pub nodes: Vec<String>,
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

/// What a mount needs of a server.
///
/// Every call ends within the deadlines it was configured with. What it returns has been checked:
/// names and records are valid, frames have their hash. Chunk bytes are checked against footer and
/// block hashes by whoever keeps them.
#[async_trait]
pub trait Remote: Send + Sync + Debug + 'static {
    /// Resolves what a user typed to a version.
    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError>;

    /// Returns all entries of a directory at a version.
    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError>;

    /// Returns the names whose objects, times or links may differ between two versions of a project,
    /// each once; either version may be the older one.
    ///
    /// It costs what changed between them. All names below a directory that was removed or added are
    /// told; those below one that moved only where they changed themselves.
    async fn changed_names(
        &self,
        project: ProjectId,
        from: VersionNumber,
        to: VersionNumber,
    ) -> Result<Vec<ChangedName>, RemoteError>;

    /// Returns where directories of a version are: each one asked for and all above it, each once.
    /// The root, which has no place, and directories that the version does not have are absent.
    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError>;

    /// Returns where contents lie; those that are missing are absent from the answer.
    async fn resolve(&self, contents: &[ContentId]) -> Result<Resolved, RemoteError>;

    /// Reads a range of a chunk's stored bytes. Exactly as many as asked for come back.
    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<Bytes, RemoteError>;
}
