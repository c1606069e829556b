//! Which datanodes there are and what is known of them: a table that changes by events and the
//! clock, and knows neither.
//!
//! Each change of what others must know (address, generation, state) raises the table's version;
//! a reader who knows an earlier version gets what changed since, or, if that is too long ago,
//! everything. States: a node is available while it is heard, suspect after 10 s of silence,
//! offline after 60 s. Full or not, it serves reads; it gets chunks only while it has room.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lfsfs_metadata::Node;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{NodeId, Timestamp};

/// Silence after which the coordinator takes a node for suspect.
const SUSPECT_AFTER: Duration = Duration::from_secs(10);
/// Silence after which the coordinator takes a node for offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(60);
/// How many changes the table remembers, for datanodes that ask what is new.
const CHANGES_MAX: usize = 1000;

/// Whether a node can be counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It was heard within [`SUSPECT_AFTER`].
    Available,
    /// No heartbeat came for [`SUSPECT_AFTER`].
    Suspect,
    /// No heartbeat came for [`OFFLINE_AFTER`], or none since the coordinator started.
    Offline,
}

/// What is known of a datanode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its identity, kept on its disk.
    pub(crate) id: NodeId,
    /// host:port where clients reach it.
    pub(crate) address: String,
    /// Raised by each registration.
    pub(crate) generation: u64,
    /// Bytes that it may use.
    pub(crate) capacity: u64,
    /// Bytes of those that are in use.
    pub(crate) used: u64,
    /// Chunks that it has.
    pub(crate) chunks: u64,
    /// Bytes of these chunks.
    pub(crate) chunk_bytes: u64,
    /// Whether it can be counted on.
    pub(crate) state: MemberState,
    /// When its last heartbeat came, as other programs read the time.
    pub(crate) seen: Timestamp,
}

impl Member {
    /// Returns a node as the metadata knows it from earlier.
    pub(crate) fn of_node(node: &Node) -> Self {
        Self {
            id: node.id,
            address: node.address.clone(),
            generation: node.generation,
            capacity: node.figures.capacity,
            used: node.figures.used,
            chunks: node.figures.chunks,
            // Not kept: the node tells when it registers.
            chunk_bytes: 0,
            state: MemberState::Offline,
            seen: node.seen,
        }
    }

    const fn has_room(&self) -> bool {
        self.used < self.capacity
    }
}

impl From<&Member> for v1::NodeInfo {
    fn from(member: &Member) -> Self {
        let state = match member.state {
            MemberState::Available => v1::NodeState::Available,
            MemberState::Suspect => v1::NodeState::Suspect,
            MemberState::Offline => v1::NodeState::Offline,
        };
        Self {
            id: member.id.as_bytes().to_vec(),
            address: member.address.clone(),
            capacity_bytes: member.capacity,
            used_bytes: member.used,
            state: state.into(),
            generation: member.generation,
            last_seen: Some(member.seen.into()),
            chunks: member.chunks,
            chunk_bytes: member.chunk_bytes,
        }
    }
}

/// What is new since a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Updates {
    /// These nodes have changed.
    Changed(Vec<Member>),
    /// The version is too old, or not of this table: these are all nodes.
    Everything(Vec<Member>),
}

/// The table of datanodes.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    members: BTreeMap<NodeId, Heard>,
    version: u64,
    changes: VecDeque<(u64, NodeId)>,
    placed: u64,
}

#[derive(Debug)]
struct Heard {
    member: Member,
    last: Option<Instant>,
}

impl Membership {
    /// Creates an empty table.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a node that was registered before this process started.
    pub(crate) fn known_from_before(&mut self, member: Member) {
        let id = member.id;
        let heard = Heard { member, last: None };
        self.members.insert(id, heard);
        self.note_change(id);
    }

    /// Takes a registration, whose generation the metadata has raised.
    pub(crate) fn register(&mut self, mut member: Member, now: Instant) {
        member.state = MemberState::Available;
        let id = member.id;
        let last = Some(now);
        self.members.insert(id, Heard { member, last });
        self.note_change(id);
    }

    /// Takes a heartbeat. Returns false if the node must register again: it is unknown, or another
    /// process has registered under its id since.
    pub(crate) fn heartbeat(&mut self, beat: &Member, now: Instant) -> bool {
        let Some(heard) = self.members.get_mut(&beat.id) else {
            return false;
        };
        let known = &mut heard.member;
        if known.generation != beat.generation || heard.last.is_none() {
            return false;
        }
        heard.last = Some(now);
        (known.capacity, known.used) = (beat.capacity, beat.used);
        (known.chunks, known.chunk_bytes) = (beat.chunks, beat.chunk_bytes);
        known.seen = beat.seen;
        if known.state != MemberState::Available {
            known.state = MemberState::Available;
            self.note_change(beat.id);
        }
        true
    }

    /// Lets time pass: nodes that were silent for too long change their state.
    pub(crate) fn tick(&mut self, now: Instant) {
        let mut changed = Vec::new();
        for (id, heard) in &mut self.members {
            let state = heard.state_at(now);
            if state != heard.member.state {
                heard.member.state = state;
                changed.push(*id);
            }
        }
        changed.into_iter().for_each(|id| self.note_change(id));
    }

    /// Returns all nodes in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Member> {
        let members = self.members.values();
        members.map(|heard| heard.member.clone()).collect()
    }

    /// Returns a node.
    pub(crate) fn find(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id).map(|heard| &heard.member)
    }

    /// Returns the version of the table.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Returns what is new since `version`.
    pub(crate) fn since(&self, version: u64) -> Updates {
        let first = self.changes.front().map_or(1, |(first, _)| *first);
        if version > self.version || version + 1 < first {
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

    /// Chooses a node for each of `count` chunks, in turn among those that have room.
    pub(crate) fn place(&mut self, count: usize, now: Instant) -> Result<Vec<Member>, Fault> {
        self.tick(now);
        let is_available = |member: &&Member| member.state == MemberState::Available;
        let all = self.members.values().map(|heard| &heard.member);
        let available: Vec<_> = all.filter(is_available).cloned().collect();
        if available.is_empty() {
            let text = "no datanode is available";
            return Err(Fault::new(FaultKind::Unavailable, text));
        }
        let roomy: Vec<_> = available.into_iter().filter(Member::has_room).collect();
        if roomy.is_empty() {
            let text = "all datanodes are full, or below their reserve";
            return Err(Fault::new(FaultKind::Full, text));
        }
        let start = usize::try_from(self.placed).unwrap_or(0) % roomy.len();
        self.placed = self.placed.wrapping_add(count as u64);
        Ok(roomy.into_iter().cycle().skip(start).take(count).collect())
    }

    fn note_change(&mut self, id: NodeId) {
        self.version += 1;
        self.changes.push_back((self.version, id));
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }
}

impl Heard {
    fn state_at(&self, now: Instant) -> MemberState {
        match self.last.map(|last| now.saturating_duration_since(last)) {
            Some(silence) if silence < SUSPECT_AFTER => MemberState::Available,
            Some(silence) if silence < OFFLINE_AFTER => MemberState::Suspect,
            _ => MemberState::Offline,
        }
    }
}

#[cfg(test)]
mod tests;
