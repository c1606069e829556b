//! One file becomes a version.
//!
//! Its content is read, hashed, cut and sent as that of any file of an import; one call then publishes
//! the version. Nothing is published where anything fails before that.

mod error;
mod local_file;

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_client::{Client, NewFile, NewVersion};
use lfsfs_common::random::random_bytes;
use lfsfs_remote::{RemoteError, Snapshot};
use lfsfs_types::{
    ContentId, ObjectPath, ProjectName, Record, Sha256, Source, Timestamp, VersionId,
    VersionNumber, VersionRef,
};
use lfsfs_upload::{
    ContentSender, Expected, Progress, ProgressFigures, ReadContent, SendMode, StreamSource,
};
use tokio::task::spawn_blocking;

use self::local_file::LocalFile;
use crate::checksum::Summed;

pub use self::error::PutError;

/// Permissions of a file that comes from a stream and replaces none.
const MODE_DEFAULT: u32 = 0o644;

/// What becomes of a file.
#[derive(Debug, Clone)]
pub struct PutParams {
    /// The project that gets the version.
    pub project: ProjectName,
    /// Where the file goes.
    pub path: ObjectPath,
    /// Who puts it there.
    pub author: String,
    /// Why.
    pub message: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOutcome {
    /// A version that has the file.
    pub version: VersionNumber,
    /// The file's length in bytes.
    pub size: u64,
    /// The file's content.
    pub content: ContentId,
    /// What was read and sent.
    pub figures: ProgressFigures,
}

/// A file that is about to become a version.
#[derive(Debug)]
pub struct Put {
    client: Client,
    params: PutParams,
    progress: Arc<Progress>,
}

/// What was read, and is stored now.
#[derive(Debug)]
struct Stored {
    size: u64,
    content: ContentId,
    sha256: Sha256,
}

/// What a file has beside its bytes.
#[derive(Debug, Clone, Copy)]
struct Attributes {
    mode: u32,
    mtime: Timestamp,
}

impl Put {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(client: &Client, params: PutParams) -> Self {
        Self {
            client: client.clone(),
            params,
            progress: Arc::default(),
        }
    }

    /// Returns the counters to watch while the work goes on.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Publishes a file of this machine, with its permissions and its time.
    ///
    /// A file that changes while it is read is not published.
    pub async fn file(self, path: &Path) -> Result<PutOutcome, PutError> {
        let path = path.to_owned();
        let local = blocking(move || LocalFile::open(path)).await?;
        self.progress.expect(Expected {
            entries: 1,
            bytes: local.stat.size,
        });
        let attributes = Attributes {
            mode: local.stat.mode,
            mtime: local.stat.mtime,
        };
        let (snapshot, _) = self.find_place().await?;
        let sender = self.sender(&snapshot);
        let stored = blocking(move || {
            let (content, sha256) = read(&sender, &local.file, local.name())?;
            local.check_unchanged(content.size)?;
            store(&sender, content, sha256)
        });
        self.publish(stored.await?, attributes).await
    }

    /// Publishes what comes from `reader`, as a file that was changed at `mtime`. It has the permissions
    /// of the file that it replaces. `name` is what errors call the reader.
    pub async fn stream(
        self,
        reader: impl Read + Send + 'static,
        name: &'static str,
        mtime: Timestamp,
    ) -> Result<PutOutcome, PutError> {
        let (snapshot, present) = self.find_place().await?;
        let mode = present.map_or(MODE_DEFAULT, |record| record.mode);
        let sender = self.sender(&snapshot);
        let stored = blocking(move || {
            let (content, sha256) = read(&sender, reader, name)?;
            store(&sender, content, sha256)
        });
        let stored = stored.await?;
        self.publish(stored, Attributes { mode, mtime }).await
    }

    /// Returns the newest version, and what it has where the file goes. Says before anything is sent why
    /// nothing can go there.
    async fn find_place(&self) -> Result<(Snapshot, Option<Record>), PutError> {
        let source = Source {
            project: self.params.project.clone(),
            version: VersionRef::Latest,
        };
        let snapshot = self.client.remote.resolve_source(&source).await;
        let snapshot = snapshot.map_err(PutError::of_project)?;
        let path = &self.params.path;
        let present = self.lookup(&snapshot, path).await?;
        match &present {
            Some(record) if record.kind.is_directory() => {
                let path = shown(path);
                return Err(PutError::IsDirectory { path });
            }
            Some(_) => {}
            None => self.check_way(&snapshot).await?,
        }
        Ok((snapshot, present))
    }

    /// Fails where something on the way to the file is no directory. What is missing is made.
    async fn check_way(&self, snapshot: &Snapshot) -> Result<(), PutError> {
        let mut path = self.params.path.clone();
        while let Some((above, _)) = path.split_last() {
            match self.lookup(snapshot, &above).await? {
                Some(record) if record.kind.is_directory() => return Ok(()),
                Some(_) => {
                    let path = shown(&above);
                    return Err(PutError::NotDirectory { path });
                }
                None => path = above,
            }
        }
        Ok(())
    }

    async fn lookup(
        &self,
        snapshot: &Snapshot,
        path: &ObjectPath,
    ) -> Result<Option<Record>, RemoteError> {
        if path.is_root() {
            return Ok(Some(snapshot.root.clone()));
        }
        let (project, version) = (snapshot.project.id, snapshot.version.number);
        match self.client.remote.lookup(project, version, path).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn sender(&self, snapshot: &Snapshot) -> ContentSender {
        ContentSender::new(
            Arc::clone(&self.client.remote),
            &snapshot.project,
            SendMode::Send,
            Arc::clone(&self.progress),
        )
    }

    async fn publish(
        &self,
        stored: Stored,
        attributes: Attributes,
    ) -> Result<PutOutcome, PutError> {
        let file = NewFile {
            project: self.params.project.clone(),
            path: self.params.path.clone(),
            size: stored.size,
            content: stored.content,
            sha256: stored.sha256,
            mode: attributes.mode,
            mtime: attributes.mtime,
        };
        let version = NewVersion {
            id: VersionId(random_bytes().map_err(PutError::Random)?),
            author: self.params.author.clone(),
            message: self.params.message.clone(),
        };
        Ok(PutOutcome {
            version: self.client.files.put(&file, &version).await?,
            size: stored.size,
            content: stored.content,
            figures: self.progress.figures(),
        })
    }
}

fn shown(path: &ObjectPath) -> PathBuf {
    OsStr::from_bytes(path.as_bytes()).into()
}

/// Reads everything, and sends what the server lacks of a large content. Memory is bounded.
fn read(
    sender: &ContentSender,
    reader: impl Read,
    name: &str,
) -> Result<(ReadContent, Sha256), PutError> {
    let mut reader = Summed::new(reader);
    let content = sender
        .read(StreamSource::new(&mut reader))
        .map_err(|error| PutError::of_input(error, name))?;
    Ok((content, reader.checksum.finish()))
}

/// Sends the rest. When it returns, the content is stored.
fn store(sender: &ContentSender, content: ReadContent, sha256: Sha256) -> Result<Stored, PutError> {
    let ReadContent { id, size, bytes } = content;
    sender.offer(bytes.as_slice())?;
    sender.finish()?;
    Ok(Stored {
        size,
        content: id,
        sha256,
    })
}

/// Does what waits for a disk or for a pipe on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PutError> + Send + 'static,
) -> Result<T, PutError> {
    let panicked = |_| PutError::Stopped("a worker panicked");
    spawn_blocking(work).await.map_err(panicked)?
}
