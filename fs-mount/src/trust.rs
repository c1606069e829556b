//! Directories in which no other user can put something in the place of our files.
//!
//! A file that root opens below a directory of another user may be a link of that user to any file of
//! the machine. So each step of the way to root's files must belong to root, and no directory on it may
//! be written by all, unless it is sticky as `/tmp` is. A user's own process risks that user's files
//! only and is not checked.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use lfsfs_common::PathError;
use rustix::io::Errno;

use crate::error::MountError;
use crate::kernel_mount;

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;
const WRITABLE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;
const OVERFLOW_UID: &str = "/proc/sys/kernel/overflowuid";
const UID_MAP: &str = "/proc/self/uid_map";

/// The users who may own what is on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trusted {
    uid: u32,
    /// In a user namespace the owner of what belongs to the machine shows as this one.
    outside: Option<u32>,
}

/// Returns `path` without links in it. What is not there yet is not looked at.
///
/// Fails for root where another user could change what is at the path.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, MountError> {
    if !kernel_mount::is_root() {
        return Ok(path.to_owned());
    }
    walk(path, Trusted::of_this_process())
}

impl Trusted {
    fn of_this_process() -> Self {
        let uid = kernel_mount::owner().0;
        let is_whole_machine = fs::read_to_string(UID_MAP).is_ok_and(|map| {
            let mut words = map.split_whitespace();
            (words.next(), words.next()) == (Some("0"), Some("0"))
        });
        let overflow = || fs::read_to_string(OVERFLOW_UID).ok()?.trim().parse().ok();
        Self {
            uid,
            outside: if is_whole_machine { None } else { overflow() },
        }
    }

    /// Says why others could change what `found` is, if they could.
    fn objection(self, found: &Metadata) -> Option<String> {
        let owner = found.uid();
        if owner != 0 && owner != self.uid && Some(owner) != self.outside {
            return Some(format!("belongs to user {owner}"));
        }
        let is_open = found.mode() & WRITABLE_BY_ALL != 0 && found.mode() & STICKY == 0;
        (found.is_dir() && is_open).then(|| "can be written by all users".to_owned())
    }
}

fn walk(path: &Path, trusted: Trusted) -> Result<PathBuf, MountError> {
    let mut at = PathBuf::from("/");
    let mut left = names(path);
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let found = match next.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                at = next;
                continue;
            }
            Err(error) => return Err(PathError::new("look at", next, error).into()),
        };
        if let Some(objection) = trusted.objection(&found) {
            return Err(MountError::Untrusted {
                path: path.to_owned(),
                step: next,
                objection,
            });
        }
        if !found.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        let target = fs::read_link(&next).map_err(PathError::wrap("read link", &next))?;
        if links > LINKS_MAX {
            return Err(PathError::new("follow", path, Errno::LOOP.into()).into());
        }
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        left.extend(names(&target));
    }
    Ok(at)
}

/// The names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<_> = names.map(OsStr::to_owned).collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    const OTHER: u32 = 65534;

    fn ours() -> Trusted {
        Trusted {
            uid: kernel_mount::owner().0,
            outside: None,
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn links_of_our_own_are_followed_and_what_is_missing_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("real")).unwrap();
        symlink("real", root.join("link")).unwrap();
        let found = walk(&root.join("link/../link/a/b"), ours()).unwrap();
        assert_eq!(found, root.join("real/a/b"));
        symlink("loop", root.join("loop")).unwrap();
        assert!(walk(&root.join("loop"), ours()).is_err());
    }

    #[test]
    fn a_directory_that_all_can_write_is_refused_unless_it_is_sticky() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().canonicalize().unwrap().join("open");
        fs::create_dir(&open).unwrap();
        set_mode(&open, 0o777);
        let refused = walk(&open.join("state"), ours()).unwrap_err();
        assert!(
            matches!(&refused, MountError::Untrusted { step, .. } if *step == open),
            "{refused}"
        );
        set_mode(&open, 0o1777);
        assert!(walk(&open.join("state"), ours()).is_ok());
    }

    #[test]
    fn what_another_user_owns_is_refused_wherever_it_is_on_the_way() {
        if !kernel_mount::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let theirs = root.join("theirs");
        fs::create_dir(&theirs).unwrap();
        symlink("/etc", root.join("link")).unwrap();
        fs::write(root.join("log"), "").unwrap();
        for name in ["theirs", "log"] {
            chown(root.join(name), Some(OTHER), None).unwrap();
        }
        std::os::unix::fs::lchown(root.join("link"), Some(OTHER), None).unwrap();
        for name in ["theirs/state", "link/passwd", "log"] {
            let refused = walk(&root.join(name), ours()).unwrap_err();
            assert!(refused.to_string().contains("65534"), "{refused}");
        }
        // As the owner of the machine's directories shows in a user namespace.
        let outside = Some(OTHER);
        assert!(walk(&theirs.join("state"), Trusted { outside, ..ours() }).is_ok());
    }
}
