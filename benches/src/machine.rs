//! What this machine is, and what it lacks.

use std::fs::{self, File};
use std::process::Command;

use lfsfs_testkit::requirements::find_program;

use crate::command;

/// Returns what a mount needs and this machine does not have.
pub(crate) fn mounts_missing() -> Option<String> {
    if let Err(error) = File::options().read(true).write(true).open("/dev/fuse") {
        return Some(format!("a usable /dev/fuse ({error})"));
    }
    let user = rustix::process::geteuid();
    if !user.is_root() && find_program("fusermount3").is_none() {
        let user = user.as_raw();
        return Some(format!(
            "root or the program fusermount3 (this is user {user}, without it)"
        ));
    }
    None
}

/// Returns one line that says what measured: day, commit, CPUs, kernel.
pub(crate) fn describe() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let day = first_line(Command::new("date").args(["-u", "+%F"]));
    let commit = first_line(Command::new("git").args(["describe", "--always", "--dirty"]));
    let kernel = kernel.trim();
    format!("{day}, commit {commit}, {cpus} CPUs ({model}), Linux {kernel}")
}

fn first_line(command: &mut Command) -> String {
    let ran = command::run(command)
        .map(|ran| ran.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&ran);
    text.lines().next().unwrap_or("unknown").to_owned()
}
