//! The operations of the overlay that one call becomes, decided at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lfsfs_overlay::{Change, Operation};
use lfsfs_types::limits::FILE_SIZE_MAX;
use lfsfs_types::{Timestamp, nodeid};

use crate::error::{Interrupted, VfsError};
use crate::merged::{MergedView, Object};

/// Where numbers of new inodes come from: one after the other, from a random one on.
#[derive(Debug)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    pub(crate) fn from(random: [u8; 16]) -> Self {
        let [_, _, _, _, _, _, _, _, number @ ..] = random;
        Self(AtomicU64::new(u64::from_be_bytes(number)))
    }

    fn next(&self) -> u64 {
        nodeid::next_on_collision(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Changes that are made together.
pub(crate) struct Plan<'s, 'd> {
    pub(crate) merged: MergedView<'s>,
    pub(crate) time: Timestamp,
    numbers: &'s Numbers,
    copied: Vec<u64>,
    changes: Vec<Change<'d>>,
}

impl<'s, 'd> Plan<'s, 'd> {
    pub(crate) fn new(merged: MergedView<'s>, time: Timestamp, numbers: &'s Numbers) -> Self {
        Self {
            merged,
            time,
            numbers,
            copied: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, operation: Operation) {
        self.changes.push(operation.into());
    }

    /// Adds a change that carries data.
    pub(crate) fn push_data(&mut self, operation: Operation, data: &'d [u8]) {
        self.changes.push(Change { operation, data });
    }

    pub(crate) fn into_changes(self) -> Vec<Change<'d>> {
        self.changes
    }

    /// Makes sure that the overlay has an object, and returns its inode. It keeps its number.
    pub(crate) fn copy_up(&mut self, object: &Object<'_>) -> u64 {
        let Object::Base(found) = object else {
            return object.ino();
        };
        // One call may meet a hard-linked file under two names, and a directory twice.
        if !self.copied.contains(&found.ino) {
            self.copied.push(found.ino);
            let (ino, base) = (found.ino, Arc::new(found.object.clone()));
            self.push(Operation::CopyUp { ino, base });
        }
        found.ino
    }

    /// Like [`copy_up`](Self::copy_up), by the number.
    pub(crate) fn copy_up_ino(&mut self, ino: u64) -> Result<(), Interrupted> {
        let object = self.merged.object(ino)?;
        self.copy_up(&object);
        Ok(())
    }

    /// Returns a number that nothing has.
    pub(crate) fn new_number(&self) -> u64 {
        let inodes = self.merged.base().inodes();
        loop {
            let ino = self.numbers.next();
            if !self.merged.is_taken(ino) && !inodes.knows(ino) {
                return ino;
            }
        }
    }
}

/// Fails if a range ends beyond what a file can have.
pub(crate) fn check_range(offset: u64, len: u64) -> Result<u64, VfsError> {
    let end = offset.checked_add(len).filter(|end| *end <= FILE_SIZE_MAX);
    end.ok_or(VfsError::FileTooLarge)
}
