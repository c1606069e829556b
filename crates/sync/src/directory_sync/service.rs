//! Roots that are synced until the process ends.
//!
//! What begins a pass: an event of the operating system, once nothing more came for the debounce; a new version of the
//! project; the poll; the end of a pause; a failure, after a pause that grows. A pass looks at everything each time,
//! so many events are one pass and one version, and no order of events matters.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lfsfs_client::Client;
use lfsfs_common::backoff::Backoff;
use lfsfs_common::clock::WallTime;
use lfsfs_common::tasks::{Spawner, Tasks};
use lfsfs_types::{ProjectId, VersionId, VersionNumber};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::error::SyncError;
use super::monitor::{Monitor, watched};
use super::pass::{Haste, PassOutcome, PassParams, SyncedRoot};
use super::status::{RootStatus, SyncState};
use super::view::SyncProgress;

/// How often files of the user's wishes are looked at.
const TICK: Duration = Duration::from_millis(500);
/// A burst of events is waited for so many times the debounce at most.
const DEBOUNCES_MAX: u32 = 10;
/// A pass that only waits for files comes so many times later as the last one took.
const PASSES_APART: u32 = 10;
/// How long a file may be written to before it is taken as it is.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// Pauses after failures.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// How the roots of a process are synced.
#[derive(Debug, Clone)]
pub struct ServiceParams {
    /// The roots.
    pub roots: Vec<PassParams>,
    /// Time between two looks at everything.
    pub poll_interval: Duration,
    /// Whether events of the operating system begin a pass.
    pub is_watching: bool,
    /// Bytes a second, of all roots together.
    pub bandwidth: Option<u64>,
}

/// Roots, and how they are now.
#[derive(Debug)]
pub struct SyncService {
    tasks: Tasks,
    statuses: Vec<Arc<Mutex<RootStatus>>>,
    progresses: Vec<Arc<SyncProgress>>,
}

impl SyncService {
    /// Starts to sync. The client is needed if a root is kept in step with a project.
    #[must_use]
    pub fn start(params: &ServiceParams, client: Option<&Client>) -> Self {
        let tasks = Tasks::new();
        let (mut statuses, mut progresses) = (Vec::new(), Vec::new());
        for root in &params.roots {
            let status = Arc::new(Mutex::new(RootStatus::new(&root.dir, &root.remote)));
            let progress = Arc::new(SyncProgress::with_rate(params.bandwidth));
            let work = RootWork {
                params: root.clone(),
                service: params.clone(),
                client: client.cloned(),
                status: Arc::clone(&status),
                progress: Arc::clone(&progress),
                spawner: tasks.spawner().clone(),
                changed: Arc::default(),
                far_changed: Arc::default(),
            };
            drop(tasks.spawner().spawn(work.run()));
            statuses.push(status);
            progresses.push(progress);
        }
        Self {
            tasks,
            statuses,
            progresses,
        }
    }

    /// Returns how each root is.
    #[must_use]
    pub fn statuses(&self) -> Vec<RootStatus> {
        let read = |status: &Arc<Mutex<RootStatus>>| {
            status
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        self.statuses.iter().map(read).collect()
    }

    /// Ends passes soon, and waits until no root is worked on any more.
    pub async fn end(self) {
        self.progresses.iter().for_each(|progress| progress.stop());
        self.tasks.end().await;
    }
}

/// One root.
struct RootWork {
    params: PassParams,
    service: ServiceParams,
    client: Option<Client>,
    status: Arc<Mutex<RootStatus>>,
    progress: Arc<SyncProgress>,
    /// A pass is waited for when the service ends.
    spawner: Spawner,
    /// An event came.
    changed: Arc<Notify>,
    /// A version came.
    far_changed: Arc<Notify>,
}

/// What a pass of a root needs, and what it leaves.
type Opened = Option<Arc<SyncedRoot>>;

impl RootWork {
    async fn run(self) {
        let watches = Tasks::new();
        let mut root: Opened = None;
        let mut monitor = None;
        let mut is_watching_far = false;
        let mut busy_since: Option<Instant> = None;
        let mut failures = RETRY.delays(u64::from(std::process::id()));
        loop {
            if root.as_ref().is_some_and(|root| root.is_paused()) {
                self.set(|status| status.state = SyncState::Paused);
                sleep(TICK).await;
                continue;
            }
            if monitor.is_none() && self.service.is_watching {
                monitor = self.watch().await;
            }
            let haste = self.haste(busy_since);
            let began = Instant::now();
            let wait = match self.pass(&mut root, haste).await {
                Ok(outcome) => {
                    failures = RETRY.delays(u64::from(std::process::id()));
                    if let Some(seen) = outcome.seen
                        && !is_watching_far
                    {
                        is_watching_far = true;
                        self.watch_far(&watches, seen);
                    }
                    busy_since = match outcome.busy.is_empty() {
                        true => None,
                        false => busy_since
                            .filter(|_| haste != Haste::Hurried)
                            .or_else(|| Some(Instant::now())),
                    };
                    self.wait_after(&outcome, began.elapsed())
                }
                Err(error) => {
                    self.failed(&error, root.as_deref());
                    // Watches of a directory that went away tell nothing.
                    monitor = None;
                    failures
                        .next()
                        .unwrap_or(QUIET_MAX)
                        .min(self.service.poll_interval)
                }
            };
            self.sleep(wait, root.as_deref()).await;
        }
    }

