//! What names and numbers stand for at one moment: the overlay's state over the base's listings.
//!
//! A merged view never waits. Where it needs a listing that is not at hand it stops and says which; the
//! caller fetches that and looks again, at the state as it is then.

use std::collections::HashMap;
use std::sync::Arc;

use lfsfs_overlay::{BaseObject, DirectoryData, Inode, Slot, State};
use lfsfs_types::{DirId, Name, NameError, XattrValue, nodeid};

use crate::attr::{Attr, FileKind, bits, list_of, list_of_inode};
use crate::base::BaseVersion;
use crate::directory::candidate;
use crate::error::{Interrupted, VfsError};
use crate::inode::{Candidate, DirectoryLookup, InodeState, Place};
use crate::listing::Listing;
use crate::stack::PinnedBase;

/// What one operation works on: the base as it was when it began, and the listings that it fetched,
/// which stay at hand until it ends, whatever the caches do.
pub(crate) struct Fetched {
    pub(crate) pinned: Arc<PinnedBase>,
    pub(crate) listings: HashMap<DirId, Arc<Listing>>,
}

/// Overlay and base as one tree, at one moment.
#[derive(Clone, Copy)]
pub(crate) struct MergedView<'a> {
    pub(crate) state: &'a State,
    pub(crate) fetched: &'a Fetched,
}

/// An object as it was found.
pub(crate) enum Object<'a> {
    /// The overlay has it.
    Upper { ino: u64, inode: &'a Inode },
    /// It is as in the base.
    Base(Box<BaseFound>),
}

/// An object with the name that it was found by.
#[derive(Clone, Copy)]
pub(crate) struct NamedObject<'a> {
    /// The inode of the directory.
    pub(crate) parent: u64,
    pub(crate) name: &'a Name,
    pub(crate) object: &'a Object<'a>,
}

/// An object of the base that the overlay does not have.
pub(crate) struct BaseFound {
    pub(crate) ino: u64,
    pub(crate) object: BaseObject,
    /// How it gets its number; `None` if it was found by that.
    pub(crate) candidate: Option<Candidate>,
}

/// A directory to look into.
pub(crate) struct MergedDir<'a> {
    pub(crate) ino: u64,
    /// The directory of the base that shows through.
    pub(crate) base: Option<DirId>,
    /// What the overlay has of it.
    pub(crate) upper: Option<(&'a Inode, &'a DirectoryData)>,
    /// True if no version below has it any more.
    is_detached: bool,
}

impl MergedDir<'_> {
    /// Returns true if it was removed and is only open.
    pub(crate) fn is_removed(&self) -> bool {
        self.is_detached || self.upper.is_some_and(|(inode, _)| inode.is_orphan())
    }

    /// Returns what the overlay says about a name.
    pub(crate) fn slot(&self, name: &Name) -> Option<Slot> {
        self.upper?.1.entries.get(name).copied()
    }
}

impl Object<'_> {
    pub(crate) fn ino(&self) -> u64 {
        match self {
            Self::Upper { ino, .. } => *ino,
            Self::Base(found) => found.ino,
        }
    }

    pub(crate) fn attr(&self) -> Attr {
        match self {
            Self::Upper { ino, inode } => Attr::of_inode(*ino, inode),
            Self::Base(found) => Attr::of(found.ino, &found.object.record),
        }
    }

    /// Returns the mode as it is recorded, which may be more than what is shown.
    pub(crate) fn recorded_mode(&self) -> u16 {
        match self {
            Self::Upper { inode, .. } => bits(inode.attributes.mode),
            Self::Base(found) => bits(found.object.record.mode),
        }
    }

    /// Returns the access list.
    pub(crate) fn access_list(&self) -> Option<&XattrValue> {
        match self {
            Self::Upper { inode, .. } => list_of_inode(inode),
            Self::Base(found) => list_of(&found.object.record),
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        match self {
            Self::Upper { inode, .. } => inode.directory().is_some(),
            Self::Base(found) => FileKind::of(&found.object.record.kind) == FileKind::Directory,
        }
    }

    /// Fails unless it is a regular file.
    pub(crate) fn expect_file(&self) -> Result<(), VfsError> {
        match self.attr().kind {
            FileKind::File => Ok(()),
            FileKind::Directory => Err(VfsError::IsDirectory),
            _ => Err(VfsError::Invalid),
        }
    }
}

impl Fetched {
    pub(crate) fn new(pinned: Arc<PinnedBase>) -> Self {
        Self {
            pinned,
            listings: HashMap::new(),
        }
    }

    pub(crate) fn listing(&self, dir: DirId) -> Result<Arc<Listing>, Interrupted> {
        let fetched = self.listings.get(&dir).cloned();
        fetched
            .or_else(|| self.pinned.base.listing_in_memory(dir))
            .ok_or(Interrupted::NeedsListing(dir))
    }
}

impl<'a> MergedView<'a> {
    pub(crate) fn new(state: &'a State, fetched: &'a Fetched) -> Self {
        Self { state, fetched }
    }

