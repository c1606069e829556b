//! For what a slot was planned: the project for which the bytes of its chunk count, and how many copies
//! there should be.
//!
//! A slot that is forgotten, here or by a restart, is as good as before: its chunk counts for no project,
//! and has as many copies as the cluster says.

use std::collections::{HashMap, VecDeque};

use lfsfs_metadata::StoredFor;
use lfsfs_types::SessionId;

/// Most slots that are remembered; the oldest go first. A client takes a slot when its chunk is ready
/// to be sent, so few are under way.
const SLOTS_MAX: usize = 65_536;

/// The slots that were planned last.
#[derive(Debug, Default)]
pub(super) struct Slots {
    planned: HashMap<SessionId, StoredFor>,
    /// In the order of their planning.
    order: VecDeque<SessionId>,
}

impl Slots {
    /// Remembers a new slot.
    pub(super) fn add(&mut self, id: SessionId, stored: StoredFor) {
        if self.order.len() == SLOTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.planned.remove(&oldest);
        }
        self.planned.insert(id, stored);
        self.order.push_back(id);
    }

    /// Returns for what a slot was planned, if that is still known. It stays known: the receipt of a chunk
    /// may come again, and comes from each node that has it.
    pub(super) fn find(&self, id: SessionId) -> Option<StoredFor> {
        self.planned.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::ProjectId;

    use super::*;

    #[test]
    fn the_oldest_slots_are_forgotten_first() {
        let mut slots = Slots::default();
        let id = |number: usize| SessionId((number as u128).to_be_bytes());
        let slot = StoredFor {
            project: Some(ProjectId([1; 16])),
            copies: 3,
            copies_min: 2,
            is_found: false,
        };
        for number in 0..=SLOTS_MAX {
            slots.add(id(number), slot);
        }
        assert_eq!(slots.find(id(0)), None);
        assert_eq!(slots.find(id(1)), Some(slot));
        assert_eq!(slots.find(id(SLOTS_MAX)), Some(slot));
        assert_eq!(slots.planned.len(), SLOTS_MAX);
    }
}
