//! A server in memory, for tests of what is above [`Remote`]: real listings, real chunks, counted
//! calls, and faults on demand.

mod contents;
mod project;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lfsfs_types::{ContentId, DirId, ProjectId, Source, VersionNumber};

use self::contents::StoredContents;
use self::project::MemoryProject;
pub use self::tree::{MemoryTree, plain};
use crate::{
    ChangedName, ChunkLocation, DirectoryListing, DirectoryPlace, Remote, RemoteError, Resolved,
    Snapshot,
};

/// The two nodes that seem to have every chunk.
const NODES: [&str; 2] = ["first:1", "second:2"];

/// How often each call was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// [`Remote::resolve_source`].
    pub resolve_source: u64,
    /// [`Remote::list_directory`].
    pub list_directory: u64,
    /// [`Remote::resolve`].
    pub resolve: u64,
    /// [`Remote::read_chunk`].
    pub read_chunk: u64,
    /// [`Remote::changed_names`].
    pub changed_names: u64,
    /// [`Remote::directory_places`].
    pub directory_places: u64,
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
    /// What happens to chunk bytes.
    pub tamper: Option<Tamper>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("is_down", &self.is_down)
            .field("hangs", &self.hangs)
            .field("delay", &self.delay)
            .field("tamper", &self.tamper.is_some())
            .finish()
    }
}

/// A cluster in memory.
#[derive(Debug, Default)]
pub struct MemoryRemote {
    served: Mutex<Served>,
    faults: Mutex<Faults>,
    calls: [AtomicU64; 6],
}

#[derive(Debug, Default)]
struct Served {
    projects: HashMap<String, MemoryProject>,
    contents: StoredContents,
}

impl Served {
    fn project(&self, id: ProjectId) -> Result<&MemoryProject, RemoteError> {
        let found = self.projects.values().find(|project| project.id == id);
        found.ok_or_else(|| RemoteError::NotFound(format!("there is no project {id}")))
    }
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
        let taken = [0, 1, 2, 3, 4, 5].map(|call: usize| self.calls[call].swap(0, Relaxed));
        let [
            resolve_source,
            list_directory,
            resolve,
            read_chunk,
            changed_names,
            directory_places,
        ] = taken;
        Calls {
            resolve_source,
            list_directory,
            resolve,
            read_chunk,
            changed_names,
            directory_places,
        }
    }

    /// Counts a call and lets it fail if it must.
    async fn enter(&self, call: usize) -> Result<Faults, RemoteError> {
        self.calls[call].fetch_add(1, Relaxed);
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
        match faults.is_down {
            true => Err(RemoteError::NoServer {
                address: NODES[0].to_owned(),
            }),
            false => Ok(faults),
        }
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().expect("no holder of this lock panics")
    }
}

#[async_trait]
impl Remote for MemoryRemote {
    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError> {
        self.enter(0).await?;
        let name = source.project.as_str();
        let served = self.served();
        let project = served.projects.get(name);
        let project =
            project.ok_or_else(|| RemoteError::NotFound(format!("there is no project {name}")))?;
        project.resolve(&source.version)
    }

    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError> {
        self.enter(1).await?;
        let served = self.served();
        let version = served.project(project)?.version(version)?;
        let found = version.listings.get(&dir).cloned();
        found.ok_or_else(|| RemoteError::NotFound(format!("there is no directory {dir}")))
    }

    async fn changed_names(
        &self,
        project: ProjectId,
        from: VersionNumber,
        to: VersionNumber,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        self.enter(4).await?;
        let served = self.served();
        served.project(project)?.changed_names(from, to)
    }

    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError> {
        self.enter(5).await?;
        let served = self.served();
        let version = served.project(project)?.version(version)?;
        Ok(version.places_of(dirs))
    }

    async fn resolve(&self, contents: &[ContentId]) -> Result<Resolved, RemoteError> {
        self.enter(2).await?;
        let served = self.served();
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
    ) -> Result<Bytes, RemoteError> {
        let faults = self.enter(3).await?;
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
        match faults.tamper {
            Some(tamper) => tamper(chunk, range, bytes.to_vec()).map(Bytes::from),
            None => Ok(Bytes::copy_from_slice(bytes)),
        }
    }
}
