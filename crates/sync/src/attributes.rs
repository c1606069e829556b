//! Records of local entries: attributes and extended attributes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use lfsfs_types::limits::XATTRS_MAX;
use lfsfs_types::{ACCESS_LIST, AccessList, Kind, Name, Record, Xattr, XattrName, XattrValue};
use lfsfs_upload::ContentBytes;

use crate::failure::Failure;
use crate::local::{DirHandle, LocalStat};
use crate::problems::Reason;

/// Extended attributes, the bytes of those that are contents, and what the access list among them
/// says.
#[derive(Debug, Default)]
pub(crate) struct Xattrs {
    pub(crate) xattrs: Vec<Xattr>,
    pub(crate) contents: Vec<ContentBytes>,
    access_list: Option<AccessList>,
}

/// Reads the extended attributes of an entry, never following a link.
pub(crate) fn read_xattrs(parent: &DirHandle, name: Option<&Name>) -> Result<Xattrs, Failure> {
    let path = handle_path(parent, name);
    let mut names: Vec<OsString> = match xattr::list(&path) {
        Ok(names) => names.filter(|name| is_kept(name)).collect(),
        Err(error) if is_unsupported(&error) => return Ok(Xattrs::default()),
        Err(error) => return Err(error.into()),
    };
    names.sort();
    if names.len() > XATTRS_MAX {
        return Err(Reason::Xattrs.into());
    }
    let mut all = Xattrs::default();
    for name in names {
        // One that was removed since is not there.
        if let Some(value) = xattr::get(&path, &name)? {
            all.add(
                XattrName::new(name.as_bytes()).map_err(Reason::XattrName)?,
                value,
            );
        }
    }
    Ok(all)
}

impl Xattrs {
    /// Returns the mode of an entry as a file system shows it that enforces access lists. One that
    /// does not may show less for the group.
    pub(crate) fn mode_of(&self, stat: &LocalStat) -> u32 {
        match self.access_list {
            Some(list) => stat.mode & !0o777 | u32::from(list.mode_bits()),
            None => stat.mode,
        }
    }

    fn add(&mut self, name: XattrName, bytes: Vec<u8>) {
        if name.as_bytes() == ACCESS_LIST {
            self.access_list = AccessList::parse(&bytes);
        }
        let value = XattrValue::of(&bytes);
        if let XattrValue::Content { content, .. } = value {
            self.contents.push(ContentBytes { id: content, bytes });
        }
        self.xattrs.push(Xattr { name, value });
    }
}

/// Returns the record of a local entry, and the contents that its extended attributes need.
pub(crate) fn record(kind: Kind, stat: &LocalStat, xattrs: Xattrs) -> (Record, Vec<ContentBytes>) {
    let record = Record {
        kind,
        mode: xattrs.mode_of(stat),
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        ctime: stat.ctime,
        sha256: None,
        link: None,
        xattrs: xattrs.xattrs,
    };
    (record, xattrs.contents)
}

/// A short path to an entry of an open directory, however deep that lies.
pub(crate) fn handle_path(parent: &DirHandle, name: Option<&Name>) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
    match name {
        Some(name) => path.push(OsStr::from_bytes(name.as_bytes())),
        // The trailing dot leads through the link to the directory itself.
        None => path.push("."),
    }
    path
}

/// Attributes that belong to the object. Others in `system.` belong to the file system it is on.
pub(crate) fn is_kept(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !name.starts_with(b"system.") || name.starts_with(b"system.posix_acl_")
}

fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}
