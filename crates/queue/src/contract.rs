//! What a queue does with every uploader. A harness brings one with its files and its remote; each function here is a
//! test.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::QueueConfig;
use crate::event::Event;
use crate::queue::UploadQueue;
use crate::state::{Counts, Standing};
use crate::uploader::{FileId, Uploader};

/// How long what has to come may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Files, a remote, and an uploader between them.
pub trait Harness {
    /// Returns the uploader. After [`restart`](Self::restart) it is another one.
    fn uploader(&self) -> Arc<dyn Uploader>;
    /// Returns a directory for what the queue keeps.
    fn kept(&self) -> &Path;
    /// Makes a file, or gives it other bytes.
    fn write(&mut self, file: usize, bytes: &[u8]);
    /// Removes a file.
    fn remove(&mut self, file: usize);
    /// Returns by which number the uploader knows a file.
    fn id(&self, file: usize) -> FileId;
    /// Returns true if the remote has the bytes of a file as they are.
    fn is_remote(&self, file: usize) -> bool;
    /// Cuts the network, or mends it.
    fn set_away(&mut self, is_away: bool);
    /// Makes uploads of a file fail for ever, or no more.
    fn set_poisoned(&mut self, file: usize, is_poisoned: bool);
    /// Returns how many contents were sent so far.
    fn sent(&self) -> u64;
    /// Ends the process and begins it anew.
    fn restart(&mut self);
}

/// Makes a test of each function here, with a new harness by `$new`.
#[macro_export]
macro_rules! queue_contract {
    ($new:expr) => {
        $crate::queue_contract!(
            $new,
            local_files_become_remote,
            removed_files_are_skipped,
            a_network_that_is_away_is_waited_for,
            a_restart_counts_on,
            a_poisoned_file_is_set_aside,
            a_pause_lasts,
            a_hold_keeps_uploads_back,
            a_rate_is_kept,
        );
    };
    ($new:expr, $($name:ident),* $(,)?) => { $(
        #[test]
        fn $name() {
            $crate::contract::$name(&mut $new);
        }
    )* };
}

fn config() -> QueueConfig {
    QueueConfig {
        quiet: Duration::from_millis(50),
        gather: Duration::from_millis(50),
        batch_files_max: 4,
        retry_first: Duration::from_millis(20),
        retry_max: Duration::from_millis(100),
        ..QueueConfig::default()
    }
}

fn start(harness: &impl Harness) -> UploadQueue {
    UploadQueue::start(harness.uploader(), harness.kept(), config()).expect("a queue")
}

#[track_caller]
fn eventually(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn flush(queue: &UploadQueue) -> Counts {
    queue.flush(Some(Instant::now() + LIMIT))
}

fn write_many(harness: &mut impl Harness, files: Range<usize>) {
    for file in files {
        harness.write(file, format!("bytes of {file}").as_bytes());
    }
}

/// Files that were there before the queue and those that come later become remote by themselves, each sent once.
pub fn local_files_become_remote(harness: &mut impl Harness) {
    write_many(harness, 0..5);
    let queue = start(harness);
    eventually(|| (0..5).all(|file| harness.is_remote(file)));
    write_many(harness, 5..20);
    harness.write(3, b"other bytes");
    eventually(|| (0..20).all(|file| harness.is_remote(file)));
    eventually(|| queue.stats().counts == Counts::default() && queue.stats().executors == 0);
    assert_eq!(harness.sent(), 21);
    assert_eq!(queue.stats().totals.uploaded, 21);
    assert_eq!(queue.files(), []);
    drop(queue);
    // Nothing is left to do for the next one.
    harness.restart();
    let queue = start(harness);
    assert_eq!(flush(&queue), Counts::default());
    assert_eq!((harness.sent(), queue.stats().totals.uploaded), (21, 0));
}

/// What was removed is not uploaded, and holds nothing up.
pub fn removed_files_are_skipped(harness: &mut impl Harness) {
    let queue = start(harness);
    queue.pause(true);
    write_many(harness, 0..6);
    eventually(|| queue.stats().counts.waiting == 6);
    harness.remove(2);
    harness.remove(5);
    assert_eq!(queue.stats().counts.waiting, 4);
    queue.pause(false);
    assert_eq!(flush(&queue), Counts::default());
    assert_eq!(harness.sent(), 4);
    for file in [0, 1, 3, 4] {
        assert!(harness.is_remote(file), "{file}");
    }
}

/// Without a network attempts are repeated, counted and told; when it is back everything goes, once.
pub fn a_network_that_is_away_is_waited_for(harness: &mut impl Harness) {
    harness.set_away(true);
    let queue = start(harness);
    let mut events = queue.events();
    write_many(harness, 0..9);
    eventually(|| queue.files().iter().all(|file| file.tries >= 3) && queue.files().len() == 9);
    let told = events.try_recv().expect("an event");
    assert!(matches!(told, Event::Retrying { tries: 1, .. }), "{told:?}");
    let file = queue.files().swap_remove(0);
    assert!(file.reason.is_some(), "{file:?}");
    let left = queue.flush(Some(Instant::now() + Duration::from_millis(200)));
    assert_eq!(left.waiting + left.uploading, 9, "a flush has a deadline");
    harness.set_away(false);
    assert_eq!(flush(&queue), Counts::default());
    assert_eq!(harness.sent(), 9);
    assert!((0..9).all(|file| harness.is_remote(file)));
}

/// How often a file failed is known after a restart.
pub fn a_restart_counts_on(harness: &mut impl Harness) {
    harness.set_away(true);
    write_many(harness, 0..3);
    let queue = start(harness);
    eventually(|| queue.files().iter().all(|file| file.tries >= 4));
    drop(queue);
    harness.restart();
    harness.set_away(true);
    let queue = start(harness);
    let files = queue.files();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| file.tries >= 4), "{files:?}");
    harness.set_away(false);
    assert_eq!(flush(&queue), Counts::default());
    assert_eq!(harness.sent(), 3);
}

