//! Objects as archives of bounded length, one after the other.

use std::io;
use std::sync::Arc;

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;

use super::archive::Archive;
use super::contents::Contents;
use super::found::{Found, Object};
use super::{Asked, PART_LEN};
use crate::blocking::blocking;
use crate::calls::Call;
use crate::coordinator::Coordinator;
use crate::streams::{Answers, Sink};

/// Bytes that go into an archive before the next one begins. One that has a long file is longer.
const ARCHIVE_LEN: usize = 4 << 20;
/// Bytes of removed paths that one message tells.
const REMOVED_LEN_MAX: usize = 128 * 1024;
/// What it takes to compress.
const ENCODER_COST: usize = 4 << 20;

/// Sends the objects that are asked for as archives.
pub(in crate::coordinator) fn get_compress(
    coordinator: &Arc<Coordinator>,
    call: &Call,
    asked: Asked,
) -> Answers<v1::GetCompressResponse> {
    let (own, paying) = (Arc::clone(coordinator), call.clone());
    let sending = |sink| async move {
        let account = paying.account();
        let _held = account.take(asked.memory() + ENCODER_COST).await?;
        let contents = Contents::new(&own, &paying, asked.project);
        let mut archives = Archives {
            sink,
            version: asked.to.0,
            archive: None,
            removed: Vec::new(),
            removed_len: 0,
        };
        let mut found = Found::ask(&own, asked);
        while let Some(batch) = found.next_batch().await? {
            let loaded = contents.load(&batch).await?;
            for object in batch {
                if object.is_large() {
                    archives.add_large(&contents, object).await?;
                } else {
                    let content = object.file().and_then(|file| loaded.of(file.content));
                    archives.add(object, content.unwrap_or_default()).await?;
                }
            }
        }
        archives.end().await
    };
    coordinator.tasks.answer(call.clone(), sending)
}

/// The archives on their way to the client.
struct Archives {
    sink: Sink<v1::GetCompressResponse>,
    version: u64,
    /// The one that is being made.
    archive: Option<Archive>,
    /// Paths that are told with it.
    removed: Vec<Vec<u8>>,
    removed_len: usize,
}

impl Archives {
    async fn add(&mut self, object: Object, content: Vec<u8>) -> Result<(), Fault> {
        let Some(record) = object.record() else {
            self.removed_len += object.path.len();
            self.removed.push(object.path);
            return self.end_if(self.removed_len >= REMOVED_LEN_MAX).await;
        };
        let (path, record) = (object.path.clone(), record.clone());
        self.work(move |archive| {
            if archive.begin(&path, &record)? {
                archive.write(&content)?;
                archive.pad(content.len() as u64)?;
            }
            Ok(())
        })
        .await?;
        self.end_if_long().await
    }

    /// Adds a file whose content does not fit the memory at once.
    async fn add_large(&mut self, contents: &Contents, object: Object) -> Result<(), Fault> {
        let mut parts = contents.parts(&object)?;
        let (path, record) = (object.path.clone(), object.record().cloned());
        let size = record.as_ref().map_or(0, lfsfs_types::Record::size);
        if let Some(record) = record {
            self.work(move |archive| archive.begin(&path, &record).map(drop))
                .await?;
        }
        while let Some(part) = parts.next().await? {
            self.work(move |archive| archive.write(&part)).await?;
        }
        self.work(move |archive| archive.pad(size)).await?;
        self.end_if_long().await
    }

    /// Works on the archive, on a thread that may, and sends what is there to be sent.
    async fn work(
        &mut self,
        work: impl FnOnce(&mut Archive) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Fault> {
        let archive = self.archive.take();
        let worked = blocking(move || {
            let mut archive = archive.map_or_else(Archive::new, Ok).map_err(failed)?;
            work(&mut archive).map_err(failed)?;
            Ok::<_, Fault>(archive)
        });
        let archive = self.archive.insert(worked.await?);
        if let Some(part) = archive.take(PART_LEN) {
            self.send(part, true).await?;
        }
        Ok(())
    }

    async fn end_if_long(&mut self) -> Result<(), Fault> {
        let len = self.archive.as_ref().map_or(0, Archive::len);
        self.end_if(len >= ARCHIVE_LEN).await
    }

    async fn end_if(&mut self, ends: bool) -> Result<(), Fault> {
        match ends {
            true => self.end().await,
            false => Ok(()),
        }
    }

    /// Ends the archive. Nothing is sent if there is nothing to tell.
    async fn end(&mut self) -> Result<(), Fault> {
        let rest = match self.archive.take() {
            None if self.removed.is_empty() => return Ok(()),
            None => Vec::new(),
            Some(archive) => blocking(move || archive.finish().map_err(failed)).await?,
        };
        self.send(rest, false).await
    }

    /// Sends a part of the archive in messages that are no longer than others.
    async fn send(&mut self, part: Vec<u8>, continued: bool) -> Result<(), Fault> {
        let mut rest = &part[..];
        loop {
            let (now, later) = rest.split_at(rest.len().min(PART_LEN));
            rest = later;
            let continued = continued || !rest.is_empty();
            let deleted = match continued {
                true => Vec::new(),
                false => std::mem::take(&mut self.removed),
            };
            self.sink
                .send(v1::GetCompressResponse {
                    version: self.version,
                    archive: now.to_vec(),
                    continued,
                    deleted,
                })
                .await?;
            if rest.is_empty() {
                break;
            }
        }
        if !continued {
            self.removed_len = 0;
        }
        Ok(())
    }
}

/// Memory is all that an archive is written to.
fn failed(error: io::Error) -> Fault {
    Fault::new(FaultKind::Internal, format!("an archive failed: {error}"))
}
