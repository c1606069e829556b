//! Tables of nodes for tests.

use std::time::Instant;

use lfsfs_types::{NodeId, Timestamp};

use crate::member::{Member, MemberState, Timing};
use crate::membership::Membership;

pub(crate) const MIB: u64 = 1 << 20;

/// A table of nodes, each with a zone and how much of 1,000 MiB it uses.
pub(crate) fn table(nodes: &[(&str, u64)]) -> Membership {
    let mut table = Membership::new(Timing::default());
    for (number, (zone, used)) in (1..).zip(nodes) {
        let member = Member {
            id: NodeId([number; 16]),
            address: format!("127.0.0.1:{number}"),
            generation: 1,
            zone: (*zone).to_owned(),
            capacity: 1000 * MIB,
            used: used * MIB,
            chunks: 0,
            chunk_bytes: 0,
            is_draining: false,
            state: MemberState::Available,
            seen: Timestamp::default(),
        };
        table.register(member, Instant::now());
    }
    table
}
