//! Mount processes for tests, and a place for their files.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_mount::{
    ControlRequest, Launcher, Mount, MountError, MountRequest, MountState, MountStats, MountStatus,
    Places, UmountMode, call, find_mount, list_mounts, mount, run_daemon, unmount,
};
use lfsfs_remote::memory::{Faults, MemoryTree, plain};
use lfsfs_remote::{MemoryRemote, Remote, RemoteError};
use lfsfs_testkit::tempdir::TempDir;
use lfsfs_types::{Kind, Xattr, XattrName, XattrValue};

/// Tells a test executable that it is the process of a mount.
const DAEMON_VARIABLE: &str = "LFSFS_TEST_MOUNT_PROCESS";
/// A program that the tree shall hold.
const PROGRAM_VARIABLE: &str = "LFSFS_TEST_PROGRAM";
/// The shape of the tree: directories at the root, and files and one link in each.
pub(crate) const DIRECTORIES: u64 = 20;
pub(crate) const FILES: u64 = 30;
/// Files at the root beside the directories: `hello`, `broken` and, if there is a program, two.
pub(crate) const ROOT_FILES: u64 = 2;
const CHUNK_LEN: u64 = 256 * 1024;

/// Connects to a cluster in memory; the project names what goes wrong there.
fn connect(request: &MountRequest) -> Result<Arc<dyn Remote>, RemoteError> {
    let remote = MemoryRemote::new();
    remote.serve("app", 1, &tree(), CHUNK_LEN);
    remote.serve("lib", 2, &library(Release::First), CHUNK_LEN);
    remote.serve_next("lib", &library(Release::Second), CHUNK_LEN);
    let faults = Faults {
        is_down: request.source_text() == "down",
        hangs: request.source_text() == "hangs",
        tamper: Some(Arc::new(|_, _, bytes| {
            let start = &noise()[..64];
            let has_noise = bytes.windows(start.len()).any(|window| window == start);
            assert!(!has_noise, "this part of a chunk cannot be read");
            Ok(bytes)
        })),
        ..Faults::default()
    };
    remote.set_faults(faults);
    Ok(remote)
}

/// Bytes that do not compress, so that they are seen on their way. Longer than a small content.
fn noise() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(3 << 20).collect()
}

fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for directory in 0..DIRECTORIES {
        tree.directory(&format!("directory-{directory}"));
        for file in 0..FILES {
            let bytes = format!("{directory}/{file}\n").repeat(100);
            tree.file(
                &format!("directory-{directory}/file-{file}"),
                bytes.as_bytes(),
            );
        }
        tree.symlink(&format!("directory-{directory}/link"), "file-0");
    }
    tree.file("hello", b"hello\n");
    tree.file("broken", &noise());
    add_attribute(&mut tree);
    if let Some(program) = env::var_os(PROGRAM_VARIABLE) {
        let bytes = fs::read(program).expect("the program is there");
        for (name, mode) in [("program", 0o755), ("program-suid", 0o4755)] {
            let content = tree.content(&bytes);
            let size = bytes.len() as u64;
            tree.add(name, plain(Kind::File { size, content }, mode));
        }
    }
    tree
}

/// The versions of the project `lib`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    First,
    Second,
}

/// Returns a project with two versions: one file of many differs, one came, one went.
fn library(release: Release) -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.directory("same")
        .file("same/kept", &b"kept ".repeat(20_000));
    tree.directory("other").file("other/kept", b"kept\n");
    match release {
        Release::First => tree
            .file("other/changed", b"first\n")
            .file("other/gone", b"gone\n"),
        Release::Second => tree
            .file("other/changed", b"second\n")
            .file("other/new", b"new\n"),
    };
    tree
}

/// Gives `hello` an extended attribute.
fn add_attribute(tree: &mut MemoryTree) {
    let content = tree.content(b"hello\n");
    let mut record = plain(Kind::File { size: 6, content }, 0o644);
    record.xattrs.push(Xattr {
        name: XattrName::new(b"user.colour").unwrap(),
        value: XattrValue::Inline(b"red".as_slice().into()),
    });
    tree.add("hello", record);
}

/// Serves a mount if this process was started for that, and does not return then.
pub(crate) fn serve_if_asked() {
    if env::var_os(DAEMON_VARIABLE).is_some() {
        std::process::exit(i32::from(run_daemon(&connect)));
    }
}

