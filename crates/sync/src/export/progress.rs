//! How far an export is, and what it came to in the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lfsfs_common::full_text;

use super::error::ExportError;

/// Objects left out that are kept to be shown.
const SHOWN_MAX: usize = 20;

/// An object that could not be written, or not with all that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path in the version.
    pub path: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// Counters that grow while an export goes on, and the way to stop it.
#[derive(Debug, Default)]
pub struct ExportProgress {
    entries: AtomicU64,
    bytes: AtomicU64,
    written: AtomicU64,
    cached: AtomicU64,
    removed: AtomicU64,
    directories: AtomicU64,
    skipped_special: AtomicU64,
    skipped_xattrs: AtomicU64,
    skipped_owners: AtomicU64,
    left_out: AtomicU64,
    first_left_out: Mutex<Vec<LeftOut>>,
    is_stopped: AtomicBool,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportFigures {
    /// Entries of the version that were dealt with, the root aside.
    pub entries: u64,
    /// Bytes of files written, or found to be there already.
    pub bytes: u64,
    /// Entries that were made, or changed to what they are in the version.
    pub written: u64,
    /// Files among them that were not fetched: they share what the cache of this machine has.
    pub cached: u64,
    /// Entries removed because the version does not have them; a directory counts as one.
    pub removed: u64,
    /// Directories that were made; `written` does not count them.
    pub directories: u64,
    /// Device nodes and sockets that this user may not make.
    pub skipped_special: u64,
    /// Extended attributes that this user, or this file system, cannot set.
    pub skipped_xattrs: u64,
    /// Owners that root could not set, as in a container that does not know them.
    pub skipped_owners: u64,
    /// Objects that are damaged, or that cannot be made in this place. A directory counts as one.
    pub left_out: u64,
}

impl ExportProgress {
    /// Returns the counters.
    #[must_use]
    pub fn figures(&self) -> ExportFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ExportFigures {
            entries: read(&self.entries),
            bytes: read(&self.bytes),
            written: read(&self.written),
            cached: read(&self.cached),
            removed: read(&self.removed),
            directories: read(&self.directories),
            skipped_special: read(&self.skipped_special),
            skipped_xattrs: read(&self.skipped_xattrs),
            skipped_owners: read(&self.skipped_owners),
            left_out: read(&self.left_out),
        }
    }

    /// Returns the first objects that were left out.
    #[must_use]
    pub fn first_left_out(&self) -> Vec<LeftOut> {
        let first = self.first_left_out.lock();
        first.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on without an object if it alone is the reason of a failure.
    pub(crate) fn leave_out(&self, path: &[u8], failure: ExportError) -> Result<(), ExportError> {
        if !failure.is_of_one_object() {
            return Err(failure);
        }
        add(&self.left_out, 1);
        let first = self.first_left_out.lock();
        let mut first = first.unwrap_or_else(PoisonError::into_inner);
        if first.len() < SHOWN_MAX {
            first.push(LeftOut {
                path: path.to_vec(),
                reason: text(&failure),
            });
        }
        Ok(())
    }

    /// Ends the work soon; what was made by then is dealt with as after any failure.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn entry(&self) {
        add(&self.entries, 1);
    }

    pub(crate) fn bytes(&self, count: u64) {
        add(&self.bytes, count);
    }

    pub(crate) fn written(&self) {
        add(&self.written, 1);
    }

    pub(crate) fn cached(&self) {
        add(&self.cached, 1);
    }

    pub(crate) fn directory(&self) {
        add(&self.directories, 1);
    }

    pub(crate) fn removed(&self) {
        add(&self.removed, 1);
    }

    pub(crate) fn skipped_special(&self) {
        add(&self.skipped_special, 1);
    }

    pub(crate) fn skipped_xattr(&self) {
        add(&self.skipped_xattrs, 1);
    }

    pub(crate) fn skipped_owner(&self) {
        add(&self.skipped_owners, 1);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Returns what failed and why, without the path that stands before it.
fn text(failure: &ExportError) -> String {
    let ExportError::Entry { action, source, .. } = failure else {
        return full_text(failure);
    };
    format!("cannot {action} it: {source}")
}
