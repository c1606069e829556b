//! One mount and its end, whatever happens in between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Pid;

use crate::command::{self, Ran};
use crate::instance::Instance;
use crate::processes;

/// How long a daemon may take to end after its mount is gone.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A mounted version; unmounted when dropped, its daemon ended.
#[derive(Debug)]
pub(crate) struct Mount<'a> {
    instance: &'a Instance,
    dir: PathBuf,
    is_mounted: bool,
}

impl<'a> Mount<'a> {
    /// Mounts `source` at `dir`, which is created, with the on-disk cache in `cache`.
    pub(crate) fn new(
        instance: &'a Instance,
        source: &str,
        dir: &Path,
        cache: &Path,
    ) -> anyhow::Result<(Self, Ran)> {
        std::fs::create_dir_all(dir)?;
        let options = format!(
            "ro,server={},cache={},state={},run={}",
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

    /// Returns the processes that serve the mount.
    pub(crate) fn daemons(&self) -> Vec<Pid> {
        processes::naming(&self.instance.programs().lfsfs, &self.dir)
    }

    /// Returns the CPU time that its daemon has used so far.
    pub(crate) fn daemon_cpu(&self) -> anyhow::Result<Duration> {
        self.daemons()
            .into_iter()
            .map(|pid| processes::cpu_of(pid.as_raw_nonzero().get().unsigned_abs()))
            .sum()
    }

    /// Unmounts as a user does, and waits until the daemon has ended.
    pub(crate) fn unmount(mut self) -> anyhow::Result<Ran> {
        let ran = command::run(self.instance.lfsfs().arg("umount").arg(&self.dir))?;
        self.is_mounted = false;
        self.end_daemon();
        Ok(ran)
    }

    fn end_daemon(&self) {
        let program = &self.instance.programs().lfsfs;
        processes::end_all_naming(program, &self.dir, END_TIMEOUT);
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
        self.end_daemon();
    }
}
