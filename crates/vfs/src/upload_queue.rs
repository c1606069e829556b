//! What the upload queue of a mount uploads: files of the overlay whose bytes only this machine has.
//!
//! A batch is read from one view of the overlay, hashed, cut and sent as a commit would do it, and marked when the
//! server has acknowledged all of it. A file that was written to since the view was taken gets no mark.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lfsfs_common::full_text;
use lfsfs_overlay::{Inode, View};
use lfsfs_queue::{Failure, FileId, Uploader, Uploads};
use lfsfs_remote::{Remote, RemoteError};
use lfsfs_types::{ContentId, ObjectPath};
use lfsfs_upload::{
    ContentBytes, ContentSender, OFFER_LEN, Progress, ReadError, SendMode, UploadError,
};
use tokio::runtime::Handle;

use crate::base::BaseVersion;
use crate::changes::paths_of;
use crate::error::VfsError;
use crate::file_contents::FileContents;
use crate::ignored::ignored_files;
use crate::stack::ReadView;
use crate::verb_error::ChangesError;
use crate::writable::Vfs;

/// How many times as long as it takes to find out what is ignored that stays known.
const IGNORED_FACTOR: u32 = 20;

/// The changed files of a mount, and the server that they are uploaded to.
#[derive(Debug)]
pub struct MountUploader {
    vfs: Arc<Vfs>,
    remote: Arc<dyn Remote>,
    runtime: Handle,
    /// Whether the overlay notes what is written. It is made by the first change.
    is_watching: AtomicBool,
    ignored: Mutex<KnownIgnored>,
}

/// Files that no commit takes, as they were a moment ago.
#[derive(Debug, Default)]
struct KnownIgnored {
    files: HashSet<u64>,
    until: Option<Instant>,
}

/// Why one file is not uploaded, or why the whole batch is not.
enum Unread {
    File(Failure),
    Batch(Failure),
}

impl MountUploader {
    /// Uploads on the current runtime; the calls of [`Uploader`] block.
    #[must_use]
    pub fn new(vfs: Arc<Vfs>, remote: Arc<dyn Remote>) -> Self {
        Self {
            vfs,
            remote,
            runtime: Handle::current(),
            is_watching: AtomicBool::new(false),
            ignored: Mutex::default(),
        }
    }

    fn upload_from(
        &self,
        view: &ReadView,
        changes: &View,
        files: &[FileId],
    ) -> Result<Uploads, Failure> {
        let _entered = self.runtime.enter();
        let progress = Arc::new(Progress::default());
        let project = &view.base().snapshot().project;
        let remote = Arc::clone(&self.remote);
        let contents = ContentSender::new(remote, project, SendMode::Send, Arc::clone(&progress));
        let batch = Batch {
            base: view.base(),
            changes,
            contents: &contents,
            runtime: &self.runtime,
        };
        let ignored = self.ignored(view.base(), changes);
        let taken = files.iter().copied().filter(|file| !ignored.contains(file));
        let mut uploads = Uploads::default();
        let read = batch.send(taken, &mut uploads)?;
        let marked = self
            .vfs
            .overlay()
            .map(|overlay| overlay.mark_uploaded(changes, &read));
        let marked = marked
            .transpose()
            .map_err(|error| Failure::Passing(full_text(&error)))?;
        uploads.remote = marked.unwrap_or_default().into_iter().collect();
        uploads.bytes_sent = progress.figures().bytes_sent;
        Ok(uploads)
    }

    /// Returns files that no commit takes. What cannot be found out now is uploaded in vain.
    fn ignored(&self, base: &BaseVersion, changes: &View) -> HashSet<u64> {
        let mut known = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        if known.until.is_none_or(|until| begun >= until) {
            known.files = self
                .runtime
                .block_on(ignored_files(base, changes))
                .unwrap_or_default();
            known.until = Some(begun + begun.elapsed() * IGNORED_FACTOR);
        }
        known.files.clone()
    }
}

impl Uploader for MountUploader {
    fn local_files(&self) -> Vec<FileId> {
        let Some(overlay) = self.vfs.overlay() else {
            return Vec::new();
        };
        // Before the look, so that no write is missed.
        overlay.watch_files();
        self.is_watching.store(true, Ordering::Release);
        overlay.state().local_files().collect()
    }

