//! Which files wait, in which order, and which are uploaded when. Everything here is pure: the caller says what time
//! it is, as the time since some moment.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use lfsfs_common::backoff::{Backoff, Delays};

use crate::config::QueueConfig;
use crate::uploader::{Failure, FileId};

/// The time since the queue was made, by a clock that is never set.
pub(crate) type Moment = Duration;

/// A file in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// When it became local.
    since: Moment,
    /// Failed attempts since it last succeeded.
    tries: u32,
    place: Place,
    /// Why the last attempt failed.
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Not before a moment.
    Due(Moment),
    /// From this moment on it could be taken.
    Ready(Moment),
    Uploading {
        is_touched: bool,
    },
    /// Set aside.
    Failed,
}

/// What a file in the queue is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits for its turn.
    Waiting,
    /// An executor has it.
    Uploading,
    /// An attempt failed, and there will be another one.
    Retrying,
    /// It is set aside.
    Failed,
}

/// A file in the queue, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedFile {
    /// Which.
    pub file: FileId,
    /// What it is about to do.
    pub standing: Standing,
    /// Failed attempts.
    pub tries: u32,
    /// Why the last of them failed.
    pub reason: Option<String>,
}

/// How many files there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files that wait for their turn, or for another attempt.
    pub waiting: usize,
    /// Files that executors have.
    pub uploading: usize,
    /// Files that were set aside.
    pub failed: usize,
}

impl Counts {
    /// Returns true if no file waits or is on its way. Files that were set aside do not count.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.waiting == 0 && self.uploading == 0
    }
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Remote,
    /// It was written to or removed meanwhile.
    Skipped,
    Failed(Failure),
}

#[derive(Debug)]
pub(crate) struct State {
    config: QueueConfig,
    items: HashMap<FileId, Item>,
    /// Those that are [`Place::Due`], by their moments.
    due: BTreeSet<(Moment, FileId)>,
    /// Those that are [`Place::Ready`], oldest first.
    ready: BTreeSet<(Moment, FileId)>,
    uploading: usize,
    failed: usize,
    is_paused: bool,
    /// How many callers wait until the queue is empty: nothing is left alone for them.
    hurries: usize,
    /// Commits under way, for which no executor begins an upload.
    holds: usize,
    jitter: Delays,
}

impl State {
    /// Returns an empty queue. The seed spreads the pauses between attempts.
    pub(crate) fn new(config: QueueConfig, seed: u64) -> Self {
        Self {
            config,
            items: HashMap::new(),
            due: BTreeSet::new(),
            ready: BTreeSet::new(),
            uploading: 0,
            failed: 0,
            is_paused: false,
            hurries: 0,
            holds: 0,
            jitter: Backoff::new(config.retry_first, config.retry_max).delays(seed),
        }
    }

    /// Notes that a file was written to.
    pub(crate) fn touch(&mut self, file: FileId, now: Moment) {
        let quiet = if self.hurries > 0 {
            Duration::ZERO
        } else {
            self.config.quiet
        };
        let Some(item) = self.items.get(&file) else {
            self.insert(file, Item::new(now, Place::Due(now + quiet)));
            return;
        };
        let latest = item.since + self.config.quiet_max;
        match item.place {
            Place::Uploading { .. } => self.place(file, Place::Uploading { is_touched: true }),
            // A pause after a failure is not made shorter.
            Place::Due(due) => {
                self.place(file, Place::Due(due.max(now + quiet).min(due.max(latest))));
            }
            Place::Ready(_) if now >= latest => {}
            Place::Ready(_) => self.place(file, Place::Due((now + quiet).min(latest))),
            // Other bytes may succeed.
            Place::Failed => self.insert(file, Item::new(now, Place::Due(now + quiet))),
        }
    }

    /// Takes up what an earlier process knew of a file that is in the queue.
    pub(crate) fn remember(
        &mut self,
        file: FileId,
        tries: u32,
        failed: Option<String>,
        now: Moment,
    ) {
        let Some(item) = self.items.get_mut(&file) else {
            return;
        };
        item.tries = tries;
        let is_failed = failed.is_some();
        item.reason = failed;
        let place = if is_failed {
            Place::Failed
        } else {
            Place::Due(now + self.pause(tries))
        };
        self.place(file, place);
    }

