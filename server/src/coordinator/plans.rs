//! Uploads of single files between their plan and their confirmation: which chunks the datanodes
//! have reported for which slot. A receipt binds a slot to its chunk; the coordinator compares what
//! a client confirms with that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{ChunkId, ObjectPath, ProjectId, SessionId, Sha256, VersionId};

use super::holdings::{Holder, Holdings, Limits, NewThing};

/// A plan weighs as many slots as it has, and one for itself.
const LIMITS: Limits = Limits {
    idle_max: Duration::from_secs(15 * 60),
    of_connection: 40_000,
    of_project: 100_000,
    of_server: 200_000,
    what: "uploads",
};

/// The file that an upload will become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePlan {
    pub(super) project: ProjectId,
    pub(super) path: ObjectPath,
    pub(super) size: u64,
    pub(super) checksum: Option<Sha256>,
    /// The random id of the version to be, so that a repeated confirmation is no second version.
    pub(super) version: VersionId,
}

#[derive(Debug)]
struct Open {
    plan: FilePlan,
    slots: Vec<SessionId>,
}

/// The uploads that are planned.
#[derive(Debug)]
pub(super) struct Plans {
    open: Holdings<Open>,
    slots: HashMap<SessionId, Slot>,
}

#[derive(Debug)]
struct Slot {
    upload: SessionId,
    chunk: Option<ChunkId>,
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            open: Holdings::new(LIMITS),
            slots: HashMap::new(),
        }
    }
}

impl Plans {
    pub(super) fn open(
        &mut self,
        id: SessionId,
        plan: FilePlan,
        slots: Vec<SessionId>,
        holder: Holder,
        now: Instant,
    ) -> Result<(), Fault> {
        self.sweep(now);
        let weight = slots.len() + 1;
        let open = Open {
            plan,
            slots: slots.clone(),
        };
        let new = NewThing {
            thing: open,
            holder,
            weight,
        };
        let gone = self.open.add(id, new, now)?;
        self.forget_slots(&gone);
        for slot in slots {
            let (upload, chunk) = (id, None);
            self.slots.insert(slot, Slot { upload, chunk });
        }
        Ok(())
    }

    /// Takes a receipt. A slot that is in none of these plans is passed over.
    pub(super) fn bind(&mut self, slot: SessionId, chunk: ChunkId, now: Instant) {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.chunk = Some(chunk);
            self.open.find(slot.upload, now);
        }
    }

    /// Returns the plan of an upload, if every chunk was reported for the slot that it is said to
    /// be in. Slots may stay empty: contents may be there already, or compress well.
    pub(super) fn confirm(
        &mut self,
        id: SessionId,
        chunks: &[(SessionId, ChunkId)],
        now: Instant,
    ) -> Result<FilePlan, Fault> {
        self.sweep(now);
        let open = self.open.find(id, now).ok_or_else(|| {
            let text = "the upload is unknown or has expired";
            Fault::new(FaultKind::SessionNotFound, text)
        })?;
        for (slot, chunk) in chunks {
            let bound = self.slots.get(slot).filter(|slot| slot.upload == id);
            if bound.and_then(|slot| slot.chunk) != Some(*chunk) {
                let text = format!("no datanode has reported chunk {chunk} for slot {slot}");
                return Err(Fault::new(FaultKind::ChunkNotFound, text));
            }
        }
        Ok(open.plan.clone())
    }

    fn sweep(&mut self, now: Instant) {
        let gone = self.open.sweep(now);
        self.forget_slots(&gone);
    }

    fn forget_slots(&mut self, gone: &[Open]) {
        for slot in gone.iter().flat_map(|open| &open.slots) {
            self.slots.remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId([1; 16]);
    const SLOT: SessionId = SessionId([2; 16]);
    const CHUNK: ChunkId = ChunkId([3; 32]);

    const HOLDER: Holder = Holder {
        connection: None,
        project: ProjectId([1; 16]),
    };

    fn plan() -> FilePlan {
        FilePlan {
            project: ProjectId([1; 16]),
            path: ObjectPath::new(b"a/b").unwrap(),
            size: 5,
            checksum: None,
            version: VersionId([4; 16]),
        }
    }

    #[test]
    fn only_a_receipt_for_the_slot_confirms_a_chunk() {
        let now = Instant::now();
        let mut plans = Plans::default();
        plans.open(ID, plan(), vec![SLOT], HOLDER, now).unwrap();
        let other = SessionId([9; 16]);
        plans.open(other, plan(), vec![other], HOLDER, now).unwrap();

        let refused = plans.confirm(ID, &[(SLOT, CHUNK)], now).unwrap_err();
        assert_eq!(refused.kind, FaultKind::ChunkNotFound, "no receipt");
        plans.bind(SLOT, CHUNK, now);
        let wrong = (SLOT, ChunkId([8; 32]));
        assert!(plans.confirm(ID, &[wrong], now).is_err(), "another chunk");
        let stolen = plans.confirm(other, &[(SLOT, CHUNK)], now);
        assert!(stolen.is_err(), "the slot of another upload");
        assert_eq!(plans.confirm(ID, &[(SLOT, CHUNK)], now), Ok(plan()));
        assert_eq!(
            plans.confirm(ID, &[(SLOT, CHUNK)], now),
            Ok(plan()),
            "again"
        );
    }

    #[test]
    fn an_idle_plan_expires_with_its_slots() {
        let now = Instant::now();
        let mut plans = Plans::default();
        plans.open(ID, plan(), vec![SLOT], HOLDER, now).unwrap();
        let expired = plans.confirm(ID, &[], now + LIMITS.idle_max).unwrap_err();
        assert_eq!(expired.kind, FaultKind::SessionNotFound);
        assert!(plans.slots.is_empty());
    }

    #[test]
    fn planning_alone_never_keeps_others_out() {
        let now = Instant::now();
        let mut plans = Plans::default();
        let other = Holder {
            connection: Some(([127, 0, 0, 1], 1).into()),
            ..HOLDER
        };
        plans.open(ID, plan(), vec![SLOT], other, now).unwrap();
        for number in 0..100_u128 {
            let slots =
                (0..16_000_u128).map(|slot| SessionId(((number << 64) | slot).to_be_bytes()));
            let id = SessionId(((number << 64) | u128::from(u64::MAX)).to_be_bytes());
            plans
                .open(id, plan(), slots.collect(), HOLDER, now)
                .unwrap();
            assert!(plans.slots.len() <= LIMITS.of_connection);
        }
        assert_eq!(plans.confirm(ID, &[], now), Ok(plan()));
    }
}
