//! One side at one moment: what it has, and the way to change it.
//!
//! A project and a plain directory implement it, and pass one contract. Everything blocks: calls belong on threads
//! that may.

#[cfg(test)]
mod contract;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lfsfs_meta_store::MetaError;
use lfsfs_types::{Name, ObjectPath};

use super::error::{SyncError, Trouble};
use super::item::{Figures, FileItem, Item};
use super::reconcile::{Aside, Changes};
use super::store::Agreed;

/// How long a pass that waits for its rate does not see that it is to end.
const PACE_STEP: Duration = Duration::from_millis(100);

/// Where a side was when it was looked at, as bytes that it understands later.
pub(crate) type Mark = Vec<u8>;

/// What is at a name, as far as that costs little to tell.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// Nothing more is to be asked.
    Item(Item),
    /// A file whose content is not known yet.
    File(crate::local::LocalStat),
    /// What is never synced.
    Other,
    /// It cannot be looked at.
    Unreadable(String),
}

/// What a directory has, in the order of the names.
#[derive(Debug)]
pub(crate) enum Listed {
    Entries(Vec<(Name, Entry)>),
    /// It cannot be listed, for this reason.
    Unreadable(String),
    /// It is not there any more.
    Gone,
}

/// What was found out of a file.
#[derive(Debug)]
pub(crate) enum Completed {
    /// What it is, and what stat shows as long as it is that; nothing if a write might not show.
    File(FileItem, Option<Figures>),
    /// It is not there any more.
    Gone,
    /// It is being written.
    Busy,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// Where a side may differ from what it was at an earlier mark.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// Everywhere.
    Everywhere,
    /// At these paths, and at those with all below them.
    At {
        paths: BTreeSet<ObjectPath>,
        trees: BTreeSet<ObjectPath>,
    },
}

/// A file to fetch.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) path: ObjectPath,
    pub(crate) file: FileItem,
}

/// Takes bytes of a wanted file, by its place in the list and the offset.
pub(crate) type TakeBytes<'a> = dyn FnMut(usize, u64, &[u8]) -> Result<(), SyncError> + 'a;

/// What a file that was agreed was like.
pub(crate) type AgreedAt<'a> = dyn Fn(&ObjectPath) -> Result<Option<Agreed>, MetaError> + Sync + 'a;

/// What is to be done on a side.
pub(crate) struct Work<'a> {
    /// Done before anything else.
    pub(crate) aside: &'a [Aside],
    pub(crate) changes: &'a Changes,
    /// Files that come from another path of the same side, which is removed: by where they come to.
    pub(crate) moves: &'a BTreeMap<ObjectPath, ObjectPath>,
    /// The other side.
    pub(crate) source: &'a dyn View,
    pub(crate) agreed: &'a AgreedAt<'a>,
    pub(crate) progress: &'a SyncProgress,
    /// Files at once.
    pub(crate) concurrency: usize,
    /// Why, for the history of a project.
    pub(crate) message: &'a str,
}

/// A path at which a side has now what it was to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) path: ObjectPath,
    pub(crate) item: Option<Item>,
    /// Of a file: what stat showed of it on the side that was changed, and of the one it was read from.
    pub(crate) figures: [Option<Figures>; 2],
}

/// What came of the work.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) done: Vec<Done>,
    /// Paths that were left as they are.
    pub(crate) left: Vec<Trouble>,
    /// Where the side is now, if it is only there by this work.
    pub(crate) mark: Option<Mark>,
    /// True if something was left that the next pass can do at once.
    pub(crate) is_more: bool,
    /// True if nothing was done, since others changed the same meanwhile.
    pub(crate) is_outdated: bool,
    /// What the change is called: of a project its version.
    pub(crate) name: Option<String>,
}

/// One side.
pub(crate) trait View: Debug + Send + Sync {
    /// Returns which side it is for ever: an id.
    fn identity(&self) -> String;

    /// Returns true if the directory is there that is synced.
    fn has_root(&self) -> Result<bool, SyncError>;

    /// Returns where it is, if it can tell later what changed since.
    fn mark(&self) -> Option<Mark>;

    /// Returns where it may differ from what it was at a mark.
    fn since(&self, mark: &Mark) -> Result<Since, SyncError>;

