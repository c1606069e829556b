//! A server in memory, for tests of what is above [`Remote`]: real listings, real chunks, counted
//! calls, and faults on demand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lfsfs_types::chunk::ChunkBuilder;
use lfsfs_types::content::PieceList;
use lfsfs_types::{
    ChunkId, ChunkInfo, ClusterId, Content, ContentId, ContentPlace, DirId, Kind, Name, Origin,
    ProjectId, ProjectName, Record, Source, Timestamp, VersionCounts, VersionId, VersionNumber,
    VersionRecord,
};

use crate::{
    ChunkLocation, DirectoryListing, Project, Remote, RemoteError, Resolved, Snapshot, StoredList,
};

/// The two nodes that seem to have every chunk.
const NODES: [&str; 2] = ["first:1", "second:2"];

/// A tree that is to be served.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    /// Records by path, without leading slash; directory ids are given when it is served.
    entries: BTreeMap<Vec<u8>, Record>,
    contents: HashMap<ContentId, Vec<u8>>,
    /// Contents that are too long to have at hand, by what they are made of.
    lists: HashMap<ContentId, PieceList>,
}

impl MemoryTree {
    /// Returns a tree with nothing but its root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object; a directory's id is replaced.
    pub fn add(&mut self, path: &str, record: Record) -> &mut Self {
        self.entries.insert(path.as_bytes().to_vec(), record);
        self
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        self.add(path, plain(Kind::Directory { dir: DirId::ROOT }, 0o755))
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> &mut Self {
        let content = self.content(bytes);
        let size = bytes.len() as u64;
        self.add(path, plain(Kind::File { size, content }, 0o644))
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        let target = target.as_bytes().into();
        self.add(path, plain(Kind::Symlink { target }, 0o777))
    }

    /// Adds the bytes of a content, for records that name it.
    pub fn content(&mut self, bytes: &[u8]) -> ContentId {
        let id = Content::of_bytes(bytes).id;
        self.contents.insert(id, bytes.to_vec());
        id
    }

    /// Says of which pieces a content is made that is too long to have at hand; the bytes of the
    /// pieces are added like contents. Whether it is true is not checked.
    pub fn pieces(&mut self, content: ContentId, list: PieceList) -> &mut Self {
        self.content(&list.encode());
        self.lists.insert(content, list);
        self
    }

    /// Returns what is to be stored for a content, each once: its bytes, or the pieces of a long one
    /// and their list.
    fn stored_for(&self, id: &ContentId) -> Vec<&[u8]> {
        let mut ids = vec![*id];
        if let Some(list) = self.lists.get(id) {
            let pieces: BTreeSet<_> = list.pieces().iter().map(|piece| piece.hash).collect();
            ids.extend(pieces);
            ids.push(Content::of_bytes(&list.encode()).id);
        }
        let bytes = ids.iter().filter_map(|id| self.contents.get(id));
        let bytes = bytes.map(Vec::as_slice);
        bytes.filter(|bytes| !bytes.is_empty()).collect()
    }
}

/// Returns a record with equal times, the owner 1000:1000 and nothing special.
#[must_use]
pub fn plain(kind: Kind, mode: u32) -> Record {
    let time = Timestamp {
        secs: 1_700_000_000,
        nanos: 123_456_789,
    };
    Record {
        kind,
        mode,
        uid: 1000,
        gid: 1000,
        mtime: time,
        ctime: time,
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}

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
    calls: [AtomicU64; 4],
}

#[derive(Debug, Default)]
struct Served {
    snapshots: HashMap<String, Snapshot>,
    listings: HashMap<(ProjectId, DirId), DirectoryListing>,
    places: HashMap<ContentId, Vec<ContentPlace>>,
    lists: HashMap<ContentId, StoredList>,
    chunks: HashMap<ChunkId, (Arc<ChunkLocation>, Bytes)>,
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
        let id = ProjectId([seed; 16]);
        let snapshot = snapshot(project, seed, tree);
        if let Some(old) = served.snapshots.insert(project.to_owned(), snapshot) {
            served.listings.retain(|key, _| key.0 != old.project.id);
        }
        let listings = listings(tree, VersionId([seed; 16]));
        served
            .listings
            .extend(listings.into_iter().map(|(dir, it)| ((id, dir), it)));
        served.store(tree, chunk_len);
    }

    /// Stores all contents once more in chunks of another length and forgets the old chunks.
    pub fn rewrite_chunks(&self, tree: &MemoryTree, chunk_len: u64) {
        let mut served = self.served();
        served.chunks.clear();
        served.places.clear();
        served.store(tree, chunk_len);
    }

