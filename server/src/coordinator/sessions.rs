//! Commit sessions between their opening and their commit: ids in memory, nothing else. What is
//! staged lies in the metadata.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{ProjectId, SessionId, VersionId, VersionNumber};

/// A session that nobody used for this long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Most sessions at the same time.
const SESSIONS_MAX: usize = 10_000;

/// What a session was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitPlan {
    pub(super) project: ProjectId,
    pub(super) base: (VersionNumber, VersionId),
    pub(super) version: VersionId,
}

/// The sessions that are open.
#[derive(Debug, Default)]
pub(super) struct CommitSessions {
    open: HashMap<SessionId, (CommitPlan, Instant)>,
}

impl CommitSessions {
    pub(super) fn open(
        &mut self,
        id: SessionId,
        plan: CommitPlan,
        now: Instant,
    ) -> Result<(), Fault> {
        self.open
            .retain(|_, (_, used)| now.saturating_duration_since(*used) < IDLE_MAX);
        if self.open.len() >= SESSIONS_MAX {
            let text = "too many commit sessions are open";
            return Err(Fault::new(FaultKind::Unavailable, text));
        }
        self.open.insert(id, (plan, now));
        Ok(())
    }

    pub(super) fn find(&mut self, id: SessionId, now: Instant) -> Result<CommitPlan, Fault> {
        match self.open.get_mut(&id) {
            Some((plan, used)) if now.saturating_duration_since(*used) < IDLE_MAX => {
                *used = now;
                Ok(*plan)
            }
            _ => Err(Fault::new(
                FaultKind::SessionNotFound,
                "the commit session is unknown or has expired",
            )),
        }
    }

    pub(super) fn close(&mut self, id: SessionId) {
        self.open.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: CommitPlan = CommitPlan {
        project: ProjectId([1; 16]),
        base: (VersionNumber::ZERO, VersionId::ZERO),
        version: VersionId([2; 16]),
    };

    #[test]
    fn a_session_lives_while_it_is_used_and_is_gone_after() {
        let (id, start) = (SessionId([1; 16]), Instant::now());
        let mut sessions = CommitSessions::default();
        sessions.open(id, PLAN, start).unwrap();
        let later = start + IDLE_MAX - Duration::from_secs(1);
        assert_eq!(sessions.find(id, later), Ok(PLAN));
        assert_eq!(sessions.find(id, later + IDLE_MAX / 2), Ok(PLAN));
        let gone = sessions.find(id, later + 2 * IDLE_MAX).unwrap_err();
        assert_eq!(gone.kind, FaultKind::SessionNotFound);
        sessions.open(id, PLAN, start).unwrap();
        sessions.close(id);
        assert!(sessions.find(id, start).is_err());
    }

    #[test]
    fn there_are_not_more_sessions_than_memory_for_them() {
        let mut sessions = CommitSessions::default();
        let start = Instant::now();
        let mut open = |number: usize, now| {
            let id = SessionId((number as u128).to_be_bytes());
            sessions.open(id, PLAN, now)
        };
        for number in 0..SESSIONS_MAX {
            open(number, start).unwrap();
        }
        let refused = open(SESSIONS_MAX, start).unwrap_err();
        assert_eq!(refused.kind, FaultKind::Unavailable);
        open(SESSIONS_MAX, start + IDLE_MAX).unwrap();
    }
}
