//! A whole state as a sequence of records, and back.
//!
//! Owns the records of a checkpoint; the files are the log's. A state with a seal is written as the
//! sealed state, the mark of the seal, and then every inode that differs from the sealed one.

use std::sync::Arc;

use lfsfs_types::{
    ContentId, DecodeError, Name, Reader, Timestamp, VersionId, Writer, XattrName, XattrValue,
};

use crate::Map;
use crate::base::Base;
use crate::entries::Entries;
use crate::error::Damage;
use crate::extent::{Extent, ExtentSource, FileData, FileLengths, Location, SharedContent};
use crate::field::{Field, records, struct_field};
use crate::inode::{Attributes, BaseObject, DirectoryData, Inode, Node, Slot};
use crate::operation::NewNode;
use crate::state::{SealedLayer, State};

/// Most entries, extents or attributes of one record, so that no record grows with the state.
const PART_LEN_MAX: usize = 512;
/// Attributes are up to 64 KiB each.
const XATTR_PART_LEN_MAX: usize = 16;

/// The counters of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    base: Base,
    generation: u64,
    seals: u64,
}
struct_field!(Counters {
    base,
    generation,
    seals
});

/// An extent of zeros, or with bytes in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogExtent {
    len: u64,
    location: Option<Location>,
    written: u64,
}
struct_field!(LogExtent {
    len,
    location,
    written
});

/// An extent with bytes of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentExtent {
    len: u64,
    content: Arc<SharedContent>,
    offset: u64,
    written: u64,
}
struct_field!(ContentExtent {
    len,
    content,
    offset,
    written
});

/// An inode without what can be long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    ctime: Timestamp,
    nlink: u32,
    node: HeadNode,
    base: Option<Arc<BaseObject>>,
    base_names: u32,
    in_place: bool,
    dirty: bool,
    generation: u64,
}
struct_field!(Head {
    mode,
    uid,
    gid,
    mtime,
    ctime,
    nlink,
    node,
    base,
    base_names,
    in_place,
    dirty,
    generation,
});

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeadNode {
    File(FileLengths),
    Directory(Option<lfsfs_types::DirId>),
    /// Anything else is as when it was made.
    Other(NewNode),
}

records! {
    /// A record of a checkpoint.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) enum Snapshot ("checkpoint of the overlay log") {
        /// The counters of the state that follows, which begins or goes on.
        1 => Counters { counters: Counters },
        /// An inode, in the place of one with that number.
        2 => Inode { ino: u64, head: Head },
        /// Entries of the directory that came last.
        3 => Entries { entries: Vec<(Name, Slot)> },
        /// Extents of the file that came last, with their offsets.
        4 => Extents { extents: Vec<(u64, LogExtent)> },
        /// Extended attributes of the inode that came last.
        5 => Xattrs { xattrs: Vec<(XattrName, XattrValue)> },
        /// An inode of the sealed state that is no more.
        6 => Gone { ino: u64 },
        /// The state so far is the sealed one.
        7 => Sealed { commit: VersionId },
        /// What a sealed inode became.
        8 => Mapped { ino: u64, base: Arc<BaseObject> },
        /// The end, with the number of inodes.
        9 => End { inodes: u64 },
        /// Last access of the inode that came last, if a program set it.
        10 => AccessTime { atime: Timestamp },
        /// The state so far is a sealed one of which nothing was told to the server.
        11 => Drafted { commit: VersionId },
        /// What the remote has of the file that came last, if it has its bytes.
        12 => Uploaded { content: ContentId },
        /// Parts of contents that the file that came last has, with their offsets; behind its other extents.
        13 => Shared { extents: Vec<(u64, ContentExtent)> },
    }
}

impl LogExtent {
    fn of((offset, extent): (u64, &Extent)) -> Option<(u64, Self)> {
        let location = match &extent.source {
            ExtentSource::Zeros => None,
            ExtentSource::Log(location) => Some(*location),
            ExtentSource::Content(..) => return None,
        };
        let (len, written) = (extent.len, extent.written);
        let this = Self {
            len,
            location,
            written,
        };
        Some((offset, this))
    }

