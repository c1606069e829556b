//! The program that waits for the answer to a request.
//!
//! The kernel keeps a program that waits for a request which was read, even a killed one: it sends
//! INTERRUPT and waits on for the answer. fuser does not pass INTERRUPT on. So this process looks from time
//! to time at a caller that waits long: a program that is about to end by a signal has SIGKILL pending,
//! whatever the signal was.

use std::fs;
use std::time::Duration;

use tokio::time::sleep;

/// How often a caller that waits is looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// The bit of SIGKILL in a set of signals.
const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);

/// The thread that a request was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its number; 0 where the kernel sends the request by itself, or cannot tell.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Caller {
    /// Returns when the caller was killed; never for one that cannot be looked at.
    pub(super) async fn killed(self) {
        if self.pid == 0 {
            return std::future::pending().await;
        }
        let status = format!("/proc/{}/status", self.pid);
        loop {
            sleep(PERIOD).await;
            match fs::read(&status) {
                Ok(status) if is_killed(&status) => return,
                Ok(_) => {}
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

/// Returns true if a thread of this status ends as soon as the kernel lets it.
fn is_killed(status: &[u8]) -> bool {
    let lines = status.split(|byte| *byte == b'\n');
    let sets = lines.filter_map(|line| {
        let set = [&b"SigPnd:"[..], b"ShdPnd:"]
            .iter()
            .find_map(|name| line.strip_prefix(*name))?;
        u64::from_str_radix(std::str::from_utf8(set).ok()?.trim(), 16).ok()
    });
    sets.fold(0, |all, set| all | set) & SIGKILL != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_thread_has_the_signal_pending() {
        let status = |thread: &str, process: &str| {
            format!("Name:\tcp\nState:\tD\nSigPnd:\t{thread}\nShdPnd:\t{process}\nSigBlk:\t0100\n")
        };
        let (none, kill) = ("0000000000000000", "0000000000000100");
        assert!(is_killed(status(kill, none).as_bytes()));
        assert!(is_killed(status(none, kill).as_bytes()));
        assert!(!is_killed(status(none, none).as_bytes()));
        // A signal that the program handles.
        assert!(!is_killed(status("0000000000000002", none).as_bytes()));
        assert!(!is_killed(&fs::read("/proc/self/status").unwrap()));
    }
}