    fn take_touched(&self) -> BTreeSet<FileId> {
        match self.vfs.overlay() {
            Some(overlay) if self.is_watching.load(Ordering::Acquire) => overlay.take_touched(),
            // The first change has made the overlay since the last look, or there is none.
            _ => self.local_files().into_iter().collect(),
        }
    }

    fn len(&self, file: FileId) -> Option<u64> {
        let overlay = self.vfs.overlay()?;
        overlay.state().inode(file)?.local_len()
    }

    fn upload(&self, files: &[FileId]) -> Result<Uploads, Failure> {
        let view = self.vfs.view();
        match view.changes() {
            Some(changes) => self.upload_from(&view, changes, files),
            None => Ok(Uploads::default()),
        }
    }
}

/// Files that are sent together.
struct Batch<'a> {
    base: &'a BaseVersion,
    changes: &'a View,
    contents: &'a ContentSender,
    runtime: &'a Handle,
}

impl Batch<'_> {
    /// Sends files. Returns those of which the server has all bytes, with their names.
    fn send(
        &self,
        files: impl Iterator<Item = FileId>,
        uploads: &mut Uploads,
    ) -> Result<Vec<(FileId, ContentId)>, Failure> {
        let (mut read, mut offer, mut offer_len) = (Vec::new(), Vec::new(), 0);
        for file in files {
            let inode = self.changes.state().inode(file);
            let Some(inode) = inode.filter(|inode| inode.local_len().is_some()) else {
                continue;
            };
            match self.read(inode, &mut offer) {
                Ok(content) => read.push((file, content)),
                Err(Unread::File(failure)) => uploads.failed.push((file, failure)),
                Err(Unread::Batch(failure)) => return Err(failure),
            }
            offer_len += offer.last().map_or(0, |bytes| bytes.bytes.len() as u64);
            if offer_len >= OFFER_LEN {
                self.contents
                    .offer(&std::mem::take(&mut offer))
                    .map_err(failure)?;
                offer_len = 0;
            }
        }
        self.contents.offer(&offer).map_err(failure)?;
        self.contents.finish().map_err(failure)?;
        Ok(read)
    }

    fn read(&self, inode: &Inode, offer: &mut Vec<ContentBytes>) -> Result<ContentId, Unread> {
        let contents = FileContents {
            base: self.base,
            view: self.changes,
            contents: self.contents,
            runtime: self.runtime,
        };
        match contents.read(inode) {
            Ok(read) => {
                offer.extend(read.bytes);
                Ok(read.id)
            }
            Err(ReadError::Upload(error)) => Err(Unread::Batch(failure(error))),
            Err(ReadError::Source(error)) => Err(Unread::File(of_reading(&error))),
            Err(error @ ReadError::Pieces(_)) => {
                Err(Unread::File(Failure::Lasting(full_text(&error))))
            }
        }
    }
}

/// Says whether another attempt may succeed.
fn failure(error: UploadError) -> Failure {
    let text = full_text(&error);
    match error {
        UploadError::Remote(error) if error.is_no_answer() => Failure::Away(text),
        UploadError::Remote(
            RemoteError::Invalid(_)
            | RemoteError::NotFound(_)
            | RemoteError::Unimplemented(_)
            | RemoteError::Incompatible(_),
        ) => Failure::Lasting(text),
        UploadError::Remote(_) | UploadError::Stopped(_) => Failure::Passing(text),
    }
}

/// As [`failure`], of reading a file of the overlay, whose bytes may lie in the version below.
fn of_reading(error: &VfsError) -> Failure {
    let text = full_text(error);
    let is_passing = match error {
        VfsError::Timeout { .. } | VfsError::Stale => true,
        VfsError::Io { source, .. } => source.is_no_answer(),
        _ => false,
    };
    if is_passing {
        Failure::Passing(text)
    } else {
        Failure::Lasting(text)
    }
}

impl Vfs {
    /// Returns where the mount has files, by their inodes; those that have no name are left out.
    pub async fn paths_of(&self, files: &[u64]) -> Result<HashMap<u64, ObjectPath>, ChangesError> {
        let view = self.view();
        match view.changes() {
            Some(changes) => paths_of(view.base(), changes.state(), files).await,
            None => Ok(HashMap::new()),
        }
    }

    /// Returns the length of a file of the overlay.
    #[must_use]
    pub fn len_of(&self, file: u64) -> Option<u64> {
        let view = self.view();
        Some(view.upper(file)?.file()?.size())
    }
}
