//! Where local data lies: the cache, the state and the sockets of this machine.
//!
//! Options win over the environment, the environment over the defaults of root or of a user.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;
use sha2::{Digest as _, Sha256};

use crate::error::MountError;
use crate::kernel_mount;
use crate::mountinfo::Device;
use crate::options::MountOptions;

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

/// Whose defaults apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    Other,
}

impl Places {
    /// Finds the places for this process.
    pub fn find(options: &MountOptions) -> Result<Self, MountError> {
        let user = if kernel_mount::is_root() {
            User::Root
        } else {
            User::Other
        };
        Self::resolve(options, user, |variable| env::var_os(variable))
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
            run: find(&RUN, &options.run)?,
        })
    }

    /// Returns the directory of what is kept for the mount at `dir`, which is canonical.
    pub(crate) fn mount_state(&self, dir: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let digest = Sha256::digest(dir.as_os_str().as_bytes());
        let id: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.state.join("mounts").join(id)
    }

    /// Returns where the process that serves a device listens.
    pub(crate) fn socket(&self, device: Device) -> PathBuf {
        let Device { major, minor } = device;
        self.run.join(format!("mount-{major}-{minor}.sock"))
    }
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
        directory(self.user_variable)
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
            resolve(User::Other, &user).unwrap(),
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
    fn a_user_without_a_runtime_directory_is_told_what_to_set() {
        let error = resolve(User::Other, &[("HOME", "/users/u")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no directory for sockets: set LFSFS_RUN_DIR or -o run=DIR"
        );
    }

    #[test]
    fn each_directory_has_its_own_state() {
        let places = places("/c", "/s", "/r");
        let one = places.mount_state(Path::new("/mnt/a"));
        assert_ne!(one, places.mount_state(Path::new("/mnt/b")));
        assert!(one.starts_with("/s/mounts"));
    }
}
