//! Mount processes for tests, and a place for their files.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use lfsfs_mount::{
    Launcher, Mount, MountError, MountRequest, MountState, MountStatus, OpenError, Opened, Opener,
    Places, Retry, UmountMode, VersionInfo, find_mount, mount, run_daemon, unmount,
};
use lfsfs_testkit::tempdir::TempDir;

use crate::tree::Tree;

/// Tells a test executable that it is the process of a mount.
const DAEMON_VARIABLE: &str = "LFSFS_TEST_MOUNT_PROCESS";
/// Programs that the tree shall hold, as paths with a colon between them.
const PROGRAMS_VARIABLE: &str = "LFSFS_TEST_PROGRAMS";
/// The shape of the tree.
pub const DIRECTORIES: u64 = 20;
pub const FILES: u64 = 30;

/// Opens the tree in memory; some sources fail.
struct TreeOpener;

#[async_trait]
impl Opener for TreeOpener {
    async fn open(&self, request: &MountRequest, _: &Places) -> Result<Opened, OpenError> {
        match request.source.project.to_string().as_str() {
            "absent" => {
                return Err(OpenError {
                    reason: "no such project: absent".into(),
                    retry: Retry::Never,
                });
            }
            "hangs" => std::future::pending().await,
            _ => {}
        }
        let version = VersionInfo {
            project: request.source.project.to_string(),
            version: 42,
            ..VersionInfo::default()
        };
        Ok(Opened {
            nodes: Arc::new(Tree::new(DIRECTORIES, FILES, &programs())),
            version,
        })
    }
}

fn programs() -> Vec<(&'static str, Vec<u8>, u32)> {
    let paths = env::var(PROGRAMS_VARIABLE).unwrap_or_default();
    let names = [("program", 0o755), ("program-suid", 0o4755)];
    let read = |path: &str| fs::read(path).expect("the program is there");
    let first = paths.split(':').find(|path| !path.is_empty());
    first
        .map(|path| names.map(|(name, mode)| (name, read(path), mode)).to_vec())
        .unwrap_or_default()
}

/// Serves a mount if this process was started for that, and does not return then.
pub fn serve_if_asked() {
    if env::var_os(DAEMON_VARIABLE).is_some() {
        std::process::exit(i32::from(run_daemon(&TreeOpener)));
    }
}

/// A machine's places in a temporary directory.
pub struct Machine {
    dir: TempDir,
    pub places: Places,
    options: String,
}

impl Machine {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.path().join(name);
        let places = Places {
            cache: path("cache"),
            state: path("state"),
            run: path("run"),
        };
        let options = format!(
            "cache={},state={},run={}",
            places.cache.display(),
            places.state.display(),
            places.run.display()
        );
        Self {
            dir,
            places,
            options,
        }
    }

    /// Returns a directory of that name, which is made if it is missing.
    pub fn directory(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub fn request(&self, source: &str, dir: &Path, options: &str) -> MountRequest {
        let lists = [self.options.clone(), options.to_owned()];
        MountRequest::new(source, dir, &lists).unwrap()
    }

    pub fn try_mount(&self, source: &str, dir: &Path, options: &str) -> Result<(), MountError> {
        mount(&self.request(source, dir, options), &launcher())
    }

    /// Mounts at `mnt`.
    pub fn mount(&self, source: &str, options: &str) -> PathBuf {
        let dir = self.directory("mnt");
        let mounted = self.try_mount(source, &dir, options);
        mounted.unwrap_or_else(|error| panic!("{}\n{}", error.full_text(), self.logs()));
        dir
    }

    pub fn umount(&self, dir: &Path) {
        unmount(dir, UmountMode::WhenIdle, &self.places).unwrap();
    }

    pub fn find(&self, dir: &Path) -> Mount {
        find_mount(dir, &self.places).unwrap()
    }

    pub fn status(&self, dir: &Path) -> MountStatus {
        match self.find(dir).state {
            MountState::Served(status) => *status,
            other => panic!("{} is {other:?}\n{}", dir.display(), self.logs()),
        }
    }

    /// Returns what mount processes have logged.
    pub fn logs(&self) -> String {
        let mounts = self.places.state.join("mounts");
        let entries = fs::read_dir(mounts).into_iter().flatten();
        let logs = entries.map(|entry| entry.unwrap().path().join("log"));
        logs.filter_map(|log| fs::read_to_string(log).ok())
            .collect()
    }
}

/// Starts this executable again, for the test that serves a mount. The environment is a process's
/// own: each test runs in one of its own.
fn launcher() -> Launcher {
    Launcher {
        program: "/usr/bin/env".into(),
        arguments: [
            OsString::from(format!("{DAEMON_VARIABLE}=1")),
            env::current_exe().unwrap().into(),
            "--exact".into(),
            "mount_process".into(),
            "--nocapture".into(),
        ]
        .to_vec(),
    }
}
