//! One file of a version: given out as a stream, or written to a place of its own.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use lfsfs_common::durable::TempFile;
use lfsfs_remote::RemoteError;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{ContentId, Kind, ObjectPath, Record};
use tokio::runtime::Handle;

use super::apply::{Applier, Owners};
use super::contents::{Contents, Part, take};
use super::error::{ExportError, InTheWay};
use super::progress::ExportProgress;
use super::worker::{check_len, write_at, xattr_ids};
use crate::checksum::Checksum;

/// A regular file of a version.
#[derive(Debug)]
pub(crate) struct OneFile {
    contents: Contents,
    progress: Arc<ExportProgress>,
    path: ObjectPath,
    record: Record,
    size: u64,
    content: ContentId,
}

impl OneFile {
    pub(crate) fn new(
        contents: Contents,
        progress: Arc<ExportProgress>,
        path: ObjectPath,
        record: Record,
    ) -> Result<Self, ExportError> {
        let Kind::File { size, content } = record.kind else {
            let path = OsStr::from_bytes(path.as_bytes()).into();
            return Err(ExportError::NotFile { path });
        };
        Ok(Self {
            contents,
            progress,
            path,
            record,
            size,
            content,
        })
    }

    /// Gives all bytes to `take`, in order. Each part is as its name says; the checksum of all of them is
    /// known at the end only.
    pub(crate) async fn read<E: From<ExportError>>(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.read_parts(|part| part.each(&mut take)).await
    }

    /// As [`read`](Self::read), for a caller that does not need the bytes of what is zeros.
    async fn read_parts<E: From<ExportError>>(
        &self,
        mut take: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut len, mut checksum) = (0, self.record.sha256.map(|_| Checksum::default()));
        let part = |part: Part<'_>| {
            if self.progress.is_stopped() {
                return Err(ExportError::Interrupted.into());
            }
            len += part.len();
            if let Some(checksum) = &mut checksum {
                part.each(|bytes| {
                    checksum.update(bytes);
                    Ok::<_, E>(())
                })?;
            }
            self.progress.bytes(part.len());
            take(part)
        };
        self.each_part(part).await?;
        check_len(len, self.size, &self.path)?;
        Ok(self.check_sum(checksum)?)
    }

    async fn each_part<E: From<ExportError>>(
        &self,
        mut part: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.size <= SMALL_CONTENT_LEN_MAX {
            let loaded = self.contents.load(&[self.content]).await?;
            let bytes = take(&loaded, &self.content).map_err(ExportError::from)?;
            return part(Part::Bytes(bytes));
        }
        let list = self.contents.pieces(self.content).await?;
        check_len(list.total_len(), self.size, &self.path)?;
        self.contents.each_piece(&list, part).await
    }

    /// Compares the checksum that the one who put the file has stated for all of its bytes.
    fn check_sum(&self, checksum: Option<Checksum>) -> Result<(), ExportError> {
        let found = checksum.map(Checksum::finish);
        if found == self.record.sha256 {
            return Ok(());
        }
        let path = Path::new(OsStr::from_bytes(self.path.as_bytes())).display();
        let problem = format!("{path} does not have its checksum");
        Err(RemoteError::Corrupt(problem).into())
    }

    /// Writes the file beside `to` and moves it there when it is whole and durable. Blocks.
    pub(crate) fn replace(&self, to: &Path, runtime: &Handle) -> Result<(), ExportError> {
        check_place(to)?;
        let dir = directory_of(to);
        let temp = TempFile::create_in(dir).map_err(|error| ExportError::Directory {
            dir: dir.to_owned(),
            source: error.source,
        })?;
        self.fill(&temp, to, runtime)?;
        // What is there now may be another thing than before.
        check_place(to)?;
        temp.persist(to)?;
        self.progress.written();
        Ok(())
    }

    fn fill(&self, temp: &TempFile, to: &Path, runtime: &Handle) -> Result<(), ExportError> {
        let failed_to_write = |source| ExportError::Entry {
            action: "write",
            path: to.to_owned(),
            source,
        };
        let (file, mut offset) = (temp.file(), 0);
        let write = |part: Part<'_>| {
            if let Part::Bytes(bytes) = part {
                write_at(file, offset, bytes).map_err(failed_to_write)?;
            }
            offset += part.len();
            Ok::<_, ExportError>(())
        };
        runtime.block_on(self.read_parts(write))?;
        // The end may be a hole, which nothing was written for.
        file.set_len(self.size).map_err(failed_to_write)?;
        let wanted: Vec<ContentId> = xattr_ids(&self.record).collect();
        let contents = runtime.block_on(self.contents.load(&wanted))?;
        let applier = Applier {
            owners: Owners::of_this_process(),
            progress: &self.progress,
        };
        let applied = applier.apply(temp.path(), &self.record, &contents);
        applied.map_err(|error| error.of(&self.path))
    }
}

/// Fails where something is that is not replaced.
fn check_place(to: &Path) -> Result<(), ExportError> {
    let found = match to.symlink_metadata() {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(ExportError::Entry {
                action: "look at",
                path: to.to_owned(),
                source,
            });
        }
    };
    let found = if found.is_file() {
        return Ok(());
    } else if found.is_dir() {
        InTheWay::Directory
    } else if found.is_symlink() {
        InTheWay::Symlink
    } else {
        InTheWay::Special
    };
    let path = to.to_owned();
    Err(ExportError::InTheWay { path, found })
}

/// Returns the directory that a path is in.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