/// A file that fails for ever is set aside and holds no other up. It is tried again on demand, also after a restart.
pub fn a_poisoned_file_is_set_aside(harness: &mut impl Harness) {
    write_many(harness, 0..8);
    harness.set_poisoned(5, true);
    let queue = start(harness);
    let one_failed = Counts {
        failed: 1,
        ..Counts::default()
    };
    assert_eq!(flush(&queue), one_failed);
    assert!((0..8).all(|file| harness.is_remote(file) != (file == 5)));
    drop(queue);
    harness.restart();
    let queue = start(harness);
    let files = queue.files();
    let failed: Vec<_> = files
        .iter()
        .map(|file| (file.file, file.standing))
        .collect();
    assert_eq!(failed, [(harness.id(5), Standing::Failed)]);
    assert!(files[0].reason.is_some());
    harness.set_poisoned(5, false);
    assert_eq!(flush(&queue), one_failed, "it waits to be told");
    queue.retry();
    assert_eq!(flush(&queue), Counts::default());
    assert!(harness.is_remote(5));
}

/// A paused queue sends nothing until it is resumed, also after a restart.
pub fn a_pause_lasts(harness: &mut impl Harness) {
    let queue = start(harness);
    queue.pause(true);
    write_many(harness, 0..3);
    eventually(|| queue.stats().counts.waiting == 3);
    drop(queue);
    harness.restart();
    let queue = start(harness);
    assert!(queue.stats().is_paused);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((flush(&queue).waiting, harness.sent()), (3, 0));
    queue.pause(false);
    assert_eq!(flush(&queue), Counts::default());
    assert_eq!(harness.sent(), 3);
    drop(queue);
    harness.restart();
    assert!(!start(harness).stats().is_paused);
}

/// While a commit holds the queue no upload begins.
pub fn a_hold_keeps_uploads_back(harness: &mut impl Harness) {
    let queue = start(harness);
    let hold = queue.hold(LIMIT);
    write_many(harness, 0..3);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(harness.sent(), 0);
    drop(hold);
    assert_eq!(flush(&queue), Counts::default());
    assert_eq!(harness.sent(), 3);
}

/// The rate is kept by all executors together.
pub fn a_rate_is_kept(harness: &mut impl Harness) {
    for file in 0..12 {
        let bytes: Vec<u8> = (0..10_000_u32)
            .map(|at| noise(at + 10_000 * (file + 1)))
            .collect();
        harness.write(usize::try_from(file).expect("few"), &bytes);
    }
    let config = QueueConfig {
        rate: Some(40_000),
        batch_files_max: 1,
        ..config()
    };
    let queue = UploadQueue::start(harness.uploader(), harness.kept(), config).expect("a queue");
    let begun = Instant::now();
    assert_eq!(flush(&queue), Counts::default());
    // The first bytes of each executor go at once.
    let executors = u32::try_from(config.executors_max).expect("few");
    let least = Duration::from_millis(250) * (12 - executors);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
}

/// Bytes that do not compress.
fn noise(at: u32) -> u8 {
    let mixed = (u64::from(at) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 29))
        .wrapping_mul(0xBF58_476D_1CE4_E5B9)
        .to_le_bytes()[7]
}
