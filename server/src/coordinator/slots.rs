//! For which project a slot was planned, so that the bytes of the chunk that takes it count for that
//! project.
//!
//! It serves counting alone: a slot that is forgotten, here or by a restart, is as good as before, and
//! its chunk counts for no project.

use std::collections::{HashMap, VecDeque};

use lfsfs_types::{ProjectId, SessionId};

/// Most slots that are remembered; the oldest go first. A client takes a slot when its chunk is ready
/// to be sent, so few are under way.
const SLOTS_MAX: usize = 65_536;

/// The projects of the slots that were planned last.
#[derive(Debug, Default)]
pub(super) struct SlotProjects {
    projects: HashMap<SessionId, ProjectId>,
    /// In the order of their planning.
    slots: VecDeque<SessionId>,
}

impl SlotProjects {
    /// Remembers the project of a new slot.
    pub(super) fn add(&mut self, slot: SessionId, project: ProjectId) {
        if self.slots.len() == SLOTS_MAX
            && let Some(oldest) = self.slots.pop_front()
        {
            self.projects.remove(&oldest);
        }
        self.projects.insert(slot, project);
        self.slots.push_back(slot);
    }

    /// Returns the project that a slot was planned for, if that is still known. It stays known: the
    /// receipt of a chunk may come again.
    pub(super) fn project(&self, slot: SessionId) -> Option<ProjectId> {
        self.projects.get(&slot).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_slots_are_forgotten_first() {
        let mut slots = SlotProjects::default();
        let slot = |number: usize| SessionId((number as u128).to_be_bytes());
        for number in 0..=SLOTS_MAX {
            slots.add(slot(number), ProjectId([1; 16]));
        }
        assert_eq!(slots.project(slot(0)), None);
        assert_eq!(slots.project(slot(1)), Some(ProjectId([1; 16])));
        assert_eq!(slots.project(slot(SLOTS_MAX)), Some(ProjectId([1; 16])));
        assert_eq!(slots.projects.len(), SLOTS_MAX);
    }
}