    /// Replaces what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().expect("no holder of this lock panics") = faults;
    }

    /// Returns how often each call was made since this was asked last.
    pub fn take_calls(&self) -> Calls {
        let [resolve_source, list_directory, resolve, read_chunk] =
            [0, 1, 2, 3].map(|call: usize| self.calls[call].swap(0, Ordering::Relaxed));
        Calls {
            resolve_source,
            list_directory,
            resolve,
            read_chunk,
        }
    }

    /// Counts a call and lets it fail if it must.
    async fn enter(&self, call: usize) -> Result<Faults, RemoteError> {
        self.calls[call].fetch_add(1, Ordering::Relaxed);
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
        let found = self.served().snapshots.get(name).cloned();
        found.ok_or_else(|| RemoteError::NotFound(format!("there is no project {name}")))
    }

    async fn list_directory(
        &self,
        project: ProjectId,
        _version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError> {
        self.enter(1).await?;
        let found = self.served().listings.get(&(project, dir)).cloned();
        found.ok_or_else(|| RemoteError::NotFound(format!("there is no directory {dir}")))
    }

    async fn resolve(&self, contents: &[ContentId]) -> Result<Resolved, RemoteError> {
        self.enter(2).await?;
        let served = self.served();
        let mut resolved = Resolved::default();
        for content in contents {
            if let Some(list) = served.lists.get(content) {
                resolved.lists.insert(*content, *list);
            }
            let Some(places) = served.places.get(content) else {
                continue;
            };
            resolved.contents.insert(*content, places.clone());
            for place in places {
                let (location, _) = &served.chunks[&place.chunk];
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
        let bytes = self.served().chunks.get(&id).map(|found| found.1.clone());
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

impl Served {
    fn store(&mut self, tree: &MemoryTree, chunk_len: u64) {
        let mut builder = ChunkBuilder::new(chunk_len);
        for record in tree.entries.values() {
            for id in record.contents() {
                for bytes in tree.stored_for(&id) {
                    for (piece, bytes) in pieces_of(bytes) {
                        if builder.is_full() {
                            let empty = ChunkBuilder::new(chunk_len);
                            self.store_chunk(std::mem::replace(&mut builder, empty));
                        }
                        builder.add(piece, bytes).expect("a piece fits");
                    }
                }
            }
        }
        if !builder.is_empty() {
            self.store_chunk(builder);
        }
        for (id, bytes) in tree.contents.iter().filter(|it| !it.1.is_empty()) {
            let places = pieces_of(bytes).into_iter();
            let places = places.filter_map(|(piece, _)| self.places.get(&piece)?.first().copied());
            let places: Vec<_> = places.collect();
            if !places.is_empty() {
                self.places.insert(*id, places);
            }
        }
        for (id, list) in &tree.lists {
            let content = Content::of_bytes(&list.encode()).id;
            let count = list.count();
            self.lists.insert(*id, StoredList { content, count });
        }
    }

    fn store_chunk(&mut self, builder: ChunkBuilder) {
        let chunk = builder.finish();
        for entry in chunk.footer.contents() {
            let place = ContentPlace {
                content: entry.id,
                chunk: chunk.id,
                block: entry.first_block,
                offset: entry.offset,
                len: entry.len,
            };
            self.places.insert(entry.id, vec![place]);
        }
        let info = ChunkInfo {
            id: chunk.id,
            len: chunk.bytes.len() as u64,
            footer_len: u32::try_from(chunk.footer.encode().len()).expect("a footer is short"),
            footer_sha256: chunk.footer_sha256,
        };
        let nodes = NODES.map(str::to_owned).to_vec();
        let location = Arc::new(ChunkLocation { info, nodes });
        self.chunks.insert(chunk.id, (location, chunk.bytes.into()));
    }
}

/// Returns what of a content is stored under which name.
fn pieces_of(bytes: &[u8]) -> Vec<(ContentId, &[u8])> {
    let content = Content::of_bytes(bytes);
    let Some(list) = content.pieces else {
        return vec![(content.id, bytes)];
    };
    let mut rest = bytes;
    let cut = |piece: &lfsfs_types::Piece| {
        let (bytes, left) = rest.split_at(piece.len as usize);
        rest = left;
        (piece.hash, bytes)
    };
    list.pieces().iter().map(cut).collect()
}

fn snapshot(project: &str, seed: u8, tree: &MemoryTree) -> Snapshot {
    let (number, id) = (VersionNumber(1), VersionId([seed; 16]));
    Snapshot {
        cluster: ClusterId([1; 16]),
        project: Project {
            id: ProjectId([seed; 16]),
            name: ProjectName::new(project).expect("a name of a project"),
            head: (number, id),
            created: Timestamp::default(),
            pack_patterns: Vec::new(),
            replication: 1,
        },
        version: VersionRecord {
            number,
            id,
            parent: VersionNumber::ZERO,
            base: VersionNumber::ZERO,
            origin: Origin::Import,
            time: Timestamp::default(),
            author: "tester".to_owned(),
            message: String::new(),
            counts: VersionCounts {
                objects: tree.entries.len() as u64,
                bytes: tree.entries.values().map(Record::size).sum(),
                ..VersionCounts::default()
            },
        },
        root: plain(Kind::Directory { dir: DirId::ROOT }, 0o755),
    }
}

fn listings(tree: &MemoryTree, version: VersionId) -> HashMap<DirId, DirectoryListing> {
    let empty = || DirectoryListing {
        entries: Vec::new(),
        listing_version: version,
    };
    let mut ids = HashMap::from([(&b""[..], DirId::ROOT)]);
    let mut listings = HashMap::from([(DirId::ROOT, empty())]);
    for (path, record) in &tree.entries {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let parent = ids[&path[..slash.unwrap_or(0)]];
        let name = Name::new(&path[slash.map_or(0, |at| at + 1)..]).expect("a name");
        let mut record = record.clone();
        if let Kind::Directory { dir } = &mut record.kind {
            *dir = DirId(ids.len() as u64 + 1);
            ids.insert(path, *dir);
            listings.insert(*dir, empty());
        }
        let listing = listings.get_mut(&parent).expect("parents come first");
        listing.entries.push((name, record));
    }
    for listing in listings.values_mut() {
        listing.entries.sort_by(|a, b| a.0.cmp(&b.0));
    }
    listings
}
