//! Files that are not fetched, because this machine has them whole: they share blocks, or an inode, with a file
//! of the cache.
//!
//! A file of the cache is read and hashed each time before it is used. One that is not what its name says is
//! removed, and fetched again. Nothing here is an error of a rebuild: what cannot be shared is written as if there
//! were no cache.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lfsfs_cache::{DiskCache, FileKey};
use lfsfs_common::durable::TempFile;
use lfsfs_types::{ContentId, Kind, Name, Record};
use lfsfs_upload::describe_file;
use rustix::fs::{self, AtFlags, CWD};
use sha2::{Digest as _, Sha256};

use super::apply::Applier;
use crate::attributes::handle_path;
use crate::local::{self, DirHandle};

/// What a file has in common with one of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Its blocks, until one of the two is written.
    Reflink,
    /// Its inode. Only a file that no user may write has it, and only where the process is not root, whom no mode
    /// keeps from writing.
    HardLink,
}

/// The cache of this machine, and what files have in common with those in it.
#[derive(Debug, Clone)]
pub struct SharedFiles {
    cache: DiskCache,
    sharing: Sharing,
}

/// A file of the cache that is what a record says.
#[derive(Debug)]
pub(crate) enum Cached {
    /// To be cloned.
    Reflink(File),
    /// To be linked.
    HardLink(PathBuf),
}

impl SharedFiles {
    /// Nothing is done yet.
    #[must_use]
    pub const fn new(cache: DiskCache, sharing: Sharing) -> Self {
        Self { cache, sharing }
    }

    /// Returns what files have in common.
    #[must_use]
    pub const fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Finds out whether files of a directory can have that in common with files of the cache.
    pub(crate) fn check(&self, dir: &DirHandle) -> io::Result<()> {
        let ours = self.cache.try_file().map_err(|error| error.source)?;
        let theirs = TempFile::create_in(&handle_path(dir, None)).map_err(|error| error.source)?;
        match self.sharing {
            Sharing::Reflink => Ok(fs::ioctl_ficlone(theirs.file(), ours.file())?),
            Sharing::HardLink => {
                let mut name = theirs.path().as_os_str().to_owned();
                name.push("-linked");
                fs::linkat(CWD, ours.path(), CWD, &name, AtFlags::empty())?;
                Ok(fs::unlinkat(CWD, &name, AtFlags::empty())?)
            }
        }
    }

    /// Returns the name of a file in the cache, if the file is one that shares something.
    fn key(&self, record: &Record) -> Option<FileKey> {
        let Kind::File { size, content } = record.kind else {
            return None;
        };
        match self.sharing {
            _ if size == 0 => None,
            Sharing::Reflink => Some(FileKey(content.0)),
            Sharing::HardLink => is_linkable(record).then(|| linked_key(content, record)),
        }
    }

    /// Returns true if a file may have names elsewhere that no version knows of.
    pub(crate) fn may_link(&self, record: &Record) -> bool {
        self.sharing == Sharing::HardLink && self.key(record).is_some()
    }

    /// Returns the file of the cache that is what a record says, if there is one.
    pub(crate) fn find(&self, record: &Record, applier: Applier<'_>) -> Option<Cached> {
        let (key, Kind::File { content, .. }) = (self.key(record)?, &record.kind) else {
            return None;
        };
        let file = self.cache.file(&key)?;
        let is_whole = describe_file(&file).is_ok_and(|found| found.id == *content);
        if is_whole && self.sharing == Sharing::Reflink {
            self.cache.touch_file(&file);
            return Some(Cached::Reflink(file));
        }
        let path = self.cache.file_path(&key);
        if is_whole && has_attributes(&path, record, applier) {
            return Some(Cached::HardLink(path));
        }
        self.cache.remove_file(&key);
        None
    }

