//! What a mount process shows at its directory, and the sessions that it serves.
//!
//! In fuse mode these are one mount and one session to the end. In kernel mode each switch makes new ones, and a
//! session goes on as long as programs use what it showed.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use crate::kernel_mount::KernelMount;
use crate::serve::Session;

/// What is shown now, and all sessions that have not ended.
#[derive(Debug)]
pub(crate) struct ShownMount {
    mount: watch::Sender<KernelMount>,
    sessions: Mutex<Vec<Session>>,
}

impl ShownMount {
    pub(crate) fn new(mount: KernelMount, session: Session) -> Self {
        Self {
            mount: watch::Sender::new(mount),
            sessions: Mutex::new(vec![session]),
        }
    }

    /// Returns the mount that is shown now.
    pub(crate) fn mount(&self) -> KernelMount {
        self.mount.borrow().clone()
    }

    /// Returns a way to see when another mount is shown.
    pub(crate) fn changes(&self) -> watch::Receiver<KernelMount> {
        self.mount.subscribe()
    }

    /// Takes another mount as the one that is shown.
    pub(crate) fn replace(&self, mount: KernelMount, session: Session) {
        let mut sessions = self.sessions();
        sessions.retain(|session| !session.has_ended());
        sessions.push(session);
        drop(sessions);
        self.mount.send_replace(mount);
    }

    /// Takes the mount before as the one that is shown: it is still there.
    pub(crate) fn restore(&self, mount: KernelMount) {
        self.mount.send_replace(mount);
    }

    /// Waits until the kernel has ended all sessions: the last user of all that was shown is gone.
    pub(crate) async fn ended(&self) {
        loop {
            let going_on = self
                .sessions()
                .iter()
                .find(|session| !session.has_ended())
                .cloned();
            match going_on {
                Some(session) => session.ended().await,
                None => return,
            }
        }
    }

    /// Returns true if the kernel has ended all sessions.
    pub(crate) fn has_ended(&self) -> bool {
        self.sessions().iter().all(Session::has_ended)
    }

    /// No method panics between two changes of it.
    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.sessions.lock().expect("no holder of this lock panics")
    }
}
