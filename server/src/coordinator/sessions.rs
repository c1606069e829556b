//! Commit sessions between their opening and the end of their commit: ids in memory, nothing else.
//! What is staged lies in the metadata.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lfsfs_metadata::ExactVersion;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{ProjectId, SessionId, VersionId, VersionNumber};

use super::holdings::{Holder, Holdings, Limits, NewThing};

/// A commit follows the opening of its session within moments.
const LIMITS: Limits = Limits {
    idle_max: Duration::from_secs(3600),
    of_connection: 64,
    of_project: 1000,
    of_server: 10_000,
    what: "commits",
};

/// What a session was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitPlan {
    pub(super) project: ProjectId,
    pub(super) base: ExactVersion,
    pub(super) version: VersionId,
}

/// The sessions that are open.
#[derive(Debug)]
pub(super) struct CommitSessions {
    open: Holdings<CommitPlan>,
}

impl Default for CommitSessions {
    fn default() -> Self {
        let open = Holdings::new(LIMITS);
        Self { open }
    }
}

impl CommitSessions {
    /// Opens a session; of sessions that wait for their commit some may give way.
    pub(super) fn open(
        &mut self,
        id: SessionId,
        plan: CommitPlan,
        holder: Holder,
        now: Instant,
    ) -> Result<(), Fault> {
        let new = NewThing {
            thing: plan,
            holder,
            weight: 1,
        };
        self.open.add(id, new, now).map(drop)
    }

    /// Begins the commit of a session, which stays until it is closed.
    pub(super) fn begin(&mut self, id: SessionId, now: Instant) -> Result<CommitPlan, Fault> {
        let Some(plan) = self.open.find(id, now).copied() else {
            let text = "the commit session is unknown or is over; open another one";
            return Err(Fault::new(FaultKind::SessionNotFound, text));
        };
        self.open.begin_use(id);
        Ok(plan)
    }

    /// Returns the versions of a project that sessions were opened on.
    pub(super) fn bases_of(&self, project: ProjectId) -> BTreeSet<VersionNumber> {
        let plans = self.open.all().filter(|plan| plan.project == project);
        plans.map(|plan| plan.base.number).collect()
    }

    /// Returns true if a commit is under way that makes this version.
    pub(super) fn is_committing(&self, project: ProjectId, version: VersionId) -> bool {
        let mut plans = self.open.in_use();
        plans.any(|plan| (plan.project, plan.version) == (project, version))
    }

    pub(super) fn close(&mut self, id: SessionId) {
        self.open.end(id);
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::VersionNumber;

    use super::*;

    const PLAN: CommitPlan = CommitPlan {
        project: ProjectId([1; 16]),
        base: ExactVersion {
            number: VersionNumber::ZERO,
            id: VersionId::ZERO,
        },
        version: VersionId([2; 16]),
    };
    const HOLDER: Holder = Holder {
        connection: None,
        project: PLAN.project,
    };

    #[test]
    fn a_session_waits_for_its_commit_and_ends_with_it() {
        let (id, start) = (SessionId([1; 16]), Instant::now());
        let mut sessions = CommitSessions::default();
        sessions.open(id, PLAN, HOLDER, start).unwrap();
        let later = start + LIMITS.idle_max / 2;
        let (project, version) = (PLAN.project, PLAN.version);
        assert!(!sessions.is_committing(project, version));
        assert_eq!(sessions.begin(id, later), Ok(PLAN));
        assert!(sessions.is_committing(project, version));
        assert!(!sessions.is_committing(project, VersionId([3; 16])));
        assert_eq!(sessions.begin(id, later + 2 * LIMITS.idle_max), Ok(PLAN));
        sessions.close(id);
        assert!(!sessions.is_committing(project, version));
        let gone = sessions.begin(id, later).unwrap_err();
        assert_eq!(gone.kind, FaultKind::SessionNotFound);
        sessions.open(id, PLAN, HOLDER, start).unwrap();
        assert!(sessions.begin(id, start + LIMITS.idle_max).is_err());
    }

    #[test]
    fn opening_alone_never_keeps_others_out() {
        let (now, victim) = (Instant::now(), SessionId([255; 16]));
        let mut sessions = CommitSessions::default();
        let other = Holder {
            connection: Some(([127, 0, 0, 1], 1).into()),
            ..HOLDER
        };
        sessions.open(victim, PLAN, other, now).unwrap();
        for number in 0..2_u128 * 10_000 {
            let id = SessionId(number.to_be_bytes());
            sessions.open(id, PLAN, HOLDER, now).unwrap();
        }
        assert_eq!(sessions.begin(victim, now), Ok(PLAN));
    }
}
