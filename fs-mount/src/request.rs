//! What a user asked for: a version, a directory and options.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use lfsfs_types::{ObjectPath, Source, SourceDirectory, VersionRef};
use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};

use crate::error::MountError;
use crate::kernel_mount::{self, MountSpec};
use crate::operations::{OperationsConfig, ShownOwner, Writeback, Xattrs};
use crate::options::{Access, MountOptions};

/// A mount as it was asked for, checked as far as that goes without looking at the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// The version.
    pub source: Source,
    /// The directory of it that is the root of the mount.
    pub path: ObjectPath,
    /// The mount point as given.
    pub dir: PathBuf,
    /// The options.
    pub options: MountOptions,
    typed: Typed,
}

/// The request as typed, to be told to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Typed {
    source: String,
    /// Bytes, because paths need not be text.
    dir: Vec<u8>,
    option_lists: Vec<String>,
}

impl MountRequest {
    /// Checks a source, a directory and the arguments of all `-o`.
    pub fn new(source: &str, dir: &Path, option_lists: &[String]) -> Result<Self, MountError> {
        // The process of a mount starts somewhere else. An empty path stays what it is: missing.
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let typed = Typed {
            source: source.to_owned(),
            dir: dir.into_os_string().into_vec(),
            option_lists: option_lists.to_vec(),
        };
        Self::from_typed(typed)
    }

    pub(crate) fn from_typed(typed: Typed) -> Result<Self, MountError> {
        let SourceDirectory { source, path } = SourceDirectory::new(typed.source.as_bytes())?;
        let options = MountOptions::parse(&typed.option_lists)?;
        if !path.is_root() && options.access == Access::ReadWrite {
            return Err(MountError::WritableSubdirectory {
                source_name: typed.source,
            });
        }
        if options.follow && matches!(source.version, VersionRef::Number(_)) {
            return Err(MountError::FollowsNothing {
                source_name: typed.source,
                project: source.project.to_string(),
            });
        }
        Ok(Self {
            source,
            path,
            dir: PathBuf::from(OsString::from_vec(typed.dir.clone())),
            options,
            typed,
        })
    }

    /// Returns the version as typed, which is what the mount table shows.
    #[must_use]
    pub fn source_text(&self) -> &str {
        &self.typed.source
    }

    pub(crate) fn typed(&self) -> &Typed {
        &self.typed
    }

    pub(crate) fn spec(&self, dir: PathBuf) -> MountSpec {
        let allow_other = self.options.allow_other || kernel_mount::is_root();
        let read_only = match self.options.access {
            Access::ReadOnly => MountFlags::RDONLY,
            Access::ReadWrite => MountFlags::empty(),
        };
        MountSpec {
            source: self.typed.source.clone(),
            dir,
            flags: self.options.flags | read_only,
            allow_other,
            // Without it each user who may look in could read what only others may.
            default_permissions: self.options.default_permissions || allow_other,
        }
    }

    pub(crate) fn operations_config(&self) -> OperationsConfig {
        OperationsConfig {
            access: self.options.access,
            owner: ShownOwner {
                uid: self.options.uid,
                gid: self.options.gid,
            },
            xattrs: if self.options.noxattr {
                Xattrs::Absent
            } else {
                Xattrs::Served
            },
            writeback: if self.options.writeback {
                Writeback::Kernel
            } else {
                Writeback::Never
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_way_to_another_process() {
        let dir = PathBuf::from(OsString::from_vec(b"/mnt/\xff".to_vec()));
        let lists = ["ro,noxattr".to_owned(), "uid=5".to_owned()];
        let request = MountRequest::new("app@v42", &dir, &lists).unwrap();
        let text = serde_json::to_string(request.typed()).unwrap();
        let again = MountRequest::from_typed(serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(again, request);
        assert_eq!(again.dir, dir);
        assert_eq!(again.operations_config().owner.uid, Some(5));
        assert_eq!(again.operations_config().xattrs, Xattrs::Absent);
    }

    #[test]
    fn a_directory_of_a_version_is_only_read() {
        let request = |lists: &[String]| MountRequest::new("app@v1:a/b", Path::new("/mnt"), lists);
        let read = request(&["ro".to_owned()]).unwrap();
        assert_eq!(read.path.as_bytes(), b"a/b");
        assert_eq!(read.source_text(), "app@v1:a/b");
        let refused = request(&[]).unwrap_err();
        assert!(matches!(refused, MountError::WritableSubdirectory { .. }));
        assert_eq!(refused.exit_code(), 1);
    }

    #[test]
    fn a_relative_mount_point_is_meant_from_here() {
        let request = MountRequest::new("app", Path::new("mnt"), &[]).unwrap();
        assert_eq!(request.dir, std::env::current_dir().unwrap().join("mnt"));
    }

    #[test]
    fn a_mount_is_writable_unless_it_is_read_only() {
        let flags = |lists: &[String]| {
            let request = MountRequest::new("app", Path::new("/mnt"), lists).unwrap();
            request.spec("/mnt".into()).flags
        };
        assert!(!flags(&[]).contains(MountFlags::RDONLY));
        assert!(flags(&["ro".to_owned()]).contains(MountFlags::RDONLY));
    }
}