    /// Takes files for an executor, oldest first, if it is time for a batch. `len` says how long a file is; those for
    /// which it says nothing are dropped.
    pub(crate) fn take(
        &mut self,
        now: Moment,
        len: impl Fn(FileId) -> Option<u64>,
    ) -> Option<Vec<FileId>> {
        if self.is_held() {
            return None;
        }
        self.settle(now);
        if !self.is_time(now) {
            return None;
        }
        let (mut files, mut total) = (Vec::new(), 0_u64);
        while files.len() < self.config.batch_files_max
            && let Some((_, file)) = self.ready.first().copied()
        {
            let Some(len) = len(file) else {
                self.remove(file);
                continue;
            };
            if !files.is_empty() && total.saturating_add(len) > self.config.batch_len_max {
                break;
            }
            total = total.saturating_add(len);
            self.place(file, Place::Uploading { is_touched: false });
            files.push(file);
        }
        (!files.is_empty()).then_some(files)
    }

    /// Drops waiting and failed files that `is_local` says nothing is left to upload of.
    pub(crate) fn sweep(&mut self, is_local: impl Fn(FileId) -> bool) {
        let items = self.items.iter();
        let idle = items.filter(|(_, item)| !matches!(item.place, Place::Uploading { .. }));
        let gone: Vec<FileId> = idle
            .map(|(file, _)| *file)
            .filter(|file| !is_local(*file))
            .collect();
        for file in gone {
            self.remove(file);
        }
    }

    /// Notes what became of a file that was taken. Returns how often it has failed now, if it has.
    pub(crate) fn finish(&mut self, file: FileId, outcome: Outcome, now: Moment) -> Option<u32> {
        let place = self.items.get(&file).map(|item| item.place);
        let Some(Place::Uploading { is_touched }) = place else {
            return None;
        };
        match outcome {
            Outcome::Remote | Outcome::Skipped | Outcome::Failed(Failure::Lasting(_))
                if is_touched =>
            {
                self.insert(file, Item::new(now, Place::Due(now + self.config.quiet)));
            }
            Outcome::Remote | Outcome::Skipped => self.remove(file),
            Outcome::Failed(failure) => return Some(self.fail(file, failure, now)),
        }
        None
    }

    fn fail(&mut self, file: FileId, failure: Failure, now: Moment) -> u32 {
        let Some(item) = self.items.get_mut(&file) else {
            return 0;
        };
        item.tries = item.tries.saturating_add(1);
        item.reason = Some(failure.to_string());
        let tries = item.tries;
        let place = match failure {
            Failure::Away(_) | Failure::Passing(_) => Place::Due(now + self.pause(tries)),
            Failure::Lasting(_) => Place::Failed,
        };
        self.place(file, place);
        tries
    }

    /// Tries files again that were set aside, and those at once that wait for another attempt.
    pub(crate) fn retry(&mut self, now: Moment) {
        let again: Vec<FileId> = self
            .items
            .iter()
            .filter(|(_, item)| item.reason.is_some())
            .filter(|(_, item)| matches!(item.place, Place::Failed | Place::Due(_)))
            .map(|(file, _)| *file)
            .collect();
        for file in again {
            self.place(file, Place::Due(now));
        }
    }

    /// Leaves nothing alone from now on, until as many calls of [`calm`](Self::calm) have come.
    pub(crate) fn hurry(&mut self, now: Moment) {
        self.hurries += 1;
        let due: Vec<FileId> = self.due.iter().map(|(_, file)| *file).collect();
        for file in due {
            self.place(file, Place::Due(now));
        }
    }

    pub(crate) const fn calm(&mut self) {
        self.hurries = self.hurries.saturating_sub(1);
    }

    /// Begins no upload from now on, until as many calls of [`release`](Self::release) have come.
    pub(crate) const fn hold(&mut self) {
        self.holds += 1;
    }

    pub(crate) const fn release(&mut self) {
        self.holds = self.holds.saturating_sub(1);
    }

