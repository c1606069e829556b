//! The stream of changes into the commit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, Stream};
use lfsfs_remote::Change;
use lfsfs_types::{DirId, Name, Record};
use tokio::sync::mpsc;

use crate::difference::{Difference, difference};
use crate::error::UploadError;
use crate::progress::{Phase, Progress};

/// Changes that wait for the wire.
const QUEUED_MAX: usize = 4096;

/// A change, or `None` for the end of all changes.
type Message = Option<Change>;

/// Takes new states, forgets those that are no change, and sends the rest.
///
/// Times of directories alone make no version, so they are held back until something else differs.
#[derive(Debug, Clone)]
pub struct ChangeSink {
    sender: mpsc::Sender<Message>,
    any: Arc<AtomicBool>,
    held_back: Arc<Mutex<Vec<Change>>>,
    progress: Arc<Progress>,
}

/// Returns both ends. The stream ends only by [`ChangeSink::end`]: when all sinks are gone without
/// it, the stream waits for ever, so that an import or a commit that failed in the middle never looks
/// complete.
pub fn channel(progress: Arc<Progress>) -> (ChangeSink, impl Stream<Item = Change> + Send) {
    let (sender, receiver) = mpsc::channel(QUEUED_MAX);
    let sink = ChangeSink {
        sender,
        any: Arc::default(),
        held_back: Arc::default(),
        progress,
    };
    (sink, stream::unfold(receiver, next_change))
}

async fn next_change(
    mut receiver: mpsc::Receiver<Message>,
) -> Option<(Change, mpsc::Receiver<Message>)> {
    match receiver.recv().await {
        Some(Some(change)) => Some((change, receiver)),
        Some(None) => None,
        None => std::future::pending().await,
    }
}

impl ChangeSink {
    /// Sends the new state of an entry if it differs from the base.
    pub fn put(
        &self,
        dir: DirId,
        name: Option<&Name>,
        new: Record,
        base: Option<&Record>,
    ) -> Result<(), UploadError> {
        let difference = difference(&new, base);
        let change = Change {
            dir,
            name: name.cloned(),
            state: Some(new),
        };
        match difference {
            Difference::None => Ok(()),
            Difference::Real => self.send(change),
            Difference::DirectoryTimes if self.any.load(Ordering::Relaxed) => self.send(change),
            Difference::DirectoryTimes => {
                self.held_back().push(change);
                Ok(())
            }
        }
    }

    /// Sends the record of a hard link, for all its names that are not sent by name.
    pub fn put_link(&self, record: Record) -> Result<(), UploadError> {
        self.send(Change::of_all_names(record))
    }

    /// Sends a removal.
    pub fn remove(&self, dir: DirId, name: &Name) -> Result<(), UploadError> {
        self.send(Change {
            dir,
            name: Some(name.clone()),
            state: None,
        })
    }

    /// Ends the stream: everything has been sent.
    pub fn end(&self) -> Result<(), UploadError> {
        if self.any.load(Ordering::Relaxed) {
            let held_back = std::mem::take(&mut *self.held_back());
            held_back
                .into_iter()
                .try_for_each(|change| self.send(change))?;
        }
        self.progress.begin(Phase::Publish);
        self.message(None)
    }

    fn held_back(&self) -> MutexGuard<'_, Vec<Change>> {
        self.held_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, change: Change) -> Result<(), UploadError> {
        self.any.store(true, Ordering::Relaxed);
        self.progress.change();
        self.message(Some(change))
    }

    /// The receiver is gone only if the commit has failed, and its error is what the user sees.
    fn message(&self, message: Message) -> Result<(), UploadError> {
        self.sender
            .blocking_send(message)
            .map_err(|_| UploadError::Stopped("the commit failed"))
    }
}
