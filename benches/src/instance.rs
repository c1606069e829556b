//! A server of our own with everything that belongs to it, below one scratch directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use lfsfs_testkit::process::Program;

use crate::command::{self, Ran};
use crate::processes;

/// A store of many gigabytes is looked through after a kill.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the daemon of a mount may take to end after that is gone.
const CLIENTS_END_TIMEOUT: Duration = Duration::from_secs(5);

/// The two programs, built beside the one that runs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) lfsfs: PathBuf,
    pub(crate) lfsfsd: PathBuf,
}

impl Programs {
    /// Finds the programs in the directory of this one.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let own = own.canonicalize().context("find this program")?;
        let dir = own.parent().context("a program lies in a directory")?;
        // Test executables lie one level deeper.
        let dir = if dir.ends_with("deps") {
            dir.parent().unwrap_or(dir)
        } else {
            dir
        };
        let find = |name: &str| {
            let path = dir.join(name);
            let advice = "make build";
            ensure!(
                path.is_file(),
                "{} is not built; run: {advice}",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            lfsfs: find("lfsfs")?,
            lfsfsd: find("lfsfsd")?,
        })
    }
}

/// A running server and the places of its clients; stopped when dropped, with what is left of
/// the clients.
#[derive(Debug)]
pub(crate) struct Instance {
    programs: Programs,
    dir: PathBuf,
    server: Program,
    address: String,
}

impl Instance {
    /// Starts a server that keeps everything below `dir`, which is created.
    pub(crate) fn start(programs: &Programs, dir: &Path) -> anyhow::Result<Self> {
        Self::start_role("all", programs, dir, &[])
    }

    /// As [`start`](Self::start), a server of another role and with further arguments.
    pub(crate) fn start_role(
        role: &str,
        programs: &Programs,
        dir: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        // The server makes its data directory itself: for its user alone.
        for name in ["cache", "state", "run"] {
            std::fs::create_dir_all(dir.join(name)).context("create a place for the server")?;
        }
        let mut command = Command::new(&programs.lfsfsd);
        command.arg(role).arg("--data").arg(dir.join("data"));
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        let server = Program::start(command)?;
        let address = server.wait_for_word("listening on ", START_TIMEOUT)?;
        Ok(Self {
            programs: programs.clone(),
            dir: dir.to_owned(),
            server,
            address,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns where the server keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Returns the place `name` of its clients: `cache`, `state` or `run`.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the command `lfsfs` with all places set to this instance's own.
    pub(crate) fn lfsfs(&self) -> Command {
        let mut command = Command::new(&self.programs.lfsfs);
        command
            .env("LFSFS_SERVER", &self.address)
            .env("LFSFS_CACHE_DIR", self.place("cache"))
            .env("LFSFS_STATE_DIR", self.place("state"))
            .env("LFSFS_RUN_DIR", self.place("run"));
        command
    }

    pub(crate) fn new_project(&self, name: &str) -> anyhow::Result<Ran> {
        command::run(self.lfsfs().args(["project", "new", name]))
    }

    /// Imports `dir` as the next version of `project`.
    pub(crate) fn import(&self, dir: &Path, project: &str) -> anyhow::Result<Ran> {
        command::run(self.lfsfs().arg("import").arg(dir).arg(project))
    }

    /// Returns the CPU time that the server has used so far.
    pub(crate) fn server_cpu(&self) -> anyhow::Result<Duration> {
        processes::cpu_of(self.server.id())
    }

    /// Returns what the server tells of itself, as one JSON object.
    pub(crate) fn stats(&self) -> anyhow::Result<Vec<u8>> {
        let mut command = Command::new(&self.programs.lfsfsd);
        command.args(["stats", "--json", "--server", &self.address]);
        Ok(command::run(&mut command)?.stdout)
    }

    /// Returns everything that the server has written so far.
    pub(crate) fn output(&self) -> String {
        self.server.output()
    }

    /// Ends the server with SIGKILL.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.server.kill().map(drop).context("kill the server")
    }

    /// Stops the server as an administrator does; it must end well.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let status = self.server.terminate(STOP_TIMEOUT)?;
        ensure!(
            status.success(),
            "lfsfsd ended with {status}; it wrote:\n{}",
            self.server.output()
        );
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        processes::end_all_of_place(&self.programs.lfsfs, &self.dir, CLIENTS_END_TIMEOUT);
    }
}
