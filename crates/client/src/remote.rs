//! What a mount needs of a server, and how it fails.

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lfsfs_types::{
    ChunkId, ChunkInfo, ClusterId, ContentId, ContentPlace, DirId, Name, ProjectId, ProjectName,
    Record, Source, Timestamp, VersionId, VersionNumber, VersionRecord,
};
use thiserror::Error;

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

/// Where contents lie.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// One place for a small content; one a piece, in order, for a large one. A content that the
    /// server does not have is absent.
    pub contents: HashMap<ContentId, Vec<ContentPlace>>,
    /// Every chunk that a place names.
    pub chunks: HashMap<ChunkId, Arc<ChunkLocation>>,
}

/// Why a server did not give what was asked for.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// Nobody listens there.
    #[error("no lfsfs server at {address}; start one with: lfsfsd all --data DIR")]
    NoServer {
        /// The address that was tried.
        address: String,
    },
    /// Somebody listens, but no answer came in time.
    #[error("the lfsfs server at {address} did not answer {what} within {seconds} s")]
    Deadline {
        /// The address that was asked.
        address: String,
        /// What was asked for.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The connection broke, or the server cannot serve now.
    #[error("the lfsfs server at {address} is not available: {reason}")]
    Unavailable {
        /// The address that was asked.
        address: String,
        /// What the transport or the server said.
        reason: String,
    },
    /// There is no such project, version, path, tag, content or chunk.
    #[error("{0}")]
    NotFound(String),
    /// There is one already.
    #[error("{0}")]
    AlreadyExists(String),
    /// The request was refused as wrong.
    #[error("{0}")]
    Invalid(String),
    /// Somebody else's version came first, and the changes touch.
    #[error("{message}")]
    Conflict {
        /// What the server said.
        message: String,
        /// The paths that both changed.
        paths: Vec<Vec<u8>>,
    },
    /// The server's disk is full, or below its reserve.
    #[error("the server is full: {0}")]
    Full(String),
    /// Bytes are not what their hash says, or an answer makes no sense.
    #[error("damaged data: {0}")]
    Corrupt(String),
    /// The server does not serve this call yet.
    #[error("the server does not serve {0}")]
    Unimplemented(String),
    /// The server failed.
    #[error("the server failed: {0}")]
    Internal(String),
}

impl RemoteError {
    /// Returns true if the same call may succeed later, or at another node.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NoServer { .. } | Self::Deadline { .. } | Self::Unavailable { .. }
        )
    }

    /// Returns true if what was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

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

    /// Returns where contents lie; those that are missing are absent from the answer.
    async fn resolve(&self, contents: &[ContentId]) -> Result<Resolved, RemoteError>;

    /// Reads a range of a chunk's stored bytes. Exactly as many as asked for come back.
    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<Bytes, RemoteError>;
}