    fn extent(self) -> Extent {
        Extent {
            len: self.len,
            source: self.location.map_or(ExtentSource::Zeros, ExtentSource::Log),
            written: self.written,
        }
    }
}

impl ContentExtent {
    fn of((offset, extent): (u64, &Extent)) -> Option<(u64, Self)> {
        let ExtentSource::Content(content, from) = &extent.source else {
            return None;
        };
        let this = Self {
            len: extent.len,
            content: Arc::clone(content),
            offset: *from,
            written: extent.written,
        };
        Some((offset, this))
    }

    fn extent(self) -> Extent {
        Extent {
            len: self.len,
            source: ExtentSource::Content(self.content, self.offset),
            written: self.written,
        }
    }
}

impl Field for HeadNode {
    fn put(&self, writer: &mut Writer) {
        match self {
            Self::File(lengths) => lengths.put(writer.u8(1)),
            Self::Directory(base) => base.put(writer.u8(2)),
            Self::Other(node) => node.put(writer.u8(3)),
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::File(Field::take(reader)?),
            2 => Self::Directory(Field::take(reader)?),
            3 => match Field::take(reader)? {
                NewNode::File | NewNode::Directory => return Err(reader.error("unknown kind")),
                node => Self::Other(node),
            },
            _ => return Err(reader.error("unknown kind")),
        })
    }
}

/// Tells a state to `emit`, record by record.
pub(crate) fn write<E>(
    state: &State,
    emit: &mut impl FnMut(&Snapshot) -> Result<(), E>,
) -> Result<(), E> {
    match &state.sealed {
        None => write_whole(state, emit)?,
        Some(layer) => {
            write_whole(&layer.state, emit)?;
            let commit = layer.commit;
            emit(&if layer.is_draft {
                Snapshot::Drafted { commit }
            } else {
                Snapshot::Sealed { commit }
            })?;
            write_difference(&layer.state, state, emit)?;
        }
    }
    emit(&Snapshot::End {
        inodes: state.inodes.size() as u64,
    })
}

fn write_whole<E>(
    state: &State,
    emit: &mut impl FnMut(&Snapshot) -> Result<(), E>,
) -> Result<(), E> {
    emit(&Snapshot::Counters {
        counters: counters(state),
    })?;
    for (ino, inode) in state.inodes.iter() {
        write_inode(state, *ino, inode, emit)?;
    }
    Ok(())
}

fn write_difference<E>(
    sealed: &State,
    state: &State,
    emit: &mut impl FnMut(&Snapshot) -> Result<(), E>,
) -> Result<(), E> {
    emit(&Snapshot::Counters {
        counters: counters(state),
    })?;
    for (ino, base) in &state.mapped {
        emit(&Snapshot::Mapped {
            ino: *ino,
            base: base.clone(),
        })?;
    }
    let then = sealed.inodes.iter().map(|(ino, _)| *ino);
    for ino in then.filter(|ino| state.inode(*ino).is_none()) {
        emit(&Snapshot::Gone { ino })?;
    }
    for (ino, inode) in state.inodes.iter() {
        // Not the generation alone: a moved extent changes no generation.
        let same = sealed.inode(*ino).is_some_and(|old| {
            old == inode && sealed.dirty.contains(ino) == state.dirty.contains(ino)
        });
        if !same {
            write_inode(state, *ino, inode, emit)?;
        }
    }
    Ok(())
}

fn counters(state: &State) -> Counters {
    Counters {
        base: state.base,
        generation: state.generation,
        seals: state.seals,
    }
}

