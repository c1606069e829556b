//! What lies at the edges of what a version can hold, and random operations that go there: paths and
//! names as long as they can be, every namespace of extended attributes, the first and the last times,
//! sizes from nothing to the longest file.

use std::sync::{Arc, LazyLock};

use lfsfs_meta_store::{Batch, KeyRange, MemoryStore, MetaStore, MetaStoreExt as _};
use lfsfs_metadata::Metadata;
use lfsfs_types::content::{Content, Piece, PieceList};
use lfsfs_types::limits::{
    FILE_SIZE_MAX, NAME_LEN_MAX, PATH_LEN_MAX, PIECE_LEN_MAX, PIECES_MAX, SMALL_CONTENT_LEN_MAX,
    TARGET_LEN_MAX, XATTR_INLINE_LEN_MAX, XATTR_LEN_MAX, XATTR_NAME_LEN_MAX, XATTRS_MAX,
};
use lfsfs_types::{ContentId, DirId, Kind, Name, Record, Timestamp, Xattr, XattrName, XattrValue};

use super::{Work, join_len};
use crate::support::{content, directory, open, receipt, record, store_contents};

const NANOS_MAX: u32 = 999_999_999;
/// Where the times of file systems and of versions end, and where seconds and nanoseconds do.
const TIMES: [Timestamp; 9] = [
    at(Timestamp::SECS_MIN, 0),
    at(Timestamp::SECS_MIN, NANOS_MAX),
    at(-2_147_483_649, NANOS_MAX),
    at(-1, NANOS_MAX),
    at(0, 0),
    at(0, NANOS_MAX),
    at(4_294_967_296, 0),
    at(Timestamp::SECS_MAX, 0),
    at(Timestamp::SECS_MAX, NANOS_MAX),
];
/// Names of every namespace and of none, with bytes that names of files cannot have.
const XATTRS: [&[u8]; 12] = [
    b"user.a",
    b"user.a",
    b"user.a/b",
    b"user.\xff\n",
    b"trusted.a",
    b"trusted.overlay.opaque",
    b"security.capability",
    b"security.selinux",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
    b"/",
    b"..",
];
const ODD_NAMES: [&[u8]; 4] = [b"\xff\xfe", b"new\nline", b"...", b" "];
/// The numbers of contents that only extended attributes have, the shortest and the longest.
const VALUES: [(u8, usize); 2] = [(101, XATTR_INLINE_LEN_MAX + 1), (102, XATTR_LEN_MAX)];
/// The number of the content of one byte, and of one that is as long as small ones can be.
const SMALL: [(u8, u64); 2] = [(103, 1), (104, SMALL_CONTENT_LEN_MAX)];
const OWNER_MAX: u32 = u32::MAX - 1;
const MODE_MAX: u32 = 0o7777;

const fn at(secs: i64, nanos: u32) -> Timestamp {
    Timestamp { secs, nanos }
}

/// A store that has the contents of files and attributes at the edges, which is costly to make.
struct Prepared {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// What a file can be.
    files: Vec<Kind>,
}

static PREPARED: LazyLock<Prepared> = LazyLock::new(Prepared::new);

impl Prepared {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let metadata = open(Arc::clone(&store) as Arc<dyn MetaStore>);
        store_contents(&metadata);
        let values = VALUES.map(|(number, len)| (content(number), len as u64));
        let small = SMALL.map(|(number, len)| (content(number), len));
        store_with_lengths(&metadata, 2, values.into_iter().chain(small));
        let large = [
            store_large(
                &metadata,
                3,
                vec![piece(SMALL_CONTENT_LEN_MAX as u32), piece(1)],
            ),
            store_large(&metadata, 4, vec![piece(PIECE_LEN_MAX); PIECES_MAX]),
        ];
        assert_eq!(large[1].1, FILE_SIZE_MAX);
        let files = [(ContentId::EMPTY, 0)]
            .into_iter()
            .chain(small)
            .chain(large);
        let file = |(content, size)| Kind::File { size, content };
        let rows = store.scan_all(KeyRange::all(), 1000);
        Self {
            rows: rows.collect::<Result<_, _>>().unwrap(),
            files: files.map(file).collect(),
        }
    }
}

/// Returns metadata in memory that has the contents at the edges, too.
pub(crate) fn in_memory_at_the_edges() -> Metadata {
    let store = MemoryStore::new();
    let mut batch = Batch::new();
    for (key, value) in &PREPARED.rows {
        batch.put(key.clone(), value.clone());
    }
    store.write(batch).unwrap();
    open(Arc::new(store))
}

/// A piece of zeros, as a hole is stored.
fn piece(len: u32) -> Piece {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&len.to_be_bytes());
    Piece {
        hash: ContentId(hash),
        len,
    }
}

