//! A server in memory, for tests of what is above [`Remote`](crate::Remote): real listings, real chunks, counted
//! calls, and faults on demand.

mod altered;
mod commit;
mod contents;
mod project;
pub mod sample;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use lfsfs_types::content::PieceList;
use lfsfs_types::{
    ChunkId, ContentId, DirId, ObjectPath, ProjectId, Record, SessionId, Source, VersionNumber,
};

pub use self::altered::{Alter, AlteredListings, Listed};
use self::contents::StoredContents;
use self::project::MemoryProject;
pub use self::tree::{MemoryTree, plain};
use crate::{
    Call, Change, ChangedName, ChunkBytes, ChunkLocation, DiffStream, DirectoryListing,
    DirectoryPlace, Hold, Opened, Published, RemoteContents, RemoteError, RemoteRead, RemoteWrite,
    Renames, Resolved, SessionParams, Snapshot, TreeParams, TreeStream, VersionRange,
};

/// The two nodes that seem to have every chunk.
const NODES: [&str; 2] = ["first:1", "second:2"];

/// How often each call was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls(HashMap<Call, u64>);

impl Calls {
    /// Returns how often a call was made.
    #[must_use]
    pub fn of(&self, call: Call) -> u64 {
        self.0.get(&call).copied().unwrap_or_default()
    }

    /// Returns calls that were made so often each.
    #[must_use]
    pub fn made<const N: usize>(calls: [(Call, u64); N]) -> Self {
        Self(calls.into())
    }

    /// Returns how many calls were made.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.values().sum()
    }
}

/// Changes or refuses the bytes that a node is about to send.
pub type Tamper =
    Arc<dyn Fn(&ChunkLocation, Range<u64>, Vec<u8>) -> Result<Vec<u8>, RemoteError> + Send + Sync>;

/// What goes wrong.
#[derive(Clone, Default)]
pub struct Faults {
    /// Every call is refused at once.
    pub is_down: bool,
    /// No call is ever answered.
    pub hangs: bool,
    /// Every answer takes this long.
    pub delay: Duration,
    /// A stream of listings breaks behind so many.
    pub tree_breaks_after: Option<usize>,
    /// What happens to chunk bytes.
    pub tamper: Option<Tamper>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("is_down", &self.is_down)
            .field("hangs", &self.hangs)
            .field("delay", &self.delay)
            .field("tree_breaks_after", &self.tree_breaks_after)
            .field("tamper", &self.tamper.is_some())
            .finish()
    }
}

/// A cluster in memory.
#[derive(Debug, Default)]
pub struct MemoryRemote {
    served: Mutex<Served>,
    faults: Mutex<Faults>,
    calls: Mutex<Calls>,
    sessions: Mutex<HashMap<SessionId, SessionParams>>,
}

#[derive(Debug, Default)]
struct Served {
    projects: HashMap<String, MemoryProject>,
    contents: StoredContents,
}

impl Served {
    fn project(&self, id: ProjectId) -> Result<&MemoryProject, RemoteError> {
        let found = self.projects.values().find(|project| project.id == id);
        found.ok_or_else(|| no_project(id))
    }

    fn project_mut(&mut self, id: ProjectId) -> Result<&mut MemoryProject, RemoteError> {
        let found = self.projects.values_mut().find(|project| project.id == id);
        found.ok_or_else(|| no_project(id))
    }
}

fn no_project(id: ProjectId) -> RemoteError {
    RemoteError::NotFound(format!("there is no project {id}"))
}

/// Returns the chunk with the one datanode of it that is asked: the first by name, in whatever order the caller
/// has them, as a remote that chooses by load does not keep the caller's order.
fn one_of(chunk: &ChunkLocation) -> Result<ChunkLocation, RemoteError> {
    let nowhere = || RemoteError::NotFound(format!("chunk {} is nowhere", chunk.info.id));
    let node = chunk.nodes.iter().min().ok_or_else(nowhere)?;
    Ok(ChunkLocation {
        info: chunk.info,
        nodes: vec![node.clone()],
    })
}

impl MemoryRemote {
    /// Returns a cluster without projects.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Serves `tree` as version 1 of a project, in chunks of about `chunk_len` bytes. All ids follow
    /// from `seed`; a project of that name is replaced.
    pub fn serve(&self, project: &str, seed: u8, tree: &MemoryTree, chunk_len: u64) {
        let mut served = self.served();
        let mut made = MemoryProject::new(project, seed);
        made.publish(tree);
        served.projects.insert(project.to_owned(), made);
        served.contents.store(tree, chunk_len);
    }

