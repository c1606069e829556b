//! Figures of the process, under the names that every program with metrics gives them. The kernel tells them in
//! /proc; what cannot be read is left out.

use std::fmt;
use std::fs;

use lfsfs_common::clock::Clock;
use rustix::process::{Resource, getrlimit};

use crate::figures::{Figures, Page};

/// Ticks of a second in /proc. The kernel counts in others and converts them: this is part of its interface, and
/// the same on every machine that lfsfs runs on.
const TICKS_PER_SECOND: f64 = 100.0;
const KIB: u64 = 1024;
/// Where the time in user mode stands in /proc/self/stat, counted from behind the name of the program; the time in
/// the kernel comes next.
const TIME_FIELD: usize = 11;

/// Figures of this process.
#[derive(Debug)]
pub(super) struct ProcessFigures {
    started_seconds: f64,
}

impl ProcessFigures {
    /// Takes the moment for the start of the process.
    pub(super) fn new(clock: &dyn Clock) -> Self {
        let nanoseconds = clock.wall_time().as_nanoseconds();
        Self {
            started_seconds: nanoseconds as f64 / 1e9,
        }
    }
}

impl Figures for ProcessFigures {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            self.started_seconds,
        )?;
        if let Some(seconds) = cpu_seconds() {
            page.counter(
                "process_cpu_seconds_total",
                "Time of processors that the process took.",
                seconds,
            )?;
        }
        if let Some(bytes) = resident_bytes() {
            page.gauge(
                "process_resident_memory_bytes",
                "Memory that the process has.",
                bytes,
            )?;
        }
        if let Some(count) = open_files() {
            page.gauge("process_open_fds", "File descriptors that are open.", count)?;
        }
        match getrlimit(Resource::Nofile).current {
            Some(max) => page.gauge("process_max_fds", "File descriptors that may be open.", max),
            None => Ok(()),
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    cpu_seconds_of(&stat)
}

fn cpu_seconds_of(stat: &str) -> Option<f64> {
    // The name stands in brackets, and may have spaces and brackets.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(TIME_FIELD);
    let mut ticks = || times.next()?.parse::<u64>().ok();
    let (user, kernel) = (ticks()?, ticks()?);
    Some((user + kernel) as f64 / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB)
}

fn open_files() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // One of them is that of the list itself.
    Some(open.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_a_name_of_any_kind() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 9 0";
        assert_eq!(cpu_seconds_of(stat), Some(3.0));
        for wrong in ["", "7 (a", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4 1 2 3 4 x y"] {
            assert_eq!(cpu_seconds_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_process_has_memory_files_and_time() {
        assert!(resident_bytes() > Some(1 << 20));
        assert!(open_files() > Some(2));
        assert!(cpu_seconds().is_some());
    }
}
