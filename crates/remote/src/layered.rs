//! Layers around a [`Remote`]: retries, health, counts, faults.

use std::fmt::Debug;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use lfsfs_types::content::PieceList;
use lfsfs_types::{
    ChunkId, ContentId, DirId, ObjectPath, ProjectId, Record, SessionId, Source, VersionNumber,
};

use crate::call::Call;
use crate::data::{
    Change, ChangedName, ChunkBytes, ChunkLocation, DirectoryListing, DirectoryPlace, Hold, Opened,
    Published, Renames, Resolved, SessionParams, Snapshot, TreeParams, VersionRange,
};
use crate::error::RemoteError;
use crate::remote::{DiffStream, Remote, RemoteContents, RemoteRead, RemoteWrite, TreeStream};
use crate::retry::Retry;

/// An answer on its way.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, RemoteError>>;

/// What a layer knows of a call.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Which call it is.
    pub call: Call,
    /// The chunk that [`Call::ReadChunk`] reads.
    pub chunk: Option<&'a ChunkLocation>,
}

impl From<Call> for Asked<'_> {
    fn from(call: Call) -> Self {
        Self { call, chunk: None }
    }
}

/// What is done around every call.
pub trait Layer: Send + Sync + Debug + 'static {
    /// Makes a call, of a remote that the layer chooses, by `ask`; as often as it likes, if the call is
    /// idempotent.
    fn call<'a, T: Send + 'a>(
        &'a self,
        asked: Asked<'a>,
        ask: impl FnMut(Arc<dyn Remote>) -> Answer<'a, T> + Send + 'a,
    ) -> impl Future<Output = Result<T, RemoteError>> + Send + 'a;
}

/// A remote with a layer around it.
#[derive(Debug)]
pub struct Layered<L>(pub L);

#[async_trait]
impl<L: Layer> RemoteContents for Layered<L> {
    async fn resolve(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Resolved, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.resolve(project, contents).await }.boxed()
        };
        self.0.call(Call::Resolve.into(), ask).await
    }

    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<ChunkBytes, RemoteError> {
        let asked = Asked {
            call: Call::ReadChunk,
            chunk: Some(chunk),
        };
        let ask = |remote: Arc<dyn Remote>| {
            let range = range.clone();
            async move { remote.read_chunk(chunk, range).await }.boxed()
        };
        self.0.call(asked, ask).await
    }
}

#[async_trait]
impl<L: Layer> RemoteRead for Layered<L> {
    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError> {
        let ask =
            |remote: Arc<dyn Remote>| async move { remote.resolve_source(source).await }.boxed();
        self.0.call(Call::ResolveSource.into(), ask).await
    }

    async fn snapshot(
        &self,
        project: ProjectId,
        version: VersionNumber,
    ) -> Result<Snapshot, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.snapshot(project, version).await }.boxed()
        };
        self.0.call(Call::Snapshot.into(), ask).await
    }

    async fn lookup(
        &self,
        project: ProjectId,
        version: VersionNumber,
        path: &ObjectPath,
    ) -> Result<Record, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.lookup(project, version, path).await }.boxed()
        };
        self.0.call(Call::Lookup.into(), ask).await
    }

    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.list_directory(project, version, dir).await }.boxed()
        };
        self.0.call(Call::ListDirectory.into(), ask).await
    }

    async fn list_tree(&self, params: &TreeParams) -> Result<TreeStream, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| async move { remote.list_tree(params).await }.boxed();
        self.0.call(Call::ListTree.into(), ask).await
    }

    async fn changed_names(
        &self,
        project: ProjectId,
        range: VersionRange,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.changed_names(project, range).await }.boxed()
        };
        self.0.call(Call::ChangedNames.into(), ask).await
    }

    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.directory_places(project, version, dirs).await }.boxed()
        };
        self.0.call(Call::DirectoryPlaces.into(), ask).await
    }

    async fn diff(
        &self,
        project: ProjectId,
        range: VersionRange,
        renames: Renames,
    ) -> Result<DiffStream, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.diff(project, range, renames).await }.boxed()
        };
        self.0.call(Call::Diff.into(), ask).await
    }

    async fn hold_version(&self, hold: &Hold) -> Result<Duration, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| async move { remote.hold_version(hold).await }.boxed();
        self.0.call(Call::HoldVersion.into(), ask).await
    }

    async fn release_version(&self, hold: &Hold) -> Result<(), RemoteError> {
        let ask =
            |remote: Arc<dyn Remote>| async move { remote.release_version(hold).await }.boxed();
        self.0.call(Call::ReleaseVersion.into(), ask).await
    }
}

#[async_trait]
impl<L: Layer> RemoteWrite for Layered<L> {
    async fn find_missing(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Vec<ContentId>, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.find_missing(project, contents).await }.boxed()
        };
        self.0.call(Call::FindMissing.into(), ask).await
    }

    async fn put_pieces(
        &self,
        project: ProjectId,
        content: ContentId,
        pieces: &PieceList,
    ) -> Result<(), RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            async move { remote.put_pieces(project, content, pieces).await }.boxed()
        };
        self.0.call(Call::PutPieces.into(), ask).await
    }

    async fn store_chunk(
        &self,
        project: ProjectId,
        chunk: ChunkId,
        bytes: Bytes,
    ) -> Result<u64, RemoteError> {
        let ask = |remote: Arc<dyn Remote>| {
            let bytes = bytes.clone();
            async move { remote.store_chunk(project, chunk, bytes).await }.boxed()
        };
        self.0.call(Call::StoreChunk.into(), ask).await
    }

    async fn open_session(&self, params: &SessionParams) -> Result<Opened, RemoteError> {
        let ask =
            |remote: Arc<dyn Remote>| async move { remote.open_session(params).await }.boxed();
        self.0.call(Call::OpenSession.into(), ask).await
    }

    async fn commit(
        &self,
        session: SessionId,
        params: &SessionParams,
        changes: BoxStream<'static, Change>,
    ) -> Result<Published, RemoteError> {
        let mut changes = Some(changes);
        let ask = |remote: Arc<dyn Remote>| {
            let changes = changes.take();
            async move {
                let sent = || RemoteError::Internal("a commit was sent twice".to_owned());
                let changes = changes.ok_or_else(sent)?;
                remote.commit(session, params, changes).await
            }
            .boxed()
        };
        self.0.call(Call::Commit.into(), ask).await
    }
}

/// Makes calls again that failed and may succeed later.
#[derive(Debug)]
pub struct Retrying {
    /// The remote that is asked.
    pub inner: Arc<dyn Remote>,
    /// When it is asked again.
    pub retry: Retry,
}

impl Retrying {
    /// Returns `inner` with retries.
    #[must_use]
    pub fn around(inner: Arc<dyn Remote>, retry: Retry) -> Arc<dyn Remote> {
        Arc::new(Layered(Self { inner, retry }))
    }
}

impl Layer for Retrying {
    async fn call<'a, T: Send + 'a>(
        &'a self,
        asked: Asked<'a>,
        mut ask: impl FnMut(Arc<dyn Remote>) -> Answer<'a, T> + Send + 'a,
    ) -> Result<T, RemoteError> {
        let ask = || ask(Arc::clone(&self.inner));
        if asked.call == Call::Commit {
            // The stream of its changes is there once.
            return self.retry.once(ask).await;
        }
        self.retry.run(asked.call, ask).await
    }
}
