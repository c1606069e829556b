//! What is known of one datanode.

use std::time::{Duration, Instant};

use lfsfs_types::{NodeId, Timestamp};

/// Whether a node can be counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It was heard a moment ago.
    Available,
    /// It was silent for [`Timing::suspect_after`].
    Suspect,
    /// It was silent for [`Timing::offline_after`], or not heard since the coordinator started.
    Offline,
}

/// A shorter silence means nothing.
const SUSPECT_LEAST: Duration = Duration::from_secs(5);

/// How much silence means what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Silence after which a node gets no new chunks.
    pub suspect_after: Duration,
    /// Silence after which readers are not sent to a node.
    pub offline_after: Duration,
    /// Silence after which a node's chunks are copied elsewhere: longer than a restart takes.
    pub lost_after: Duration,
}

impl Timing {
    /// Returns the default with another time after which chunks are copied elsewhere. A node that is lost
    /// is offline, and suspect before that.
    pub fn with_lost_after(lost_after: Duration) -> Self {
        let default = Self::default();
        let lost_after = lost_after.max(SUSPECT_LEAST);
        Self {
            // Heartbeats come every two seconds, and may be late.
            suspect_after: default
                .suspect_after
                .min((lost_after / 2).max(SUSPECT_LEAST)),
            offline_after: default.offline_after.min(lost_after),
            lost_after,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            suspect_after: Duration::from_secs(10),
            offline_after: Duration::from_secs(60),
            lost_after: Duration::from_secs(300),
        }
    }
}

/// A datanode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its identity, kept on its disk.
    pub id: NodeId,
    /// host:port where clients reach it.
    pub address: String,
    /// Raised by each registration.
    pub generation: u64,
    /// What it shares with nodes that fail together with it, such as a rack; empty if its operator named
    /// nothing.
    pub zone: String,
    /// Bytes that it may use.
    pub capacity: u64,
    /// Bytes of those that are in use.
    pub used: u64,
    /// Chunks that it has.
    pub chunks: u64,
    /// Bytes of these chunks.
    pub chunk_bytes: u64,
    /// Whether an operator wants to take it away: it gets no chunks, and its own are copied elsewhere.
    pub is_draining: bool,
    /// Whether it can be counted on.
    pub state: MemberState,
    /// When its last heartbeat came, as other programs read the time.
    pub seen: Timestamp,
}

impl Member {
    /// Returns the bytes that it can still take.
    pub const fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }
}

/// A member, and what the coordinator noted of it.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) member: Member,
    /// When it was heard last; for one of an earlier coordinator, when this one began to listen.
    pub(crate) last: Instant,
    /// Whether it registered with this coordinator.
    pub(crate) is_registered: bool,
    /// Whether it was silent for [`Timing::lost_after`].
    pub(crate) is_lost: bool,
    /// Bytes of chunks that were sent to it since its last heartbeat.
    pub(crate) promised: u64,
}

impl Heard {
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last)
    }

    pub(crate) fn state_at(&self, now: Instant, timing: &Timing) -> MemberState {
        match self.silence(now) {
            _ if !self.is_registered => MemberState::Offline,
            silence if silence < timing.suspect_after => MemberState::Available,
            silence if silence < timing.offline_after => MemberState::Suspect,
            _ => MemberState::Offline,
        }
    }

    pub(crate) fn free(&self) -> u64 {
        self.member.free().saturating_sub(self.promised)
    }
}
