//! The seam between client-side code and the system: everything that mounts, imports, exports and commits
//! ask of it.
//!
//! gRPC and memory implement it; [`Layered`](crate::Layered) puts retries, health, counts and faults
//! around an implementation. Administration is not part of it: the client has that.

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lfsfs_types::content::PieceList;
use lfsfs_types::{
    ChunkId, ContentId, DirId, ObjectPath, ProjectId, Record, SessionId, Source, VersionNumber,
};

use crate::data::{
    Change, ChangedName, ChunkBytes, ChunkLocation, DiffEntry, DirectoryListing, DirectoryPlace,
    Hold, Opened, Published, Renames, Resolved, SessionParams, Snapshot, TreeParams, VersionRange,
};
use crate::error::RemoteError;

/// Differences as they arrive.
pub type DiffStream = BoxStream<'static, Result<DiffEntry, RemoteError>>;

/// Whole listings as they arrive.
pub type TreeStream = BoxStream<'static, Result<(DirId, DirectoryListing), RemoteError>>;

/// The part that finds contents and reads them: all that a reader of contents needs.
#[async_trait]
pub trait RemoteContents: Send + Sync + Debug + 'static {
    /// Returns where contents of a project lie; those that are missing are absent from the answer.
    async fn resolve(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Resolved, RemoteError>;

    /// Reads a range of a chunk's stored bytes from one of its datanodes, which the remote chooses. Exactly as
    /// many as asked for come back.
    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<ChunkBytes, RemoteError>;
}

/// The half that reads.
///
/// Every call ends within the deadlines it was configured with. What it returns has been checked:
/// names and records are valid, frames have their hash. The caller checks chunk bytes against footer
/// and block hashes.
#[async_trait]
pub trait RemoteRead: RemoteContents {
    /// Resolves what a user typed to a version.
    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError>;

    /// Returns a version of a project, whatever name the project has now.
    async fn snapshot(
        &self,
        project: ProjectId,
        version: VersionNumber,
    ) -> Result<Snapshot, RemoteError>;

    /// Returns one object of a version by its path.
    async fn lookup(
        &self,
        project: ProjectId,
        version: VersionNumber,
        path: &ObjectPath,
    ) -> Result<Record, RemoteError>;

    /// Returns all entries of a directory at a version.
    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError>;

    /// Returns the listings of a version, or of a directory of it with all that lies below.
    ///
    /// A directory comes before those below it, which come in the order of their names. The stream is read as fast as
    /// it is polled, and may be dropped and asked for again behind any directory that has come.
    async fn list_tree(&self, params: &TreeParams) -> Result<TreeStream, RemoteError>;

    /// Returns the names whose objects, times or links may differ between two versions of a project,
    /// each once.
    ///
    /// It costs what changed between them. All names below a directory that was removed or added are
    /// among them; those below one that moved only where they changed themselves.
    async fn changed_names(
        &self,
        project: ProjectId,
        range: VersionRange,
    ) -> Result<Vec<ChangedName>, RemoteError>;

    /// Returns where directories of a version are: each one asked for and all above it, each once.
    /// The root, which has no place, and directories that the version does not have are absent.
    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError>;

    /// Keeps a version from expiring. Returns for how long; the same call renews it.
    async fn hold_version(&self, hold: &Hold) -> Result<Duration, RemoteError>;

    /// Ends a hold. There need not be one.
    async fn release_version(&self, hold: &Hold) -> Result<(), RemoteError>;

    /// Returns the differences between two versions.
    async fn diff(
        &self,
        project: ProjectId,
        range: VersionRange,
        renames: Renames,
    ) -> Result<DiffStream, RemoteError>;
}

/// The half that writes.
#[async_trait]
pub trait RemoteWrite: RemoteRead {
    /// Returns those contents that the system does not have.
    async fn find_missing(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Vec<ContentId>, RemoteError>;

    /// Registers a large content by its pieces, which must be stored.
    async fn put_pieces(
        &self,
        project: ProjectId,
        content: ContentId,
        pieces: &PieceList,
    ) -> Result<(), RemoteError>;

    /// Stores one chunk. When it returns, the chunk is verified, durable and known to the
    /// coordinator. Returns how many bytes were sent: 0 if it was there already.
    async fn store_chunk(
        &self,
        project: ProjectId,
        chunk: ChunkId,
        bytes: Bytes,
    ) -> Result<u64, RemoteError>;

    /// Opens a metadata session, or returns the version that it has made before.
    async fn open_session(&self, params: &SessionParams) -> Result<Opened, RemoteError>;

    /// Sends the changes of a session and publishes them, all or nothing.
    ///
    /// Changes that conflict publish nothing. Nothing is published unless `changes` ends: dropping the
    /// future before gives the session up. The deadline counts from the end of `changes`.
    async fn commit(
        &self,
        session: SessionId,
        params: &SessionParams,
        changes: BoxStream<'static, Change>,
    ) -> Result<Published, RemoteError>;
}

/// Both halves.
pub trait Remote: RemoteWrite {}

impl<R: RemoteWrite + ?Sized> Remote for R {}
