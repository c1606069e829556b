//! One serving thread: what the kernel tells of it, and where and how it runs.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
use tracing::debug;

use super::guard::{Guard, Sample, Verdict};

/// Where in /proc/PID/stat, behind the name of the program, its processor stands.
const PROCESSOR_FIELD: usize = 36;
/// It is where the program is, and others go first.
const FOLLOWING: u8 = 0;
/// It is an ordinary thread until the guard has it follow again.
const LIFTED: u8 = 1;
/// It is an ordinary thread until it serves again.
const RESTING: u8 = 2;
/// No processor.
const NONE: usize = usize::MAX;

/// A thread that serves requests.
#[derive(Debug)]
pub(super) struct ServingThread {
    id: Pid,
    /// The processors that it may run on at all.
    anywhere: CpuSet,
    /// The processor that it was put on.
    at: AtomicUsize,
    state: AtomicU8,
    has_looked: AtomicBool,
    guard: Mutex<Guard>,
}

/// Policies of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Ordinary,
    /// Others that want the processor go first.
    Idle,
}

/// Returns true if threads of this process may have the idle policy and leave it again, and the kernel tells how
/// long they wait.
pub(super) fn can_follow() -> bool {
    let tried = std::thread::spawn(|| {
        let id = gettid();
        set_policy(id, Policy::Idle).is_ok()
            && set_policy(id, Policy::Ordinary).is_ok()
            && Sample::of(id).is_some()
    });
    tried.join().unwrap_or(false)
}

impl ServingThread {
    /// Has the thread that calls follow from here on.
    pub(super) fn current() -> Self {
        let thread = Self {
            id: gettid(),
            anywhere: sched_getaffinity(None).unwrap_or_default(),
            at: AtomicUsize::new(NONE),
            state: AtomicU8::new(FOLLOWING),
            has_looked: AtomicBool::new(false),
            guard: Mutex::default(),
        };
        thread.come_back();
        thread
    }

    /// Moves to the processor of a program.
    pub(super) fn follow(&self, pid: u32) {
        self.has_looked.store(true, Ordering::Relaxed);
        match self.state.load(Ordering::Acquire) {
            LIFTED => return,
            RESTING => self.come_back(),
            _ => {}
        }
        let Some(processor) = processor_of(pid).filter(|it| self.may_run_at(*it)) else {
            return;
        };
        if self.at.swap(processor, Ordering::AcqRel) != processor {
            let mut there = CpuSet::new();
            there.set(processor);
            self.run_on(&there);
        }
    }

    /// Returns true if it followed a program since the last call.
    pub(super) fn has_looked(&self) -> bool {
        self.has_looked.swap(false, Ordering::Relaxed)
    }

    /// Judges whether it waits too long.
    pub(super) fn judge(&self, now: Instant) -> Verdict {
        let Some(sample) = Sample::of(self.id) else {
            return Verdict::Stay;
        };
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.judge(sample, now)
    }

    /// Lets it run anywhere, as an ordinary thread.
    pub(super) fn lift(&self) {
        self.leave(LIFTED);
    }

    /// As [`lift`](Self::lift), until it next serves.
    pub(super) fn rest(&self) {
        self.leave(RESTING);
    }

    fn leave(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.set_policy(Policy::Ordinary);
        self.at.store(NONE, Ordering::Release);
        self.run_on(&self.anywhere);
    }

    /// Has it follow again from its next look on.
    pub(super) fn come_back(&self) {
        self.set_policy(Policy::Idle);
        self.state.store(FOLLOWING, Ordering::Release);
    }

    fn may_run_at(&self, processor: usize) -> bool {
        processor < CpuSet::MAX_CPU && self.anywhere.is_set(processor)
    }

    fn run_on(&self, processors: &CpuSet) {
        if let Err(error) = sched_setaffinity(Some(self.id), processors) {
            debug!(%error, "a serving thread stays where it is");
        }
    }

    fn set_policy(&self, policy: Policy) {
        if let Err(error) = set_policy(self.id, policy) {
            debug!(%error, ?policy, "a serving thread keeps its policy");
        }
    }
}

impl Sample {
    /// Asks the kernel about a thread of this process.
    fn of(id: Pid) -> Option<Self> {
        let dir = PathBuf::from(format!("/proc/self/task/{}", id.as_raw_nonzero()));
        let times = fs::read_to_string(dir.join("schedstat")).ok()?;
        let mut times = times.split_whitespace().skip(1).map(str::parse);
        let (waited, runs) = (times.next()?.ok()?, times.next()?.ok()?);
        let stat = fs::read_to_string(dir.join("stat")).ok()?;
        Some(Self {
            waited: Duration::from_nanos(waited),
            runs,
            is_runnable: behind_name(&stat)?.starts_with('R'),
        })
    }
}

/// Returns the processor that a program runs on, or ran on last.
fn processor_of(pid: u32) -> Option<usize> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let processor = behind_name(&stat)?
        .split_whitespace()
        .nth(PROCESSOR_FIELD)?;
    processor.parse().ok()
}

/// Returns what stands behind the name of a program, which may hold anything.
fn behind_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ").map(|(_, rest)| rest)
}

fn set_policy(id: Pid, policy: Policy) -> io::Result<()> {
    let number = match policy {
        Policy::Ordinary => libc::SCHED_OTHER,
        Policy::Idle => libc::SCHED_IDLE,
    };
    let parameters = libc::sched_param { sched_priority: 0 };
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has it")]
    // SAFETY: the kernel reads the parameters, which outlive the call, and nothing else.
    let answer =
        unsafe { libc::sched_setscheduler(id.as_raw_pid(), number, &raw const parameters) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_of_a_program_with_a_strange_name_is_found() {
        let before = "1 (a) R 9 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 \
            27 28 29 30 31 32 33 34 35 6 40 41";
        let rest = behind_name(before).unwrap();
        assert_eq!(rest.split_whitespace().nth(PROCESSOR_FIELD), Some("6"));
        let own = processor_of(std::process::id()).unwrap();
        assert!(own < CpuSet::MAX_CPU);
        assert_eq!(processor_of(u32::MAX), None);
    }

    #[test]
    fn a_thread_goes_where_the_program_is_and_back() {
        let moved = std::thread::spawn(|| {
            if !can_follow() {
                return true;
            }
            let before = sched_getaffinity(None).unwrap();
            let thread = ServingThread::current();
            thread.follow(std::process::id());
            let there = sched_getaffinity(None).unwrap();
            assert_eq!(there.count(), 1);
            thread.lift();
            assert_eq!(sched_getaffinity(None).unwrap(), before);
            thread.follow(std::process::id());
            assert_eq!(sched_getaffinity(None).unwrap(), before, "it was let go");
            thread.come_back();
            thread.follow(std::process::id());
            assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
            thread.rest();
            assert_eq!(sched_getaffinity(None).unwrap(), before);
            thread.follow(std::process::id());
            assert_eq!(
                sched_getaffinity(None).unwrap().count(),
                1,
                "it serves again"
            );
            thread.has_looked()
        });
        assert!(moved.join().unwrap());
    }
}
