//! On which CPUs a client and its mount's daemon run.
//!
//! A request to a FUSE daemon costs several times more when it wakes another CPU, and where the
//! scheduler puts the two differs from run to run. So what a daemon serves is measured twice: as
//! the scheduler likes, and with both on one CPU. Children inherit the CPUs of the thread that
//! starts them, so pinning this thread pins the client and the daemon it starts.

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where client and daemon run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Where the scheduler puts them.
    Free,
    /// Both on one CPU.
    OneCpu,
}

impl Placement {
    pub(crate) const ALL: [Self; 2] = [Self::Free, Self::OneCpu];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Free => "unpinned",
            Self::OneCpu => "one CPU",
        }
    }

    /// Runs `work`, and what it starts, in this placement.
    pub(crate) fn run<T>(self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        if self == Self::Free {
            return work();
        }
        let allowed = sched_getaffinity(None).context("ask for the CPUs")?;
        sched_setaffinity(None, &last_of(&allowed)).context("pin to one CPU")?;
        let result = work();
        sched_setaffinity(None, &allowed).context("unpin")?;
        result
    }
}

/// Returns the last allowed CPU: the first one tends to serve interrupts.
fn last_of(allowed: &CpuSet) -> CpuSet {
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(last.expect("a running thread has a CPU"));
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::run;
    use std::process::Command;

    fn cpus() -> anyhow::Result<u32> {
        let ran = run(Command::new("nproc").env_remove("OMP_NUM_THREADS"))?;
        Ok(String::from_utf8(ran.stdout)?.trim().parse()?)
    }

    #[test]
    fn children_inherit_the_placement_and_it_ends_with_the_work() {
        let before = cpus().unwrap();
        assert_eq!(Placement::OneCpu.run(cpus).unwrap(), 1);
        assert_eq!(Placement::Free.run(cpus).unwrap(), before);
    }
}
