//! Versions that are published later: promised by a commit, published by the process of the mount.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lfsfs_common::backoff::Backoff;
use lfsfs_common::random::random_bytes;
use lfsfs_queue::UploadQueue;
use lfsfs_remote::Retry;
use lfsfs_types::VersionId;
use lfsfs_upload::{IgnoredPaths, Progress};
use lfsfs_vfs::{CommitError, CommitParams, Promised};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::Control;
use super::alone::Alone;
use super::changing::unsent;
use super::committing::figures;
use super::socket::{Answers, Notices};
use crate::control::{
    Answer, Committed, ControlError, ControlErrorKind, ControlPhase, ControlProgress,
};
use crate::memory;
use crate::publication::Publication;
use crate::publisher::{Publisher, Rest, Standing};

/// How long the upload queue may get no further before an attempt sends what is left by itself.
const QUEUE_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after an attempt that failed.
const ATTEMPTS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));
/// How long an attempt may take to stop.
const REST_LIMIT: Duration = Duration::from_secs(5);
/// What the exclusive section is for.
const PUBLICATION: &str = "publication";

impl Control {
    /// Takes the changes so far for a version that is published later. On return they are safe on this machine.
    pub(super) async fn commit_later(
        &self,
        params: CommitParams,
        mut notices: Notices,
        answers: &mut Answers,
    ) -> Result<Committed, ControlError> {
        self.expect_writable()?;
        self.expect_none_pending()?;
        let alone = answers.telling(waiting, self.wait_to_change("commit"));
        let alone = alone.await;
        self.expect_none_pending()?;
        let promise = self.promise(&alone, &params);
        let promised = answers.telling_all(Default::default, &mut notices, promise);
        let (promised, id) = promised.await?;
        for warning in promised.ignore_warnings {
            let warning = Answer::Warning(warning.to_string());
            answers.send_part(&warning).await.map_err(unsent)?;
        }
        Ok(Committed {
            version: self.status().version,
            pending: promised.is_sealed.then(|| id.to_string()),
            ..Committed::default()
        })
    }

    fn expect_none_pending(&self) -> Result<(), ControlError> {
        let Some(standing) = self.publisher.pending() else {
            return Ok(());
        };
        let seconds = now().saturating_sub(standing.publication.asked);
        let dir = self.fixed.dir.display();
        Err(ControlError::new(
            ControlErrorKind::Busy,
            format!("a version of this mount has been on its way for {seconds} s; one follows when it is published"),
        )
        .hint(format!(
            "wait for it with lfsfs flush {dir}, or commit without --async, which waits for it"
        )))
    }

    async fn promise(
        &self,
        alone: &Alone<'_>,
        params: &CommitParams,
    ) -> Result<(Promised, VersionId), ControlError> {
        let id = random_bytes().map_err(|error| self.of_commit(CommitError::Random(error)))?;
        // What the kernel holds back is a change, too.
        self.cut.settle().await;
        if self.vfs.overlay().is_none() {
            // The first change makes it, and where the record lies.
            return Ok((Promised::default(), VersionId(id)));
        }
        let publication = Publication {
            version: VersionId(id),
            author: params.author.clone(),
            message: params.message.clone(),
            force: params.force,
            ignore_times: params.ignore_times,
            asked: now(),
            refused: None,
        };
        let noted = publication.clone();
        let noted = self.with_record(move |publisher| publisher.note(&noted));
        noted
            .await?
            .map_err(|error| ControlError::failed(lfsfs_common::full_text(&error)))?;
        let promised = alone.promise(publication.version, params, &self.kernel);
        let promised = Box::pin(promised).await;
        match &promised {
            Ok(Promised {
                is_sealed: true, ..
            }) => {
                info!(version = %publication.version, "a version is published later");
                self.publisher.promised(publication);
            }
            Ok(_) | Err(_) => self.with_record(Publisher::take_back).await?,
        }
        let promised = promised.map_err(|error| self.of_commit(error))?;
        Ok((promised, VersionId(id)))
    }

    /// Publishes what was promised, again and again until it is a version or refused. Works until it is dropped, which
    /// may be at any time.
    pub(crate) async fn keep_publishing(&self) {
        loop {
            self.publisher.until_pending().await;
            self.publisher.until_resting(false).await;
            tokio::select! {
                () = self.attempt() => {}
                () = self.publisher.until_resting(true) => {}
            }
        }
    }

    /// Publishes once, behind the upload queue. After a failure it waits for a time.
    async fn attempt(&self) {
        self.wait_for_queue().await;
        let alone = self.wait_to_change(PUBLICATION).await;
        let progress = Arc::new(Progress::default());
        let retry = Retry::new(Duration::ZERO);
        let published = self.publish_promised(&alone, &retry, &progress).await;
        drop(alone);
        let Err(error) = published else { return };
        let Some(Standing { tries, .. }) = self.publisher.pending() else {
            return;
        };
        warn!(
            tries,
            error = error.message,
            "a version is not published yet"
        );
        let random = random_bytes().map_or(0, |[a, b, c, d, ..]| u32::from_le_bytes([a, b, c, d]));
        tokio::select! {
            () = sleep(ATTEMPTS.delay(tries, random)) => {}
            () = self.publisher.hurry.notified() => {}
        }
    }