    fn haste(&self, busy_since: Option<Instant>) -> Haste {
        let Some(since) = busy_since else {
            return Haste::Patient;
        };
        match since.elapsed() {
            busy if busy >= QUIET_MAX => Haste::Hurried,
            busy if busy >= self.debounce() * DEBOUNCES_MAX => Haste::Usual,
            _ => Haste::Patient,
        }
    }

    fn debounce(&self) -> Duration {
        Duration::from_nanos(self.params.debounce_nanos)
    }

    fn wait_after(&self, outcome: &PassOutcome, took: Duration) -> Duration {
        if outcome.is_more || !outcome.busy.is_empty() {
            // What could not be done now can soon, as a file that is written. A large root is not looked at all the time.
            let soon = self.debounce().max(TICK).max(took * PASSES_APART);
            return soon.min(self.service.poll_interval);
        }
        self.service.poll_interval
    }

    async fn watch(&self) -> Option<Monitor> {
        let dirs = watched(&self.params.dir, &self.params.far);
        let changed = Arc::clone(&self.changed);
        let started = tokio::task::spawn_blocking(move || Monitor::start(&dirs, &changed)).await;
        let started = started.unwrap_or_else(|_| Err("a watch panicked".to_owned()));
        match started {
            Ok(monitor) => {
                self.set(|status| status.not_watching = None);
                Some(monitor)
            }
            Err(reason) => {
                tracing::warn!(reason, dir = %self.params.dir.display(), "no events: the poll finds changes");
                self.set(|status| status.not_watching = Some(reason));
                None
            }
        }
    }

    /// Waits for new versions of the project, for as long as the root is synced.
    fn watch_far(&self, tasks: &Tasks, seen: (ProjectId, VersionNumber, VersionId)) {
        let Some(client) = self.client.clone() else {
            return;
        };
        let wake = Arc::clone(&self.far_changed);
        let (project, number, id) = seen;
        let watched = tasks.spawner().spawn(async move {
            let mut last = (number, id);
            let mut failures = RETRY.delays(1);
            loop {
                let mut watch = client.history.watch(project, last);
                while let Ok(version) = watch.next().await {
                    last = (version.number, version.id);
                    failures = RETRY.delays(1);
                    wake.notify_one();
                }
                sleep(failures.next().unwrap_or(QUIET_MAX)).await;
            }
        });
        // It ends with its owner.
        drop(watched);
    }

    async fn pass(&self, root: &mut Opened, haste: Haste) -> Result<PassOutcome, SyncError> {
        self.set(|status| status.state = SyncState::Syncing);
        self.progress.begin();
        let began = Instant::now();
        let (opened, params) = (root.take(), self.params.clone());
        let remote = self
            .client
            .as_ref()
            .map(|client| Arc::clone(&client.remote));
        let progress = Arc::clone(&self.progress);
        let mut work = self.spawner.spawn_blocking(move || {
            let opened = match opened {
                Some(opened) => Ok(opened),
                None => SyncedRoot::open(params).map(Arc::new),
            };
            match opened {
                Ok(root) => {
                    let outcome = root.pass(remote, haste, &progress);
                    // A database that failed is opened again, which finds out whether it is damaged.
                    let is_usable = !matches!(outcome, Err(SyncError::Store(_)));
                    (is_usable.then_some(root), outcome)
                }
                Err(error) => (None, Err(error)),
            }
        });
        let ended = loop {
            match timeout(TICK, &mut work).await {
                Ok(ended) => break ended,
                Err(_) => self.show_progress(began),
            }
        };
        let panicked = |_| (None, Err(SyncError::Stopped("a pass panicked")));
        let (opened, outcome) = ended.unwrap_or_else(panicked);
        *root = opened;
        let outcome = outcome?;
        self.ended(&outcome, root.as_deref());
        Ok(outcome)
    }

