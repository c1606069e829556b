//! What all tests share: a clock, contents that are stored, records, a small random source.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_meta_store::{MemoryStore, MetaStore};
use lfsfs_metadata::{
    Begun, Change, ChunkReceipt, CommitParams, CommitSession, DiffEntry, Metadata, MetadataError,
    MetadataOptions, NodeFigures, Project, ProjectSettings, Published, Renames, StagingPlace,
    StoredFor,
};
use lfsfs_types::{
    ChunkId, ChunkInfo, ContentId, ContentPlace, DirId, Kind, Name, NodeId, Origin, ProjectId,
    ProjectName, Record, Sha256, Timestamp, VersionId, VersionNumber, VersionRecord,
};

/// How many contents [`open`] stores.
pub(crate) const CONTENTS: u8 = 12;

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        match from.len() {
            0 => None,
            len => Some(from[self.below(len)].clone()),
        }
    }

    pub(crate) fn id(&mut self) -> [u8; 16] {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&self.next().to_be_bytes());
        id
    }
}

pub(crate) fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::new(WallTime::from_seconds(1_700_000_000)))
}

/// So little memory for what is staged that many a commit begins in it and goes on in the store.
const STAGING: usize = 4096;

pub(crate) fn open(store: Arc<dyn MetaStore>) -> Metadata {
    let metadata = Metadata::open_with(store, clock(), staging_of(STAGING)).unwrap();
    metadata.recover().unwrap();
    metadata
}

/// A place with so much memory, and with a scratch store.
pub(crate) fn staging_of(memory: usize) -> MetadataOptions {
    MetadataOptions {
        staging: StagingPlace {
            memory,
            ..StagingPlace::default()
        },
        ..MetadataOptions::default()
    }
}

/// Opens the metadata as a server does, and waits until what an earlier one left is undone. All that is
/// staged goes to the scratch store.
pub(crate) fn start(store: Arc<dyn MetaStore>) -> lfsfs_metadata::Result<Metadata> {
    let metadata = Metadata::open_with(store, clock(), staging_of(0))?;
    metadata.recover()?;
    Ok(metadata)
}

/// A chunk that was stored for a project, and needs no copies.
pub(crate) fn stored_for(project: ProjectId) -> StoredFor {
    StoredFor {
        project: Some(project),
        ..StoredFor::default()
    }
}

pub(crate) fn in_memory() -> Metadata {
    let metadata = open(Arc::new(MemoryStore::new()));
    store_contents(&metadata);
    metadata
}

pub(crate) const NODE: NodeId = NodeId([7; 16]);

pub(crate) fn content(number: u8) -> ContentId {
    ContentId([number; 32])
}

pub(crate) fn receipt(chunk: u8, contents: impl IntoIterator<Item = ContentId>) -> ChunkReceipt {
    let chunk = ChunkId([chunk; 32]);
    let places = contents.into_iter().enumerate();
    ChunkReceipt {
        node: NODE,
        info: ChunkInfo {
            id: chunk,
            len: 1000,
            footer_len: 100,
            footer_sha256: Sha256([9; 32]),
        },
        places: places
            .map(|(at, content)| ContentPlace {
                content,
                chunk,
                block: 0,
                offset: at as u32 * 10,
                len: 10,
            })
            .collect(),
    }
}

pub(crate) fn store_contents(metadata: &Metadata) {
    metadata
        .upsert_node(NODE, "127.0.0.1:1", NodeFigures::default())
        .unwrap();
    metadata
        .record_chunk(&receipt(1, (1..=CONTENTS).map(content)))
        .unwrap();
}

pub(crate) fn new_project(metadata: &Metadata) -> Project {
    let name = ProjectName::new("app").unwrap();
    let settings = ProjectSettings {
        pack_patterns: pack_patterns(),
        ..ProjectSettings::default()
    };
    metadata.new_project(&name, settings).unwrap()
}

std::thread_local! {
    /// The pack patterns of projects that a test makes.
    static PACK_PATTERNS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs a test whose projects keep directories in packs. `LFSFS_PACKS` has patterns for all tests, between spaces.
pub(crate) fn with_packs<T>(patterns: &[&str], test: impl FnOnce() -> T) -> T {
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned());
    PACK_PATTERNS.replace(patterns.collect());
    let result = test();
    PACK_PATTERNS.take();
    result
}