fn write_inode<E>(
    state: &State,
    ino: u64,
    inode: &Inode,
    emit: &mut impl FnMut(&Snapshot) -> Result<(), E>,
) -> Result<(), E> {
    emit(&Snapshot::Inode {
        ino,
        head: head(inode, state.dirty.contains(&ino)),
    })?;
    let xattrs = inode.attributes.xattrs.iter();
    let xattrs = xattrs.map(|(name, value)| (name.clone(), value.clone()));
    in_parts(xattrs, XATTR_PART_LEN_MAX, |xattrs| {
        emit(&Snapshot::Xattrs { xattrs })
    })?;
    if let Some(atime) = inode.attributes.atime {
        emit(&Snapshot::AccessTime { atime })?;
    }
    if let Some(directory) = inode.directory() {
        let entries = directory
            .entries
            .iter()
            .map(|(name, slot)| (name.clone(), *slot));
        in_parts(entries, PART_LEN_MAX, |entries| {
            emit(&Snapshot::Entries { entries })
        })?;
    }
    if let Some(file) = inode.file() {
        if let Some(content) = file.uploaded() {
            emit(&Snapshot::Uploaded { content })?;
        }
        let extents = file.extents().filter_map(LogExtent::of);
        in_parts(extents, PART_LEN_MAX, |extents| {
            emit(&Snapshot::Extents { extents })
        })?;
        let extents = file.extents().filter_map(ContentExtent::of);
        in_parts(extents, PART_LEN_MAX, |extents| {
            emit(&Snapshot::Shared { extents })
        })?;
    }
    Ok(())
}

fn in_parts<T, E>(
    mut all: impl Iterator<Item = T>,
    len_max: usize,
    mut emit: impl FnMut(Vec<T>) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let part: Vec<_> = all.by_ref().take(len_max).collect();
        if part.is_empty() {
            return Ok(());
        }
        emit(part)?;
    }
}

fn head(inode: &Inode, dirty: bool) -> Head {
    let attributes = &inode.attributes;
    let node = match &inode.node {
        Node::File(file) => HeadNode::File(file.lengths()),
        Node::Directory(directory) => HeadNode::Directory(directory.base),
        Node::Symlink(target) => HeadNode::Other(NewNode::Symlink(target.as_ref().into())),
        Node::Fifo => HeadNode::Other(NewNode::Fifo),
        Node::Socket => HeadNode::Other(NewNode::Socket),
        Node::BlockDevice(rdev) => HeadNode::Other(NewNode::BlockDevice(*rdev)),
        Node::CharDevice(rdev) => HeadNode::Other(NewNode::CharDevice(*rdev)),
    };
    Head {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: attributes.mtime,
        ctime: attributes.ctime,
        nlink: attributes.nlink,
        node,
        base: inode.base.clone(),
        base_names: inode.base_names,
        in_place: inode.in_place,
        dirty,
        generation: inode.generation,
    }
}

fn inode_of(head: Head) -> Inode {
    let node = match head.node {
        HeadNode::File(lengths) => Node::File(FileData::with_lengths(lengths)),
        HeadNode::Directory(base) => Node::Directory(DirectoryData {
            base,
            entries: Entries::default(),
        }),
        HeadNode::Other(node) => crate::state::new_node(&node),
    };
    let attributes = Attributes {
        mode: head.mode,
        uid: head.uid,
        gid: head.gid,
        atime: None,
        mtime: head.mtime,
        ctime: head.ctime,
        nlink: head.nlink,
        xattrs: Map::default(),
    };
    Inode {
        attributes,
        node,
        base: head.base,
        base_names: head.base_names,
        in_place: head.in_place,
        generation: head.generation,
    }
}

/// Puts a state together from the records of a checkpoint.
#[derive(Debug)]
pub(crate) struct Restorer {
    state: State,
    /// The inode whose parts are being read; it is not in the state yet.
    current: Option<(u64, Inode, bool)>,
    ended: bool,
}

impl Restorer {
    pub(crate) fn new(base: Base) -> Self {
        Self {
            state: State::new(base),
            current: None,
            ended: false,
        }
    }

    /// Takes the next record.
    pub(crate) fn take(&mut self, record: Snapshot) -> Result<(), Damage> {
        if self.ended {
            return Err(Damage::Checkpoint);
        }
        match record {
            Snapshot::Entries { entries } => self.entries(entries),
            Snapshot::Extents { extents } => {
                self.extents(extents.into_iter().map(|(at, it)| (at, it.extent())))
            }
            Snapshot::Shared { extents } => {
                self.extents(extents.into_iter().map(|(at, it)| (at, it.extent())))
            }
            Snapshot::Xattrs { xattrs } => self.xattrs(xattrs),
            Snapshot::AccessTime { atime } => {
                self.current()?.attributes.atime = Some(atime);
                Ok(())
            }
            Snapshot::Uploaded { content } => self.uploaded(content),
            record => {
                self.settle();
                self.take_whole(record)
            }
        }
    }