    async fn wait_for_queue(&self) {
        if let Some(queue) = self.queue.clone() {
            // It fails only if it panicked, which was told.
            let _ = spawn_blocking(move || drain(&queue)).await;
        }
    }

    /// Makes a version of what was promised, if anything was.
    pub(super) async fn publish_promised(
        &self,
        alone: &Alone<'_>,
        retry: &Retry,
        progress: &Arc<Progress>,
    ) -> Result<(), ControlError> {
        let Some(Standing { publication, .. }) = self.publisher.pending() else {
            return Ok(());
        };
        let id = publication.version;
        let params = CommitParams {
            author: publication.author,
            message: publication.message,
            force: publication.force,
            ignore_times: publication.ignore_times,
            // They were left out, or not, when the changes were taken.
            ignored: IgnoredPaths::Taken,
            retry: retry.clone(),
        };
        let remote = self.retrying(retry);
        let held = self.hold_queue().await;
        let published = alone.publish(id, &remote, &params, &self.kernel, progress);
        // Boxed, since it holds all that a commit has in hand.
        let published = Box::pin(published).await;
        drop(held);
        let _ = spawn_blocking(memory::give_back).await;
        match published {
            Ok(outcome) => {
                if let Some(outcome) = outcome {
                    let _ = self.committed(&outcome);
                }
                self.with_record(Publisher::forget).await
            }
            Err(failure) if failure.is_refused => {
                let error = self.of_commit(failure.error);
                warn!(
                    error = error.message,
                    "a version was refused; its changes stay"
                );
                let why = error.clone();
                self.with_record(move |publisher| publisher.refused(&why))
                    .await?;
                let given_up = alone.give_up(id).await;
                given_up.map_err(|error| self.of_commit(error))?;
                Err(error)
            }
            Err(failure) => {
                let error = self.of_commit(failure.error);
                self.publisher.failed(&error.message);
                Err(error)
            }
        }
    }

    /// Waits for a version that is published later, until the time is over. Returns once none is pending.
    pub(super) async fn await_publication(&self, limit: Option<Duration>) {
        self.publisher.hurry.notify_one();
        let settled = self.publisher.until_settled();
        match limit.and_then(|limit| Instant::now().checked_add(limit)) {
            // The time may be over; who asked looks what is left.
            Some(deadline) => drop(timeout_at(deadline, settled).await),
            None => settled.await,
        }
    }

    /// Stops the publication for the end of the mount, and takes the right to change what the mount shows.
    pub(super) async fn begin_end(&self) -> Result<(Rest<'_>, Alone<'_>), ControlError> {
        let rest = self.publisher.rest();
        let deadline = Instant::now() + REST_LIMIT;
        loop {
            match self.begin_change("umount") {
                Ok(alone) => return Ok((rest, alone)),
                Err(_) if self.is_running(PUBLICATION) && Instant::now() < deadline => {
                    sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Works on the record of the publication, which waits for the disk.
    pub(super) async fn with_record<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Publisher) -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        let publisher = Arc::clone(&self.publisher);
        let done = spawn_blocking(move || work(&publisher)).await;
        done.map_err(|_| ControlError::failed("a part of the mount process panicked"))
    }
}

/// Waits until the queue is through, or gets no further. Blocks.
fn drain(queue: &UploadQueue) {
    loop {
        let before = queue.stats().totals;
        let left = queue.flush(Some(std::time::Instant::now() + QUEUE_PATIENCE));
        let is_through = left.waiting + left.uploading == 0;
        let after = queue.stats().totals;
        if is_through || (before.uploaded, before.bytes_sent) == (after.uploaded, after.bytes_sent)
        {
            return;
        }
    }
}

/// What the mount tells its caller while it waits for another verb.
pub(super) fn waiting() -> ControlProgress {
    ControlProgress {
        phase: ControlPhase::Wait,
        ..ControlProgress::default()
    }
}

/// Returns the seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Control {
    /// Publishes what was promised before a commit of the changes since, and tells how far that is.
    pub(super) async fn publish_before(
        &self,
        alone: &Alone<'_>,
        retry: &Retry,
        notices: &mut Notices,
        answers: &mut Answers,
    ) -> Result<(), ControlError> {
        if self.publisher.pending().is_none() {
            return Ok(());
        }
        let progress = Arc::new(Progress::default());
        let figures = || figures(&progress.figures());
        let publish = self.publish_promised(alone, retry, &progress);
        let Err(error) = answers.telling_all(figures, notices, publish).await else {
            return Ok(());
        };
        if self.publisher.pending().is_some() {
            let message = format!("an earlier version is not published yet: {}", error.message);
            return Err(ControlError { message, ..error });
        }
        let text = format!(
            "the version that was on its way was refused, and its changes are part of this commit: {}",
            error.message
        );
        answers.send(&Answer::Warning(text)).await.map_err(unsent)
    }
}