pub(crate) fn pack_patterns() -> Vec<String> {
    let given = std::env::var("LFSFS_PACKS").unwrap_or_default();
    let given = given.split_whitespace().map(str::to_owned);
    PACK_PATTERNS.with_borrow(|patterns| patterns.iter().cloned().chain(given).collect())
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub(crate) fn record(kind: Kind) -> Record {
    Record {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp { secs: 1, nanos: 0 },
        ctime: Timestamp { secs: 1, nanos: 0 },
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}

pub(crate) fn file(number: u8) -> Record {
    record(Kind::File {
        size: 10,
        content: content(number),
    })
}

pub(crate) fn directory(dir: DirId) -> Record {
    record(Kind::Directory { dir })
}

/// The id of a directory that a commit makes.
pub(crate) fn made(number: u64) -> DirId {
    DirId(DirId::SESSION_FIRST.0 + number)
}

pub(crate) fn put(dir: DirId, text: &str, state: Record) -> Change {
    Change {
        dir,
        name: Some(name(text)),
        state: Some(state),
    }
}

pub(crate) fn remove(dir: DirId, text: &str) -> Change {
    Change {
        dir,
        name: Some(name(text)),
        state: None,
    }
}

pub(crate) fn params(metadata: &Metadata, project: &Project, version: [u8; 16]) -> CommitParams {
    let project = metadata.project_by_id(project.id).unwrap();
    CommitParams {
        project: project.id,
        base: project.head,
        version: VersionId(version),
        origin: Origin::Import,
        author: "me@here".to_owned(),
        message: String::new(),
        force: false,
        ignore_times: false,
    }
}

pub(crate) fn begin(metadata: &Metadata, params: CommitParams) -> CommitSession {
    match metadata.begin_commit(params).unwrap() {
        Begun::Session(session) => session,
        Begun::AlreadyDone(record) => panic!("already done: {record:?}"),
    }
}

/// Commits changes on the head under a version id.
pub(crate) fn commit_as(
    metadata: &Metadata,
    project: &Project,
    version: [u8; 16],
    changes: Vec<Change>,
) -> Result<Published, MetadataError> {
    let params = params(metadata, project, version);
    let mut session = match metadata.begin_commit(params)? {
        Begun::Session(session) => session,
        Begun::AlreadyDone(record) => return Ok(found(record)),
    };
    session.stage(changes)?;
    session.publish()
}

/// Commits changes on the head, which must make a version.
pub(crate) fn commit(
    metadata: &Metadata,
    project: &Project,
    changes: Vec<Change>,
) -> VersionRecord {
    let head = metadata.project_by_id(project.id).unwrap().head.number;
    let published = commit_as(metadata, project, [head.0 as u8 + 1; 16], changes).unwrap();
    assert!(published.is_new, "the commit changed nothing");
    published.record
}

/// The answer to a commit that was made before.
fn found(record: VersionRecord) -> Published {
    Published {
        is_rebased: record.parent != record.base,
        record,
        is_new: false,
        dirs: BTreeMap::new(),
        links: BTreeMap::new(),
    }
}

pub(crate) fn diff(
    metadata: &Metadata,
    project: &Project,
    a: VersionNumber,
    b: VersionNumber,
    renames: Renames,
) -> Vec<DiffEntry> {
    let mut lines = Vec::new();
    let flow = metadata.diff(project.id, a, b, renames, &mut |entry| {
        lines.push(entry);
        ControlFlow::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    lines
}

/// Fails if the check of the store finds anything.
pub(crate) fn assert_clean(metadata: &Metadata) {
    let mut findings = Vec::new();
    metadata
        .check(&mut |finding| findings.push(finding))
        .unwrap();
    let told = findings
        .iter()
        .map(|finding| format!("{}: {}", finding.key.escape_ascii(), finding.what));
    assert!(findings.is_empty(), "{:#?}", told.collect::<Vec<_>>());
}
