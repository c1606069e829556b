//! The datanodes of a chunk that are still worth asking.

use lfsfs_remote::ChunkLocation;

/// How often a chunk is asked for that lies on one datanode only.
const ATTEMPTS_LEAST: usize = 2;

/// A chunk's place, without the datanodes that gave damaged bytes of it. The remote chooses among them by load,
/// so one that stays in the list may be asked again.
#[derive(Debug)]
pub(super) struct Candidates {
    location: ChunkLocation,
    attempts_left: usize,
}

impl Candidates {
    pub(super) fn of(location: &ChunkLocation) -> Self {
        Self {
            location: location.clone(),
            attempts_left: location.nodes.len().max(ATTEMPTS_LEAST),
        }
    }

    /// Returns where to ask now; none if each datanode was asked.
    pub(super) fn next(&mut self) -> Option<&ChunkLocation> {
        self.attempts_left = self.attempts_left.checked_sub(1)?;
        Some(&self.location)
    }

    /// Returns whether there is one more attempt.
    pub(super) fn are_left(&self) -> bool {
        self.attempts_left > 0
    }

    /// Takes out a datanode, unless it is the last one: its disk or the network may give the bytes another time.
    pub(super) fn leave_out(&mut self, node: &str) {
        if self.location.nodes.len() > 1 {
            self.location.nodes.retain(|it| it != node);
        }
    }
}