    pub(crate) const fn pause_uploads(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    const fn is_held(&self) -> bool {
        self.is_paused || self.holds > 0
    }

    /// Returns true if one more executor is to be started beside so many.
    pub(crate) fn wants_executor(&mut self, executors: usize, now: Moment) -> bool {
        self.settle(now);
        let is_wanted = self.ready.len() > 2 * executors && executors < self.config.executors_max;
        is_wanted && !self.is_held() && self.is_time(now)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            waiting: self.due.len() + self.ready.len(),
            uploading: self.uploading,
            failed: self.failed,
        }
    }

    /// As [`counts`](Self::counts), of files that are as they were at a moment.
    pub(crate) fn counts_since(&self, moment: Moment) -> Counts {
        let mut counts = Counts::default();
        for item in self.items.values().filter(|item| item.since <= moment) {
            match item.place {
                Place::Due(_) | Place::Ready(_) => counts.waiting += 1,
                Place::Uploading { .. } => counts.uploading += 1,
                Place::Failed => counts.failed += 1,
            }
        }
        counts
    }

    /// Returns all files in the queue, oldest first.
    pub(crate) fn files(&self) -> Vec<QueuedFile> {
        let mut items: Vec<_> = self.items.iter().collect();
        items.sort_by_key(|(file, item)| (item.since, **file));
        let queued = |(file, item): (&FileId, &Item)| QueuedFile {
            file: *file,
            standing: item.standing(),
            tries: item.tries,
            reason: item.reason.clone(),
        };
        items.into_iter().map(queued).collect()
    }

    /// Makes those ready whose moment has come.
    fn settle(&mut self, now: Moment) {
        while let Some((due, file)) = self.due.first().copied()
            && due <= now
        {
            self.place(file, Place::Ready(due));
        }
    }

    /// Returns true if files are not to gather any longer.
    fn is_time(&self, now: Moment) -> bool {
        let first = self
            .ready
            .first()
            .and_then(|(_, file)| self.items.get(file));
        let Some(Place::Ready(since)) = first.map(|item| item.place) else {
            return false;
        };
        let is_full = self.ready.len() >= self.config.batch_files_max;
        is_full || self.hurries > 0 || now.saturating_sub(since) >= self.config.gather
    }

    fn pause(&mut self, tries: u32) -> Duration {
        let backoff = Backoff::new(self.config.retry_first, self.config.retry_max);
        backoff.delay(tries.saturating_sub(1), self.jitter.next_random())
    }

    fn insert(&mut self, file: FileId, item: Item) {
        self.remove(file);
        let place = item.place;
        self.items.insert(
            file,
            Item {
                place: Place::Failed,
                ..item
            },
        );
        self.failed += 1;
        self.place(file, place);
    }

    fn remove(&mut self, file: FileId) {
        if let Some(item) = self.items.remove(&file) {
            self.forget(file, &item);
        }
    }

    /// Moves a file from where it is to another place.
    fn place(&mut self, file: FileId, place: Place) {
        let Some(mut item) = self.items.remove(&file) else {
            return;
        };
        self.forget(file, &item);
        match place {
            Place::Due(due) => {
                self.due.insert((due, file));
            }
            Place::Ready(_) => {
                self.ready.insert((item.since, file));
            }
            Place::Uploading { .. } => self.uploading += 1,
            Place::Failed => self.failed += 1,
        }
        item.place = place;
        self.items.insert(file, item);
    }

    /// Takes a file out of what its place is counted in.
    fn forget(&mut self, file: FileId, item: &Item) {
        match item.place {
            Place::Due(due) => {
                self.due.remove(&(due, file));
            }
            Place::Ready(_) => {
                self.ready.remove(&(item.since, file));
            }
            Place::Uploading { .. } => self.uploading -= 1,
            Place::Failed => self.failed -= 1,
        }
    }
}

impl Item {
    const fn new(since: Moment, place: Place) -> Self {
        Self {
            since,
            tries: 0,
            place,
            reason: None,
        }
    }

    const fn standing(&self) -> Standing {
        match self.place {
            Place::Uploading { .. } => Standing::Uploading,
            Place::Failed => Standing::Failed,
            Place::Due(_) | Place::Ready(_) if self.tries > 0 => Standing::Retrying,
            Place::Due(_) | Place::Ready(_) => Standing::Waiting,
        }
    }
}

#[cfg(test)]
mod tests;
