//! The disk gets what is written while more is written, so that the sync at the end has little left to wait for.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::syncfs;

use crate::local::DirHandle;

const INTERVAL: Duration = Duration::from_millis(500);

/// Syncs the file system of a directory again and again until it is dropped.
#[derive(Debug)]
pub(super) struct EarlySync {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EarlySync {
    /// Begins. Without a thread the sync at the end takes longer, and nothing else.
    pub(super) fn of(dir: DirHandle) -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let sync = move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                // The sync at the end tells what is wrong.
                let _ = syncfs(&dir);
            }
        };
        let thread = thread::Builder::new().name("early-sync".to_owned());
        Self {
            end: Some(end),
            thread: thread.spawn(sync).ok(),
        }
    }
}

impl Drop for EarlySync {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}
