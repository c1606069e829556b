//! What a patch compares: the bytes of a file, or the target of a symbolic link.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_mount::mountinfo::MountEntry;
use lfsfs_remote::{RemoteRead, Snapshot};
use lfsfs_types::{Kind, ObjectPath};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::contents::Contents;
use crate::error::CommandError;
use crate::lookup::{LastLink, find};
use crate::output::quoted;

/// What is larger is compared and not shown.
const SHOWN_MAX: usize = 8 * 1024 * 1024;
/// git takes a file for binary if there is a NUL in so many first bytes.
const PROBE_LEN: usize = 8000;
/// Bytes of a file in a mount read at once.
const READ_LEN: usize = 256 * 1024;
const EXECUTABLE: u32 = 0o100;

/// An object as git knows it.
#[derive(Debug)]
pub(super) struct PatchObject {
    /// git has three of them.
    pub(super) mode: &'static str,
    bytes: Bytes,
}

/// Bytes that are kept only if they may be shown.
#[derive(Debug, Default)]
struct Bytes {
    first: Vec<u8>,
    len: u64,
    digest: Sha256,
}

impl Bytes {
    fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.digest.update(bytes);
        let room = SHOWN_MAX.saturating_sub(self.first.len());
        self.first
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl PatchObject {
    fn of_file(mode: u32, bytes: Bytes) -> Self {
        let mode = if mode & EXECUTABLE == 0 {
            "100644"
        } else {
            "100755"
        };
        Self { mode, bytes }
    }

    fn of_link(target: &[u8]) -> Self {
        let mut bytes = Bytes::default();
        bytes.push(target);
        let mode = "120000";
        Self { mode, bytes }
    }

    pub(super) fn is_link(&self) -> bool {
        self.mode == "120000"
    }

    /// Returns the bytes if they are text.
    pub(super) fn text(&self) -> Option<&[u8]> {
        let first = &self.bytes.first;
        let is_whole = first.len() as u64 == self.bytes.len;
        let is_binary = first[..first.len().min(PROBE_LEN)].contains(&0);
        (is_whole && !is_binary).then_some(first)
    }

    pub(super) fn has_bytes_of(&self, other: &Self) -> bool {
        let digest = |object: &Self| object.bytes.digest.clone().finalize();
        self.bytes.len == other.bytes.len && digest(self) == digest(other)
    }
}

/// The objects of a version.
pub(super) struct VersionFiles {
    remote: Arc<dyn RemoteRead>,
    snapshot: Snapshot,
    contents: Contents,
}

impl VersionFiles {
    pub(super) fn open(
        remote: Arc<dyn RemoteRead>,
        snapshot: Snapshot,
    ) -> Result<Self, CommandError> {
        let contents = Contents::open(&remote, &snapshot)?;
        Ok(Self {
            remote,
            snapshot,
            contents,
        })
    }

    /// Reads an object, if it is a file or a symbolic link.
    pub(super) async fn object(
        &self,
        path: &ObjectPath,
    ) -> Result<Option<PatchObject>, CommandError> {
        let (path, record) = find(&*self.remote, &self.snapshot, path, LastLink::Keep).await?;
        match &record.kind {
            Kind::Symlink { target } => Ok(Some(PatchObject::of_link(target))),
            Kind::File { .. } => {
                let mut bytes = Bytes::default();
                let take = |read: &[u8]| {
                    bytes.push(read);
                    Ok(())
                };
                self.contents.read(&path, take).await?;
                Ok(Some(PatchObject::of_file(record.mode, bytes)))
            }
            Kind::Directory { .. }
            | Kind::Fifo
            | Kind::Socket
            | Kind::BlockDevice { .. }
            | Kind::CharDevice { .. } => Ok(None),
        }
    }

    pub(super) async fn close(self) {
        self.contents.close().await;
    }
}

/// The objects that a mount shows.
pub(super) struct MountFiles {
    mount: MountEntry,
}

impl MountFiles {
    pub(super) fn new(mount: MountEntry) -> Self {
        Self { mount }
    }

    /// Reads an object, if it is a file or a symbolic link, and still there.
    pub(super) fn object(&self, path: &ObjectPath) -> Result<Option<PatchObject>, CommandError> {
        let Some(place) = self.place(path) else {
            return Ok(None);
        };
        match read(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let path = quoted(path.as_bytes());
                Err(CommandError::failed(format!("cannot read {path}: {error}")))
            }
            read => Ok(read?),
        }
    }

    /// A bind mount shows a directory of the version, and not what lies beside it.
    fn place(&self, path: &ObjectPath) -> Option<PathBuf> {
        let path = Path::new("/").join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        let below = path.strip_prefix(&self.mount.root).ok()?;
        Some(self.mount.dir.join(below))
    }
}

fn read(place: &Path) -> io::Result<Option<PatchObject>> {
    let metadata = fs::symlink_metadata(place)?;
    if metadata.is_symlink() {
        let target = fs::read_link(place)?.into_os_string().into_vec();
        return Ok(Some(PatchObject::of_link(&target)));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    // Another object may stand in its place by now.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    let mut file = options.open(place)?;
    let mut bytes = Bytes::default();
    let mut buffer = vec![0; READ_LEN];
    loop {
        match file.read(&mut buffer)? {
            0 => {
                return Ok(Some(PatchObject::of_file(
                    metadata.permissions().mode(),
                    bytes,
                )));
            }
            len => bytes.push(&buffer[..len]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> PatchObject {
        let mut kept = Bytes::default();
        bytes.chunks(1000).for_each(|bytes| kept.push(bytes));
        PatchObject::of_file(0o644, kept)
    }

    #[test]
    fn text_is_what_git_takes_for_text() {
        assert_eq!(file(b"").text(), Some(&b""[..]));
        assert_eq!(file(b"a\xff\n").text(), Some(&b"a\xff\n"[..]));
        assert_eq!(file(b"a\0").text(), None);
        let late = [vec![b'a'; PROBE_LEN], vec![0]].concat();
        assert_eq!(file(&late).text(), Some(&late[..]));
        assert_eq!(file(&vec![b'a'; SHOWN_MAX + 1]).text(), None);
    }

    #[test]
    fn large_files_are_compared_to_their_end() {
        let one = vec![b'a'; SHOWN_MAX + 2];
        let mut other = one.clone();
        assert!(file(&one).has_bytes_of(&file(&other)));
        other[SHOWN_MAX + 1] = b'b';
        assert!(!file(&one).has_bytes_of(&file(&other)));
    }
}
