//! The transport of the image's files: the kernel's EROFS reads them through FUSE.
//!
//! Paths: the metadata file has the path that the user typed as source, the content devices lie beside its first
//! directory.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{
    AccessFlags, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    Request,
};
use lfsfs_common::tasks::Spawner;
use lfsfs_vfs::{IMAGE_DEVICES, IMAGE_FILE_LEN, ImageFile, ImageKernel, VersionImage, VfsError};
use tokio::runtime::Handle;
use tracing::warn;

use crate::counters::{Counters, Opcode};
use crate::fuse;
use crate::kernel_cache::MountedKernel;
use crate::limits::NODE_GENERATION;

/// What the files show never changes.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);
/// No source begins with a dot.
const DEVICE_NAME: &str = ".content";

const ROOT: u64 = 1;
const METADATA: u64 = 2;
const FIRST_DEVICE: u64 = 3;
/// The directories on the way to the metadata file.
const FIRST_DIRECTORY: u64 = 1000;

type Read = Pin<Box<dyn Future<Output = Result<Bytes, VfsError>> + Send>>;

/// Serves the files of one image.
#[derive(Debug)]
pub(crate) struct ImageFiles {
    pub(crate) image: Arc<VersionImage>,
    /// The path of the metadata file.
    pub(crate) source: String,
    pub(crate) counters: Arc<Counters>,
    pub(crate) runtime: Handle,
    pub(crate) tasks: Spawner,
}

/// Returns the names of the content devices, in their order.
pub(crate) fn device_names() -> Vec<String> {
    (0..IMAGE_DEVICES).map(device_name).collect()
}

fn device_name(device: u16) -> String {
    format!("{DEVICE_NAME}{device}")
}

/// Returns the number of a name in a directory.
fn find(source: &str, parent: u64, name: &[u8]) -> Option<u64> {
    let depth = match parent {
        ROOT => 0,
        FIRST_DIRECTORY.. => usize::try_from(parent - FIRST_DIRECTORY).ok()? + 1,
        _ => return None,
    };
    if depth == 0
        && let Some(device) = (0..IMAGE_DEVICES).find(|it| device_name(*it).as_bytes() == name)
    {
        return Some(FIRST_DEVICE + u64::from(device));
    }
    let mut names = source.split('/').skip(depth);
    if names.next()?.as_bytes() != name {
        return None;
    }
    Some(match names.next() {
        None => METADATA,
        Some(_) => FIRST_DIRECTORY + depth as u64,
    })
}

fn file_of(ino: u64) -> Option<ImageFile> {
    match ino {
        METADATA => Some(ImageFile::Metadata),
        FIRST_DEVICE.. => {
            let device = u16::try_from(ino - FIRST_DEVICE).ok()?;
            (device < IMAGE_DEVICES).then_some(ImageFile::Content(device))
        }
        _ => None,
    }
}

fn number_of(file: ImageFile) -> u64 {
    match file {
        ImageFile::Metadata => METADATA,
        ImageFile::Content(device) => FIRST_DEVICE + u64::from(device),
    }
}

/// The kernel's pages of the files.
#[derive(Debug)]
pub(crate) struct FilePages(pub(crate) Arc<MountedKernel>);

impl ImageKernel for FilePages {
    fn drop_pages(&self, file: ImageFile, range: Range<u64>) {
        self.0.drop_pages(number_of(file), range);
    }

    fn store_pages(&self, file: ImageFile, offset: u64, bytes: &[u8]) {
        self.0.store_pages(number_of(file), offset, bytes);
    }
}

fn attr(ino: u64) -> FileAttr {
    let (kind, perm, size) = match file_of(ino) {
        Some(_) => (FileType::RegularFile, 0o400, IMAGE_FILE_LEN),
        None => (FileType::Directory, 0o500, 0),
    };
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl ImageFiles {
    fn begin(&self, file: ImageFile, offset: u64, len: u32) -> Read {
        let image = Arc::clone(&self.image);
        match file {
            ImageFile::Metadata => Box::pin(async move { image.read_metadata(offset, len).await }),
            ImageFile::Content(device) => {
                Box::pin(async move { image.read_content(device, offset, len).await })
            }
        }
    }

    /// Answers here what is in memory, and the rest from a task.
    fn answer(&self, mut read: Read, reply: ReplyData) {
        let _runtime = self.runtime.enter();
        // The task looks again at once, so nothing waits for this waker.
        match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(bytes) => send(reply, bytes),
            Poll::Pending => {
                // The mount tracks the task.
                drop(self.tasks.spawn(async move { send(reply, read.await) }));
            }
        }
    }
}

fn send(reply: ReplyData, read: Result<Bytes, VfsError>) {
    match read {
        Ok(bytes) => reply.data(&bytes),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            warn!(error, "a block of the image cannot be read");
            reply.error(fuser::Errno::EIO);
        }
    }
}

impl Filesystem for ImageFiles {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_NO_OPEN_SUPPORT | InitFlags::FUSE_ASYNC_READ;
        config.add_capabilities(wanted).map_err(|missing| {
            let text = format!("this kernel's FUSE lacks {missing:?}");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        fuse::set_limits(config)
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.counters.add(Opcode::Lookup);
        match find(&self.source, parent.0, name.as_bytes()) {
            Some(ino) => reply.entry(
                &FOR_EVER,
                &attr(ino),
                Generation(u64::from(NODE_GENERATION)),
            ),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        self.counters.add(Opcode::Getattr);
        reply.attr(&FOR_EVER, &attr(ino.0));
    }

    /// The kernel opens the files by itself, and keeps their pages.
    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.add(Opcode::Open);
        reply.error(fuser::Errno::ENOSYS);
    }

    /// The kernel checks nothing for a user of these files: root's EROFS is the only one.
    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        self.counters.add(Opcode::Access);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.counters.add(Opcode::Flush);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.counters.add(Opcode::Read);
        match file_of(ino.0) {
            Some(file) => self.answer(self.begin(file, offset, size), reply),
            None => reply.error(fuser::Errno::EISDIR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_source_leads_to_the_metadata_file() {
        let walk = |source: &str| {
            source
                .split('/')
                .try_fold(ROOT, |at, name| find(source, at, name.as_bytes()))
        };
        assert_eq!(walk("app@v1"), Some(METADATA));
        assert_eq!(walk("app@v1:a/b/c"), Some(METADATA));
        assert_eq!(find("app@v1:a/b", ROOT, b"app@v1:a"), Some(FIRST_DIRECTORY));
        assert_eq!(find("app@v1", ROOT, b"other"), None);
        assert_eq!(find("app@v1", METADATA, b"app@v1"), None);
    }

    #[test]
    fn devices_lie_beside_it() {
        let second = find("app@v1", ROOT, b".content1").unwrap();
        assert_eq!(file_of(second), Some(ImageFile::Content(1)));
        assert_eq!(find("app@v1:a/b", FIRST_DIRECTORY, b".content1"), None);
        assert_eq!(file_of(FIRST_DEVICE + u64::from(IMAGE_DEVICES)), None);
    }
}
