//! The commit of a mount: its changes become the next version, which it shows from then on.
//!
//! A commit waits for the one before. The core tells the kernel, from threads that serve no request.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::full_text;
use lfsfs_queue::Hold;
use lfsfs_upload::{IgnoreWarning, Phase, Progress, ProgressFigures};
use lfsfs_vfs::{CommitError, CommitOutcome, CommitParams, Exclusive, SwitchError};
use tokio::task::spawn_blocking;
use tracing::info;

use super::Control;
use super::changing::{PATHS_MAX, is_no_answer, unsent};
use super::publishing::waiting;
use super::socket::{Answers, Notices};
use crate::control::{
    Answer, Committed, ControlError, ControlErrorKind, ControlPhase, ControlProgress, PhaseMillis,
};
use crate::memory;
use crate::publisher::Publisher;

/// How long a commit waits for uploads that are under way.
const HOLD_LIMIT: Duration = Duration::from_secs(5);

impl Control {
    /// Makes the changes the next version, which the mount shows from then on.
    pub(super) async fn commit(
        &self,
        params: CommitParams,
        mut notices: Notices,
        answers: &mut Answers,
    ) -> Result<Committed, ControlError> {
        self.expect_writable()?;
        let alone = answers
            .telling(waiting, self.wait_to_change("commit"))
            .await;
        self.publish_before(&alone, &params.retry, &mut notices, answers)
            .await?;
        let progress = Arc::new(Progress::default());
        let figures = || figures(&progress.figures());
        let committed = answers
            .telling_all(
                figures,
                &mut notices,
                self.commit_alone(&alone, &params, &progress),
            )
            .await;
        let (committed, warnings) = committed?;
        for warning in warnings {
            let warning = Answer::Warning(warning.to_string());
            answers.send_part(&warning).await.map_err(unsent)?;
        }
        Ok(committed)
    }

    async fn commit_alone(
        &self,
        alone: &Exclusive<'_>,
        params: &CommitParams,
        progress: &Arc<Progress>,
    ) -> Result<(Committed, Vec<IgnoreWarning>), ControlError> {
        let remote = self.retrying(&params.retry);
        let held = self.hold_queue().await;
        // Boxed, since it holds all that a commit has in hand.
        let outcome = Box::pin(alone.commit(&remote, params, &self.kernel, progress)).await;
        drop(held);
        // Before the answer: after a commit the mount is small. It fails only if the process ends.
        let _ = spawn_blocking(memory::give_back).await;
        let outcome = outcome.map_err(|error| self.of_commit(error))?;
        // What was refused before is in this version.
        self.with_record(Publisher::forget).await?;
        Ok((self.committed(&outcome), outcome.ignore_warnings))
    }

    /// Returns what the mount answers about a commit, and logs it.
    pub(super) fn committed(&self, outcome: &CommitOutcome) -> Committed {
        let version = self.status().version;
        info!(
            version = version.version,
            changes = outcome.changes(),
            rebased = outcome.rebased,
            "committed"
        );
        Committed {
            version,
            is_new: outcome.is_new,
            rebased: outcome.rebased,
            changes: outcome.changes(),
            added: outcome.added,
            modified: outcome.modified,
            removed: outcome.removed,
            bytes_sent: outcome.bytes_sent,
            contents_sent: outcome.contents_sent,
            bytes_new: outcome.bytes_new,
            bytes_known: outcome.bytes_known,
            phases: phase_millis(outcome.spent),
            pending: None,
        }
    }

    /// Keeps the upload queue from sending what a commit sends now, and gives it time to end what it has begun.
    pub(super) async fn hold_queue(&self) -> Option<Hold> {
        let queue = Arc::clone(self.queue.as_ref()?);
        let hold = spawn_blocking(move || queue.hold(HOLD_LIMIT)).await;
        // Without it some bytes may be sent twice.
        hold.ok()
    }

    pub(super) fn of_commit(&self, error: CommitError) -> ControlError {
        let text = full_text(&error);
        match error {
            CommitError::Conflict { mut paths, count } => {
                paths.truncate(PATHS_MAX);
                ControlError {
                    paths,
                    paths_count: count,
                    ..ControlError::new(ControlErrorKind::Conflict, text)
                }
                .hint(
                    "nothing was lost; look at both sides, or commit with --force to put these \
                     on top",
                )
            }
            CommitError::Unreadable { .. } => ControlError::failed(text).hint(
                "nothing was lost; write the whole file again, remove it, or take its change back with \
                 lfsfs discard, then commit again",
            ),
            CommitError::Remote(error) | CommitError::AnswerLost { source: error } => {
                self.with_way_to_server(text, error.is_no_answer())
            }
            CommitError::TooLarge { .. } => ControlError::failed(text)
                .hint("nothing was lost; make the file smaller or remove it, then commit again"),
            CommitError::Vfs(error)
            | CommitError::File { source: error, .. }
            | CommitError::Switch {
                source: SwitchError::Vfs(error),
                ..
            } => self.with_way_to_server(text, is_no_answer(&error)),
            _ => ControlError::failed(text),
        }
    }
}

pub(super) fn figures(figures: &ProgressFigures) -> ControlProgress {
    ControlProgress {
        phase: match figures.phase {
            Phase::Cut => ControlPhase::Cut,
            Phase::Read => ControlPhase::Read,
            Phase::Send => ControlPhase::Send,
            Phase::Publish => ControlPhase::Publish,
            Phase::Show => ControlPhase::Show,
        },
        bytes_read: figures.bytes_read,
        bytes_sent: figures.bytes_sent,
        contents_sent: figures.contents_sent,
        changes: figures.changes,
        ..ControlProgress::default()
    }
}

fn phase_millis(spent: [Duration; Phase::ALL.len()]) -> PhaseMillis {
    let millis = spent.map(|spent| u64::try_from(spent.as_millis()).unwrap_or(u64::MAX));
    let [cut, read, send, publish, show] = millis;
    PhaseMillis {
        cut,
        read,
        send,
        publish,
        show,
    }
}
