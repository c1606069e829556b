//! What both sides agreed upon, kept in sled: docs/sync.md describes the rows.
//!
//! All of it can be begun anew at the price of what was removed coming back, so a database that cannot be used is
//! emptied. Everything blocks.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lfsfs_common::full_text;
use lfsfs_meta_store::{Batch, KeyRange, MetaError, MetaStore, MetaStoreExt as _, SledStore};
use lfsfs_types::{ContentId, DecodeError, ObjectPath, Reader, Writer};

use super::item::{Figures, Item};
use super::reconcile::Side;

const FORMAT: u8 = 1;
const AGREED: u8 = b'a';
const HASH: u8 = b'h';
const PENDING: u8 = b'p';
const MARK: &[u8] = b"m";
/// Rows of one scan.
const ROWS_AT_ONCE: usize = 1000;

/// A path that was agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) item: Item,
    /// Of a file: what stat shows on each side as long as it has that content.
    pub(crate) figures: [Option<Figures>; 2],
}

/// The database.
#[derive(Debug)]
pub(crate) struct Store {
    store: SledStore,
}

/// Rows on their way into the database. They are written a part at a time, in their order.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Store {
    /// Opens the database, or begins a new one. Tells whether what was there could not be used.
    pub(crate) fn open(dir: &Path) -> Result<Self, MetaError> {
        let opened = SledStore::open(dir).and_then(|store| {
            let store = Self { store };
            // A row that cannot be decoded is damage, too.
            store.check().map(|()| store)
        });
        match opened {
            Err(error) if is_damage(&error) => {
                tracing::warn!(
                    dir = %dir.display(),
                    error = full_text(&error),
                    "what was agreed cannot be read; it is begun anew, and what was removed since may come back"
                );
                empty(dir);
                Ok(Self {
                    store: SledStore::open(dir)?,
                })
            }
            opened => opened,
        }
    }

    fn check(&self) -> Result<(), MetaError> {
        self.mark().map(drop)
    }

    /// Returns what was agreed at a path.
    pub(crate) fn agreed(&self, path: &ObjectPath) -> Result<Option<Agreed>, MetaError> {
        let found = self.store.get(&key(AGREED, path))?;
        Ok(found.and_then(|value| Agreed::decode(&value).ok()))
    }

    /// Returns what was agreed at a path and below it, each directory directly before what is in it.
    pub(crate) fn below(&self, path: &ObjectPath) -> AgreedRows<'_> {
        let mut start = key(AGREED, path);
        if path.is_root() {
            start = vec![AGREED];
        }
        AgreedRows {
            store: &self.store,
            top: path.clone(),
            range: Some(KeyRange::prefix(&start)),
            rows: Vec::new().into_iter(),
        }
    }

    /// Returns the content of a file that is not agreed.
    pub(crate) fn hash(
        &self,
        side: Side,
        path: &ObjectPath,
        figures: &Figures,
    ) -> Result<Option<ContentId>, MetaError> {
        let found = self.store.get(&hash_key(side, path))?;
        let found = found.and_then(|value| decode_hash(&value).ok());
        Ok(found
            .filter(|found| found.0 == *figures)
            .map(|found| found.1))
    }

    /// Returns the keys of all contents of files that are not agreed.
    pub(crate) fn hash_keys(&self) -> Result<BTreeSet<Vec<u8>>, MetaError> {
        self.keys(HASH)
    }

    /// Returns the paths at which the far side is to be looked at.
    pub(crate) fn pending(&self) -> Result<BTreeSet<ObjectPath>, MetaError> {
        let keys = self.keys(PENDING)?;
        Ok(keys.iter().filter_map(|key| path_of(key)).collect())
    }

    /// Returns where the far side was when the last pass ended.
    pub(crate) fn mark(&self) -> Result<Option<Vec<u8>>, MetaError> {
        self.store.get(MARK)
    }

    /// Writes rows; they are durable on return.
    pub(crate) fn write(&self, rows: Rows) -> Result<(), MetaError> {
        if rows.writes.is_empty() {
            return Ok(());
        }
        for part in rows.writes.chunks(SledStore::BATCH_OPS_MAX) {
            let mut batch = Batch::new();
            for (key, value) in part {
                match value {
                    Some(value) => batch.put(&**key, &**value),
                    None => batch.delete(&**key),
                };
            }
            // It has no preconditions.
            let _ = self.store.apply(batch)?;
        }
        self.store.flush()
    }

    fn keys(&self, prefix: u8) -> Result<BTreeSet<Vec<u8>>, MetaError> {
        let mut keys = BTreeSet::new();
        let mut range = KeyRange::prefix(&[prefix]);
        loop {
            let found = self.store.scan(range.clone(), ROWS_AT_ONCE)?;
            let last = found.rows.last().map(|(key, _)| key.clone());
            keys.extend(found.rows.into_iter().map(|(key, _)| key));
            match last {
                Some(last) if found.more => range = range.beyond(&last, false),
                _ => return Ok(keys),
            }
        }
    }
}