/// Moves a name as programs do, without making it durable.
pub(crate) fn rename(from: PathBuf, to: PathBuf) -> std::io::Result<()> {
    Ok(rustix::fs::rename(from, to)?)
}

/// A machine's places in a temporary directory.
pub(crate) struct Machine {
    dir: TempDir,
    program: Option<PathBuf>,
    pub(crate) places: Places,
    options: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
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
            program: None,
            places,
            options,
        }
    }

    /// Puts a program into the trees that are mounted from now on.
    pub(crate) fn with_program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Returns a directory of that name, which is made if it is missing.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub(crate) fn request(&self, source: &str, dir: &Path, options: &str) -> MountRequest {
        let lists = [self.options.clone(), options.to_owned()];
        MountRequest::new(source, dir, &lists).unwrap()
    }

    pub(crate) fn try_mount(
        &self,
        source: &str,
        dir: &Path,
        options: &str,
    ) -> Result<(), MountError> {
        mount(&self.request(source, dir, options), &self.launcher())
    }

    /// Mounts at `mnt`.
    pub(crate) fn mount(&self, source: &str, options: &str) -> PathBuf {
        let dir = self.directory("mnt");
        let mounted = self.try_mount(source, &dir, options);
        mounted.unwrap_or_else(|error| panic!("{}\n{}", error.full_text(), self.logs()));
        dir
    }

    pub(crate) fn umount(&self, dir: &Path) {
        unmount(dir, UmountMode::WhenIdle, &self.places).unwrap();
    }

    pub(crate) fn find(&self, dir: &Path) -> Mount {
        find_mount(dir, &self.places).unwrap()
    }

    pub(crate) fn status(&self, dir: &Path) -> MountStatus {
        match self.find(dir).state {
            MountState::Served(status) => *status,
            other => panic!("{} is {other:?}\n{}", dir.display(), self.logs()),
        }
    }

    /// Returns the mounts below this machine's directory: the real machine may have others.
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        let root = self.dir.path().canonicalize().unwrap();
        let mut mounts = list_mounts(&self.places).unwrap();
        mounts.retain(|mount| mount.entry.dir.starts_with(&root));
        mounts
    }

    /// Returns how often the kernel has asked, by opcode, since the mount was made.
    pub(crate) fn requests(&self, dir: &Path) -> BTreeMap<String, u64> {
        let stats: MountStats = call(&self.find(dir), &ControlRequest::Stats).unwrap();
        stats.requests
    }

    /// Returns how often the kernel asked while `work` ran, the opcodes that it did not use left
    /// out.
    pub(crate) fn requests_of(&self, dir: &Path, work: impl FnOnce()) -> BTreeMap<String, u64> {
        let before = self.requests(dir);
        work();
        let mut after = self.requests(dir);
        for (opcode, count) in before {
            *after.get_mut(&opcode).unwrap() -= count;
        }
        after.retain(|_, count| *count > 0);
        after
    }

    /// Returns what mount processes have logged.
    pub(crate) fn logs(&self) -> String {
        let mounts = self.places.state.join("mounts");
        let entries = fs::read_dir(mounts).into_iter().flatten();
        let logs = entries.map(|entry| entry.unwrap().path().join("log"));
        logs.filter_map(|log| fs::read_to_string(log).ok())
            .collect()
    }

    /// Lets other users reach and write to everything of this machine.
    pub(crate) fn open_to_all(&self) {
        let places = [&self.places.cache, &self.places.state, &self.places.run];
        places
            .iter()
            .for_each(|place| fs::create_dir_all(place).unwrap());
        let set =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        // Sticky, or root would not use them.
        places.iter().for_each(|place| set(place, 0o1777));
        set(self.dir.path(), 0o755);
        set(&env::temp_dir(), 0o755);
    }

    /// Starts this executable again, for the test that serves a mount.
    pub(crate) fn launcher(&self) -> Launcher {
        let mut variables = vec![OsString::from(format!("{DAEMON_VARIABLE}=1"))];
        if let Some(program) = &self.program {
            let mut variable = OsString::from(format!("{PROGRAM_VARIABLE}="));
            variable.push(program);
            variables.push(variable);
        }
        let test = env::current_exe().unwrap().into_os_string();
        let arguments = ["--exact", "mount_process", "--nocapture"].map(OsString::from);
        Launcher {
            program: "/usr/bin/env".into(),
            arguments: variables
                .into_iter()
                .chain([test])
                .chain(arguments)
                .collect(),
        }
    }
}
