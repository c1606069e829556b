//! Tasks that have an owner: it can stop them all, and wait until none is left.
//!
//! A task that was spawned alone goes on after the one who needed it has gone. Here [`Tasks`] is the
//! owner and [`Spawner`] the way to spawn, which what is spawned may keep: dropping the owner stops
//! the tasks though they hold spawners themselves.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::request::carried;

/// The owner of tasks. Dropping it stops them at their next await and does not wait.
#[derive(Debug, Default)]
pub struct Tasks {
    spawner: Spawner,
}

impl Tasks {
    /// Returns an owner without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the way to spawn tasks of this owner.
    #[must_use]
    pub fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Stops all tasks and waits until the last of them is gone, also those that may not be stopped:
    /// what runs on a thread of its own. What is spawned from now on ends at once.
    pub async fn end(&self) {
        self.spawner.stop.cancel();
        self.spawner.tracker.close();
        self.spawner.tracker.wait().await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.spawner.stop.cancel();
    }
}

/// Spawns tasks that an owner can stop. Clones spawn for the same owner.
#[derive(Debug, Clone, Default)]
pub struct Spawner {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Spawner {
    /// Runs `work` in a task, for the request and in the span of the caller. The task brings `None` if
    /// the owner stopped it. Must be called inside a tokio runtime.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let stop = self.stop.clone();
        self.tracker
            .spawn(carried(async move { stop.run_until_cancelled(work).await }))
    }

    /// Runs `work` on a thread on which it may block. It is never stopped, and the owner waits for it.
    /// Must be called inside a tokio runtime.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.tracker.spawn_blocking(work)
    }

    /// Returns how many tasks there are now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Returns true if there is no task now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_owner_stops_all_tasks_and_waits_for_them() {
        let tasks = Tasks::new();
        let spawner = tasks.spawner().clone();
        let running = spawner.spawn(pending::<()>());
        let blocking = spawner.spawn_blocking(|| 7);
        assert_eq!(spawner.spawn(async { 5 }).await.expect("no panic"), Some(5));
        tasks.end().await;
        assert!(spawner.is_empty());
        assert_eq!(running.await.expect("no panic"), None);
        assert_eq!(blocking.await.expect("no panic"), 7);
        let late = spawner.spawn(pending::<()>());
        assert_eq!(late.await.expect("no panic"), None);
    }

    #[tokio::test]
    async fn tasks_end_with_their_owner() {
        let tasks = Tasks::new();
        let spawner = tasks.spawner().clone();
        let inner = spawner.clone();
        let running = spawner.spawn(async move {
            pending::<()>().await;
            drop(inner);
        });
        drop(tasks);
        assert_eq!(running.await.expect("no panic"), None);
    }
}
