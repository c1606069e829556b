//! Processes that are no children of ours: the daemons of mounts.
//!
//! A mount's daemon leaves the session of the command that started it. It inherits the environment
//! of that, which names directories that this program alone made.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// `USER_HZ`, in which the kernel tells CPU times: 100 wherever Linux runs Rust.
const TICKS_PER_SECOND: u64 = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the processes of `program` whose environment names `dir` or something below it.
pub(crate) fn of_place(program: &Path, dir: &Path) -> Vec<Pid> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| is_of_place(*pid, program, dir))
        .collect()
}

fn is_of_place(pid: Pid, program: &Path, dir: &Path) -> bool {
    let wanted = dir.as_os_str().as_bytes();
    let process = format!("/proc/{}", pid.as_raw_nonzero());
    fs::read_link(format!("{process}/exe")).is_ok_and(|exe| exe == program)
        && fs::read(format!("{process}/environ"))
            .is_ok_and(|all| all.windows(wanted.len()).any(|part| part == wanted))
}

/// Waits until no process of `program` belongs to `dir`; kills those left after `patience`.
pub(crate) fn end_all_of_place(program: &Path, dir: &Path, patience: Duration) {
    let deadline = Instant::now() + patience;
    loop {
        let left = of_place(program, dir);
        if left.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            for pid in left {
                // It may have ended just now.
                let _ = kill_process(pid, Signal::KILL);
            }
            return;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns the CPU time that a running process has used so far, all its threads together.
pub(crate) fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_cpu(&text).with_context(|| format!("understand {path}"))
}

/// User and system ticks are the 14th and 15th field; the 2nd is a name that may hold blanks.
fn parse_cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + system) * 1_000 / TICKS_PER_SECOND,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::process::Program;
    use lfsfs_testkit::tempdir::TempDir;
    use std::process::Command;

    #[test]
    fn cpu_times_are_found_behind_a_name_with_blanks() {
        let stat = "42 (a) b c) S 1 42 42 0 -1 4194304 1 2 3 4 150 25 7 8 20 0 1 0";
        assert_eq!(parse_cpu(stat), Some(Duration::from_millis(1_750)));
        assert!(parse_cpu("42").is_none());
        assert!(cpu_of(std::process::id()).is_ok());
    }

    #[test]
    fn a_process_of_our_place_is_found_and_ended() {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo up; kill -STOP $$"]);
        command.env("LFSFS_RUN_DIR", dir.path().join("run"));
        let shell = fs::canonicalize("/bin/sh").unwrap();
        let mut program = Program::start(command).unwrap();
        program
            .wait_for_line("up", Duration::from_secs(10))
            .unwrap();
        assert_eq!(of_place(&shell, dir.path()).len(), 1);
        assert_eq!(of_place(Path::new("/other"), dir.path()), []);
        end_all_of_place(&shell, dir.path(), Duration::ZERO);
        assert!(!program.wait(Duration::from_secs(10)).unwrap().success());
        assert_eq!(of_place(&shell, dir.path()), []);
    }
}