    /// Returns all entries of a directory.
    fn list(&self, dir: &ObjectPath) -> Result<Listed, SyncError>;

    /// Returns what is at a path.
    fn look(&self, path: &ObjectPath) -> Result<Option<Entry>, SyncError>;

    /// Finds out the content of a file that a listing had. One with the time and the size of what was agreed is not taken for
    /// one that is being written.
    fn complete(
        &self,
        path: &ObjectPath,
        stat: &crate::local::LocalStat,
        agreed: Option<&FileItem>,
    ) -> Result<Completed, SyncError>;

    /// Opens a file for reading, if the side has files of this machine.
    fn open(&self, path: &ObjectPath) -> Result<Option<File>, SyncError>;

    /// Gives out the bytes of files, each file's in their order.
    fn download(&self, wanted: &[Wanted], take: &mut TakeBytes<'_>) -> Result<(), SyncError>;

    /// Does what is to be done. A failure leaves each path as it was or as it is to be.
    fn apply(&self, work: &Work<'_>) -> Result<Applied, SyncError>;

    /// Makes all durable that was done.
    fn sync(&self) -> Result<(), SyncError>;
}

/// How far a pass is.
#[derive(Debug, Default)]
pub struct SyncProgress {
    files: AtomicU64,
    files_all: AtomicU64,
    bytes: AtomicU64,
    bytes_all: AtomicU64,
    hashed: AtomicU64,
    looked_at: AtomicU64,
    stopped: AtomicBool,
    /// Bytes a second.
    rate: Option<u64>,
    /// Until when what was sent or received has used that up.
    used_until: Mutex<Option<Instant>>,
}

/// Figures of a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncFigures {
    /// Entries that were compared with what was agreed.
    pub looked_at: u64,
    /// Files whose bytes were read to know their content.
    pub hashed: u64,
    /// Files that were sent or written.
    pub files: u64,
    /// Files to be sent or written.
    pub files_all: u64,
    /// Bytes of such files.
    pub bytes: u64,
    /// Bytes of all files to be sent or written.
    pub bytes_all: u64,
}

impl SyncProgress {
    /// Returns the figures as they are now.
    #[must_use]
    pub fn figures(&self) -> SyncFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SyncFigures {
            looked_at: read(&self.looked_at),
            hashed: read(&self.hashed),
            files: read(&self.files),
            files_all: read(&self.files_all),
            bytes: read(&self.bytes),
            bytes_all: read(&self.bytes_all),
        }
    }

    /// Counts for passes that send and receive so many bytes a second.
    #[must_use]
    pub fn with_rate(rate: Option<u64>) -> Self {
        Self {
            rate,
            ..Self::default()
        }
    }

    /// Counts from zero again.
    pub fn begin(&self) {
        let counters = [
            &self.files,
            &self.files_all,
            &self.bytes,
            &self.bytes_all,
            &self.hashed,
            &self.looked_at,
        ];
        counters
            .into_iter()
            .for_each(|it| it.store(0, Ordering::Relaxed));
    }

    /// Waits until so many bytes may go on, which were sent or received.
    pub(crate) fn pace(&self, bytes: u64) -> Result<(), SyncError> {
        let Some(rate) = self.rate else {
            return self.go_on();
        };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let until = {
            let mut used = self
                .used_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let until = used.unwrap_or(now).max(now) + time;
            *used.insert(until)
        };
        loop {
            self.go_on()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(PACE_STEP));
        }
    }

    /// Ends the pass soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn go_on(&self) -> Result<(), SyncError> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(SyncError::Interrupted);
        }
        Ok(())
    }

    pub(crate) fn look(&self) {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hash(&self) {
        self.hashed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.files_all.fetch_add(1, Ordering::Relaxed);
        self.bytes_all.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn file(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Applied {
    pub(crate) fn leave(&mut self, path: &ObjectPath, reason: impl Into<String>) {
        self.left.push(Trouble {
            path: path.clone(),
            reason: reason.into(),
        });
    }

    pub(crate) fn removed(&mut self, path: &ObjectPath) {
        self.done.push(Done {
            path: path.clone(),
            item: None,
            figures: [None; 2],
        });
    }
}