fn store_with_lengths(
    metadata: &Metadata,
    chunk: u8,
    contents: impl Iterator<Item = (ContentId, u64)>,
) {
    let contents: Vec<_> = contents.collect();
    let mut receipt = receipt(chunk, contents.iter().map(|(content, _)| *content));
    for (place, (_, len)) in receipt.places.iter_mut().zip(contents) {
        place.len = len as u32;
    }
    metadata.record_chunk(&receipt).unwrap();
}

/// Stores a content of pieces of zeros, and returns its length, too.
fn store_large(metadata: &Metadata, chunk: u8, pieces: Vec<Piece>) -> (ContentId, u64) {
    let large = Content::large(PieceList::new(pieces).unwrap());
    let list = large.pieces.as_ref().unwrap();
    store_pieces(metadata, chunk, list);
    if let lfsfs_types::content::Layout::List { .. } = large.layout() {
        let encoded = Content::of_bytes(&list.encode());
        let pieces = encoded.pieces.as_ref().unwrap();
        store_pieces(metadata, chunk + 100, pieces);
        metadata.put_pieces(encoded.id, pieces).unwrap();
    }
    metadata.put_pieces(large.id, list).unwrap();
    (large.id, large.len)
}

fn store_pieces(metadata: &Metadata, chunk: u8, list: &PieceList) {
    let pieces: std::collections::BTreeMap<_, _> = list
        .pieces()
        .iter()
        .map(|piece| (piece.hash, u64::from(piece.len)))
        .collect();
    store_with_lengths(metadata, chunk, pieces.into_iter());
}

