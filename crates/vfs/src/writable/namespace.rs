//! Making, linking and removing names.

use lfsfs_overlay::{Creation, EntryName, NewNode, Operation};
use lfsfs_types::Name;
use lfsfs_types::limits::TARGET_LEN_MAX;

use crate::base::Entry;
use crate::error::{Interrupted, VfsError};
use crate::merged::{Fetched, MergedDir, MergedView, NamedObject, name_of};
use crate::writable::plan::Plan;
use crate::writable::request::{Existing, NewMode, Owner, SpecialFile};
use crate::writable::{Known, Vfs, depth};

/// Setgid: what is made in such a directory gets its group, and a directory the bit too.
const SETGID: u32 = 0o2000;
const SYMLINK_MODE: u16 = 0o777;

/// What a change of names did, for the table of what the kernel knows.
#[derive(Debug, Default)]
pub(super) struct Renamed {
    /// Gets a lookup, under this name of this directory.
    pub(super) counted: Option<(u64, EntryName)>,
    /// May have lost its last name.
    pub(super) lost: Option<u64>,
    /// Directories, and where they are now.
    pub(super) moved: Vec<(u64, EntryName)>,
    /// How long the paths of what was made or moved are at most.
    pub(super) longest: usize,
}

impl Vfs {
    /// Makes a regular file, or takes the object that has the name, and counts one lookup. There are
    /// no handles.
    pub async fn create(
        &self,
        parent: u64,
        name: &[u8],
        mode: impl Into<NewMode>,
        owner: Owner,
        existing: Existing,
    ) -> Result<Entry, VfsError> {
        let mode = mode.into();
        loop {
            if existing == Existing::Take {
                match self.lookup(parent, name).await {
                    Err(VfsError::NotFound) => {}
                    found => return found,
                }
            }
            match self.make(parent, name, NewNode::File, mode, owner).await {
                Err(VfsError::Exists) if existing == Existing::Take => {}
                made => return made,
            }
        }
    }

    /// Makes a directory and counts one lookup.
    pub async fn mkdir(
        &self,
        parent: u64,
        name: &[u8],
        mode: impl Into<NewMode>,
        owner: Owner,
    ) -> Result<Entry, VfsError> {
        self.make(parent, name, NewNode::Directory, mode.into(), owner)
            .await
    }

    /// Makes a symbolic link and counts one lookup.
    pub async fn symlink(
        &self,
        parent: u64,
        name: &[u8],
        target: &[u8],
        owner: Owner,
    ) -> Result<Entry, VfsError> {
        match target {
            [] => return Err(VfsError::NotFound),
            _ if target.len() > TARGET_LEN_MAX => return Err(VfsError::NameTooLong),
            _ if target.contains(&0) => return Err(VfsError::Invalid),
            _ => {}
        }
        let node = NewNode::Symlink(target.into());
        self.make(parent, name, node, SYMLINK_MODE.into(), owner)
            .await
    }

    /// Makes a regular or special file and counts one lookup.
    pub async fn mknod(
        &self,
        parent: u64,
        name: &[u8],
        kind: SpecialFile,
        mode: impl Into<NewMode>,
        owner: Owner,
    ) -> Result<Entry, VfsError> {
        let node = match kind {
            SpecialFile::File => NewNode::File,
            SpecialFile::Fifo => NewNode::Fifo,
            SpecialFile::Socket => NewNode::Socket,
            SpecialFile::BlockDevice(rdev) => NewNode::BlockDevice(u64::from(rdev)),
            SpecialFile::CharDevice(rdev) => NewNode::CharDevice(u64::from(rdev)),
        };
        self.make(parent, name, node, mode.into(), owner).await
    }

    /// Gives anything but a directory another name and counts one lookup.
    pub async fn link(&self, ino: u64, parent: u64, name: &[u8]) -> Result<Entry, VfsError> {
        let name = name_of(name)?;
        self.change_names(|plan, known| {
            let object = plan.merged.object(ino)?;
            expect_vacant(plan, &plan.merged.directory(parent)?, &name)?;
            if object.is_directory() {
                return Err(VfsError::NotPermitted.into());
            }
            match object.attr().nlink {
                0 => return Err(VfsError::NotFound.into()),
                u32::MAX => return Err(VfsError::TooManyLinks.into()),
                _ => {}
            }
            let longest = depth::check(plan, known, parent, &name)?;
            plan.copy_up_ino(parent)?;
            plan.copy_up(&object);
            let place = place(parent, &name);
            plan.push(Operation::Link {
                ino,
                place: place.clone(),
                time: plan.time,
            });
            Ok(counted(ino, place, longest))
        })
        .await?
        .ok_or_else(|| VfsError::internal("what was made is not there"))
    }

