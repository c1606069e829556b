//! How the kernel ranks a thread among those that want its processor.

use std::io;

use rustix::process::{Pid, setpriority_process};
use rustix::thread::gettid;

/// The lowest priority of ordinary threads.
const LOWEST_PRIORITY: i32 = 19;

/// Policies of threads, as far as any is set here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// What every thread begins with (SCHED_OTHER).
    Ordinary,
    /// All others that want the processor go first (SCHED_IDLE).
    Idle,
}

/// Sets the policy of a thread of this process. Any thread may become idle; to leave that takes a privilege
/// (CAP_SYS_NICE, or a limit of RLIMIT_NICE).
pub(crate) fn set_policy(thread: Pid, policy: Policy) -> io::Result<()> {
    let number = match policy {
        Policy::Ordinary => libc::SCHED_OTHER,
        Policy::Idle => libc::SCHED_IDLE,
    };
    let parameters = libc::sched_param { sched_priority: 0 };
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has it")]
    // SAFETY: the kernel reads the parameters, which outlive the call, and nothing else.
    let answer =
        unsafe { libc::sched_setscheduler(thread.as_raw_pid(), number, &raw const parameters) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Ranks this thread below all programs, and below what serves them.
pub(crate) fn work_behind_programs() {
    // Either fails where a limit of the system forbids it; then the work costs the programs more.
    let _ = setpriority_process(None, LOWEST_PRIORITY);
    let _ = set_policy(gettid(), Policy::Idle);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_becomes_idle() {
        let policy = std::thread::spawn(|| {
            work_behind_programs();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, behind_name) = stat.rsplit_once(") ").unwrap();
            behind_name.split(' ').nth(38).unwrap().to_owned()
        });
        assert_eq!(policy.join().unwrap(), libc::SCHED_IDLE.to_string());
    }
}