impl Work<'_> {
    /// Makes a step; one that makes a path too long is taken back and noted.
    pub(super) fn step_at_an_edge(&mut self) {
        let before = self.tree.clone();
        match self.random.below(20) {
            0..=8 => self.step_anywhere(),
            9 | 10 => self.deepen(),
            11 | 12 => self.lengthen_name(),
            13..=15 => self.change_xattrs(),
            16..=18 => self.change_link(),
            _ => self.change_xattrs_of_root(),
        }
        if self.tree.path_len_max() > PATH_LEN_MAX {
            self.too_long = Some(std::mem::replace(&mut self.tree, before));
        }
    }

    pub(super) fn name_at_an_edge(&mut self) -> Option<Name> {
        let name = match self.random.below(12) {
            0 => vec![b'n'; NAME_LEN_MAX],
            1 => vec![b'm'; NAME_LEN_MAX - self.random.below(2)],
            2 => self.random.pick(&ODD_NAMES)?.to_vec(),
            _ => return None,
        };
        Some(Name::new(&name).unwrap())
    }

    pub(super) fn leaf_at_an_edge(&mut self) -> Record {
        let rdev = u64::from(self.random.pick(&[0, u32::MAX]).unwrap());
        let kind = match self.random.below(8) {
            0 => Kind::CharDevice { rdev },
            1 => Kind::BlockDevice { rdev },
            2 => Kind::Socket,
            3 => Kind::Symlink {
                target: vec![b'/'; TARGET_LEN_MAX].into(),
            },
            _ => self.file_at_an_edge(),
        };
        record(kind)
    }

    pub(super) fn file_at_an_edge(&mut self) -> Kind {
        self.random.pick(&PREPARED.files).unwrap()
    }

    pub(super) fn time_at_an_edge(&mut self) -> Timestamp {
        self.random.pick(&TIMES).unwrap()
    }

    /// Makes directories with long names in one another, or goes down those that are there, and puts
    /// something below them, often with the longest path that there can be.
    fn deepen(&mut self) {
        let mut dir = self.some_dir();
        let letter = self.random.pick(b"nm").unwrap();
        for _ in 0..self.random.below(PATH_LEN_MAX / NAME_LEN_MAX + 2) {
            let Some(name) = self.longest_name(dir, letter) else {
                return;
            };
            let is_last = name.as_bytes().len() < NAME_LEN_MAX;
            dir = match self.tree.dirs[&dir].get(&name) {
                Some(found) if is_last || found.dir().is_none() => return,
                Some(found) => found.dir().unwrap_or(dir),
                None if is_last => break,
                None => {
                    let below = self.fresh_dir();
                    self.tree.put(dir, name, directory(below));
                    below
                }
            };
        }
        let leaf = self.leaf();
        if let Some(name) = self.longest_name(dir, letter) {
            self.tree.put(dir, name, leaf);
        }
    }

    /// Returns the longest name of one letter that a directory has room for.
    fn longest_name(&self, dir: DirId, letter: u8) -> Option<Name> {
        let room = PATH_LEN_MAX.checked_sub(join_len(self.tree.path_len(dir), 0))?;
        Name::new(&vec![letter; room.min(NAME_LEN_MAX)]).ok()
    }

    /// Gives a name some bytes more, or takes one away, and with that from all paths below it.
    fn lengthen_name(&mut self) {
        let Some((dir, name, record)) = self.some_entry(|_| true) else {
            return;
        };
        let mut bytes = name.as_bytes().to_vec();
        match self.random.below(3) {
            0 => drop(bytes.pop()),
            more => bytes.extend(vec![b'o'; more]),
        }
        let Ok(new) = Name::new(&bytes) else { return };
        if !self.tree.dirs[&dir].contains_key(&new) {
            let entries = self.tree.dirs.get_mut(&dir).unwrap();
            entries.remove(&name);
            entries.insert(new, record);
        }
    }

    fn change_xattrs(&mut self) {
        let has_some = |record: &Record| !record.xattrs.is_empty();
        let wanted = if self.random.chance(60) {
            has_some
        } else {
            |_: &Record| true
        };
        if let Some((dir, name, mut record)) = self.some_entry(wanted) {
            self.change_xattrs_of(&mut record);
            self.set(dir, name, record);
        }
    }

    fn change_xattrs_of_root(&mut self) {
        let mut root = self.tree.root.clone();
        self.change_xattrs_of(&mut root);
        self.tree.root = root;
    }

    /// Sets, changes or removes an attribute; seldom as many are set as an object can have.
    fn change_xattrs_of(&mut self, record: &mut Record) {
        if self.random.chance(1) {
            record.xattrs = many_xattrs(XATTRS_MAX);
            return;
        }
        let name = self.xattr_name();
        let found = record
            .xattrs
            .binary_search_by(|xattr| xattr.name.cmp(&name));
        let value = self.xattr_value();
        match found {
            Ok(at) if self.random.chance(50) => drop(record.xattrs.remove(at)),
            Ok(at) => record.xattrs[at].value = value,
            Err(at) if record.xattrs.len() < XATTRS_MAX => {
                record.xattrs.insert(at, Xattr { name, value });
            }
            Err(_) => {}
        }
    }

    fn xattr_name(&mut self) -> XattrName {
        let mut name = self.random.pick(&XATTRS).unwrap().to_vec();
        if self.random.chance(20) {
            name.resize(XATTR_NAME_LEN_MAX, b'n');
        }
        XattrName::new(&name).unwrap()
    }

    fn xattr_value(&mut self) -> XattrValue {
        match self.random.below(8) {
            0 => XattrValue::Inline(Box::from([])),
            1 => XattrValue::Inline(vec![0; XATTR_INLINE_LEN_MAX].into()),
            number @ (2 | 3) => {
                let (content_number, len) = VALUES[number - 2];
                XattrValue::Content {
                    content: content(content_number),
                    len: len as u32,
                }
            }
            number => XattrValue::Inline(Box::from([number as u8])),
        }
    }

    /// Does to a file of several names what both sides can do to it at once: renames, changes of times,
    /// of its content, and more names.
    fn change_link(&mut self) {
        let linked = |record: &Record| record.link.is_some();
        let Some((dir, name, record)) = self.some_entry(linked) else {
            return self.link();
        };
        match self.random.below(6) {
            0 | 1 => self.rename_to_somewhere(dir, name, record),
            2 => self.touch(dir, name, record),
            3 => {
                let kind = self.file_at_an_edge();
                self.set(dir, name, Record { kind, ..record });
            }
            4 => {
                let mut record = record;
                self.change_xattrs_of(&mut record);
                self.set(dir, name, record);
            }
            _ => self.link_to_somewhere(dir, name, record),
        }
    }

    fn touch(&mut self, dir: DirId, name: Name, mut record: Record) {
        record.mtime = self.time();
        record.ctime = self.time();
        self.set(dir, name, record);
    }

    /// Gives a record the largest owner or mode, or makes a file shorter or longer and nothing else.
    pub(super) fn edit_at_an_edge(&mut self, record: &mut Record) {
        match self.random.below(4) {
            0 => record.uid = OWNER_MAX,
            1 => record.gid = OWNER_MAX,
            2 => record.mode = MODE_MAX,
            _ if matches!(record.kind, Kind::File { .. }) => record.kind = self.file_at_an_edge(),
            _ => {}
        }
    }
}

/// Returns attributes, with the shortest values that there are.
pub(crate) fn many_xattrs(count: usize) -> Vec<Xattr> {
    let xattr = |number: usize| Xattr {
        name: XattrName::new(format!("user.{number:04}").as_bytes()).unwrap(),
        value: XattrValue::Inline(Box::from([])),
    };
    (0..count).map(xattr).collect()
}
