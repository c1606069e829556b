//! The listings of a version for a walk from the top down: from one stream, as long as the walk goes in its order.
//!
//! A walk that looks at every directory wants them in the order in which the stream brings them. What it leaves out is
//! read and dropped, up to a bound; what does not come is asked for by itself, as all of it is where the walk looks at
//! a few directories only.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use lfsfs_remote::{DirectoryListing, RemoteError, RemoteRead, Snapshot, TreeParams, TreeStream};
use lfsfs_types::DirId;
use tokio::sync::Mutex;

/// Listings that may be read and dropped before the one that is wanted.
const DROPPED_MAX: usize = 4096;
/// How often a stream that breaks is begun again where none of them brought anything.
const TRIES: usize = 3;

/// How a walk goes through a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// It looks at all directories, or at nearly all.
    All,
    /// It looks at some.
    Some,
}

/// The listings of a version.
#[expect(missing_debug_implementations, reason = "a stream has none")]
pub struct Listings<'a> {
    remote: &'a dyn RemoteRead,
    snapshot: &'a Snapshot,
    stream: Mutex<Option<Stream>>,
    streams: AtomicBool,
}

/// What is read in order.
struct Stream {
    top: DirId,
    /// None before it is begun, and where it broke.
    arriving: Option<TreeStream>,
    last: Option<DirId>,
    tries: usize,
}

impl<'a> Listings<'a> {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(remote: &'a dyn RemoteRead, snapshot: &'a Snapshot, coverage: Coverage) -> Self {
        Self {
            remote,
            snapshot,
            stream: Mutex::new(None),
            streams: AtomicBool::new(coverage == Coverage::All),
        }
    }

    /// Returns whether listings are asked for one after the other, in the order of a stream.
    pub(crate) fn are_in_order(&self) -> bool {
        self.streams.load(Ordering::Relaxed)
    }

    /// Returns a listing. The first one that is asked for is that of the top.
    pub async fn list(&self, dir: DirId) -> Result<DirectoryListing, RemoteError> {
        if self.are_in_order() {
            let mut stream = self.stream.lock().await;
            let stream = stream.get_or_insert_with(|| Stream::new(dir));
            if let Some(listing) = self.streamed(stream, dir).await {
                return Ok(listing);
            }
            self.streams.store(false, Ordering::Relaxed);
        }
        let (project, version) = (self.snapshot.project.id, self.snapshot.version.number);
        self.remote.list_directory(project, version, dir).await
    }

    async fn streamed(&self, stream: &mut Stream, dir: DirId) -> Option<DirectoryListing> {
        for _ in 0..=DROPPED_MAX {
            let (found, listing) = self.next(stream).await?;
            if found == dir {
                return Some(listing);
            }
        }
        None
    }

    /// Returns what comes next; none at the end, and where it cannot be had.
    async fn next(&self, stream: &mut Stream) -> Option<(DirId, DirectoryListing)> {
        while stream.tries < TRIES {
            let mut arriving = match stream.arriving.take() {
                Some(arriving) => arriving,
                None => {
                    stream.tries += 1;
                    match self.remote.list_tree(&self.params(stream)).await {
                        Ok(arriving) => arriving,
                        Err(error) if error.is_retryable() => continue,
                        // It is asked for by itself, and that says what is wrong.
                        Err(_) => return None,
                    }
                }
            };
            match arriving.next().await {
                Some(Ok((dir, listing))) => {
                    stream.arriving = Some(arriving);
                    stream.last = Some(dir);
                    stream.tries = 0;
                    return Some((dir, listing));
                }
                Some(Err(error)) if error.is_retryable() => {
                    tracing::debug!(%error, "a stream of listings broke");
                }
                Some(Err(_)) | None => return None,
            }
        }
        None
    }

    fn params(&self, stream: &Stream) -> TreeParams {
        TreeParams {
            project: self.snapshot.project.id,
            version: self.snapshot.version.number,
            top: stream.top,
            after: stream.last,
            since: None,
        }
    }
}

impl Stream {
    fn new(top: DirId) -> Self {
        Self {
            top,
            arriving: None,
            last: None,
            tries: 0,
        }
    }
}
