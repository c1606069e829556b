//! Uploads of single files between their plan and their confirmation: which chunks the datanodes
//! have reported for which slot. Receipts bind slots; what a client says is compared with them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{ChunkId, ObjectPath, ProjectId, SessionId, Sha256, VersionId};

/// A plan that nobody used for this long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// Most slots of all plans together.
const SLOTS_MAX: usize = 200_000;
/// Most plans at the same time: a plan may have no slot.
const PLANS_MAX: usize = 10_000;

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
    used: Instant,
}

/// The uploads that are planned.
#[derive(Debug, Default)]
pub(super) struct Plans {
    open: HashMap<SessionId, Open>,
    slots: HashMap<SessionId, Slot>,
}

#[derive(Debug)]
struct Slot {
    upload: SessionId,
    chunk: Option<ChunkId>,
}

impl Plans {
    pub(super) fn open(
        &mut self,
        id: SessionId,
        plan: FilePlan,
        slots: Vec<SessionId>,
        now: Instant,
    ) -> Result<(), Fault> {
        self.sweep(now);
        if self.slots.len() + slots.len() > SLOTS_MAX || self.open.len() >= PLANS_MAX {
            let text = "too many uploads are planned";
            return Err(Fault::new(FaultKind::Unavailable, text));
        }
        for slot in &slots {
            let (upload, chunk) = (id, None);
            self.slots.insert(*slot, Slot { upload, chunk });
        }
        let used = now;
        self.open.insert(id, Open { plan, slots, used });
        Ok(())
    }

    /// Takes a receipt. Slots of other plans than these are nobody's business here.
    pub(super) fn bind(&mut self, slot: SessionId, chunk: ChunkId, now: Instant) {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.chunk = Some(chunk);
            if let Some(open) = self.open.get_mut(&slot.upload) {
                open.used = now;
            }
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
        let open = self.open.get_mut(&id).ok_or_else(|| {
            let text = "the upload is unknown or has expired";
            Fault::new(FaultKind::SessionNotFound, text)
        })?;
        open.used = now;
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
        let slots = &mut self.slots;
        self.open.retain(|_, open| {
            let lives = now.saturating_duration_since(open.used) < IDLE_MAX;
            if !lives {
                for slot in &open.slots {
                    slots.remove(slot);
                }
            }
            lives
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId([1; 16]);
    const SLOT: SessionId = SessionId([2; 16]);
    const CHUNK: ChunkId = ChunkId([3; 32]);

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
        plans.open(ID, plan(), vec![SLOT], now).unwrap();
        let other = SessionId([9; 16]);
        plans.open(other, plan(), vec![other], now).unwrap();

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
        plans.open(ID, plan(), vec![SLOT], now).unwrap();
        let expired = plans.confirm(ID, &[], now + IDLE_MAX).unwrap_err();
        assert_eq!(expired.kind, FaultKind::SessionNotFound);
        assert!(plans.slots.is_empty());
    }

    #[test]
    fn there_are_not_more_slots_than_memory_for_them() {
        let now = Instant::now();
        let mut plans = Plans::default();
        let slots = vec![SLOT; SLOTS_MAX + 1];
        let refused = plans.open(ID, plan(), slots, now).unwrap_err();
        assert_eq!(refused.kind, FaultKind::Unavailable);
    }
}
