//! Updates: objects by their paths become one version on the one that is the newest when it is published.
//!
//! What an update says is kept by path, in memory or in the scratch store, so that it may be long. When it is
//! published, it is planned on the newest version ([`plan`]), and planned again if another version came first.

mod plan;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use lfsfs_meta_store::{Batch, KeyRange, MetaStore as _, MetaStoreExt as _};
use lfsfs_types::{
    Kind, Name, Origin, PathError, ProjectId, Record, SessionId, Timestamp, VersionId, path_text,
};

use self::plan::Plan;
use super::staging_store::StagingStore;
use super::{CommitParams, Mode, Published};
use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};

/// Objects that are kept in memory before they are staged.
const WAITING_MAX: usize = 256;
/// Stands between two names in a staged key: below all bytes of names, so that what lies in a directory comes right
/// behind its own path.
const SEPARATOR: u8 = 0;

/// The path of an object in an update, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatePath {
    /// The names, each but the last with a separator behind it, and that too for a marker.
    key: Vec<u8>,
}

/// Why bytes are no path of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdatePathError {
    /// There are none.
    #[error("the root is no object")]
    Root,
    /// It is none, or too long.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl UpdatePath {
    /// Checks untrusted bytes. Nothing is dropped of them: a slash at the front or two together are errors.
    pub fn new(bytes: &[u8]) -> Result<Self, UpdatePathError> {
        let path = bytes.strip_suffix(b"/").unwrap_or(bytes);
        if path.is_empty() && bytes.len() < 2 {
            return Err(UpdatePathError::Root);
        }
        for name in path.split(|byte| *byte == b'/') {
            Name::new(name).map_err(PathError::from)?;
        }
        lfsfs_types::ObjectPath::new(path)?;
        let key = bytes.iter().map(|byte| match byte {
            b'/' => SEPARATOR,
            byte => *byte,
        });
        Ok(Self { key: key.collect() })
    }

    /// Returns true for the marker of an empty directory.
    #[must_use]
    pub fn is_marker(&self) -> bool {
        self.key.ends_with(&[SEPARATOR])
    }
}

/// What shall become of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectState {
    /// There is no such object any more.
    Removed,
    /// It is as the record says, but for its link and for the id of a directory.
    Told(Record),
    /// It is of this kind. Its attributes stay as they are, or are the usual ones.
    Kind(Kind, Timestamp),
}

/// What an update is, apart from its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateParams {
    /// The project.
    pub project: ProjectId,
    /// The random id of the version to be; the same one again is answered with that version.
    pub version: VersionId,
    /// The author.
    pub author: String,
    /// The message: why it is made.
    pub message: String,
}

/// The objects of an update that is not published yet.
#[derive(Debug)]
pub struct ObjectUpdate {
    metadata: Metadata,
    staged: StagingStore,
    /// What is not staged yet, by key.
    waiting: BTreeMap<Vec<u8>, ObjectState>,
}

impl Metadata {
    /// Begins an update without objects.
    pub fn begin_update(&self) -> Result<ObjectUpdate> {
        Ok(ObjectUpdate {
            metadata: self.clone(),
            staged: self.new_staging_store()?,
            waiting: BTreeMap::new(),
        })
    }
}

impl ObjectUpdate {
    /// Adds an object. A path that was added before is refused.
    pub fn add(&mut self, path: UpdatePath, state: ObjectState) -> Result<()> {
        let is_staged = self.staged.get(&self.key(&path.key))?.is_some();
        match self.waiting.entry(path.key) {
            Entry::Vacant(entry) if !is_staged => {
                entry.insert(state);
            }
            Entry::Vacant(entry) => return Err(refused(entry.key(), "it is there twice")),
            Entry::Occupied(entry) => return Err(refused(entry.key(), "it is there twice")),
        }
        if self.waiting.len() >= WAITING_MAX.min(self.staged.batch_ops_max()) {
            self.stage()?;
        }
        Ok(())
    }

    /// Publishes a version that has these objects, and else those of the newest version. If the newest version has
    /// them already, that is the answer.
    ///
    /// Removals come first, in whatever order the client sent them. A directory in which nothing is left goes too, unless its marker
    /// is among the objects. A file takes the place of a directory with all that is in it, and makes the directories
    /// above it, also where files are.
    pub fn publish(mut self, params: &UpdateParams) -> Result<Published> {
        self.stage()?;
        let commit = |base| CommitParams {
            project: params.project,
            base,
            version: params.version,
            origin: Origin::Put,
            author: params.author.clone(),
            message: params.message.clone(),
            force: false,
            ignore_times: false,
        };
        let metadata = self.metadata.clone();
        metadata.publish_on_newest(params.project, Mode::Newest, commit, |session, newest| {
            Plan::new(newest, session).make(self.all())
        })
    }

    fn stage(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        for (path, state) in std::mem::take(&mut self.waiting) {
            batch.put(self.key(&path), encode(&state));
        }
        Ok(self.staged.write(batch)?)
    }

    fn key(&self, path: &[u8]) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend_from_slice(path);
        key
    }

    fn prefix(&self) -> Vec<u8> {
        keys::session(table::STAGED, self.staged.session())
    }

    /// Returns all objects: each path, what lies in it right behind it.
    fn all(&self) -> impl Iterator<Item = Result<(Vec<u8>, ObjectState)>> + use<'_> {
        let rows = KeyRange::prefix(&self.prefix());
        let rows = self.staged.scan_all(rows, SCAN_PAGE);
        rows.map(|row| {
            let (mut key, value) = row?;
            let state = decode(&value)?;
            key.drain(..1 + SessionId::LEN);
            Ok((key, state))
        })
    }
}

const REMOVED: u8 = 0;
const TOLD: u8 = 1;
const KIND: u8 = 2;

/// The rows live as long as the process: their form is nothing that lasts.
fn encode(state: &ObjectState) -> Vec<u8> {
    let with_tag = |tag: u8, record: &Record| {
        let mut value = vec![tag];
        value.extend(record.encode());
        value
    };
    match state {
        ObjectState::Removed => vec![REMOVED],
        ObjectState::Told(record) => with_tag(TOLD, record),
        ObjectState::Kind(kind, time) => with_tag(KIND, &usual(kind.clone(), *time)),
    }
}

fn decode(value: &[u8]) -> Result<ObjectState> {
    let damaged = || lfsfs_meta_store::MetaError::corrupt("a staged object", value);
    let (tag, record) = value.split_first().ok_or_else(damaged)?;
    if *tag == REMOVED {
        return Ok(ObjectState::Removed);
    }
    let record = Record::decode(record).map_err(|_| damaged())?;
    Ok(match *tag {
        KIND => ObjectState::Kind(record.kind, record.mtime),
        _ => ObjectState::Told(record),
    })
}

/// Returns a record with the usual attributes of its kind.
fn usual(kind: Kind, time: Timestamp) -> Record {
    let mode = match kind {
        Kind::Directory { .. } => 0o755,
        Kind::Symlink { .. } => 0o777,
        _ => 0o644,
    };
    Record {
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: time,
        ctime: time,
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}

fn refused(key: &[u8], problem: &'static str) -> MetadataError {
    let names = key.split(|byte| *byte == SEPARATOR);
    MetadataError::ObjectRefused {
        path: path_text(names),
        problem,
    }
}