    /// Serves `tree` as the next version of a project and returns that. Directories at the places of
    /// older ones are the same ones, and so are those that [`MemoryTree::rename`] moved.
    ///
    /// # Panics
    ///
    /// If there is no such project.
    pub fn serve_next(&self, project: &str, tree: &MemoryTree, chunk_len: u64) -> Snapshot {
        let mut served = self.served();
        let found = served.projects.get_mut(project);
        let snapshot = found.expect("the project is served").publish(tree);
        served.contents.store(tree, chunk_len);
        snapshot
    }

    /// Stores all contents once more in chunks of another length and forgets the old chunks.
    pub fn rewrite_chunks(&self, tree: &MemoryTree, chunk_len: u64) {
        let mut served = self.served();
        served.contents.chunks.clear();
        served.contents.places.clear();
        served.contents.store(tree, chunk_len);
    }

    /// Replaces what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().expect("no holder of this lock panics") = faults;
    }

    /// Returns how often each call was made since this was asked last.
    pub fn take_calls(&self) -> Calls {
        std::mem::take(&mut *self.calls.lock().expect("no holder of this lock panics"))
    }

    fn count(&self, call: Call) {
        let mut calls = self.calls.lock().expect("no holder of this lock panics");
        *calls.0.entry(call).or_default() += 1;
    }

    /// Counts a call and lets it fail if it must.
    async fn enter(&self, call: Call) -> Result<Faults, RemoteError> {
        self.count(call);
        let faults = self
            .faults
            .lock()
            .expect("no holder of this lock panics")
            .clone();
        if faults.hangs {
            future::pending::<()>().await;
        }
        if !faults.delay.is_zero() {
            tokio::time::sleep(faults.delay).await;
        }
        if faults.is_down {
            Err(RemoteError::NoServer {
                address: NODES[0].to_owned(),
            })
        } else {
            Ok(faults)
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, SessionParams>> {
        self.sessions.lock().expect("no holder of this lock panics")
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().expect("no holder of this lock panics")
    }
}

#[async_trait]
impl RemoteContents for MemoryRemote {
    async fn resolve(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Resolved, RemoteError> {
        self.enter(Call::Resolve).await?;
        let served = self.served();
        served.project(project)?;
        let mut resolved = Resolved::default();
        for content in contents {
            if let Some(list) = served.contents.lists.get(content) {
                resolved.lists.insert(*content, *list);
            }
            let Some(places) = served.contents.places.get(content) else {
                continue;
            };
            resolved.contents.insert(*content, places.clone());
            for place in places {
                let (location, _) = &served.contents.chunks[&place.chunk];
                resolved.chunks.insert(place.chunk, Arc::clone(location));
            }
        }
        Ok(resolved)
    }

    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<ChunkBytes, RemoteError> {
        let faults = self.enter(Call::ReadChunk).await?;
        // Gives others a chance to ask for the same, as a network would.
        tokio::task::yield_now().await;
        let id = chunk.info.id;
        let bytes = self
            .served()
            .contents
            .chunks
            .get(&id)
            .map(|found| found.1.clone());
        let bytes = bytes.ok_or_else(|| RemoteError::NotFound(format!("no chunk {id}")))?;
        let bounds = usize::try_from(range.start)
            .ok()
            .zip(usize::try_from(range.end).ok());
        let bytes = bounds
            .and_then(|(start, end)| bytes.get(start..end))
            .ok_or_else(|| RemoteError::Invalid("no such range".to_owned()))?;
        let asked = one_of(chunk)?;
        let node = asked.nodes[0].clone();
        let bytes = match faults.tamper {
            Some(tamper) => tamper(&asked, range, bytes.to_vec())?.into(),
            None => Bytes::copy_from_slice(bytes),
        };
        Ok(ChunkBytes { bytes, node })
    }
}

#[async_trait]
impl RemoteRead for MemoryRemote {
    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError> {
        self.enter(Call::ResolveSource).await?;
        let name = source.project.as_str();
        let served = self.served();
        let project = served.projects.get(name);
        let project =
            project.ok_or_else(|| RemoteError::NotFound(format!("there is no project {name}")))?;
        project.resolve(&source.version)
    }

    async fn snapshot(
        &self,
        project: ProjectId,
        version: VersionNumber,
    ) -> Result<Snapshot, RemoteError> {
        self.enter(Call::Snapshot).await?;
        let served = self.served();
        served.project(project)?.snapshot_of(version)
    }

    async fn lookup(
        &self,
        project: ProjectId,
        version: VersionNumber,
        path: &ObjectPath,
    ) -> Result<Record, RemoteError> {
        self.enter(Call::Lookup).await?;
        let served = self.served();
        let found = served.project(project)?.version(version)?.lookup(path);
        found.ok_or_else(|| RemoteError::NotFound(format!("there is no {path:?}")))
    }

    async fn diff(
        &self,
        project: ProjectId,
        range: VersionRange,
        renames: Renames,
    ) -> Result<DiffStream, RemoteError> {
        self.enter(Call::Diff).await?;
        let served = self.served();
        let entries = served.project(project)?.diff(range, renames)?;
        Ok(stream::iter(entries.into_iter().map(Ok)).boxed())
    }

    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError> {
        self.enter(Call::ListDirectory).await?;
        let served = self.served();
        let version = served.project(project)?.version(version)?;
        let found = version.listings.get(&dir).cloned();
        found.ok_or_else(|| RemoteError::NotFound(format!("there is no directory {dir}")))
    }

    async fn list_tree(&self, params: &TreeParams) -> Result<TreeStream, RemoteError> {
        let faults = self.enter(Call::ListTree).await?;
        let listings = self.served().project(params.project)?.tree(params)?;
        let mut listings: Vec<_> = listings.into_iter().map(Ok).collect();
        if let Some(len) = faults.tree_breaks_after.filter(|len| *len < listings.len()) {
            let address = NODES[0].to_owned();
            listings.truncate(len);
            listings.push(Err(RemoteError::Silent { address }));
        }
        Ok(stream::iter(listings).boxed())
    }

    async fn changed_names(
        &self,
        project: ProjectId,
        range: VersionRange,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        self.enter(Call::ChangedNames).await?;
        let served = self.served();
        served.project(project)?.changed_names(range)
    }

    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError> {
        self.enter(Call::DirectoryPlaces).await?;
        let served = self.served();
        let version = served.project(project)?.version(version)?;
        Ok(version.places_of(dirs))
    }

    /// Versions here never expire.
    async fn hold_version(&self, _: &Hold) -> Result<Duration, RemoteError> {
        self.enter(Call::HoldVersion).await?;
        Ok(Duration::from_secs(600))
    }

    async fn release_version(&self, _: &Hold) -> Result<(), RemoteError> {
        self.enter(Call::ReleaseVersion).await.map(drop)
    }
}

#[async_trait]
impl RemoteWrite for MemoryRemote {
    async fn find_missing(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Vec<ContentId>, RemoteError> {
        self.enter(Call::FindMissing).await?;
        let served = self.served();
        served.project(project)?;
        let missing = contents.iter().filter(|id| !served.contents.has(id));
        Ok(missing.copied().collect())
    }

    async fn put_pieces(
        &self,
        project: ProjectId,
        content: ContentId,
        pieces: &PieceList,
    ) -> Result<(), RemoteError> {
        self.enter(Call::PutPieces).await?;
        let mut served = self.served();
        served.project(project)?;
        served.contents.register(content, pieces)
    }

    async fn store_chunk(
        &self,
        project: ProjectId,
        chunk: ChunkId,
        bytes: Bytes,
    ) -> Result<u64, RemoteError> {
        self.enter(Call::StoreChunk).await?;
        let mut served = self.served();
        served.project(project)?;
        served.contents.take_chunk(chunk, bytes)
    }

    async fn open_session(&self, params: &SessionParams) -> Result<Opened, RemoteError> {
        self.enter(Call::OpenSession).await?;
        let served = self.served();
        if let Some(version) = served
            .project(params.project)?
            .version_of_id(params.version)
        {
            return Ok(Opened::Published(version));
        }
        // The random id of the version names the session just as well.
        let session = SessionId(params.version.0);
        self.sessions().insert(session, params.clone());
        Ok(Opened::Session(session))
    }

    async fn commit(
        &self,
        session: SessionId,
        params: &SessionParams,
        changes: BoxStream<'static, Change>,
    ) -> Result<Published, RemoteError> {
        self.enter(Call::Commit).await?;
        let changes: Vec<Change> = changes.collect().await;
        let opened = self.sessions().remove(&session);
        let unknown = || RemoteError::SessionLost("the commit session is unknown".to_owned());
        opened.ok_or_else(unknown)?;
        let mut served = self.served();
        served.project_mut(params.project)?.commit(params, changes)
    }
}
