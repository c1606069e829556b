//! Running a program to its end: its time, its CPU time, what it wrote.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::interrupt;

/// A program that ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// User and system time of it and of its children that ended before it.
    pub(crate) cpu: Duration,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it wrote to stdout.
    pub(crate) stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
}

/// Runs `command` without stdin and fails where it fails, with what it wrote to stderr.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Ran> {
    let ran = run_any(command)?;
    if !ran.status.success() {
        bail!("{}: {}", describe(command), failure(&ran));
    }
    Ok(ran)
}

/// As [`run`], and any exit code will do.
pub(crate) fn run_any(command: &mut Command) -> anyhow::Result<Ran> {
    interrupt::check()?;
    let ran = run_uninterrupted(command).with_context(|| describe(command))?;
    interrupt::check()?;
    Ok(ran)
}

/// As [`run_any`], also after an interruption: for cleaning up.
pub(crate) fn run_uninterrupted(command: &mut Command) -> anyhow::Result<Ran> {
    // Files, not pipes: a daemon that keeps them open must not keep us waiting.
    let stdout = tempfile::tempfile().context("make a file for its output")?;
    let stderr = tempfile::tempfile().context("make a file for its output")?;
    command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?);
    let cpu_before = cpu_of_children();
    let started = Instant::now();
    let status = command.status().context("start it")?;
    let wall = started.elapsed();
    Ok(Ran {
        wall,
        cpu: cpu_of_children().saturating_sub(cpu_before),
        status,
        stdout: content(stdout)?,
        stderr: String::from_utf8_lossy(&content(stderr)?).into_owned(),
    })
}

/// Returns the CPU time of all children that ended.
#[expect(unsafe_code, reason = "neither std nor rustix has getrusage")]
fn cpu_of_children() -> Duration {
    // SAFETY: a structure of numbers may be all zeroes, and getrusage writes one and keeps no
    // pointer. It cannot fail with these arguments.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

fn content(mut file: File) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .context("read what it wrote")?;
    Ok(bytes)
}

/// Returns the command line as a user would type it, programs by their names alone.
fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.display().to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

fn failure(ran: &Ran) -> String {
    let how = match ran.status.code() {
        Some(code) => format!("exit code {code}"),
        None => format!("signal {}", ran.status.signal().unwrap_or_default()),
    };
    match ran.stderr.trim() {
        "" => how,
        text => format!("{how}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_cpu_time_are_those_of_the_program() {
        let ran = run(&mut shell(
            "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done",
        ));
        let ran = ran.unwrap();
        assert_eq!(ran.stdout, b"done\n");
        assert!(ran.cpu > Duration::from_millis(5), "{:?}", ran.cpu);
    }

    #[test]
    fn a_failure_names_the_command_and_says_what_it_wrote() {
        let error = run(&mut shell("echo no >&2; exit 3")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sh -c echo no >&2; exit 3: exit code 3: no"
        );
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_is_not_waited_for() {
        let ran = run(&mut shell("echo ready; sleep 5 & echo $!")).unwrap();
        assert!(ran.wall < Duration::from_secs(4), "{:?}", ran.wall);
        let text = String::from_utf8(ran.stdout).unwrap();
        let pid = text.lines().nth(1).unwrap().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}
