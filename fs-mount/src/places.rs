//! Where local data lies: the cache, the state and the sockets of this machine.
//!
//! Options win over the environment, the environment over the defaults of root or of a user.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;
use sha2::{Digest as _, Sha256};

use crate::error::MountError;
use crate::kernel_mount;
use crate::mountinfo::{Device, MountEntry};
use crate::options::MountOptions;
use crate::trust;

/// The directories of local data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Shared by all mounts; may be deleted at any time.
    pub cache: PathBuf,
    /// Must not be deleted.
    pub state: PathBuf,
    /// Sockets.
    pub run: PathBuf,
}

/// One kind of place and how it is found.
struct Place {
    what: &'static str,
    option: &'static str,
    variable: &'static str,
    root: &'static str,
    user_variable: &'static str,
    /// Below the home directory, where the user's variable is not set.
    user_home: Option<&'static str>,
}

const CACHE: Place = Place {
    what: "the cache",
    option: "cache",
    variable: "LFSFS_CACHE_DIR",
    root: "/var/cache/lfsfs",
    user_variable: "XDG_CACHE_HOME",
    user_home: Some(".cache"),
};

const STATE: Place = Place {
    what: "the state",
    option: "state",
    variable: "LFSFS_STATE_DIR",
    root: "/var/lib/lfsfs",
    user_variable: "XDG_STATE_HOME",
    user_home: Some(".local/state"),
};

const RUN: Place = Place {
    what: "sockets",
    option: "run",
    variable: "LFSFS_RUN_DIR",
    root: "/run/lfsfs",
    user_variable: "XDG_RUNTIME_DIR",
    user_home: None,
};

/// The sockets that processes of this network namespace listen at.
const LISTENING: &str = "/proc/net/unix";

/// Whose defaults apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    Other(u32),
}

impl Places {
    /// Finds the places for this process.
    pub fn find(options: &MountOptions) -> Result<Self, MountError> {
        let user = if kernel_mount::is_root() {
            User::Root
        } else {
            User::Other(kernel_mount::owner().0)
        };
        Self::resolve(options, user, |variable| env::var_os(variable))
    }

    /// Makes the places where they are missing, and returns them without links on the way.
    ///
    /// Fails where another user could put something else in their place. What cannot be made is found
    /// out by those who use it.
    pub(crate) fn prepare(&self) -> Result<Self, MountError> {
        let prepare = |place: &Path, mode| {
            let resolved = trust::resolve(place)?;
            let mut builder = fs::DirBuilder::new();
            let _ = builder.recursive(true).mode(mode).create(&resolved);
            // Again: in a directory like /tmp another user may have been faster.
            trust::resolve(&resolved)
        };
        let run = prepare(
            &self.run,
            if kernel_mount::is_root() {
                0o755
            } else {
                0o700
            },
        )?;
        expect_own_if_shared(&run)?;
        Ok(Self {
            cache: prepare(&self.cache, 0o700)?,
            state: prepare(&self.state, 0o755)?,
            run,
        })
    }

