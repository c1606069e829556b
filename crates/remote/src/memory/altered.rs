//! A remote whose listings are altered on their way to the reader.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use lfsfs_types::{ContentId, DirId, ObjectPath, ProjectId, Record, Source, VersionNumber};

use crate::{
    ChangedName, ChunkBytes, ChunkLocation, DiffStream, DirectoryListing, DirectoryPlace, Hold,
    RemoteContents, RemoteError, RemoteRead, Renames, Resolved, Snapshot, TreeParams, TreeStream,
    VersionRange,
};

/// What a listing was answered with.
pub type Listed = Result<DirectoryListing, RemoteError>;

/// Alters the answer to a listing of a directory at a version.
pub type Alter = Box<dyn Fn(VersionNumber, DirId, Listed) -> Listed + Send + Sync>;

/// Reads from another remote, and shows other listings.
pub struct AlteredListings {
    inner: Arc<dyn RemoteRead>,
    alter: Arc<dyn Fn(VersionNumber, DirId, Listed) -> Listed + Send + Sync>,
}

impl AlteredListings {
    /// Returns `inner` with `alter` in between.
    #[must_use]
    pub fn around(inner: Arc<dyn RemoteRead>, alter: Alter) -> Arc<dyn RemoteRead> {
        let alter = Arc::from(alter);
        Arc::new(Self { inner, alter })
    }
}

impl fmt::Debug for AlteredListings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AlteredListings");
        shown.field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl RemoteContents for AlteredListings {
    async fn resolve(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Resolved, RemoteError> {
        self.inner.resolve(project, contents).await
    }

    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<ChunkBytes, RemoteError> {
        self.inner.read_chunk(chunk, range).await
    }
}

#[async_trait]
impl RemoteRead for AlteredListings {
    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Listed {
        let listed = self.inner.list_directory(project, version, dir).await;
        (self.alter)(version, dir, listed)
    }

    async fn list_tree(&self, params: &TreeParams) -> Result<TreeStream, RemoteError> {
        let (alter, version) = (Arc::clone(&self.alter), params.version);
        let altered = move |came: Result<(DirId, DirectoryListing), RemoteError>| {
            let (dir, listing) = came?;
            alter(version, dir, Ok(listing)).map(|listing| (dir, listing))
        };
        Ok(self.inner.list_tree(params).await?.map(altered).boxed())
    }

    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError> {
        self.inner.resolve_source(source).await
    }

    async fn snapshot(
        &self,
        project: ProjectId,
        version: VersionNumber,
    ) -> Result<Snapshot, RemoteError> {
        self.inner.snapshot(project, version).await
    }

    async fn lookup(
        &self,
        project: ProjectId,
        version: VersionNumber,
        path: &ObjectPath,
    ) -> Result<Record, RemoteError> {
        self.inner.lookup(project, version, path).await
    }

    async fn changed_names(
        &self,
        project: ProjectId,
        range: VersionRange,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        self.inner.changed_names(project, range).await
    }

    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError> {
        self.inner.directory_places(project, version, dirs).await
    }

    async fn diff(
        &self,
        project: ProjectId,
        range: VersionRange,
        renames: Renames,
    ) -> Result<DiffStream, RemoteError> {
        self.inner.diff(project, range, renames).await
    }

    async fn hold_version(&self, hold: &Hold) -> Result<Duration, RemoteError> {
        self.inner.hold_version(hold).await
    }

    async fn release_version(&self, hold: &Hold) -> Result<(), RemoteError> {
        self.inner.release_version(hold).await
    }
}
