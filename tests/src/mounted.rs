//! A mount of a world.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::run::Run;
use crate::world::World;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A mount, ended when dropped.
#[derive(Debug)]
pub struct Mounted<'a> {
    world: &'a World,
    dir: PathBuf,
}

impl<'a> Mounted<'a> {
    pub(crate) fn new(world: &'a World, source: &str, options: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = world.make_dir(&format!("mnt{number}"));
        let options = if options.is_empty() {
            "ro".to_owned()
        } else {
            format!("ro,{options}")
        };
        let arguments = [
            OsStr::new("mount"),
            source.as_ref(),
            dir.as_os_str(),
            "-o".as_ref(),
            options.as_ref(),
        ];
        let _ = world.lfsfs(arguments).ok();
        Self { world, dir }
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
        let status = self.verb(["status", "--json"]).json();
        let pid = status["pid"].as_u64().expect("a number");
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
        // One that has ended has no root directory any more, even if nobody has waited for it yet.
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