    fn resolve(
        options: &MountOptions,
        user: User,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, MountError> {
        let find = |place: &Place, option: &Option<PathBuf>| match option {
            Some(path) => Ok(path.clone()),
            None => place.find(user, &variable),
        };
        Ok(Self {
            cache: find(&CACHE, &options.cache)?,
            state: find(&STATE, &options.state)?,
            run: match (find(&RUN, &options.run), user) {
                (Err(MountError::NoPlace { .. }), User::Other(uid)) => runtime_directory(uid),
                (found, _) => found?,
            },
        })
    }

    /// Returns the directory of what is kept for the mount at `dir`, which is canonical.
    pub(crate) fn mount_state(&self, dir: &Path) -> PathBuf {
        let digest = Sha256::digest(dir.as_os_str().as_bytes());
        let id: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.state.join("mounts").join(id)
    }

    /// Returns where the process that serves a device listens.
    pub(crate) fn socket(&self, device: Device) -> PathBuf {
        self.run.join(socket_name(device))
    }

    /// Returns where the process that serves a mount may listen: here, or where its owner's mounts
    /// do, or wherever root sees a socket of its name.
    pub(crate) fn sockets(&self, mount: &MountEntry) -> Vec<PathBuf> {
        let name = socket_name(mount.device);
        let mut dirs = vec![self.run.clone()];
        match mount.owner.map(|owner| owner.uid) {
            Some(0) => dirs.push(RUN.root.into()),
            Some(uid) => dirs.extend([login_directory(uid), temporary_directory(uid)]),
            None => {}
        }
        let mut found: Vec<_> = dirs.iter().map(|dir| dir.join(&name)).collect();
        if kernel_mount::is_root() {
            let table = fs::read(LISTENING).unwrap_or_default();
            found.extend(sockets_named(&table, &name));
        }
        let mut seen = Vec::new();
        found.retain(|path| {
            !seen.contains(path) && {
                seen.push(path.clone());
                true
            }
        });
        found
    }
}

fn socket_name(Device { major, minor }: Device) -> String {
    format!("mount-{major}-{minor}.sock")
}

/// Finds paths of this name in the table of sockets, whose lines end with the path.
fn sockets_named(table: &[u8], name: &str) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let paths = lines.filter_map(|line| {
        let start = line.iter().position(|byte| *byte == b'/')?;
        Some(Path::new(std::ffi::OsStr::from_bytes(&line[start..])))
    });
    let named = paths.filter(|path| path.file_name().is_some_and(|it| it == name));
    named.map(Path::to_owned).collect()
}

/// The directory that a login makes for a user.
fn login_directory(uid: u32) -> PathBuf {
    format!("/run/user/{uid}/lfsfs").into()
}

/// Where a user's sockets lie without a login.
fn temporary_directory(uid: u32) -> PathBuf {
    format!("/tmp/lfsfs-{uid}").into()
}

/// Returns where sockets of a user lie to whom no variable says it: cron and `su` set none.
fn runtime_directory(uid: u32) -> PathBuf {
    let login = login_directory(uid);
    let is_ours = |dir: &Path| fs::metadata(dir).is_ok_and(|it| it.is_dir() && it.uid() == uid);
    if login.parent().is_some_and(is_ours) {
        login
    } else {
        temporary_directory(uid)
    }
}

/// Checks a directory that lies among those of other users: one of them may have made it first.
fn expect_own_if_shared(run: &Path) -> Result<(), MountError> {
    let uid = kernel_mount::owner().0;
    if run != temporary_directory(uid) {
        return Ok(());
    }
    let found = run
        .symlink_metadata()
        .map_err(PathError::wrap("look at", run))?;
    let objection = match (found.is_dir(), found.uid() == uid, found.mode() & 0o022) {
        (true, true, 0) => return Ok(()),
        (false, ..) => "is not a directory".to_owned(),
        (_, false, _) => format!("belongs to user {}", found.uid()),
        _ => "can be written by other users".to_owned(),
    };
    Err(MountError::Untrusted {
        path: run.to_owned(),
        step: run.to_owned(),
        objection,
    })
}

