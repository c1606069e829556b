//! Rows of the metadata: what a disk may give back in the place of what was written.
//!
//! Some rows of a small store get other keys or values; then it is opened, recovered, read and checked.
//! Whatever a row holds, the answer is a typed error or a finding.

#![no_main]

use std::sync::{Arc, LazyLock};

use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_meta_store::{Batch, KeyRange, MemoryStore, MetaStore, MetaStoreExt, Row};
use lfsfs_metadata::{
    Begun, Change, ChunkReceipt, CommitParams, Metadata, NodeFigures, ProjectSettings, Result,
};
use lfsfs_types::{
    ChunkId, ChunkInfo, ContentId, ContentPlace, DirId, Kind, Name, NodeId, Origin, ProjectName,
    Record, Sha256, Timestamp, VersionId,
};
use libfuzzer_sys::fuzz_target;

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new());
    fill(&open(&store).expect("a store")).expect("a version");
    let rows = store.scan_all(KeyRange::all(), 100);
    rows.collect::<std::result::Result<_, _>>().expect("rows")
});

const CHUNK: ChunkId = ChunkId([2; 32]);
const CONTENT: ContentId = ContentId([3; 32]);

fn open(store: &Arc<dyn MetaStore>) -> Result<Metadata> {
    let clock = TestClock::new(WallTime::from_seconds(1_700_000_000));
    Metadata::open(Arc::clone(store), Arc::new(clock))
}

/// Makes a project of three versions, with a directory, a file and a removed one.
fn fill(metadata: &Metadata) -> Result<()> {
    let node = NodeId([7; 16]);
    metadata.upsert_node(node, "127.0.0.1:1", NodeFigures::default())?;
    let info = ChunkInfo {
        id: CHUNK,
        len: 1000,
        footer_len: 100,
        footer_sha256: Sha256([9; 32]),
    };
    let place = ContentPlace {
        content: CONTENT,
        chunk: CHUNK,
        block: 0,
        offset: 0,
        len: 10,
    };
    let places = vec![place];
    metadata.record_chunk(&ChunkReceipt { node, info, places })?;
    let name = ProjectName::new("app").expect("a name");
    let project = metadata.new_project(&name, ProjectSettings::default())?.id;
    for round in 1..=3 {
        let params = CommitParams {
            project,
            base: metadata.project_by_id(project)?.head,
            version: VersionId([round; 16]),
            origin: Origin::Import,
            author: "me@here".to_owned(),
            message: String::new(),
            force: false,
            ignore_times: false,
        };
        let Begun::Session(mut session) = metadata.begin_commit(params)? else {
            unreachable!("each round has an id of its own");
        };
        session.stage(changes(round))?;
        let _ = session.publish()?;
    }
    Ok(())
}

fn changes(round: u8) -> Vec<Change> {
    let dir = DirId(DirId::SESSION_FIRST.0);
    let (size, content) = (10, CONTENT);
    let change = |dir, name: &str, kind| Change {
        dir,
        name: Some(Name::new(name.as_bytes()).expect("a name")),
        state: Some(record(kind)),
    };
    let mut changes = vec![
        change(DirId::ROOT, &format!("dir{round}"), Kind::Directory { dir }),
        change(dir, "file", Kind::File { size, content }),
    ];
    if round == 3 {
        changes.push(Change {
            state: None,
            ..change(DirId::ROOT, "dir1", Kind::Fifo)
        });
    }
    changes
}

fn record(kind: Kind) -> Record {
    Record {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}

/// Puts a piece of the input into a row: cut, longer, or with other bytes in its middle.
fn change(row: &mut Row, how: u8, bytes: &[u8]) {
    let side = match how & 1 {
        0 => &mut row.1,
        _ => &mut row.0,
    };
    let at = usize::from(how >> 1).min(side.len());
    let end = (at + bytes.len()).min(side.len());
    match bytes {
        [] => side.truncate(at),
        bytes => drop(side.splice(at..end, bytes.iter().copied())),
    }
}

/// Does what a server does with a store, and what `lfsfsd check` does.
fn use_store(store: &Arc<dyn MetaStore>) -> Result<()> {
    let metadata = open(store)?;
    let _ = metadata.recover();
    let _ = metadata.check(&mut |_| {});
    let projects = metadata.list_projects(None, 10)?;
    for project in projects.items {
        for number in 0..=3 {
            let version = lfsfs_types::VersionNumber(number);
            let _ = metadata.list(project.id, version, DirId::ROOT, None, 10);
        }
    }
    Ok(())
}

fuzz_target!(|changed: Vec<(u8, u8, &[u8])>| {
    let mut rows = ROWS.clone();
    for (row, how, bytes) in changed {
        let row = usize::from(row) % rows.len();
        change(&mut rows[row], how, bytes);
    }
    let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new());
    let mut batch = Batch::new();
    for (key, value) in rows {
        batch.put(key, value);
    }
    if store.apply(batch).is_ok() {
        let _ = use_store(&store);
    }
});
