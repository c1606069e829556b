//! An executor: a thread that uploads batches as long as there are some.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Inner, TICK};
use crate::state::Outcome;
use crate::uploader::{Failure, FileId, Uploads};

/// Failed calls after which it is not looked further for the file that is the reason: several in the largest batch.
const FAILURES_MAX: u32 = 64;

impl Inner {
    /// Starts an executor that was counted already.
    pub(super) fn start_executor(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        let executing = Arc::clone(self);
        let started = thread::Builder::new()
            .name("upload".to_owned())
            .spawn(move || executing.execute());
        started
            .inspect_err(|error| {
                tracing::warn!(%error, "no thread for an upload");
                self.lock().executors -= 1;
                thread::sleep(TICK);
            })
            .ok()
    }

    fn execute(&self) {
        (self.begin_thread)();
        while let Some(batch) = self.next_batch() {
            let uploaded = catch_unwind(AssertUnwindSafe(|| self.upload(&batch, &mut 0)));
            let (outcomes, bytes_sent) = uploaded.unwrap_or_else(|_| {
                let failure = Failure::Lasting("the upload panicked, which is a defect".to_owned());
                (all_failed(&batch, &failure), 0)
            });
            self.finish(outcomes, bytes_sent);
            self.wait_for_rate(bytes_sent);
        }
    }

    /// Returns what to upload next. Where there is nothing the executor does not count any more: the one who looks
    /// again sees the same files.
    fn next_batch(&self) -> Option<Vec<FileId>> {
        let (mut queue, now) = (self.lock(), self.now());
        let batch = if self.is_ended() {
            None
        } else {
            queue.state.take(now, |file| self.uploader.len(file))
        };
        if batch.is_none() {
            queue.executors -= 1;
            self.changed.notify_all();
        }
        batch
    }

    /// Uploads files; their halves, if something among them is the reason of a failure.
    fn upload(&self, files: &[FileId], failures: &mut u32) -> (Vec<(FileId, Outcome)>, u64) {
        let failure = match self.uploader.upload(files) {
            Ok(uploads) => return (outcomes(files, &uploads), uploads.bytes_sent),
            Err(failure) => failure,
        };
        *failures += 1;
        let is_of_all = matches!(failure, Failure::Away(_));
        if files.len() == 1 || is_of_all {
            return (all_failed(files, &failure), 0);
        }
        if *failures > FAILURES_MAX {
            // Which of them is the reason is not known, so none is set aside.
            return (all_failed(files, &Failure::Passing(failure.to_string())), 0);
        }
        let (first, second) = files.split_at(files.len() / 2);
        let (mut outcomes, sent) = self.upload(first, failures);
        let (others, others_sent) = self.upload(second, failures);
        outcomes.extend(others);
        (outcomes, sent + others_sent)
    }

    /// Waits until more may be sent.
    fn wait_for_rate(&self, bytes_sent: u64) {
        let mut rate = self.rate.lock().expect("no holder of this lock panics");
        let pause = rate.sent(bytes_sent, self.now());
        drop(rate);
        let until = Instant::now() + pause;
        while !self.is_ended()
            && let Some(left) = until.checked_duration_since(Instant::now())
            && left > Duration::ZERO
        {
            thread::sleep(left.min(TICK));
        }
    }
}

/// Returns what became of each file of a batch.
fn outcomes(files: &[FileId], uploads: &Uploads) -> Vec<(FileId, Outcome)> {
    let outcome = |file: &FileId| {
        if uploads.remote.contains(file) {
            return Outcome::Remote;
        }
        let failed = uploads.failed.iter().find(|(failed, _)| failed == file);
        failed.map_or(Outcome::Skipped, |(_, failure)| {
            Outcome::Failed(failure.clone())
        })
    };
    files.iter().map(|file| (*file, outcome(file))).collect()
}

fn all_failed(files: &[FileId], failure: &Failure) -> Vec<(FileId, Outcome)> {
    let failed = |file: &FileId| (*file, Outcome::Failed(failure.clone()));
    files.iter().map(failed).collect()
}