/// Returns true if a new database would do: this one is damaged, or a killed process has half made or half removed it.
fn is_damage(error: &MetaError) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, NotFound, UnexpectedEof};
    match error {
        MetaError::Format { .. } | MetaError::Stopped { .. } => true,
        MetaError::Io { source, .. } => matches!(
            source.kind(),
            AlreadyExists | InvalidData | NotFound | UnexpectedEof
        ),
        error => error.is_corrupt(),
    }
}

fn empty(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), error = full_text(&error), "it cannot be removed");
        }
        Ok(()) | Err(_) => {}
    }
}

impl Rows {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.writes.append(&mut other.writes);
    }

    pub(crate) fn agree(&mut self, path: &ObjectPath, agreed: Option<&Agreed>) {
        self.writes
            .push((key(AGREED, path), agreed.map(Agreed::encode)));
    }

    pub(crate) fn hash(&mut self, side: Side, path: &ObjectPath, known: (&Figures, ContentId)) {
        let mut writer = Writer::new();
        writer.u8(FORMAT);
        known.0.encode(&mut writer);
        writer.raw(&known.1.0);
        self.writes
            .push((hash_key(side, path), Some(writer.finish())));
    }

    pub(crate) fn forget_hash(&mut self, key: Vec<u8>) {
        self.writes.push((key, None));
    }

    pub(crate) fn pend(&mut self, path: &ObjectPath) {
        self.writes.push((key(PENDING, path), Some(Vec::new())));
    }

    pub(crate) fn settle(&mut self, path: &ObjectPath) {
        self.writes.push((key(PENDING, path), None));
    }

    pub(crate) fn mark(&mut self, mark: Vec<u8>) {
        self.writes.push((MARK.to_vec(), Some(mark)));
    }
}

impl Agreed {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(FORMAT);
        self.item.encode(&mut writer);
        for figures in &self.figures {
            match figures {
                None => drop(writer.u8(0)),
                Some(figures) => figures.encode(writer.u8(1)),
            }
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("agreed item", bytes);
        reader.format(FORMAT)?;
        let item = Item::decode(&mut reader)?;
        let mut figures = [None; 2];
        for figures in &mut figures {
            *figures = match reader.u8()? {
                0 => None,
                1 => Some(Figures::decode(&mut reader)?),
                _ => return Err(reader.error("neither figures nor none")),
            };
        }
        reader.finish()?;
        Ok(Self { item, figures })
    }
}

fn decode_hash(bytes: &[u8]) -> Result<(Figures, ContentId), DecodeError> {
    let mut reader = Reader::new("content of a file", bytes);
    reader.format(FORMAT)?;
    let figures = Figures::decode(&mut reader)?;
    let content = ContentId(reader.array()?);
    reader.finish()?;
    Ok((figures, content))
}

/// Returns the key of a path. With NUL for each slash a directory comes directly before what is in it.
fn key(prefix: u8, path: &ObjectPath) -> Vec<u8> {
    let names = path.as_bytes().iter();
    let names = names.map(|byte| if *byte == b'/' { 0 } else { *byte });
    std::iter::once(prefix).chain(names).collect()
}

pub(crate) fn hash_key(side: Side, path: &ObjectPath) -> Vec<u8> {
    let mut key = key(HASH, path);
    key.insert(1, b'0' + side as u8);
    key
}

fn path_of(key: &[u8]) -> Option<ObjectPath> {
    let names = key.get(1..)?.iter();
    let bytes: Vec<u8> = names
        .map(|byte| if *byte == 0 { b'/' } else { *byte })
        .collect();
    ObjectPath::new(&bytes).ok()
}

/// The rows at a path and below it, read a part at a time.
#[derive(Debug)]
pub(crate) struct AgreedRows<'a> {
    store: &'a SledStore,
    top: ObjectPath,
    range: Option<KeyRange>,
    rows: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
}

impl AgreedRows<'_> {
    fn read(&mut self) -> Result<bool, MetaError> {
        let Some(range) = self.range.take() else {
            return Ok(false);
        };
        let found = self.store.scan(range.clone(), ROWS_AT_ONCE)?;
        self.range = match found.rows.last() {
            Some((last, _)) if found.more => Some(range.beyond(last, false)),
            _ => None,
        };
        self.rows = found.rows.into_iter();
        Ok(true)
    }
}

impl Iterator for AgreedRows<'_> {
    type Item = Result<(ObjectPath, Agreed), MetaError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            for (key, value) in self.rows.by_ref() {
                let (Some(path), Ok(agreed)) = (path_of(&key), Agreed::decode(&value)) else {
                    continue;
                };
                let rest = path.as_bytes().strip_prefix(self.top.as_bytes());
                let is_below = rest
                    .and_then(<[u8]>::first)
                    .is_none_or(|byte| *byte == b'/');
                if self.top.is_root() || (rest.is_some() && is_below) {
                    return Some(Ok((path, agreed)));
                }
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Returns where the database of a root lies.
pub(crate) fn place(state: &Path) -> PathBuf {
    state.join("agreed")
}

/// Orders paths as the rows are.
pub(crate) fn order(one: &ObjectPath, two: &ObjectPath) -> std::cmp::Ordering {
    one.names().cmp(two.names())
}