    fn take_whole(&mut self, record: Snapshot) -> Result<(), Damage> {
        let state = &mut self.state;
        match record {
            Snapshot::Counters { counters } => {
                state.base = counters.base;
                state.generation = counters.generation;
                state.seals = counters.seals;
            }
            Snapshot::Inode { ino, head } => {
                state.remove(ino);
                let dirty = head.dirty;
                self.current = Some((ino, inode_of(head), dirty));
            }
            Snapshot::Gone { ino } => {
                state.remove(ino).ok_or(Damage::Checkpoint)?;
            }
            sealed @ (Snapshot::Sealed { commit } | Snapshot::Drafted { commit }) => {
                let layer = SealedLayer {
                    commit,
                    state: state.clone(),
                    is_draft: matches!(sealed, Snapshot::Drafted { .. }),
                };
                if state.sealed.replace(Arc::new(layer)).is_some() {
                    return Err(Damage::Checkpoint);
                }
            }
            Snapshot::Mapped { ino, base } => state.mapped.insert_mut(ino, base),
            Snapshot::End { inodes } => {
                self.ended = true;
                if state.inodes.size() as u64 != inodes {
                    return Err(Damage::Checkpoint);
                }
            }
            // Parts are taken by the caller.
            Snapshot::Entries { .. }
            | Snapshot::Extents { .. }
            | Snapshot::Shared { .. }
            | Snapshot::Xattrs { .. }
            | Snapshot::AccessTime { .. }
            | Snapshot::Uploaded { .. } => {}
        }
        Ok(())
    }

    /// Returns the state, or an error if the end is missing.
    pub(crate) fn finish(self) -> Result<State, Damage> {
        if self.ended {
            Ok(self.state)
        } else {
            Err(Damage::Checkpoint)
        }
    }

    fn settle(&mut self) {
        let Some((ino, inode, dirty)) = self.current.take() else {
            return;
        };
        let orphan = inode.is_orphan();
        self.state.insert(ino, inode);
        let set = match (orphan, dirty) {
            (true, _) => &mut self.state.orphans,
            (false, true) => &mut self.state.dirty,
            (false, false) => &mut self.state.clean,
        };
        set.insert_mut(ino);
    }

    fn current(&mut self) -> Result<&mut Inode, Damage> {
        let current = self.current.as_mut();
        current.map(|(_, inode, _)| inode).ok_or(Damage::Checkpoint)
    }

    fn entries(&mut self, entries: Vec<(Name, Slot)>) -> Result<(), Damage> {
        let Node::Directory(directory) = &mut self.current()?.node else {
            return Err(Damage::Checkpoint);
        };
        for (name, slot) in entries {
            directory.entries.insert_mut(name, slot);
        }
        Ok(())
    }

    fn extents(&mut self, extents: impl Iterator<Item = (u64, Extent)>) -> Result<(), Damage> {
        let Node::File(file) = &mut self.current()?.node else {
            return Err(Damage::Checkpoint);
        };
        let mut extents = extents;
        if extents.all(|(offset, extent)| file.restore(offset, extent)) {
            Ok(())
        } else {
            Err(Damage::Checkpoint)
        }
    }

    fn uploaded(&mut self, content: ContentId) -> Result<(), Damage> {
        let Node::File(file) = &mut self.current()?.node else {
            return Err(Damage::Checkpoint);
        };
        file.mark_uploaded(content);
        Ok(())
    }

    fn xattrs(&mut self, xattrs: Vec<(XattrName, XattrValue)>) -> Result<(), Damage> {
        let inode = self.current()?;
        for (name, value) in xattrs {
            inode.attributes.xattrs.insert_mut(name, value);
        }
        Ok(())
    }
}
