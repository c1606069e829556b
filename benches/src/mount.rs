//! One mount and its end, whatever happens in between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::mount::{UnmountFlags, unmount};
use serde::Deserialize;

use crate::command::{self, Ran};
use crate::instance::Instance;
use crate::processes;

/// One line of `lfsfs mounts --json`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Listed {
    path: PathBuf,
    pid: Option<u32>,
}

/// Options of a mount that this program serves.
pub(crate) const FUSE_MODE: &str = "ro,mode=fuse";
/// Options of a mount that the kernel serves.
pub(crate) const KERNEL_MODE: &str = "ro,mode=kernel";

/// A mounted version; unmounted when dropped. Its daemon ends with the mount, and with the
/// [`Instance`] at the latest.
#[derive(Debug)]
pub(crate) struct Mount<'a> {
    instance: &'a Instance,
    dir: PathBuf,
    is_mounted: bool,
}

impl<'a> Mount<'a> {
    /// Mounts `source` read-only at `dir`, which is created, with the on-disk cache in `cache`.
    pub(crate) fn new(
        instance: &'a Instance,
        source: &str,
        dir: &Path,
        cache: &Path,
    ) -> anyhow::Result<(Self, Ran)> {
        Self::with_mode("ro", instance, source, dir, cache)
    }

    /// As [`new`](Self::new), and writable.
    pub(crate) fn writable(
        instance: &'a Instance,
        source: &str,
        dir: &Path,
        cache: &Path,
    ) -> anyhow::Result<(Self, Ran)> {
        Self::with_mode("rw", instance, source, dir, cache)
    }

    /// As [`new`](Self::new), with other options than `ro`.
    pub(crate) fn with_mode(
        mode: &str,
        instance: &'a Instance,
        source: &str,
        dir: &Path,
        cache: &Path,
    ) -> anyhow::Result<(Self, Ran)> {
        std::fs::create_dir_all(dir)?;
        let options = format!(
            "{mode},server={},cache={},state={},run={}",
            instance.address(),
            cache.display(),
            instance.place("state").display(),
            instance.place("run").display()
        );
        // Before the command runs: an interrupted one may have mounted already.
        let mount = Self {
            instance,
            dir: dir.to_owned(),
            is_mounted: true,
        };
        let mut command = instance.lfsfs();
        command.arg("mount").arg(source).arg(dir);
        let ran = command::run(command.arg("-o").arg(options))?;
        Ok((mount, ran))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes what was changed in it the next version, which must be `expected`.
    pub(crate) fn commit(&self, message: &str, expected: &str) -> anyhow::Result<Ran> {
        let mut command = self.instance.lfsfs();
        let ran = command::run(command.arg("commit").arg(&self.dir).args(["-m", message]))?;
        let said = String::from_utf8_lossy(&ran.stdout);
        ensure!(
            said.trim() == expected,
            "the commit made {} instead of {expected}",
            said.trim()
        );
        Ok(ran)
    }

    /// Shows another version in it, in place.
    pub(crate) fn switch(&self, version: &str) -> anyhow::Result<Ran> {
        let mut command = self.instance.lfsfs();
        command::run(command.arg("switch").arg(&self.dir).arg(version))
    }

    /// Returns the CPU time that its daemon has used so far.
    pub(crate) fn daemon_cpu(&self) -> anyhow::Result<Duration> {
        let list = command::run(self.instance.lfsfs().args(["mounts", "--json"]))?;
        let text = String::from_utf8(list.stdout).context("read the list of mounts")?;
        for line in text.lines() {
            let listed: Listed = serde_json::from_str(line).context("understand a mount")?;
            if listed.path == self.dir {
                return processes::cpu_of(listed.pid.context("a mount without a process")?);
            }
        }
        bail!("{} is not among the mounts", self.dir.display())
    }

    /// Unmounts as a user does; that waits until the daemon has ended.
    pub(crate) fn unmount(mut self) -> anyhow::Result<Ran> {
        let ran = command::run(self.instance.lfsfs().arg("umount").arg(&self.dir))?;
        self.is_mounted = false;
        Ok(ran)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if !self.is_mounted {
            return;
        }
        let mut command = self.instance.lfsfs();
        let result = command::run_uninterrupted(command.arg("umount").arg(&self.dir));
        if !result.is_ok_and(|ran| ran.status.success()) {
            // Lazily, because a killed program may still have a file open.
            let _ = unmount(&self.dir, UnmountFlags::DETACH);
        }
    }
}
