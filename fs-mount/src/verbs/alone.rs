//! The verbs that change what the mount shows run one at a time, and say for how long one has been running.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lfsfs_vfs::Exclusive;

use super::Control;
use crate::control::{ControlError, ControlErrorKind};

/// The verb that has the exclusive section of the mount.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Option<(&'static str, Instant)>>);

/// The right to change what the mount shows, which one verb has until it is dropped.
#[derive(Debug)]
pub(super) struct Alone<'a> {
    exclusive: Exclusive<'a>,
    running: &'a Running,
}

impl Running {
    /// Returns the verb and for how long it has been running.
    fn verb(&self) -> Option<(&'static str, Duration)> {
        let (verb, since) = (*self.lock())?;
        Some((verb, since.elapsed()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(&'static str, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Takes the right to change what the mount shows, if no other verb has it.
    pub(super) fn begin_change(&self, verb: &'static str) -> Result<Alone<'_>, ControlError> {
        let exclusive = self.vfs.try_exclusive().ok_or_else(|| self.busy())?;
        Ok(self.alone(exclusive, verb))
    }

    /// Waits for that right, behind those that came before.
    pub(super) async fn wait_to_change(&self, verb: &'static str) -> Alone<'_> {
        let exclusive = self.vfs.exclusive().await;
        self.alone(exclusive, verb)
    }

    /// Returns true if a verb has that right.
    pub(super) fn is_running(&self, verb: &str) -> bool {
        self.running.verb().is_some_and(|(it, _)| it == verb)
    }

    fn alone<'a>(&'a self, exclusive: Exclusive<'a>, verb: &'static str) -> Alone<'a> {
        *self.running.lock() = Some((verb, Instant::now()));
        Alone {
            exclusive,
            running: &self.running,
        }
    }

    fn busy(&self) -> ControlError {
        let what = match self.running.verb() {
            Some((verb, time)) => {
                let seconds = time.as_secs();
                format!("another {verb} of this mount has been under way for {seconds} s")
            }
            None => "another commit, switch or discard of this mount is under way".to_owned(),
        };
        ControlError::new(ControlErrorKind::Busy, what).hint("wait for its end and try again")
    }
}

impl<'a> Deref for Alone<'a> {
    type Target = Exclusive<'a>;

    fn deref(&self) -> &Self::Target {
        &self.exclusive
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        *self.running.lock() = None;
    }
}