impl Place {
    fn find(
        &self,
        user: User,
        variable: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<PathBuf, MountError> {
        // By the rules of XDG a relative path counts as unset.
        let directory = |name: &str| {
            let path = PathBuf::from(variable(name)?);
            path.is_absolute().then_some(path)
        };
        if let Some(path) = variable(self.variable).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            return std::path::absolute(&path)
                .map_err(|error| PathError::new("find", path, error).into());
        }
        if user == User::Root {
            return Ok(self.root.into());
        }
        let below_home = || Some(directory("HOME")?.join(self.user_home?));
        // `su` leaves the variable of the user before.
        let is_another_users = |dir: &PathBuf| match user {
            User::Other(uid) => fs::metadata(dir).is_ok_and(|it| it.uid() != uid),
            User::Root => false,
        };
        directory(self.user_variable)
            .filter(|dir| self.user_home.is_some() || !is_another_users(dir))
            .or_else(below_home)
            .map(|base| base.join("lfsfs"))
            .ok_or(MountError::NoPlace {
                what: self.what,
                variable: self.variable,
                option: self.option,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It belongs to no user.
    const UID: u32 = 4_000_000_000;

    fn resolve(user: User, variables: &[(&str, &str)]) -> Result<Places, MountError> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Places::resolve(&MountOptions::default(), user, lookup)
    }

    fn places(cache: &str, state: &str, run: &str) -> Places {
        Places {
            cache: cache.into(),
            state: state.into(),
            run: run.into(),
        }
    }

    #[test]
    fn root_and_users_have_their_defaults() {
        assert_eq!(
            resolve(User::Root, &[("HOME", "/root")]).unwrap(),
            places("/var/cache/lfsfs", "/var/lib/lfsfs", "/run/lfsfs")
        );
        let user = [("HOME", "/users/u"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(
            resolve(User::Other(UID), &user).unwrap(),
            places(
                "/users/u/.cache/lfsfs",
                "/users/u/.local/state/lfsfs",
                "/run/user/7/lfsfs"
            )
        );
    }

    #[test]
    fn the_environment_wins_over_defaults_and_options_over_it() {
        let variables = [("LFSFS_CACHE_DIR", "/c"), ("LFSFS_RUN_DIR", "relative")];
        let relative = std::path::absolute("relative").unwrap();
        assert_eq!(
            resolve(User::Root, &variables).unwrap(),
            places("/c", "/var/lib/lfsfs", relative.to_str().unwrap())
        );
        let options = MountOptions::parse(["cache=/o"]).unwrap();
        let found = Places::resolve(&options, User::Root, |_| Some("/e".into())).unwrap();
        assert_eq!(found, places("/o", "/e", "/e"));
    }

    #[test]
    fn a_user_without_a_runtime_directory_has_one_of_that_name_in_tmp() {
        let found = resolve(User::Other(UID), &[("HOME", "/users/u")]).unwrap();
        assert_eq!(found.run, Path::new("/tmp/lfsfs-4000000000"));
        // The variable of another user, as su leaves it.
        let variables = [("HOME", "/users/u"), ("XDG_RUNTIME_DIR", "/proc")];
        let found = resolve(User::Other(UID), &variables).unwrap();
        assert_eq!(found.run, Path::new("/tmp/lfsfs-4000000000"));
    }

    #[test]
    fn a_user_without_a_home_is_told_what_to_set() {
        let error = resolve(User::Other(UID), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no directory for the cache: set LFSFS_CACHE_DIR or -o cache=DIR"
        );
    }

    #[test]
    fn a_socket_is_found_by_its_name_wherever_it_lies() {
        let table = b"Num RefCount Protocol Flags Type St Inode Path\n\
            0: 00000002 00000000 00010000 0001 01 71 /run/a b/mount-0-57.sock\n\
            0: 00000002 00000000 00010000 0001 01 72 /run/mount-0-5.sock\n\
            0: 00000003 00000000 00000000 0001 03 73\n\
            0: 00000002 00000000 00010000 0001 01 74 @/abstract/mount-0-57.sock\n";
        let found = sockets_named(table, "mount-0-57.sock");
        assert_eq!(found[0], Path::new("/run/a b/mount-0-57.sock"));
        // Nothing listens at the path of an abstract one.
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn each_directory_has_its_own_state() {
        let places = places("/c", "/s", "/r");
        let one = places.mount_state(Path::new("/mnt/a"));
        assert_ne!(one, places.mount_state(Path::new("/mnt/b")));
        assert!(one.starts_with("/s/mounts"));
    }
}