    fn show_progress(&self, began: Instant) {
        let figures = self.progress.figures();
        let elapsed = began.elapsed().as_secs();
        let left = figures.bytes_all.saturating_sub(figures.bytes);
        let place = self.place();
        self.set(|status| {
            status.files = (figures.files, figures.files_all);
            status.bytes = (figures.bytes, figures.bytes_all);
            status.seconds_left = (elapsed > 0 && figures.bytes > 0).then(|| {
                let seconds = u128::from(left) * u128::from(elapsed) / u128::from(figures.bytes);
                u64::try_from(seconds).unwrap_or(u64::MAX)
            });
        });
        self.write(&place);
    }

    fn ended(&self, outcome: &PassOutcome, root: Option<&SyncedRoot>) {
        let [on_root, on_far] = outcome.unconfirmed;
        let count = |is_root: bool| {
            let actions = outcome.actions.iter().filter(|it| it.is_root == is_root);
            actions.count() as u64
        };
        self.set(|status| {
            status.state = match on_root + on_far {
                0 => SyncState::Idle,
                _ => SyncState::Unconfirmed,
            };
            status.synced = Some(now());
            status.passes += 1;
            status.sent += count(false);
            status.received += count(true);
            status.conflicts += outcome.conflicts.len() as u64;
            status.agreed = outcome.agreed;
            status.busy = outcome.busy.len() as u64;
            (status.unconfirmed_root, status.unconfirmed_far) = (on_root, on_far);
            (status.files, status.bytes, status.seconds_left) = ((0, 0), (0, 0), None);
            if outcome.version.is_some() {
                status.version.clone_from(&outcome.version);
            }
            status.set_troubles(&outcome.troubles);
        });
        if let Some(root) = root {
            self.write(root.state());
        }
        let did = outcome.actions.len();
        if did > 0 || !outcome.troubles.is_empty() {
            tracing::info!(
                dir = %self.params.dir.display(),
                version = outcome.version.as_deref().unwrap_or("-"),
                actions = did,
                conflicts = outcome.conflicts.len(),
                troubles = outcome.troubles.len(),
                "synced"
            );
        }
    }

    fn failed(&self, error: &SyncError, root: Option<&SyncedRoot>) {
        tracing::warn!(
            dir = %self.params.dir.display(),
            error = lfsfs_common::full_text(error),
            advice = error.advice().unwrap_or_default(),
            "a pass failed"
        );
        self.set(|status| status.fail(now(), error));
        let place = root.map_or_else(|| self.place(), |root| root.state().to_owned());
        self.write(&place);
    }

    /// Waits until something begins a pass.
    async fn sleep(&self, wait: Duration, root: Option<&SyncedRoot>) {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.changed.notified() => return self.debounced().await,
                () = self.far_changed.notified() => return,
                () = sleep(left.min(TICK)) => {}
            }
            if root.is_some_and(|root| root.is_paused() || root.is_confirmed()) {
                return;
            }
        }
    }

    /// Waits until no more events come.
    async fn debounced(&self) {
        for _ in 0..DEBOUNCES_MAX {
            if timeout(self.debounce(), self.changed.notified())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    fn place(&self) -> PathBuf {
        super::root::Kept::of(&self.params.state, &self.params.dir, &self.params.remote)
            .place()
            .to_owned()
    }

    fn write(&self, place: &std::path::Path) {
        let status = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if place.is_dir() {
            status.write(place);
        }
    }

    fn set(&self, change: impl FnOnce(&mut RootStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn now() -> i64 {
    WallTime::from(SystemTime::now()).seconds()
}
