//! Where requests are served: on the processor of the program that waits for the answer.
//!
//! A request that is served on another processor wakes that one, and its answer wakes the first one again.
//! Where both sleep meanwhile, that takes several times what the request itself does. So a serving thread
//! moves to the processor of the program that it serves. There it has the policy SCHED_IDLE: to the
//! scheduler a processor that runs such threads alone is an idle one, and so the program that gets its answer
//! stays where it is. Where other programs keep the processor busy a thread of that policy would hardly run; a
//! guard sees to that, and lets it run anywhere, with the ordinary policy, for a time.
//!
//! `guard.rs` decides, `thread.rs` asks and tells the kernel. docs/operations.md has what users see of it.

mod guard;
mod thread;

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

use tracing::{debug, info};

use self::guard::Verdict;
use self::thread::ServingThread;

/// After so many requests a thread looks where the program is. A program that moved is served from afar until
/// then, and a look costs about as much as two requests.
const LOOK_EVERY: u32 = 32;
/// How often the guard looks.
const GUARD_PERIOD: Duration = Duration::from_millis(10);
/// After so many looks without a request the guard sleeps until there is one.
const QUIET_LOOKS: u32 = 100;
/// Up to so many processors it is worth it by itself: what was measured were two. Where there are many, more
/// programs at once ask, and threads that stay where they are serve them side by side.
const PROCESSORS_MAX: usize = 8;

/// Where a mount serves requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Serve {
    /// On the processor of the program that asks, where there are few processors.
    #[default]
    Auto,
    /// On the processor of the program that asks.
    Follow,
    /// Wherever the scheduler puts the threads.
    Plain,
}

/// The serving threads of a mount.
#[derive(Debug)]
pub(crate) struct Serving {
    follows: AtomicBool,
    threads: Mutex<Vec<Arc<ServingThread>>>,
    looks: AtomicU64,
    lifts: AtomicU64,
    guard: OnceLock<Thread>,
    is_asleep: AtomicBool,
}

thread_local! {
    /// Requests that this thread served.
    static SERVED: Cell<u32> = const { Cell::new(0) };
    static THREAD: RefCell<Option<Arc<ServingThread>>> = const { RefCell::new(None) };
}

impl Serving {
    /// Begins without any thread: each makes itself known by its first request.
    pub(crate) fn start(serve: Serve) -> Arc<Self> {
        let wanted = match serve {
            Serve::Plain => false,
            Serve::Follow => true,
            Serve::Auto => std::thread::available_parallelism()
                .is_ok_and(|count| (2..=PROCESSORS_MAX).contains(&count.get())),
        };
        let serving = Arc::new(Self {
            follows: AtomicBool::new(wanted && thread::can_follow()),
            threads: Mutex::default(),
            looks: AtomicU64::new(0),
            lifts: AtomicU64::new(0),
            guard: OnceLock::new(),
            is_asleep: AtomicBool::new(false),
        });
        if serving.follows()
            && let Err(error) = serving.start_guard()
        {
            serving.follows.store(false, Ordering::Relaxed);
            debug!(%error, "there is no guard");
        }
        if wanted && !serving.follows() {
            info!(
                "requests are served anywhere: this process may not change the policy of threads"
            );
        }
        serving
    }

    fn follows(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }

    /// Notes that this thread serves a request of a program.
    pub(crate) fn note(self: &Arc<Self>, pid: u32) {
        if !self.follows() || pid == 0 {
            return;
        }
        let served = SERVED.get().wrapping_add(1);
        SERVED.set(served);
        if served % LOOK_EVERY == 1 {
            self.look(pid);
        }
    }

    /// Returns what `lfsfs stats` shows: whether threads follow, how many looks there were, and how often a
    /// thread was let go.
    pub(crate) fn counters(&self) -> [(&'static str, u64); 3] {
        [
            ("serve_follow", u64::from(self.follows())),
            ("serve_lifts", self.lifts.load(Ordering::Relaxed)),
            ("serve_looks", self.looks.load(Ordering::Relaxed)),
        ]
    }

    fn look(self: &Arc<Self>, pid: u32) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        THREAD.with_borrow_mut(|thread| {
            let thread = thread.get_or_insert_with(|| self.register());
            thread.follow(pid);
        });
        if self.is_asleep.swap(false, Ordering::AcqRel)
            && let Some(guard) = self.guard.get()
        {
            guard.unpark();
        }
    }

    fn register(self: &Arc<Self>) -> Arc<ServingThread> {
        let thread = Arc::new(ServingThread::current());
        self.lock().push(Arc::clone(&thread));
        thread
    }

    fn start_guard(self: &Arc<Self>) -> io::Result<()> {
        let serving = Arc::downgrade(self);
        let handle = Builder::new()
            .name("serve-guard".to_owned())
            .spawn(move || guard_threads(&serving))?;
        // It is set once, here.
        let _ = self.guard.set(handle.thread().clone());
        Ok(())
    }

    /// Looks at each thread. Returns true if any served since the last time.
    fn guard_once(&self, now: Instant) -> bool {
        let mut served = false;
        for thread in self.lock().iter() {
            served |= thread.has_looked();
            match thread.judge(now) {
                Verdict::Stay => {}
                Verdict::Lift => {
                    self.lifts.fetch_add(1, Ordering::Relaxed);
                    thread.lift();
                }
                Verdict::Follow => thread.come_back(),
            }
        }
        served
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ServingThread>>> {
        // A list to which is only added is whole whatever panicked.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.get() {
            guard.unpark();
        }
    }
}

/// Guards until the mount is gone.
fn guard_threads(serving: &Weak<Serving>) {
    let mut quiet = 0;
    loop {
        std::thread::sleep(GUARD_PERIOD);
        let Some(serving) = serving.upgrade() else {
            return;
        };
        if serving.guard_once(Instant::now()) {
            quiet = 0;
        } else {
            quiet += 1;
        }
        if quiet >= QUIET_LOOKS {
            serving.is_asleep.store(true, Ordering::Release);
            // Unguarded, the first request after this could wait long.
            serving.lock().iter().for_each(|thread| thread.rest());
            drop(serving);
            std::thread::park();
            quiet = 0;
        }
    }
}
