//! A mount of a world.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::namespace::{eventually, is_running};
use crate::run::Run;
use crate::world::World;

const KILL_TIMEOUT: Duration = Duration::from_secs(10);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A mount, ended when dropped.
#[derive(Debug)]
pub struct Mounted<'a> {
    world: &'a World,
    dir: PathBuf,
    options: String,
}

impl<'a> Mounted<'a> {
    pub(crate) fn new(world: &'a World, source: &str, mode: &str, options: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = world.make_dir(&format!("mnt{number}"));
        let options = if options.is_empty() {
            mode.to_owned()
        } else {
            format!("{mode},{options}")
        };
        let mounted = Self {
            world,
            dir,
            options,
        };
        mounted.mount(source);
        mounted
    }

    /// Mounts at the same directory again, after it was unmounted or its process ended.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn mount(&self, source: &str) {
        let _ = self.world.mount_at(source, &self.dir, &self.options).ok();
    }

    /// Unmounts and mounts the version again that is shown; changes stay.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn remount(&self) {
        let source = self.source();
        let _ = self.verb(["umount"]).ok();
        self.mount(&source);
    }

    /// Kills the process with SIGKILL and mounts the version again that was shown; changes stay.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn kill_and_mount(&self) {
        let source = self.source();
        self.kill();
        self.mount(&source);
    }

    /// Kills the process with SIGKILL. A dead mount stays behind.
    ///
    /// # Panics
    /// Where it does not end.
    #[track_caller]
    pub fn kill(&self) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        let signal = rustix::process::Signal::KILL;
        rustix::process::kill_process(pid, signal).expect("a process can be killed");
        let is_ended = || !is_running(pid.as_raw_nonzero().get().unsigned_abs());
        assert!(eventually(KILL_TIMEOUT, is_ended), "it does not end");
    }

    /// Returns what the mount says of itself.
    ///
    /// # Panics
    /// Where it says nothing.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        self.verb(["status", "--json"]).json()
    }

    /// Returns `PROJECT@vN` of what is shown.
    ///
    /// # Panics
    /// Where the mount does not tell.
    #[must_use]
    #[track_caller]
    pub fn source(&self) -> String {
        let version = &self.status()["version"];
        let project = version["project"].as_str().expect("a name").to_owned();
        format!("{project}@v{}", version["version"])
    }

    /// Returns how many uncommitted changes there are.
    ///
    /// # Panics
    /// Where the mount does not tell.
    #[must_use]
    #[track_caller]
    pub fn changes(&self) -> u64 {
        self.status()["changes"].as_u64().expect("a number")
    }

    /// Commits, and returns what the commit says of itself.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn commit(&self, message: &str) -> serde_json::Value {
        let commit = self.verb(["commit", "--json", "-m", message]);
        commit.json()
    }

    /// Shows another version.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn switch(&self, version: &str) {
        let dir = self.dir.as_os_str();
        let words = [OsStr::new("switch"), dir, version.as_ref()];
        let _ = self.world.lfsfs(words).ok();
    }

    /// Returns what `lfsfs diff` says of uncommitted changes.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn diff(&self) -> Vec<String> {
        let lines = self.verb(["diff"]).ok();
        lines.lines().map(str::to_owned).collect()
    }

    /// Returns the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Returns how many requests of each opcode the kernel has sent so far.
    ///
    /// # Panics
    /// Where the mount does not tell.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.stats("requests")
    }

    /// Returns the other counters: cache, network.
    ///
    /// # Panics
    /// Where the mount does not tell.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.stats("counters")
    }

    fn stats(&self, part: &str) -> BTreeMap<String, u64> {
        let stats = self.verb(["stats", "--json"]).json();
        let counters = stats[part].as_object().expect("an object of counters");
        counters
            .iter()
            .map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0)))
            .collect()
    }

    /// Returns the process that serves it.
    ///
    /// # Panics
    /// Where the mount does not tell.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let pid = self.status()["pid"].as_u64().expect("a number");
        u32::try_from(pid).expect("a process id")
    }

    /// Runs a verb on this mount.
    #[must_use]
    pub fn verb<const N: usize>(&self, words: [&str; N]) -> Run {
        let words = words.map(OsStr::new);
        self.world
            .lfsfs(words.into_iter().chain([self.dir.as_os_str()]))
    }

    /// Ends the mount and checks that nothing is left of it.
    ///
    /// # Panics
    /// Where something is.
    #[track_caller]
    pub fn umount(self) {
        let pid = self.pid();
        let _ = self.verb(["umount"]).ok();
        // One that has ended has no root directory any more, even if its parent has not waited for
        // it yet.
        assert!(
            fs::metadata(format!("/proc/{pid}/root")).is_err(),
            "the process {pid} is still there"
        );
        assert_eq!(fs::read_dir(&self.dir).expect("the mount point").count(), 0);
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // A test that failed has said why; the namespace takes what this leaves.
        let _ = self.verb(["umount", "--lazy"]);
    }
}
