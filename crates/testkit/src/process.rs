//! Real programs under test: started with captured output, waited for with deadlines, killed.
//!
//! A program runs in a process group of its own, which is killed and reaped when the value is
//! dropped, so that no test leaves a process behind. [`binaries()`] finds the programs of the
//! workspace beside the test executable.

mod binaries;
mod output;

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

pub use binaries::{Binaries, binaries, ensure_built};
pub(crate) use output::Output;

/// How long what a program wrote may take to be collected after its end.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);
/// How often the end of a process is looked for: there is no wait with a deadline.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running program with captured stdout and stderr.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    output: Output,
}

impl Program {
    /// Starts `command` without stdin; stdout and stderr are captured.
    ///
    /// # Errors
    /// Fails where the program cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let name = command.get_program().display().to_string();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let output = Output::default();
        output.read_from(child.stdout.take().context("stdout is piped")?);
        output.read_from(child.stderr.take().context("stderr is piped")?);
        Ok(Self {
            name,
            child,
            status: None,
            output,
        })
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything written so far, lines of stdout and stderr as they came.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// Waits for a line that contains `text` and returns it, also one that was written before.
    ///
    /// # Errors
    /// Fails with all output when the program closes its output or `timeout` is over.
    pub fn wait_for_line(&self, text: &str, timeout: Duration) -> anyhow::Result<String> {
        match self.output.wait_for_line(text, timeout) {
            Some(line) => Ok(line),
            None => bail!(
                "{} did not write {text:?}; it wrote:\n{}",
                self.name,
                self.output()
            ),
        }
    }

    /// Waits for a line with `prefix` and returns its first word after that, such as the address
    /// in `listening on 127.0.0.1:4000`.
    ///
    /// # Errors
    /// As [`wait_for_line`](Self::wait_for_line).
    pub fn wait_for_word(&self, prefix: &str, timeout: Duration) -> anyhow::Result<String> {
        let line = self.wait_for_line(prefix, timeout)?;
        let rest = line
            .split_once(prefix)
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        let word = rest.split_whitespace().next();
        word.map(str::to_owned)
            .with_context(|| format!("nothing follows {prefix:?} in {line:?}"))
    }

    /// Kills the program with SIGKILL, which it cannot see coming, and reaps it.
    ///
    /// # Errors
    /// Fails where it does not end, as in an uninterruptible wait.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10))
    }

    /// Asks the program to end with SIGTERM and waits for that.
    ///
    /// # Errors
    /// Fails where it still runs after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(timeout)
    }

    /// Sends `signal` to the program alone; nothing happens where it has been reaped.
    ///
    /// # Errors
    /// Fails where the kernel refuses.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        if self.status.is_none() {
            kill_process(self.pid(), signal).with_context(|| format!("signal {}", self.name))?;
        }
        Ok(())
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// Fails with all output where it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} still runs after {timeout:?}; it wrote:\n{}",
                    self.name,
                    self.output()
                );
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns how the program ended, if it did.
    ///
    /// # Errors
    /// Fails where the kernel refuses.
    pub fn try_wait(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self
                .child
                .try_wait()
                .with_context(|| format!("wait for {}", self.name))?;
            if self.status.is_some() {
                // What it wrote last may still be on its way. Processes that it has left behind may keep the
                // streams open.
                self.output.wait_for_end(LAST_LINES_MAX);
            }
        }
        Ok(self.status)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What the program started may outlive it in its group, so this is done in any case.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        if let Err(error) = self.wait(Duration::from_secs(10)) {
            crate::requirements::say(&format!("left behind: {error}"));
        }
    }
}