    /// Takes a name away from anything but a directory. Without a name it lives until it is
    /// forgotten.
    pub async fn unlink(&self, parent: u64, name: &[u8]) -> Result<(), VfsError> {
        let name = name_of(name)?;
        self.change_names(|plan, _| {
            let dir = plan.merged.directory(parent)?;
            let object = plan.merged.find_known(&dir, &name)?;
            if object.is_directory() {
                return Err(VfsError::IsDirectory.into());
            }
            plan.copy_up_ino(parent)?;
            let (ino, place) = (plan.copy_up(&object), place(parent, &name));
            let time = plan.time;
            plan.push(Operation::Unlink { place, ino, time });
            Ok(lost(ino))
        })
        .await
        .map(drop)
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, parent: u64, name: &[u8]) -> Result<(), VfsError> {
        let name = name_of(name)?;
        self.change_names(|plan, _| {
            let dir = plan.merged.directory(parent)?;
            let object = plan.merged.find_known(&dir, &name)?;
            if !object.is_directory() {
                return Err(VfsError::NotDirectory.into());
            }
            if !plan.merged.is_empty(&object)? {
                return Err(VfsError::NotEmpty.into());
            }
            plan.copy_up_ino(parent)?;
            let (ino, place) = (plan.copy_up(&object), place(parent, &name));
            let time = plan.time;
            plan.push(Operation::Rmdir { place, ino, time });
            Ok(lost(ino))
        })
        .await
        .map(drop)
    }

    async fn make(
        &self,
        parent: u64,
        name: &[u8],
        node: NewNode,
        mode: NewMode,
        owner: Owner,
    ) -> Result<Entry, VfsError> {
        let name = name_of(name)?;
        let inherited = self.inherited(parent, &node, mode).await?;
        self.change_names(|plan, known| {
            expect_vacant(plan, &plan.merged.directory(parent)?, &name)?;
            let longest = depth::check(plan, known, parent, &name)?;
            let directory = plan.merged.object(parent)?;
            plan.copy_up(&directory);
            let ino = plan.new_number();
            let directory = directory.attr();
            let creation = inherit(
                &node,
                inherited.mode,
                owner,
                (directory.mode, directory.gid),
            );
            plan.push(Operation::Create {
                place: place(parent, &name),
                ino,
                node: node.clone(),
                creation: Creation {
                    time: plan.time,
                    ..creation
                },
            });
            for (name, value) in inherited.lists.clone() {
                let time = plan.time;
                plan.push(Operation::SetXattr {
                    ino,
                    name,
                    value,
                    time,
                });
            }
            Ok(counted(ino, place(parent, &name), longest))
        })
        .await?
        .ok_or_else(|| VfsError::internal("what was made is not there"))
    }

    /// Decides and makes a change of names, and brings what the kernel knows up to date before
    /// another call looks a name up. Returns the entry that got a lookup.
    pub(super) async fn change_names<'d>(
        &self,
        decide: impl Fn(&mut Plan<'_, 'd>, &Known) -> Result<Renamed, Interrupted>,
    ) -> Result<Option<Entry>, VfsError> {
        self.prepare(|plan: &mut Plan<'_, 'd>| decide(plan, &self.lock_known()))
            .await?;
        self.with_listings::<_, VfsError>(|fetched: &Fetched| {
            let mut known = self.lock_known();
            self.stack.expect_current(&fetched.pinned)?;
            let renamed = self.attempt(fetched, |plan| decide(plan, &known))?;
            Ok(self.settle(&mut known, renamed, fetched))
        })
        .await?
        .transpose()
    }

    fn settle(
        &self,
        known: &mut Known,
        renamed: Renamed,
        fetched: &Fetched,
    ) -> Option<Result<Entry, VfsError>> {
        for (directory, place) in &renamed.moved {
            known.put(*directory, place.directory, &place.name);
        }
        known.note_longest(renamed.longest);
        if let Some(ino) = renamed.lost
            && !known.is_known(&self.inodes, ino)
        {
            self.note_gone(known, ino);
        }
        let (ino, place) = renamed.counted?;
        let view = self.stack.view_above(&fetched.pinned);
        let attr = view.and_then(|view| {
            let merged = MergedView::new(view.state(), fetched);
            let object = merged.object(ino)?;
            let made = NamedObject {
                parent: place.directory,
                name: &place.name,
                object: &object,
            };
            self.count(known, merged, made)
        });
        // The base stays while `known` is locked, and the overlay has the object.
        let counted = attr.map(|attr| Entry { attr });
        Some(counted.map_err(|_| VfsError::internal("what was made cannot be counted")))
    }
}

pub(super) fn place(directory: u64, name: &Name) -> EntryName {
    EntryName {
        directory,
        name: name.clone(),
    }
}

fn counted(ino: u64, place: EntryName, longest: usize) -> Renamed {
    Renamed {
        counted: Some((ino, place)),
        longest,
        ..Renamed::default()
    }
}

fn lost(ino: u64) -> Renamed {
    Renamed {
        lost: Some(ino),
        ..Renamed::default()
    }
}

/// Fails if the name is taken, or nothing can be made in the directory any more.
fn expect_vacant(plan: &Plan<'_, '_>, dir: &MergedDir<'_>, name: &Name) -> Result<(), Interrupted> {
    if dir.is_removed() {
        return Err(VfsError::NotFound.into());
    }
    match plan.merged.find(dir, name)? {
        Some(_) => Err(VfsError::Exists.into()),
        None => Ok(()),
    }
}

/// Returns the attributes of a new object, but for the time.
fn inherit(node: &NewNode, mode: u16, owner: Owner, directory: (u16, u32)) -> Creation {
    let mut creation = Creation {
        mode: u32::from(mode) & 0o7777,
        uid: owner.uid,
        gid: owner.gid,
        time: lfsfs_types::Timestamp::default(),
    };
    let (directory_mode, group) = directory;
    if u32::from(directory_mode) & SETGID != 0 {
        creation.gid = group;
        if matches!(node, NewNode::Directory) {
            creation.mode |= SETGID;
        }
    }
    creation
}
