//! Objects on their way from the metadata, which blocks, to where their contents are read.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use lfsfs_metadata::VersionedObject;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{ContentId, Kind, Record};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::Coordinator;
use super::{Asked, PART_LEN};
use crate::blocking::blocking;

/// Objects that wait to be taken.
const WAITING_MAX: usize = 64;
/// Objects of one batch.
const BATCH_MAX: usize = 256;
/// Contents of one batch, and their bytes: each may lie in another block, which is read as a whole.
pub(super) const CONTENTS_MAX: usize = 16;
pub(super) const CONTENTS_LEN_MAX: u64 = PART_LEN as u64;

/// An object, or a path at which there is none any more.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) path: Vec<u8>,
    record: Option<Record>,
}

/// What is read of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub(super) size: u64,
    pub(super) content: ContentId,
}

impl Object {
    /// Returns the file, if it is one.
    pub(super) fn file(&self) -> Option<File> {
        match self.record.as_ref()?.kind {
            Kind::File { size, content } => Some(File { size, content }),
            _ => None,
        }
    }

    /// Returns true for a file whose content does not fit one message.
    pub(super) fn is_large(&self) -> bool {
        self.file().is_some_and(|file| file.size > PART_LEN as u64)
    }

    /// Returns the bytes that are to be read together with others.
    pub(super) fn len_in_batch(&self) -> Option<u64> {
        let file = self.file().filter(|_| !self.is_large())?;
        (file.size > 0).then_some(file.size)
    }

    /// Returns what it is; none if it was removed.
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Returns what it is, as clients see it.
    pub(super) fn record_message(&self) -> Option<v1::Record> {
        self.record.as_ref().map(v1::Record::from)
    }

    /// Returns the object as clients see it.
    pub(super) fn message(self, content: Option<Vec<u8>>) -> v1::Objekt {
        v1::Objekt {
            record: self.record_message(),
            deleted: self.record.is_none(),
            path: self.path,
            content,
        }
    }
}

/// The objects that were asked for, as they are found. Dropped, it ends the search.
pub(super) struct Found {
    objects: mpsc::Receiver<Object>,
    search: Option<JoinHandle<Result<(), Fault>>>,
    /// An object that did not fit the last batch.
    next: Option<Object>,
}

impl Found {
    /// Begins to search.
    pub(super) fn ask(coordinator: &Arc<Coordinator>, asked: Asked) -> Self {
        let (sender, objects) = mpsc::channel(WAITING_MAX);
        let metadata = coordinator.metadata.clone();
        let search = blocking(move || {
            let Asked {
                project,
                from,
                to,
                selection,
            } = asked;
            let mut tell = |object: VersionedObject| {
                let VersionedObject { path, record } = object;
                match sender.blocking_send(Object { path, record }) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            };
            let told = metadata.objects(project, from, to, &selection, &mut tell);
            told.map(drop)
        });
        Self {
            objects,
            search: Some(coordinator.tasks.tracker.spawn(search)),
            next: None,
        }
    }

    /// Returns the next object; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Object>, Fault> {
        if let Some(object) = self.next.take() {
            return Ok(Some(object));
        }
        if let Some(object) = self.objects.recv().await {
            return Ok(Some(object));
        }
        match self.search.take() {
            None => Ok(None),
            Some(search) => {
                let failed = |_| Err(Fault::new(FaultKind::Internal, "the server failed"));
                search.await.unwrap_or_else(failed).map(|()| None)
            }
        }
    }

    /// Returns the next objects, whose contents are read together: those of a large file are not among them, but it
    /// may be.
    pub(super) async fn next_batch(&mut self) -> Result<Option<VecDeque<Object>>, Fault> {
        let mut batch = VecDeque::new();
        let (mut contents, mut len) = (0, 0);
        while batch.len() < BATCH_MAX {
            let Some(object) = self.next().await? else {
                break;
            };
            if let Some(more) = object.len_in_batch() {
                if contents == CONTENTS_MAX || (contents > 0 && len + more > CONTENTS_LEN_MAX) {
                    self.next = Some(object);
                    break;
                }
                contents += 1;
                len += more;
            }
            batch.push_back(object);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}
