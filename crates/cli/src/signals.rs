//! Signals that ask a command to end, for commands that have something to clean up.

use std::fs;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, the end of a service, and a terminal or connection that is gone. Signals that the parent
/// process set to be ignored, as nohup(1) does, stay ignored.
#[derive(Debug)]
pub(crate) struct EndSignals(Vec<Signal>);

impl EndSignals {
    pub(crate) fn new() -> io::Result<Self> {
        let ignored = ignored()?;
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let wanted = kinds
            .into_iter()
            .filter(|kind| !is_in(ignored, kind.as_raw_value()));
        Ok(Self(wanted.map(signal).collect::<io::Result<_>>()?))
    }

    /// Waits for the next of them.
    pub(crate) async fn recv(&mut self) {
        std::future::poll_fn(|context| {
            let is_here = |signal: &mut Signal| signal.poll_recv(context).is_ready();
            if self.0.iter_mut().any(is_here) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Returns the signals that this process ignores, a bit each.
fn ignored() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    Ok(mask
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0))
}

fn is_in(mask: u64, signal: i32) -> bool {
    let bit = u32::try_from(signal - 1).ok();
    bit.and_then(|bit| mask.checked_shr(bit))
        .is_some_and(|shifted| shifted & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_bit_of_the_mask() {
        assert!(is_in(0b1, 1) && is_in(0b10, 2) && is_in(1 << 63, 64));
        assert!(!is_in(0b10, 1) && !is_in(u64::MAX, 0) && !is_in(u64::MAX, 65));
    }
}