    /// Keeps a file that was fetched, verified and given its attributes.
    pub(crate) fn keep(&self, file: &File, (parent, name): (&DirHandle, &Name), record: &Record) {
        let Some(key) = self.key(record) else { return };
        match self.sharing {
            Sharing::Reflink => self.cache.clone_file(&key, file, record.size()),
            Sharing::HardLink => {
                let path = handle_path(parent, Some(name));
                self.cache.link_file(&key, &path, record.size());
            }
        }
    }
}

/// Returns true if no user but root can write to a file as long as its mode stays, and all its names are those of
/// one file of the cache. Extended attributes may be access lists.
fn is_linkable(record: &Record) -> bool {
    record.mode & 0o7222 == 0
        && record.xattrs.is_empty()
        && record.link.is_none_or(|link| link.nlink <= 1)
}

/// All names of an inode have its mode and its time, so the key tells them, too.
fn linked_key(content: ContentId, record: &Record) -> FileKey {
    let hash = Sha256::new_with_prefix(b"lfsfs linked file")
        .chain_update(content.0)
        .chain_update(record.mode.to_le_bytes())
        .chain_update(record.mtime.secs.to_le_bytes())
        .chain_update(record.mtime.nanos.to_le_bytes());
    FileKey(hash.finalize().into())
}

/// Returns true if the file at a path has the attributes of a record: the owner of a tree may have changed them.
fn has_attributes(path: &Path, record: &Record, applier: Applier<'_>) -> bool {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return false;
    };
    let (Ok(dir), Ok(name)) = (local::open_root(dir), Name::new(name.as_bytes())) else {
        return false;
    };
    let stat = local::stat_entry(&dir, &name).ok().flatten();
    stat.is_some_and(|stat| applier.has_attributes(&dir, Some(&name), &stat, record))
}

#[cfg(test)]
mod tests {
    use lfsfs_types::{Link, LinkId, Timestamp, Xattr, XattrName, XattrValue};

    use super::*;

    const CONTENT: ContentId = ContentId([7; 32]);

    fn file() -> Record {
        let time = Timestamp { secs: 5, nanos: 6 };
        Record {
            kind: Kind::File {
                size: 3,
                content: CONTENT,
            },
            mode: 0o444,
            uid: 1,
            gid: 1,
            mtime: time,
            ctime: time,
            sha256: None,
            link: None,
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn only_a_file_that_is_like_all_of_its_names_is_linked() {
        assert!(is_linkable(&file()));
        let id = LinkId(3);
        let once = Some(Link { id, nlink: 1 });
        assert!(is_linkable(&Record {
            link: once,
            ..file()
        }));
        let twice = Some(Link { id, nlink: 2 });
        assert!(!is_linkable(&Record {
            link: twice,
            ..file()
        }));
        for bits in [0o200, 0o020, 0o002, 0o4000, 0o2000, 0o1000] {
            let mode = file().mode | bits;
            assert!(!is_linkable(&Record { mode, ..file() }), "{bits:o}");
        }
        let list = Xattr {
            name: XattrName::new(b"system.posix_acl_access").expect("a name"),
            value: XattrValue::Inline([2, 0, 0, 0].into()),
        };
        let xattrs = vec![list];
        assert!(!is_linkable(&Record { xattrs, ..file() }));
    }

    #[test]
    fn names_of_one_inode_agree_in_what_it_keeps() {
        let key = linked_key(CONTENT, &file());
        let elsewhere = Record {
            uid: 2,
            ctime: Timestamp { secs: 9, nanos: 9 },
            ..file()
        };
        assert_eq!(linked_key(CONTENT, &elsewhere), key);
        let mtime = Timestamp { secs: 5, nanos: 7 };
        for other in [
            Record { mtime, ..file() },
            Record {
                mode: 0o555,
                ..file()
            },
        ] {
            assert_ne!(linked_key(CONTENT, &other), key);
        }
        assert_ne!(linked_key(ContentId([8; 32]), &file()), key);
    }
}
