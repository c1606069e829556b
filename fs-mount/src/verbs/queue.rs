//! The verbs of the upload queue: told, watched, paused, tried again, waited for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lfsfs_common::full_text;
use lfsfs_queue::{Counts, Event, FileId, QueueStats, QueuedFile, Standing, UploadQueue};
use lfsfs_types::ObjectPath;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Control;
use super::publishing::now;
use super::socket::Answers;
use crate::control::{Answer, ControlError, ControlProgress, QueueItem, QueueReport};

/// How often the mount process tells a watching command that it is there.
const SIGN_PERIOD: Duration = Duration::from_secs(1);

impl Control {
    /// Tells the files that are not uploaded yet, and then what happens, if that is wanted.
    pub(super) async fn tell_queue(
        &self,
        watch: bool,
        answers: &mut Answers,
    ) -> Result<QueueReport, ControlError> {
        let queue = self.queue()?;
        // From before the look on, so that nothing happens unseen.
        let mut events = queue.events();
        let queued = Arc::clone(queue);
        let files = blocking(move || queued.files()).await?;
        for item in self.items(files).await {
            send(answers, &item).await?;
        }
        if watch {
            self.tell_events(&mut events, answers).await?;
        }
        Ok(self.report())
    }

    /// Tells what happens until the watching command has gone, or the queue has ended.
    async fn tell_events(
        &self,
        events: &mut Receiver<Event>,
        answers: &mut Answers,
    ) -> Result<(), ControlError> {
        loop {
            let items = match timeout(SIGN_PERIOD, events.recv()).await {
                Ok(Ok(event)) => self.items_of(event).await,
                // The command reads slowly and missed some; it gets the events that are left.
                Ok(Err(RecvError::Lagged(_))) => Vec::new(),
                Ok(Err(RecvError::Closed)) => return Ok(()),
                Err(_) => {
                    let sign = Answer::Progress(ControlProgress::default());
                    answers.send(&sign).await.map_err(unsent)?;
                    Vec::new()
                }
            };
            for item in items {
                send(answers, &item).await?;
            }
        }
    }

    /// Begins no upload until it is resumed, or goes on.
    pub(super) async fn pause_queue(
        &self,
        is_paused: bool,
        answers: &mut Answers,
    ) -> Result<QueueReport, ControlError> {
        let queue = Arc::clone(self.queue()?);
        let pause = blocking(move || queue.pause(is_paused));
        answers.telling(Default::default, pause).await?;
        Ok(self.report())
    }

    /// Tries failed uploads again, and others at once.
    pub(super) fn retry_queue(&self) -> Result<QueueReport, ControlError> {
        let queue = self.queue()?;
        queue.retry();
        self.publisher.hurry.notify_one();
        Ok(self.report())
    }

