//! Attributes and data of one inode.

use lfsfs_types::{ContentId, Timestamp, XattrName, XattrValue};

use crate::error::ApplyError;
use crate::extent::{Extent, ExtentSource, FileData, Location};
use crate::inode::Node;
use crate::operation::NewAttributes;
use crate::state::State;

/// The largest offset that a system call can name.
const SIZE_MAX: u64 = i64::MAX as u64;

/// When content changed, and the mode that it left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) time: Timestamp,
    /// `None` if the mode is as it was.
    pub(super) mode: Option<u32>,
}

impl State {
    pub(super) fn write(
        &mut self,
        ino: u64,
        offset: u64,
        location: Location,
        len: u64,
        stamp: Stamp,
    ) -> Result<(), ApplyError> {
        check_range(ino, offset, len)?;
        let extent = Extent {
            len,
            source: ExtentSource::Log(location),
            written: self.generation,
        };
        self.log_bytes += len;
        self.change_file(ino, stamp, |file| file.put(offset, extent))
    }

    pub(super) fn truncate(&mut self, ino: u64, size: u64, stamp: Stamp) -> Result<(), ApplyError> {
        check_range(ino, size, 0)?;
        let seals = self.seals;
        self.change_file(ino, stamp, |file| file.resize(size, seals))
    }

    pub(super) fn fallocate(
        &mut self,
        ino: u64,
        offset: u64,
        len: u64,
        size: u64,
        stamp: Stamp,
    ) -> Result<(), ApplyError> {
        check_range(ino, offset, len)?;
        check_range(ino, size, 0)?;
        let before = self.known_file(ino)?.size();
        if size < before {
            return Err(ApplyError::OutOfRange { ino });
        }
        let (seals, written) = (self.seals, self.generation);
        // Zeros are an extent even where there was nothing: what a commit puts below must not
        // show through.
        let zeros = Extent {
            len: (offset + len).min(size).saturating_sub(offset),
            source: ExtentSource::Zeros,
            written,
        };
        self.change_file(ino, stamp, |file| {
            file.resize(size, seals) + file.put(offset, zeros)
        })
    }

    /// Points an extent at its copy. Not a change: the generation stays.
    pub(super) fn move_extent(
        &mut self,
        ino: u64,
        offset: u64,
        from: Location,
        to: Location,
        len: u64,
    ) -> Result<(), ApplyError> {
        let file = self.known_file(ino)?;
        match file.extent_at(offset) {
            Some(extent) if extent.location() == Some(from) && extent.len == len => {}
            _ => return Err(ApplyError::OutOfRange { ino }),
        }
        if let Some(Node::File(file)) = self.inodes.get_mut(&ino).map(|inode| &mut inode.node) {
            file.relocate(offset, to);
        }
        Ok(())
    }

    /// Marks the bytes of a file as uploaded. Not a change: the generation stays.
    pub(super) fn uploaded(&mut self, ino: u64, content: ContentId) -> Result<(), ApplyError> {
        self.known_file(ino)?;
        if let Some(Node::File(file)) = self.inodes.get_mut(&ino).map(|inode| &mut inode.node) {
            file.mark_uploaded(content);
        }
        Ok(())
    }

    pub(super) fn set_attributes(
        &mut self,
        ino: u64,
        new: &NewAttributes,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        self.known(ino)?;
        self.touch(ino, |inode| {
            let old = &mut inode.attributes;
            old.mode = new.mode.unwrap_or(old.mode);
            old.uid = new.uid.unwrap_or(old.uid);
            old.gid = new.gid.unwrap_or(old.gid);
            old.mtime = new.mtime.unwrap_or(old.mtime);
            old.ctime = time;
        });
        Ok(())
    }

    pub(super) fn set_access_time(
        &mut self,
        ino: u64,
        atime: Timestamp,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        self.known(ino)?;
        self.touch(ino, |inode| {
            inode.attributes.atime = Some(atime);
            inode.attributes.ctime = time;
        });
        Ok(())
    }

    pub(super) fn set_xattr(
        &mut self,
        ino: u64,
        name: &XattrName,
        value: &XattrValue,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        self.known(ino)?;
        self.touch(ino, |inode| {
            inode
                .attributes
                .xattrs
                .insert_mut(name.clone(), value.clone());
            inode.attributes.ctime = time;
        });
        Ok(())
    }

    pub(super) fn remove_xattr(
        &mut self,
        ino: u64,
        name: &XattrName,
        time: Timestamp,
    ) -> Result<(), ApplyError> {
        if !self.known(ino)?.attributes.xattrs.contains_key(name) {
            return Err(ApplyError::NoXattr {
                ino,
                name: name.clone(),
            });
        }
        self.touch(ino, |inode| {
            inode.attributes.xattrs.remove_mut(name);
            inode.attributes.ctime = time;
        });
        Ok(())
    }

    pub(super) fn check_file_range(
        &self,
        ino: u64,
        offset: u64,
        len: u64,
    ) -> Result<(), ApplyError> {
        self.known(ino)?.file().ok_or(ApplyError::NotFile { ino })?;
        check_range(ino, offset, len)
    }

    /// Changes the content of a file; `change` returns how many bytes of the log it dropped.
    pub(super) fn change_file(
        &mut self,
        ino: u64,
        Stamp { time, mode }: Stamp,
        change: impl FnOnce(&mut FileData) -> u64,
    ) -> Result<(), ApplyError> {
        self.known_file(ino)?;
        let mut dropped = 0;
        self.touch(ino, |inode| {
            if let Node::File(file) = &mut inode.node {
                dropped = change(file);
            }
            inode.attributes.mode = mode.unwrap_or(inode.attributes.mode);
            inode.attributes.mtime = time;
            inode.attributes.ctime = time;
        });
        self.log_bytes = self.log_bytes.saturating_sub(dropped);
        Ok(())
    }
}

pub(super) fn check_range(ino: u64, offset: u64, len: u64) -> Result<(), ApplyError> {
    match offset.checked_add(len) {
        Some(end) if end <= SIZE_MAX => Ok(()),
        _ => Err(ApplyError::OutOfRange { ino }),
    }
}
