//! Which datanodes there are: a table that changes by events and the time.
//!
//! Each change of what others must know (address, generation, state) raises the table's version;
//! a reader who knows an earlier version gets what changed since, or, if that is too long ago,
//! everything. Full or not, a node serves reads; it gets chunks only while it has room.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use lfsfs_types::NodeId;

use crate::member::{Heard, Member, MemberState, Timing};

/// How many changes the table remembers, for datanodes that ask what is new.
const CHANGES_MAX: usize = 1000;

/// What is new since a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updates {
    /// These nodes have changed.
    Changed(Vec<Member>),
    /// The version is too old, or not of this table: these are all nodes.
    Everything(Vec<Member>),
}

/// What became of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The node is known.
    Known,
    /// It is known, and was offline.
    Back,
    /// It must register again: it is unknown, or another process has registered under its id since.
    Unknown,
}

/// What a copy on a node is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is read from, and counts.
    Live,
    /// It is read from, and will go.
    Draining,
    /// It cannot be read now; the node may be back in a moment, so it counts.
    Silent,
    /// It does not count.
    Lost,
}

/// The table of datanodes.
#[derive(Debug)]
pub struct Membership {
    timing: Timing,
    members: BTreeMap<NodeId, Heard>,
    version: u64,
    changes: VecDeque<(u64, NodeId)>,
    /// What a reader must know at least to be told changes only.
    oldest: u64,
}

impl Membership {
    /// Creates an empty table.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            members: BTreeMap::new(),
            version: 0,
            changes: VecDeque::new(),
            oldest: 0,
        }
    }

    /// Adds a node that was registered before this process started. It has as much time to come back
    /// as one that was heard now.
    pub fn known_from_before(&mut self, mut member: Member, now: Instant) {
        member.state = MemberState::Offline;
        self.insert(member, now, false);
    }

    /// Takes a registration, whose generation the metadata has raised.
    pub fn register(&mut self, mut member: Member, now: Instant) {
        member.state = MemberState::Available;
        self.insert(member, now, true);
    }

    fn insert(&mut self, member: Member, now: Instant, is_registered: bool) {
        let id = member.id;
        let heard = Heard {
            member,
            last: now,
            is_registered,
            is_lost: false,
            promised: 0,
        };
        self.members.insert(id, heard);
        self.note_change(id);
    }

    /// Takes a heartbeat.
    pub fn heartbeat(&mut self, beat: &Member, now: Instant) -> Beat {
        let Some(heard) = self.members.get_mut(&beat.id) else {
            return Beat::Unknown;
        };
        let known = &mut heard.member;
        if known.generation != beat.generation || !heard.is_registered {
            return Beat::Unknown;
        }
        let is_back = known.state == MemberState::Offline;
        heard.last = now;
        heard.promised = 0;
        heard.is_lost = false;
        (known.capacity, known.used) = (beat.capacity, beat.used);
        (known.chunks, known.chunk_bytes) = (beat.chunks, beat.chunk_bytes);
        known.seen = beat.seen;
        if known.state != MemberState::Available {
            known.state = MemberState::Available;
            self.note_change(beat.id);
        }
        if is_back { Beat::Back } else { Beat::Known }
    }

    /// Notes whether a node is to be taken away. Returns false if there is none.
    pub fn set_draining(&mut self, id: NodeId, is_draining: bool) -> bool {
        let Some(heard) = self.members.get_mut(&id) else {
            return false;
        };
        if heard.member.is_draining != is_draining {
            heard.member.is_draining = is_draining;
            self.note_change(id);
        }
        true
    }

    /// Forgets a node.
    pub fn remove(&mut self, id: NodeId) {
        if self.members.remove(&id).is_some() {
            self.version += 1;
            // Changes tell nothing of a node that is gone.
            self.changes.clear();
            self.oldest = self.version;
        }
    }

    /// Lets time pass: nodes that were silent for too long change their state. Returns true if copies on
    /// one of them count no more.
    pub fn tick(&mut self, now: Instant) -> bool {
        let mut changed = Vec::new();
        let mut is_any_lost = false;
        for (id, heard) in &mut self.members {
            let state = heard.state_at(now, &self.timing);
            if state != heard.member.state {
                heard.member.state = state;
                changed.push(*id);
            }
            if !heard.is_lost && heard.silence(now) >= self.timing.lost_after {
                heard.is_lost = true;
                is_any_lost = true;
            }
        }
        changed.into_iter().for_each(|id| self.note_change(id));
        is_any_lost
    }

    /// Returns all nodes in the order of their ids.
    pub fn all(&self) -> Vec<Member> {
        let members = self.members.values();
        members.map(|heard| heard.member.clone()).collect()
    }

    /// Returns a node.
    pub fn find(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id).map(|heard| &heard.member)
    }

    pub(crate) fn heard(&self, id: NodeId) -> Option<&Heard> {
        self.members.get(&id)
    }

    /// Returns the version of the table.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Returns what is new since `version`.
    pub fn since(&self, version: u64) -> Updates {
        let first = self.changes.front().map_or(self.version, |(at, _)| at - 1);
        if version > self.version || version < first.max(self.oldest) {
            return Updates::Everything(self.all());
        }
        let mut ids: Vec<_> = self
            .changes
            .iter()
            .filter(|(at, _)| *at > version)
            .map(|(_, id)| *id)
            .collect();
        ids.sort();
        ids.dedup();
        let members = ids.into_iter().filter_map(|id| self.find(id).cloned());
        Updates::Changed(members.collect())
    }

    /// Returns what a copy on a node is worth now.
    pub(crate) fn standing(&self, id: NodeId, now: Instant) -> Standing {
        let Some(heard) = self.members.get(&id) else {
            return Standing::Lost;
        };
        if heard.silence(now) >= self.timing.lost_after {
            return Standing::Lost;
        }
        match heard.state_at(now, &self.timing) {
            MemberState::Available | MemberState::Suspect if heard.member.is_draining => {
                Standing::Draining
            }
            MemberState::Available | MemberState::Suspect => Standing::Live,
            MemberState::Offline => Standing::Silent,
        }
    }

    /// Returns the nodes that may get chunks now, full ones too.
    pub(crate) fn takers(&self, now: Instant) -> impl Iterator<Item = &Heard> {
        self.members.values().filter(move |heard| {
            let state = heard.state_at(now, &self.timing);
            state == MemberState::Available && !heard.member.is_draining
        })
    }

    /// Notes that a chunk of so many bytes is sent to a node.
    pub(crate) fn promise(&mut self, id: NodeId, len: u64) {
        if let Some(heard) = self.members.get_mut(&id) {
            heard.promised = heard.promised.saturating_add(len);
        }
    }

    fn note_change(&mut self, id: NodeId) {
        self.version += 1;
        self.changes.push_back((self.version, id));
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