    /// Returns the base.
    pub(crate) fn base(&self) -> &'a BaseVersion {
        &self.fetched.pinned.base
    }

    pub(crate) fn listing(&self, dir: DirId) -> Result<Arc<Listing>, Interrupted> {
        self.fetched.listing(dir)
    }

    /// Returns an object as a directory to look into, if it is one.
    pub(crate) fn directory_of(&self, object: &Object<'a>) -> Option<MergedDir<'a>> {
        let (base, upper) = match object {
            Object::Upper { inode, .. } => {
                let data = inode.directory()?;
                (data.base, Some((*inode, data)))
            }
            Object::Base(found) => (Some(found.object.record.dir()?), None),
        };
        Some(MergedDir {
            ino: object.ino(),
            base,
            upper,
            is_detached: false,
        })
    }

    /// Returns a directory by its number.
    pub(crate) fn directory(&self, ino: u64) -> Result<MergedDir<'a>, Interrupted> {
        let dir = MergedDir {
            ino,
            base: None,
            upper: None,
            is_detached: false,
        };
        if let Some(inode) = self.state.inode(ino) {
            let data = inode.directory().ok_or(VfsError::NotDirectory)?;
            return Ok(MergedDir {
                // A directory that was removed was empty, and the base may not have it any more.
                base: data.base.filter(|_| !inode.is_orphan()),
                upper: Some((inode, data)),
                ..dir
            });
        }
        match self.base().inodes().directory(ino)? {
            DirectoryLookup::Directory(directory) => Ok(MergedDir {
                base: Some(directory.dir),
                ..dir
            }),
            DirectoryLookup::Removed => Ok(MergedDir {
                is_detached: true,
                ..dir
            }),
            DirectoryLookup::NotDirectory => Err(VfsError::NotDirectory.into()),
            DirectoryLookup::Unknown => Err(VfsError::Stale.into()),
        }
    }

    /// Returns an object by its number.
    pub(crate) fn object(&self, ino: u64) -> Result<Object<'a>, Interrupted> {
        if let Some(inode) = self.state.inode(ino) {
            return Ok(Object::Upper { ino, inode });
        }
        let object = match self.base().inodes().state_of(ino)? {
            // What no version below has any more can be read; there is no place for changes of it.
            None | Some(InodeState::Detached(_)) => return Err(VfsError::Stale.into()),
            Some(InodeState::Listed(_)) if ino == nodeid::ROOT => BaseObject {
                directory: DirId::ABOVE_ROOT,
                name: None,
                record: self.base().snapshot().root.clone(),
            },
            Some(InodeState::Listed(place)) => self.listing(place.dir)?.object(place)?,
        };
        Ok(Object::Base(Box::new(BaseFound {
            ino,
            object,
            candidate: None,
        })))
    }

    /// Returns what a name stands for.
    pub(crate) fn find(
        &self,
        dir: &MergedDir<'_>,
        name: &Name,
    ) -> Result<Option<Object<'a>>, Interrupted> {
        match (dir.slot(name), dir.base) {
            (Some(Slot::Inode { ino, .. }), _) => Ok(Some(self.upper(ino)?)),
            (Some(Slot::Removed), _) | (None, None) => Ok(None),
            (None, Some(base)) => {
                let listing = self.listing(base)?;
                let Some(index) = listing.find(name.as_bytes()) else {
                    return Ok(None);
                };
                let place = Place { dir: base, index };
                self.entry(dir.ino, place, &listing).map(Some)
            }
        }
    }

    /// Returns what a name stands for, which must be there.
    pub(crate) fn find_known(
        &self,
        dir: &MergedDir<'_>,
        name: &Name,
    ) -> Result<Object<'a>, Interrupted> {
        Ok(self.find(dir, name)?.ok_or(VfsError::NotFound)?)
    }

    /// Returns the entry of a listing that no slot covers; an inode of the overlay may be it.
    pub(crate) fn entry(
        &self,
        parent: u64,
        place: Place,
        listing: &Listing,
    ) -> Result<Object<'a>, Interrupted> {
        let object = listing.object(place)?;
        if let Some(ino) = self.state.copy_of(&object.key()) {
            return self.upper(ino);
        }
        let project = &self.base().snapshot().project.id;
        let name = listing.entry_name(place.index)?;
        let candidate = candidate(project, parent, place, &name, &object.record);
        let inodes = self.base().inodes();
        Ok(Object::Base(Box::new(BaseFound {
            ino: inodes.peek(&candidate, &|ino| self.is_taken(ino))?,
            object,
            candidate: Some(candidate),
        })))
    }

    /// Returns true if the overlay has an inode of this number.
    pub(crate) fn is_taken(&self, ino: u64) -> bool {
        let sealed = self.state.sealed_state();
        self.state.inode(ino).is_some() || sealed.is_some_and(|it| it.inode(ino).is_some())
    }

    /// Returns true if a directory has no entries.
    pub(crate) fn is_empty(&self, object: &Object<'_>) -> Result<bool, Interrupted> {
        let data = match object {
            Object::Upper { inode, .. } => inode.directory(),
            Object::Base(_) => None,
        };
        let base = match object {
            Object::Upper { .. } => data.and_then(|it| it.base),
            Object::Base(found) => found.object.record.dir(),
        };
        let mut slots = data.into_iter().flat_map(|it| it.entries.values());
        if slots.any(|slot| matches!(slot, Slot::Inode { .. })) {
            return Ok(false);
        }
        let Some(base) = base else { return Ok(true) };
        let listing = self.listing(base)?;
        for index in 0..listing.len() {
            let name = listing.entry_name(index)?;
            if data.is_none_or(|it| !it.entries.contains_key(&name)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn upper(&self, ino: u64) -> Result<Object<'a>, Interrupted> {
        let inode = self.state.inode(ino);
        let inode = inode.ok_or_else(|| VfsError::internal("a slot stands for no inode"))?;
        Ok(Object::Upper { ino, inode })
    }
}

/// Checks a name that came from outside.
pub(crate) fn name_of(bytes: &[u8]) -> Result<Name, VfsError> {
    Name::new(bytes).map_err(|error| match error {
        NameError::TooLong { .. } => VfsError::NameTooLong,
        _ => VfsError::Invalid,
    })
}
