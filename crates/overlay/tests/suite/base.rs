//! A base version in memory, and what a server does with a commit.

use std::collections::BTreeMap;

use lfsfs_overlay::{
    BaseKey, BaseObject, ChangedEntry, CommitIds, DirectoryRef, Entry, Inode, Node, OverlayError,
    PieceSource, Sealed, View,
};
use lfsfs_types::{
    Content, ContentId, DirId, Kind, Link, LinkId, Name, Record, VersionNumber, Xattr,
};

/// A whole version: directories of records, and contents.
#[derive(Debug, Clone, Default)]
pub(crate) struct BaseTree {
    pub(crate) directories: BTreeMap<DirId, BTreeMap<Name, Record>>,
    pub(crate) contents: BTreeMap<ContentId, Vec<u8>>,
    pub(crate) number: u64,
    next_id: u64,
}

/// What a commit made of the inodes that it was told about.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) ids: CommitIds,
    places: BTreeMap<u64, (DirId, Name)>,
}

impl BaseTree {
    pub(crate) fn new() -> Self {
        let mut tree = Self {
            next_id: 100,
            ..Self::default()
        };
        tree.directories.insert(DirId::ROOT, BTreeMap::new());
        tree
    }

    pub(crate) fn store(&mut self, bytes: &[u8]) -> ContentId {
        let id = Content::of_bytes(bytes).id;
        self.contents.insert(id, bytes.to_vec());
        id
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn object(&self, directory: DirId, name: &Name) -> Option<BaseObject> {
        let record = self.directories.get(&directory)?.get(name)?.clone();
        Some(BaseObject {
            directory,
            name: Some(name.clone()),
            record,
        })
    }

    /// Makes a commit's changes, as the server does, in the order in which they are told.
    pub(crate) fn commit(&mut self, sealed: &Sealed) -> Outcome {
        let mut outcome = Outcome::default();
        let mut new = BTreeMap::new();
        let before = self.clone();
        let changes: Vec<_> = sealed.changes().collect();
        for change in &changes {
            self.check_covering(&before, change);
            let directory = match change.directory {
                DirectoryRef::Base(directory) => directory,
                DirectoryRef::New(ino) => *new.get(&ino).expect("its directory came before"),
                DirectoryRef::NamesOf(link) => {
                    self.change_link(sealed.view(), link, &change.entry, &mut outcome);
                    continue;
                }
            };
            let Some(name) = change.name else { continue };
            match change.entry {
                Entry::Removed => {
                    let listing = self.directories.get_mut(&directory).unwrap();
                    assert!(
                        listing.remove(name).is_some(),
                        "{name:?} is not in the base"
                    );
                }
                Entry::Present { ino, inode } => {
                    let record = self.record(sealed.view(), ino, inode, &mut outcome);
                    if let (Some(dir), None) = (record.dir(), &inode.base) {
                        new.insert(ino, dir);
                    }
                    outcome.places.insert(ino, (directory, name.clone()));
                    let link = record.link;
                    self.directories
                        .get_mut(&directory)
                        .unwrap()
                        .insert(name.clone(), record.clone());
                    self.same_everywhere(link, &record);
                }
            }
        }
        self.number += 1;
        outcome
    }

    fn check_covering(&self, before: &Self, change: &ChangedEntry<'_>) {
        if let (DirectoryRef::Base(directory), Some(name)) = (change.directory, change.name) {
            let there = before
                .directories
                .get(&directory)
                .is_some_and(|it| it.contains_key(name));
            assert_eq!(change.covers_base, there, "{change:?}");
        }
    }

    fn change_link(&mut self, view: &View, link: LinkId, entry: &Entry<'_>, outcome: &mut Outcome) {
        let Entry::Present { ino, inode } = *entry else {
            panic!("a link that is nowhere")
        };
        let record = self.record(view, ino, inode, outcome);
        self.same_everywhere(record.link, &record);
        let place = self.directories.iter().find_map(|(directory, listing)| {
            let named = listing
                .iter()
                .find(|(_, it)| it.link.is_some_and(|it| it.id == link));
            named.map(|(name, _)| (*directory, name.clone()))
        });
        outcome
            .places
            .insert(ino, place.expect("a name of the link"));
    }

    /// Rewrites all names of a link.
    fn same_everywhere(&mut self, link: Option<Link>, record: &Record) {
        let Some(link) = link else { return };
        for old in self.directories.values_mut().flat_map(BTreeMap::values_mut) {
            if old.link.is_some_and(|it| it.id == link.id) {
                *old = record.clone();
            }
        }
    }

    fn record(&mut self, view: &View, ino: u64, inode: &Inode, outcome: &mut Outcome) -> Record {
        let old = inode.base.as_ref().map(|base| &base.record);
        let kind = match &inode.node {
            Node::Directory(directory) => {
                let known = directory.base.or_else(|| {
                    let given = outcome.ids.directories.iter().find(|it| it.0 == ino);
                    given.map(|it| it.1)
                });
                let dir = known.unwrap_or_else(|| DirId(self.next_id()));
                if known.is_none() {
                    outcome.ids.directories.push((ino, dir));
                }
                self.directories.entry(dir).or_default();
                Kind::Directory { dir }
            }
            Node::File(_) => {
                let bytes = read(view, ino, |content| self.contents[&content].clone()).unwrap();
                Kind::File {
                    size: bytes.len() as u64,
                    content: self.store(&bytes),
                }
            }
            Node::Symlink(target) => Kind::Symlink {
                target: target.as_ref().into(),
            },
            Node::Fifo => Kind::Fifo,
            Node::Socket => Kind::Socket,
            Node::BlockDevice(rdev) => Kind::BlockDevice { rdev: *rdev },
            Node::CharDevice(rdev) => Kind::CharDevice { rdev: *rdev },
        };
        let attributes = &inode.attributes;
        let old_link = old.and_then(|it| it.link).map(|it| it.id);
        let given = outcome
            .ids
            .links
            .iter()
            .find(|it| it.0 == ino)
            .map(|it| it.1);
        let linked = attributes.nlink > 1 && inode.directory().is_none();
        let link = old_link
            .or(given)
            .or_else(|| linked.then(|| LinkId(self.next_id())));
        if let Some(link) = link
            && given.is_none()
        {
            outcome.ids.links.push((ino, link));
        }
        let xattrs = attributes.xattrs.iter();
        Record {
            kind,
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
            sha256: None,
            link: link.map(|id| Link {
                id,
                nlink: attributes.nlink,
            }),
            xattrs: xattrs
                .map(|(name, value)| Xattr {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        }
    }

    pub(crate) fn mapped(&self, outcome: &Outcome, ino: u64) -> Option<BaseObject> {
        if ino == crate::common::ROOT {
            return Some(crate::common::root());
        }
        let (directory, name) = outcome.places.get(&ino)?;
        self.object(*directory, name)
    }

    pub(crate) fn version(&self) -> VersionNumber {
        VersionNumber(self.number)
    }
}

/// Returns the whole content of a file of the overlay.
pub(crate) fn read(
    view: &View,
    ino: u64,
    content: impl Fn(ContentId) -> Vec<u8>,
) -> Result<Vec<u8>, OverlayError> {
    let inode = view.state().inode(ino).unwrap();
    let file = inode.file().unwrap();
    let mut bytes = Vec::new();
    for piece in file.pieces(0, u64::MAX) {
        assert_eq!(piece.offset, bytes.len() as u64, "a gap");
        let len = usize::try_from(piece.len).unwrap();
        match piece.source {
            PieceSource::Log(location) => bytes.extend(view.read(location, len)?),
            PieceSource::Zeros => bytes.resize(bytes.len() + len, 0),
            PieceSource::Content(shared, offset) => {
                let whole = content(shared.content);
                assert_eq!(whole.len() as u64, shared.size);
                let start = usize::try_from(offset).unwrap();
                bytes.extend_from_slice(&whole[start..start + len]);
            }
            PieceSource::Base => {
                let Kind::File { content: id, .. } = inode.base.as_ref().unwrap().record.kind
                else {
                    panic!("the base has no file there");
                };
                let base = content(id);
                bytes.extend_from_slice(&base[bytes.len()..bytes.len() + len]);
            }
        }
    }
    assert_eq!(bytes.len() as u64, file.size());
    Ok(bytes)
}

pub(crate) fn key(object: &BaseObject) -> BaseKey {
    object.key()
}
