//! Where requests are served: on the processor of the program that waits for the answer.
//!
//! A request that is served on another processor wakes that one, and its answer wakes the first one again.
//! Where both sleep meanwhile, that takes several times what the request itself does. So a serving thread
//! runs on the processor of the program that it serves. There it has the policy SCHED_IDLE: to the
//! scheduler a processor that runs such threads alone is an idle one, and so the program that gets its answer
//! stays where it is. Where other programs keep the processor busy, a thread of that policy would hardly run; the
//! guard sees to that, and lets the thread run anywhere, with the ordinary policy, for a time.
//!
//! A serving thread only notes which program it serves. Two other threads do the rest, as long as there are
//! requests: the pilot learns where programs run and moves serving threads there (`pilot.rs`), the guard looks how
//! long they wait (`guard.rs`). `thread.rs` tells the kernel. docs/operations.md has what users see of it.

mod guard;
mod pilot;
mod thread;

use std::cell::OnceCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

use tracing::info;

use self::guard::Verdict;
use self::thread::ServingThread;

/// How often the pilot and the guard look.
const PERIOD: Duration = Duration::from_millis(10);

/// Where a mount serves requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Serve {
    /// Wherever the scheduler puts the threads.
    #[default]
    Plain,
    /// On the processor of the program that asks.
    Follow,
}

/// The serving threads of a mount.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    threads: Mutex<Vec<Arc<ServingThread>>>,
    moves: AtomicU64,
    lifts: AtomicU64,
    /// The pilot and the guard; neither if the threads follow no program.
    watchers: OnceLock<[Thread; 2]>,
}

/// What a watcher found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// There is something to look at again.
    Requests,
    /// All threads rest. The first that serves again wakes the watcher.
    Rest,
}

thread_local! {
    /// This thread, if it serves a mount whose threads follow.
    static THREAD: OnceCell<Arc<ServingThread>> = const { OnceCell::new() };
}

impl Serving {
    /// Begins without any thread: each makes itself known by its first request.
    pub(crate) fn start(serve: Serve) -> Arc<Self> {
        let serving = Arc::new(Self::default());
        if serve == Serve::Follow
            && let Err(error) = serving.start_watchers()
        {
            info!(%error, "requests are served on any processor");
        }
        serving
    }

    /// Notes that this thread serves a request of a program; 0 is a program that cannot be seen from here.
    pub(crate) fn note(&self, pid: u32) {
        let Some(watchers) = self.watchers.get() else {
            return;
        };
        let rests = THREAD.with(|thread| thread.get_or_init(|| self.register()).note(pid));
        if rests {
            watchers.iter().for_each(Thread::unpark);
        }
    }

    /// Returns what `lfsfs stats` shows: whether threads follow, how often one was moved, and how often one
    /// was let go.
    pub(crate) fn counters(&self) -> [(&'static str, u64); 3] {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("serve_follow", u64::from(self.watchers.get().is_some())),
            ("serve_moves", count(&self.moves)),
            ("serve_lifts", count(&self.lifts)),
        ]
    }

    fn register(&self) -> Arc<ServingThread> {
        let thread = Arc::new(ServingThread::current());
        let threads = self.threads.lock();
        // Threads only add to the list, so it is whole also if one of them panicked.
        let mut threads = threads.unwrap_or_else(PoisonError::into_inner);
        threads.push(Arc::clone(&thread));
        thread
    }

    /// Returns the threads, so that none of them ever waits for a watcher to let go of their list.
    fn threads(&self) -> Vec<Arc<ServingThread>> {
        let threads = self.threads.lock();
        threads.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn start_watchers(self: &Arc<Self>) -> io::Result<()> {
        thread::try_to_follow()?;
        let pilot = self.watch("serve-pilot", pilot::close_files, Self::pilot)?;
        let guard = self.watch("serve-guard", || Ok(()), Self::guard)?;
        // It is set once, here.
        let _ = self.watchers.set([pilot, guard]);
        Ok(())
    }

    /// Starts a thread that looks every [`PERIOD`] as long as there are requests, until the mount is gone.
    fn watch(
        self: &Arc<Self>,
        name: &str,
        prepare: fn() -> io::Result<()>,
        look: fn(&Self) -> Found,
    ) -> io::Result<Thread> {
        let serving = Arc::downgrade(self);
        let (prepared, is_prepared) = mpsc::channel();
        let handle = Builder::new().name(name.to_owned()).spawn(move || {
            let result = prepare();
            let goes_on = result.is_ok();
            // The caller waits for it.
            let _ = prepared.send(result);
            while let (true, Some(serving)) = (goes_on, serving.upgrade()) {
                let found = look(&serving);
                drop(serving);
                match found {
                    Found::Requests => std::thread::sleep(PERIOD),
                    Found::Rest => std::thread::park(),
                }
            }
        })?;
        is_prepared.recv().map_err(io::Error::other)??;
        Ok(handle.thread().clone())
    }

    /// Moves each thread to the processor of the program that it served last.
    fn pilot(&self) -> Found {
        let mut found = Found::Rest;
        for thread in self.threads() {
            if thread.rests() {
                continue;
            }
            found = Found::Requests;
            let processor = thread.program().and_then(pilot::processor_of);
            if processor.is_some_and(|processor| thread.move_to(processor)) {
                self.moves.fetch_add(1, Ordering::Relaxed);
            }
        }
        found
    }

    /// Lets threads go that wait too long for their processor, and has them follow again.
    fn guard(&self) -> Found {
        let mut found = Found::Rest;
        for thread in self.threads() {
            if thread.judge(Instant::now()) == Verdict::Lift {
                self.lifts.fetch_add(1, Ordering::Relaxed);
            }
            if !thread.rests() {
                found = Found::Requests;
            }
        }
        found
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let watchers = self.watchers.get().into_iter().flatten();
        watchers.for_each(Thread::unpark);
    }
}