    /// Uploads everything now, and waits for the version that is published later. Returns what is left when the time is
    /// over.
    pub(super) async fn flush_queue(
        &self,
        limit: Option<Duration>,
        answers: &mut Answers,
    ) -> Result<QueueReport, ControlError> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let left = match &self.queue {
            Some(queue) => self.flush_files(queue, deadline, answers).await?,
            // There is no queue, but a version.
            None if self.publisher.standing().is_some() => Counts::default(),
            None => self.queue().map(|_| Counts::default())?,
        };
        let limit = deadline.map(|it| it.saturating_duration_since(Instant::now()));
        let published = self.await_publication(limit);
        answers.telling(Default::default, published).await;
        Ok(QueueReport {
            waiting: left.waiting as u64,
            uploading: left.uploading as u64,
            failed: left.failed as u64,
            ..self.report()
        })
    }

    async fn flush_files(
        &self,
        queue: &Arc<UploadQueue>,
        deadline: Option<Instant>,
        answers: &mut Answers,
    ) -> Result<Counts, ControlError> {
        // What the kernel holds back is written, too.
        self.cut.settle().await;
        let before = queue.stats().totals;
        let progress = || {
            let QueueStats { counts, totals, .. } = queue.stats();
            ControlProgress {
                bytes_sent: totals.bytes_sent - before.bytes_sent,
                files_uploaded: totals.uploaded - before.uploaded,
                files_left: (counts.waiting + counts.uploading) as u64,
                ..ControlProgress::default()
            }
        };
        let flushed = Arc::clone(queue);
        let flush = blocking(move || flushed.flush(deadline));
        answers.telling(progress, flush).await
    }

    /// Returns what the queue is doing, and what is published later.
    pub(super) fn report(&self) -> QueueReport {
        let stats = self.queue.as_ref().map(|queue| queue.stats());
        QueueReport {
            publishing: self.publisher.status(now()),
            ..report(&stats.unwrap_or_default())
        }
    }

    /// Returns what `stats` says of the queue. Scripts read these names.
    pub(super) fn queue_counters(&self) -> Vec<(String, u64)> {
        let Some(queue) = &self.queue else {
            return Vec::new();
        };
        let QueueStats {
            counts,
            executors,
            totals,
            ..
        } = queue.stats();
        let counters = [
            ("queue_waiting", counts.waiting as u64),
            ("queue_uploading", counts.uploading as u64),
            ("queue_failed", counts.failed as u64),
            ("queue_executors", executors as u64),
            ("queue_uploaded", totals.uploaded),
            ("queue_skipped", totals.skipped),
            ("queue_failures", totals.failures),
            ("queue_bytes_sent", totals.bytes_sent),
        ];
        counters
            .map(|(name, count)| (name.to_owned(), count))
            .into()
    }

    fn queue(&self) -> Result<&Arc<UploadQueue>, ControlError> {
        self.expect_writable()?;
        self.queue.as_ref().ok_or_else(|| {
            ControlError::failed("the mount has no upload queue")
                .hint("mount it again without -o noupload")
        })
    }

    async fn items(&self, files: Vec<QueuedFile>) -> Vec<QueueItem> {
        let ids: Vec<FileId> = files.iter().map(|file| file.file).collect();
        let paths = self.paths(&ids).await;
        let item = |file: QueuedFile| QueueItem {
            state: word(file.standing).to_owned(),
            tries: file.tries,
            reason: file.reason,
            ..self.item(file.file, &paths)
        };
        files.into_iter().map(item).collect()
    }

    async fn items_of(&self, event: Event) -> Vec<QueueItem> {
        let (files, state, tries, reason) = match event {
            Event::Remote { files, .. } => (files, "remote", 0, None),
            Event::Retrying {
                file,
                tries,
                reason,
            } => (vec![file], "retrying", tries, Some(reason)),
            Event::Failed { file, reason } => (vec![file], "failed", 1, Some(reason)),
            Event::Paused(is_paused) => {
                let state = if is_paused { "paused" } else { "resumed" };
                let state = state.to_owned();
                return vec![QueueItem {
                    state,
                    ..QueueItem::default()
                }];
            }
        };
        let paths = self.paths(&files).await;
        let item = |file: &FileId| QueueItem {
            state: state.to_owned(),
            tries,
            reason: reason.clone(),
            ..self.item(*file, &paths)
        };
        files.iter().map(item).collect()
    }

    fn item(&self, file: FileId, paths: &HashMap<FileId, ObjectPath>) -> QueueItem {
        let path = paths.get(&file).map(|path| path.as_bytes().to_vec());
        QueueItem {
            path: path.unwrap_or_default(),
            bytes: self.vfs.len_of(file).unwrap_or(0),
            ..QueueItem::default()
        }
    }

    /// Returns where files are. What cannot be found out now is left out.
    async fn paths(&self, files: &[FileId]) -> HashMap<FileId, ObjectPath> {
        let found = self.vfs.paths_of(files).await;
        found.unwrap_or_else(|error| {
            tracing::debug!(
                error = full_text(&error),
                "the paths of queued files are not known"
            );
            HashMap::new()
        })
    }
}

async fn send(answers: &mut Answers, item: &QueueItem) -> Result<(), ControlError> {
    let item = serde_json::to_value(item).map_err(unsent)?;
    answers.send(&Answer::Item(item)).await.map_err(unsent)
}

fn unsent(error: impl std::fmt::Display) -> ControlError {
    ControlError::failed(format!("the answer was not sent: {error}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ControlError> {
    let done = spawn_blocking(work).await;
    done.map_err(|_| ControlError::failed("a part of the mount process panicked"))
}

fn report(stats: &QueueStats) -> QueueReport {
    let Counts {
        waiting,
        uploading,
        failed,
    } = stats.counts;
    QueueReport {
        waiting: waiting as u64,
        uploading: uploading as u64,
        failed: failed as u64,
        executors: stats.executors as u64,
        paused: stats.is_paused,
        uploaded: stats.totals.uploaded,
        bytes_sent: stats.totals.bytes_sent,
        seconds_left: stats.left.map(|left| left.as_secs()),
        publishing: None,
    }
}

const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Waiting => "waiting",
        Standing::Uploading => "uploading",
        Standing::Retrying => "retrying",
        Standing::Failed => "failed",
    }
}
