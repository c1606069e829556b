//! One serving thread: which program it serves, what the kernel tells of it, and where and how it runs.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
use tracing::debug;

use super::guard::{Guard, Sample, Verdict};
use crate::scheduling::{Policy, set_policy};

/// A thread that serves requests.
#[derive(Debug)]
pub(super) struct ServingThread {
    id: Pid,
    /// The processors that it may run on at all.
    anywhere: CpuSet,
    /// The program that it served last.
    program: AtomicU32,
    /// Requests that it served. It alone adds.
    served: AtomicU64,
    rests: AtomicBool,
    guard: Mutex<Guard>,
    place: Mutex<Place>,
}

/// Where a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On any processor, as an ordinary thread.
    Anywhere,
    /// Where its program is, if that is known yet. Others that want the processor go first.
    Following(Option<usize>),
}

/// Finds out whether threads of this process may have the idle policy and leave it again, and whether the kernel
/// tells how long they wait.
pub(super) fn try_to_follow() -> io::Result<()> {
    let tried = std::thread::spawn(|| {
        let id = gettid();
        set_policy(id, Policy::Idle)?;
        set_policy(id, Policy::Ordinary)?;
        Sample::of(id, 0).map(drop)
    });
    tried
        .join()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

impl ServingThread {
    /// Returns the thread that calls, which rests until its first request is noted.
    pub(super) fn current() -> Self {
        Self {
            id: gettid(),
            anywhere: sched_getaffinity(None).unwrap_or_default(),
            program: AtomicU32::new(0),
            served: AtomicU64::new(0),
            rests: AtomicBool::new(true),
            guard: Mutex::default(),
            place: Mutex::new(Place::Anywhere),
        }
    }

    /// Notes that it serves a request of a program. Returns true if it rested until now.
    pub(super) fn note(&self, pid: u32) -> bool {
        self.program.store(pid, Ordering::Relaxed);
        let served = self.served.load(Ordering::Relaxed);
        self.served.store(served + 1, Ordering::Relaxed);
        self.rests()
    }

    /// Returns true if it has not served for a while.
    pub(super) fn rests(&self) -> bool {
        self.rests.load(Ordering::Acquire)
    }

    /// Returns the program that it served last, if it can be seen from here.
    pub(super) fn program(&self) -> Option<u32> {
        Some(self.program.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Moves it to a processor, if it follows and may run there. Returns true if it was not there before.
    pub(super) fn move_to(&self, processor: usize) -> bool {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let may_run = processor < CpuSet::MAX_CPU && self.anywhere.is_set(processor);
        let is_new = matches!(*place, Place::Following(at) if at != Some(processor));
        if may_run && is_new {
            *place = Place::Following(Some(processor));
            let mut there = CpuSet::new();
            there.set(processor);
            self.run_on(&there);
        }
        may_run && is_new
    }

    /// Judges whether it waits too long, and does what follows from that.
    pub(super) fn judge(&self, now: Instant) -> Verdict {
        let Ok(sample) = Sample::of(self.id, self.served.load(Ordering::Relaxed)) else {
            return Verdict::Stay;
        };
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = guard.judge(sample, now);
        match verdict {
            Verdict::Stay => {}
            Verdict::Lift | Verdict::Rest => self.let_go(),
            Verdict::Follow => self.follow(),
        }
        self.rests.store(guard.rests(), Ordering::Release);
        verdict
    }

    fn let_go(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Place::Anywhere;
        self.set_policy(Policy::Ordinary);
        self.run_on(&self.anywhere);
    }

    fn follow(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Place::Following(None);
        self.set_policy(Policy::Idle);
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
    fn of(id: Pid, served: u64) -> io::Result<Self> {
        let dir = PathBuf::from(format!("/proc/self/task/{}", id.as_raw_nonzero()));
        let times = fs::read_to_string(dir.join("schedstat"))?;
        let stat = fs::read_to_string(dir.join("stat"))?;
        Self::parse(&times, &stat, served).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(times: &str, stat: &str, served: u64) -> Option<Self> {
        let mut times = times.split_whitespace().skip(1).map(str::parse);
        let (waited, runs) = (times.next()?.ok()?, times.next()?.ok()?);
        // The name of a thread may hold anything.
        let (_, state) = stat.rsplit_once(") ")?;
        Some(Self {
            served,
            waited: Duration::from_nanos(waited),
            runs,
            is_runnable: state.starts_with('R'),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors() -> CpuSet {
        sched_getaffinity(None).unwrap()
    }

    fn first_processor() -> usize {
        let all = processors();
        (0..CpuSet::MAX_CPU).find(|it| all.is_set(*it)).unwrap()
    }

    #[test]
    fn a_thread_goes_where_the_program_is_and_back() {
        let moved = std::thread::spawn(|| {
            if let Err(error) = try_to_follow() {
                return error.kind() == io::ErrorKind::PermissionDenied;
            }
            let (before, at) = (processors(), first_processor());
            let thread = ServingThread::current();
            assert!(!thread.move_to(at), "it follows nothing yet");
            thread.follow();
            assert!(thread.move_to(at));
            assert!(!thread.move_to(at), "it is there");
            assert!(!thread.move_to(CpuSet::MAX_CPU), "there is none");
            assert_eq!(processors().count(), 1);
            thread.let_go();
            assert_eq!(processors(), before);
            assert!(!thread.move_to(at), "it was let go");
            assert_eq!(processors(), before);
            true
        });
        assert!(moved.join().unwrap());
    }

    #[test]
    fn a_thread_rests_until_it_serves() {
        let known = std::thread::spawn(|| {
            let thread = ServingThread::current();
            assert_eq!(thread.program(), None);
            assert!(thread.note(7), "it rested");
            assert_eq!(thread.program(), Some(7));
            assert_eq!(thread.judge(Instant::now()), Verdict::Follow);
            assert!(!thread.note(0));
            assert_eq!(thread.program(), None, "it cannot be seen");
        });
        assert!(known.join().is_ok());
    }
}
