//! Opening the version that is to be mounted: server, cache and file system core put together.

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_cache::{CacheConfig, CacheError, DiskCache};
use lfsfs_client::{ClientConfig, Servers};
use lfsfs_remote::{Remote, RemoteError, RemoteRead, Subdirectory};
use lfsfs_types::ObjectPath;

use lfsfs_vfs::{AccessLists, BaseVersion, ReaderConfig, VfsConfig, VfsError};

use crate::control::VersionInfo;
use crate::options::{MountOptions, WantedMode};
use crate::places::Places;
use crate::request::MountRequest;

/// How long one try to open a version may take.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Names the server where no option does.
const SERVER_VARIABLE: &str = "LFSFS_SERVER";
/// The cache may have this part of its disk if the user does not say otherwise, and not more than
/// [`CacheConfig`]'s default.
const CACHE_DISK_PART: u64 = 10;

/// Makes the connection to the server that a request names; [`connect`] is the one for programs.
pub type Connect = dyn Fn(&MountRequest) -> Result<Arc<dyn Remote>, RemoteError> + Send + Sync;

/// Why a version could not be opened.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(crate) reason: Box<dyn std::error::Error + Send + Sync>,
    pub(crate) retry: Retry,
}

/// Whether trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The server was not there, or slow.
    Later,
    /// The answer would be the same.
    Never,
}

/// Returns the server to ask: of the option, else of the environment, else the default. Several addresses of
/// it are separated by commas. What is no address is returned as it is: [`connect`] says what is wrong with it.
#[must_use]
pub fn server_address(options: &MountOptions) -> String {
    let of_environment = || env::var(SERVER_VARIABLE).ok().filter(|it| !it.is_empty());
    let server = options.server.clone().or_else(of_environment);
    let server = server.unwrap_or_else(|| ClientConfig::ADDRESS_DEFAULT.to_owned());
    let addresses = ClientConfig::new(&server).addresses();
    addresses.map_or(server, |addresses| addresses.join(","))
}

/// Connects by gRPC. Nothing is sent yet: a server that is down shows when the version is opened.
pub fn connect(request: &MountRequest) -> Result<Arc<dyn Remote>, RemoteError> {
    Ok(Servers::new(client_config(request))?.remote())
}

/// Returns how to reach the server.
pub(crate) fn client_config(request: &MountRequest) -> ClientConfig {
    ClientConfig {
        open_timeout: OPEN_TIMEOUT,
        progress_timeout: request.options.timeout,
        ..ClientConfig::new(server_address(&request.options))
    }
}

/// Opens the version.
pub(crate) async fn open(
    request: &MountRequest,
    places: &Places,
    remote: Arc<dyn Remote>,
) -> Result<BaseVersion, OpenError> {
    let cache = open_cache(places, request.options.cache_size).map_err(|error| OpenError {
        reason: error.into(),
        retry: Retry::Never,
    })?;
    let config = VfsConfig {
        timeout: request.options.timeout,
        open_timeout: OPEN_TIMEOUT,
        access_lists: if request.options.acl {
            AccessLists::Enforced
        } else {
            AccessLists::Kept
        },
        reader: reader_config(&request.options),
        ..VfsConfig::default()
    };
    let remote: Arc<dyn RemoteRead> = if request.path.is_root() {
        remote
    } else {
        Arc::new(Subdirectory::new(remote, request.path.clone()))
    };
    BaseVersion::open(remote, cache, &request.source, config)
        .await
        .map_err(|error| OpenError::of_vfs(error, &request.options))
}

/// Returns what reading contents may use. In kernel mode the kernel asks for less and later than a program wants, because
/// it reads ahead in its own files: so more is fetched ahead.
fn reader_config(options: &MountOptions) -> ReaderConfig {
    let config = ReaderConfig::default();
    match options.mode {
        WantedMode::Fuse => config,
        WantedMode::Auto | WantedMode::Kernel => ReaderConfig {
            window_len_first: 1 << 20,
            window_len_max: 4 << 20,
            ..config
        },
    }
}

/// Returns what status tells of an opened version.
pub(crate) fn info(vfs: &BaseVersion, path: &ObjectPath, server: &str) -> VersionInfo {
    let snapshot = vfs.snapshot();
    VersionInfo {
        server: server.to_owned(),
        project: snapshot.project.name.to_string(),
        project_id: snapshot.project.id.to_string(),
        version: snapshot.version.number.0,
        version_id: snapshot.version.id.to_string(),
        // It came from a text.
        path: String::from_utf8_lossy(path.as_bytes()).into_owned(),
    }
}

impl OpenError {
    pub(crate) fn timed_out(options: &MountOptions) -> Self {
        let (server, seconds) = (server_address(options), OPEN_TIMEOUT.as_secs());
        let reason = format!("the lfsfs server at {server} did not answer within {seconds} s");
        Self {
            reason: reason.into(),
            retry: Retry::Later,
        }
    }

    pub(crate) fn of_remote(error: RemoteError) -> Self {
        let retry = if error.is_no_answer() {
            Retry::Later
        } else {
            Retry::Never
        };
        Self {
            reason: error.into(),
            retry,
        }
    }

    fn of_vfs(error: VfsError, options: &MountOptions) -> Self {
        match error {
            // What was tried is known here: the server's own words are enough.
            VfsError::Io { source, .. } => Self::of_remote(RemoteError::clone(&source)),
            VfsError::Timeout { .. } => Self::timed_out(options),
            other => Self {
                reason: other.into(),
                retry: Retry::Never,
            },
        }
    }
}

/// Opens the cache of this machine, which may have so many bytes; without a size, what its disk is good for.
pub fn open_cache(places: &Places, size: Option<u64>) -> Result<DiskCache, CacheError> {
    let config = CacheConfig {
        size_max: size.unwrap_or_else(|| default_size(&places.cache)),
    };
    DiskCache::open(&places.cache, config)
}

/// A tenth of the disk that the cache lies on, or will lie on.
fn default_size(dir: &Path) -> u64 {
    let limit = CacheConfig::default().size_max;
    let existing = dir
        .ancestors()
        .find_map(|dir| rustix::fs::statvfs(dir).ok());
    existing.map_or(limit, |disk| {
        limit.min(disk.f_blocks.saturating_mul(disk.f_frsize) / CACHE_DISK_PART)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_has_a_part_of_its_disk_even_before_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let size = default_size(&dir.path().join("not/yet/there"));
        assert_eq!(size, default_size(dir.path()));
        assert!(size > 0 && size <= CacheConfig::default().size_max);
    }

    #[test]
    fn only_what_may_go_better_is_tried_again() {
        let absent = OpenError::of_remote(RemoteError::NotFound("no project x".into()));
        let down = OpenError::of_remote(RemoteError::NoServer {
            address: "a:1".into(),
        });
        assert_eq!((absent.retry, down.retry), (Retry::Never, Retry::Later));
    }
}
