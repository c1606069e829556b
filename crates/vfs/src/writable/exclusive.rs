//! The exclusive section of a mount: one commit, switch or discard at a time.

use tokio::sync::MutexGuard;

use crate::writable::Vfs;

/// The right to commit, to switch and to discard, which one caller has until it is dropped.
///
/// While it is held the base of the mount is replaced by calls of it only.
#[derive(Debug)]
pub struct Exclusive<'a> {
    pub(crate) vfs: &'a Vfs,
    _guard: MutexGuard<'a, ()>,
}

impl Vfs {
    /// Waits until no other commit, switch or discard is under way, and begins an exclusive section.
    pub async fn exclusive(&self) -> Exclusive<'_> {
        Exclusive {
            vfs: self,
            _guard: self.exclusive.lock().await,
        }
    }

    /// Begins an exclusive section at once; `None` while another one lasts.
    #[must_use]
    pub fn try_exclusive(&self) -> Option<Exclusive<'_>> {
        let guard = self.exclusive.try_lock().ok()?;
        Some(Exclusive {
            vfs: self,
            _guard: guard,
        })
    }
}
