//! The queue as it runs: one thread that looks what was written and starts executors, and those.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lfsfs_common::random::random_bytes;
use tokio::sync::broadcast;

use crate::config::QueueConfig;
use crate::event::Event;
use crate::notes::{Kept, Note, Notes};
use crate::pace::Pace;
use crate::rate::Rate;
use crate::state::{Counts, Moment, Outcome, QueuedFile, State};
use crate::uploader::{Failure, FileId, Uploader};

mod executor;

/// How often it is looked what was written, and whether it is time for an upload.
const TICK: Duration = Duration::from_millis(250);
/// Events that a watcher may be behind.
const EVENTS_MAX: usize = 1024;

/// Numbers that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files that became remote.
    pub uploaded: u64,
    /// Files that were taken for nothing: they were written to or removed meanwhile.
    pub skipped: u64,
    /// Attempts that failed, counted for each file.
    pub failures: u64,
    /// Bytes that went over the network.
    pub bytes_sent: u64,
}

/// What a queue is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Files in it.
    pub counts: Counts,
    /// Executors that run.
    pub executors: usize,
    /// True if no upload begins until it is resumed.
    pub is_paused: bool,
    /// Since the queue was started.
    pub totals: Totals,
    /// How long the files that wait and are on their way take, at the pace of those before; `None` if that is not
    /// known, or the queue is paused.
    pub left: Option<Duration>,
}

/// A queue that runs until it is ended or dropped.
#[derive(Debug)]
pub struct UploadQueue {
    inner: Arc<Inner>,
    driver: Mutex<Option<JoinHandle<()>>>,
}

/// While it lives, no executor begins an upload.
#[derive(Debug)]
pub struct Hold(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    uploader: Arc<dyn Uploader>,
    start: Instant,
    queue: Mutex<Locked>,
    /// Something in `queue` has changed.
    changed: Condvar,
    notes: Mutex<Notes>,
    rate: Mutex<Rate>,
    begin_thread: fn(),
    events: broadcast::Sender<Event>,
    is_ended: AtomicBool,
}

/// What one lock guards. It is taken before that of the notes.
#[derive(Debug)]
struct Locked {
    state: State,
    executors: usize,
    totals: Totals,
    pace: Pace,
}

impl UploadQueue {
    /// Starts a queue of all files that are local. `dir` is where it keeps what it needs after a restart. Blocks while
    /// it reads that.
    pub fn start(
        uploader: Arc<dyn Uploader>,
        dir: &Path,
        config: QueueConfig,
    ) -> std::io::Result<Self> {
        let (notes, kept) = Notes::open(dir);
        let [a, b, c, d, e, f, g, h, ..] = random_bytes()?;
        let mut state = State::new(config, u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        let notes = take_up(&mut state, &*uploader, notes, kept);
        let inner = Arc::new(Inner {
            uploader,
            start: Instant::now(),
            queue: Mutex::new(Locked {
                state,
                executors: 0,
                totals: Totals::default(),
                pace: Pace::default(),
            }),
            changed: Condvar::new(),
            notes: Mutex::new(notes),
            rate: Mutex::new(Rate::new(config.rate)),
            begin_thread: config.begin_thread,
            events: broadcast::Sender::new(EVENTS_MAX),
            is_ended: AtomicBool::new(false),
        });
        let driving = Arc::clone(&inner);
        let driver = thread::Builder::new()
            .name("upload-queue".to_owned())
            .spawn(move || driving.drive())?;
        Ok(Self {
            inner,
            driver: Mutex::new(Some(driver)),
        })
    }

    /// Returns what the queue is doing.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        self.inner.look_at_all();
        let (queue, now) = (self.inner.lock(), self.inner.now());
        let (counts, totals) = (queue.state.counts(), queue.totals);
        let is_paused = queue.state.is_paused();
        let left = queue.pace.left(counts, totals.uploaded, now);
        QueueStats {
            counts,
            executors: queue.executors,
            is_paused,
            totals,
            left: left.filter(|_| !is_paused),
        }
    }

    /// Returns the files in the queue, oldest first.
    #[must_use]
    pub fn files(&self) -> Vec<QueuedFile> {
        self.inner.look_at_all();
        self.inner.lock().state.files()
    }

    /// Returns what happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Begins no upload until it is resumed, also after a restart. What is under way goes on.
    pub fn pause(&self, is_paused: bool) {
        self.inner.lock().state.pause_uploads(is_paused);
        self.inner.lock_notes().keep_paused(is_paused);
        self.inner.tell(Event::Paused(is_paused));
        self.inner.changed.notify_all();
    }

    /// Tries failed files again, and at once those that wait for another attempt.
    pub fn retry(&self) {
        let now = self.inner.now();
        self.inner.lock().state.retry(now);
        self.inner.changed.notify_all();
    }

    /// Uploads everything that is local now without a pause, and waits for it until `deadline`. Returns what is left;
    /// files that were set aside are, too. Blocks. A paused queue is not waited for.
    pub fn flush(&self, deadline: Option<Instant>) -> Counts {
        self.inner.flush(deadline)
    }

    /// Ends the threads; no call makes anything begin from then on. Blocks until the uploads that are under way have ended.
    pub fn end(&self) {
        self.inner.is_ended.store(true, Ordering::Release);
        self.inner.changed.notify_all();
        let driver = self
            .driver
            .lock()
            .expect("no holder of this lock panics")
            .take();
        if let Some(driver) = driver {
            // It fails only if it panicked, which was told.
            let _ = driver.join();
        }
    }

