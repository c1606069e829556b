//! Streaming sessions: what was announced for upload or opened for download.
//!
//! A session is an id and what was agreed under it. It is made by a Prepare call, may be used by
//! any number of streams (a broken one is begun again from the front), and is forgotten when no
//! stream used it for a while. A chunk that is announced again for the same slot gets the session
//! that it has. Another slot gets another session: the one who announced it may still send when the
//! first has come to its end, and each receipt names the slot that its sender was given.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{ChunkId, SessionId};

use super::replication::CopyPlan;

/// A session that no stream used for this long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);
/// Most sessions of each kind at the same time.
const SESSIONS_MAX: usize = 10_000;

/// A chunk that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) chunk: ChunkId,
    pub(super) len: u64,
    /// The slot of an upload plan, which the receipt names.
    pub(super) slot: Option<SessionId>,
}

impl Announced {
    /// Announcements of one key share a session.
    fn key(&self) -> (ChunkId, Option<SessionId>) {
        (self.chunk, self.slot)
    }
}

/// The sessions of a datanode.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    uploads: HashMap<SessionId, ((Announced, CopyPlan), Instant)>,
    by_announced: HashMap<(ChunkId, Option<SessionId>), SessionId>,
    downloads: HashMap<SessionId, (ChunkId, Instant)>,
}

impl Transfers {
    /// Returns the session of an announced chunk: the one that it has, or `fresh`.
    pub(super) fn announce(
        &mut self,
        announced: Announced,
        plan: CopyPlan,
        fresh: SessionId,
        now: Instant,
    ) -> Result<SessionId, Fault> {
        self.sweep(now);
        let known = self.by_announced.get(&announced.key()).copied();
        let id = known.unwrap_or(fresh);
        if known.is_none() && self.uploads.len() >= SESSIONS_MAX {
            return Err(too_many());
        }
        self.uploads.insert(id, ((announced, plan), now));
        self.by_announced.insert(announced.key(), id);
        Ok(id)
    }

    /// Returns what was announced under a session.
    pub(super) fn upload(
        &mut self,
        id: SessionId,
        now: Instant,
    ) -> Result<(Announced, CopyPlan), Fault> {
        use_session(&mut self.uploads, id, now)
    }

    /// Ends the session of a chunk that is stored.
    pub(super) fn stored(&mut self, id: SessionId) {
        if let Some(((announced, _), _)) = self.uploads.remove(&id) {
            self.by_announced.remove(&announced.key());
        }
    }

    /// Opens a session for reading a chunk.
    pub(super) fn open(
        &mut self,
        id: SessionId,
        chunk: ChunkId,
        now: Instant,
    ) -> Result<(), Fault> {
        self.sweep(now);
        if self.downloads.len() >= SESSIONS_MAX {
            return Err(too_many());
        }
        self.downloads.insert(id, (chunk, now));
        Ok(())
    }

    /// Returns the chunk that a session reads.
    pub(super) fn download(&mut self, id: SessionId, now: Instant) -> Result<ChunkId, Fault> {
        use_session(&mut self.downloads, id, now)
    }

    fn sweep(&mut self, now: Instant) {
        let lives = |used: &Instant| now.saturating_duration_since(*used) < IDLE_MAX;
        let by_announced = &mut self.by_announced;
        self.uploads.retain(|_, ((announced, _), used)| {
            if !lives(used) {
                by_announced.remove(&announced.key());
            }
            lives(used)
        });
        self.downloads.retain(|_, (_, used)| lives(used));
    }
}

fn use_session<T: Clone>(
    sessions: &mut HashMap<SessionId, (T, Instant)>,
    id: SessionId,
    now: Instant,
) -> Result<T, Fault> {
    match sessions.get_mut(&id) {
        Some((what, used)) if now.saturating_duration_since(*used) < IDLE_MAX => {
            *used = now;
            Ok(what.clone())
        }
        _ => Err(Fault::new(
            FaultKind::SessionNotFound,
            "the streaming session is unknown or has expired",
        )),
    }
}

fn too_many() -> Fault {
    let text = "too many streaming sessions are open";
    Fault::new(FaultKind::Unavailable, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: SessionId = SessionId([1; 16]);
    const SECOND: SessionId = SessionId([2; 16]);
    const ANNOUNCED: Announced = Announced {
        chunk: ChunkId([3; 32]),
        len: 10,
        slot: None,
    };

    #[test]
    fn a_chunk_has_one_session_until_it_is_stored() {
        let now = Instant::now();
        let mut transfers = Transfers::default();
        assert_eq!(
            transfers.announce(ANNOUNCED, CopyPlan::default(), FIRST, now),
            Ok(FIRST)
        );
        assert_eq!(
            transfers.announce(ANNOUNCED, CopyPlan::default(), SECOND, now),
            Ok(FIRST)
        );
        let (announced, _) = transfers.upload(FIRST, now).unwrap();
        assert_eq!(announced, ANNOUNCED);
        transfers.stored(FIRST);
        assert!(transfers.upload(FIRST, now).is_err());
        assert_eq!(
            transfers.announce(ANNOUNCED, CopyPlan::default(), SECOND, now),
            Ok(SECOND)
        );
    }

    #[test]
    fn the_end_of_one_slot_leaves_the_session_of_another() {
        let now = Instant::now();
        let mut transfers = Transfers::default();
        let of_slot = |slot| Announced {
            slot: Some(SessionId([slot; 16])),
            ..ANNOUNCED
        };
        for (slot, session) in [(7, FIRST), (8, SECOND)] {
            let plan = CopyPlan::default();
            let announced = transfers.announce(of_slot(slot), plan, session, now);
            assert_eq!(announced, Ok(session));
        }
        transfers.stored(FIRST);
        let (left, _) = transfers.upload(SECOND, now).unwrap();
        assert_eq!(left, of_slot(8));
    }

    #[test]
    fn sessions_expire_when_no_stream_uses_them() {
        let start = Instant::now();
        let mut transfers = Transfers::default();
        transfers
            .announce(ANNOUNCED, CopyPlan::default(), FIRST, start)
            .unwrap();
        transfers.open(SECOND, ANNOUNCED.chunk, start).unwrap();
        let used = start + IDLE_MAX / 2;
        assert!(transfers.upload(FIRST, used).is_ok());
        let later = start + IDLE_MAX;
        assert!(transfers.upload(FIRST, later).is_ok(), "it was used");
        let gone = transfers.download(SECOND, later).unwrap_err();
        assert_eq!(gone.kind, FaultKind::SessionNotFound);

        let end = later + IDLE_MAX;
        assert_eq!(
            transfers.announce(ANNOUNCED, CopyPlan::default(), SECOND, end),
            Ok(SECOND)
        );
        assert!(transfers.upload(FIRST, end).is_err());
    }

    #[test]
    fn there_are_not_more_sessions_than_memory_for_them() {
        let now = Instant::now();
        let mut transfers = Transfers::default();
        for number in 0..SESSIONS_MAX as u128 {
            let id = SessionId(number.to_be_bytes());
            transfers.open(id, ANNOUNCED.chunk, now).unwrap();
        }
        let refused = transfers.open(SessionId([9; 16]), ANNOUNCED.chunk, now);
        assert_eq!(refused.unwrap_err().kind, FaultKind::Unavailable);
    }
}