    /// Begins no upload until the hold is dropped, and waits until those that are under way have ended, or `limit` is
    /// over. Blocks.
    pub fn hold(&self, limit: Duration) -> Hold {
        let inner = Arc::clone(&self.inner);
        let deadline = Instant::now() + limit;
        let mut queue = inner.lock();
        queue.state.hold();
        while queue.state.counts().uploading > 0 && Instant::now() < deadline {
            queue = inner.wait(queue, Some(deadline));
        }
        drop(queue);
        Hold(inner)
    }
}

impl Drop for UploadQueue {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.lock().state.release();
        self.0.changed.notify_all();
    }
}

impl Inner {
    /// Looks what was written, starts executors, and waits for the next moment.
    fn drive(self: &Arc<Self>) {
        let mut executors: Vec<JoinHandle<()>> = Vec::new();
        while !self.is_ended() {
            self.look();
            executors.retain(|executor| !executor.is_finished());
            let mut queue = self.lock();
            let now = self.now();
            let (counts, uploaded) = (queue.state.counts(), queue.totals.uploaded);
            queue.pace.note(counts, uploaded, now);
            let running = queue.executors;
            if queue.state.wants_executor(running, now) {
                queue.executors += 1;
                drop(queue);
                executors.extend(self.start_executor());
                continue;
            }
            drop(self.wait(queue, Some(Instant::now() + TICK)));
        }
        for executor in executors {
            let _ = executor.join();
        }
    }

    /// Notes what was written.
    fn look(&self) {
        let touched = self.uploader.take_touched();
        let (mut queue, now) = (self.lock(), self.now());
        for file in touched {
            queue.state.touch(file, now);
        }
    }

    /// Notes what was written, and forgets what is gone: what was removed, and what a commit has sent.
    fn look_at_all(&self) {
        self.look();
        let uploader = &self.uploader;
        self.lock().state.sweep(|file| uploader.len(file).is_some());
    }

    fn flush(&self, deadline: Option<Instant>) -> Counts {
        self.look_at_all();
        let called = self.now();
        let mut queue = self.lock();
        queue.state.hurry(called);
        self.changed.notify_all();
        let left = loop {
            let left = queue.state.counts_since(called);
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if left.is_idle() || is_over || queue.state.is_paused() || self.is_ended() {
                break left;
            }
            queue = self.wait(queue, deadline);
        };
        queue.state.calm();
        left
    }

    /// Keeps what became of files, counts it and tells it.
    fn finish(&self, outcomes: Vec<(FileId, Outcome)>, bytes_sent: u64) {
        let now = self.now();
        let (mut notes, mut events, mut remote) = (Vec::new(), Vec::new(), Vec::new());
        let mut queue = self.lock();
        queue.totals.bytes_sent += bytes_sent;
        for (file, outcome) in outcomes {
            queue.totals.count(&outcome);
            let failure = match &outcome {
                Outcome::Failed(failure) => Some(failure.clone()),
                Outcome::Skipped => None,
                Outcome::Remote => {
                    remote.push(file);
                    None
                }
            };
            // What was written to meanwhile has not failed: it has other bytes now.
            let tries = queue.state.finish(file, outcome, now);
            let failed = failure.zip(tries);
            events.extend(failed.as_ref().map(|failed| event(file, failed)));
            notes.push(note(file, failed));
        }
        drop(queue);
        self.lock_notes().keep(&notes);
        if !remote.is_empty() {
            events.push(Event::Remote {
                files: remote,
                bytes_sent,
            });
        }
        for event in events {
            self.tell(event);
        }
        self.changed.notify_all();
    }

    fn tell(&self, event: Event) {
        // It fails where there is no receiver.
        let _ = self.events.send(event);
    }

    /// Waits until something changes or a moment has come.
    fn wait<'a>(
        &self,
        queue: MutexGuard<'a, Locked>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Locked> {
        let until = until.unwrap_or_else(|| Instant::now() + TICK);
        let limit = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout(queue, limit.min(TICK));
        waited.expect("no holder of this lock panics").0
    }

    fn now(&self) -> Moment {
        self.start.elapsed()
    }

    fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.queue.lock().expect("no holder of this lock panics")
    }

    fn lock_notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("no holder of this lock panics")
    }
}

/// Puts all local files into a queue, with what was kept of them, and forgets what was kept of others.
fn take_up(state: &mut State, uploader: &dyn Uploader, mut notes: Notes, kept: Kept) -> Notes {
    let start = Moment::ZERO;
    state.pause_uploads(kept.is_paused);
    let mut kept: BTreeMap<FileId, Note> = kept
        .notes
        .into_iter()
        .map(|note| (note.file, note))
        .collect();
    for file in uploader.local_files() {
        state.touch(file, start);
        if let Some(note) = kept.remove(&file) {
            state.remember(file, note.tries, note.failed, start);
        }
    }
    let gone = kept.into_keys().map(|file| Note {
        file,
        tries: 0,
        failed: None,
    });
    notes.keep(&gone.collect::<Vec<_>>());
    notes
}

/// Says what follows from an attempt that failed, which was one of so many in a row.
fn event(file: FileId, (failure, tries): &(Failure, u32)) -> Event {
    let reason = failure.to_string();
    if failure.is_lasting() {
        return Event::Failed { file, reason };
    }
    Event::Retrying {
        file,
        tries: *tries,
        reason,
    }
}

/// Returns what is kept of a file; nothing of one that has not failed.
fn note(file: FileId, failed: Option<(Failure, u32)>) -> Note {
    let (failure, tries) = failed.unzip();
    let lasting = failure.filter(Failure::is_lasting);
    Note {
        file,
        tries: tries.unwrap_or(0),
        failed: lasting.map(|failure| failure.to_string()),
    }
}

impl Totals {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Remote => self.uploaded += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::Failed(_) => self.failures += 1,
        }
    }
}
