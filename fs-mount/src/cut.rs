//! The moment that a commit takes: no write call is half in it.
//!
//! One write call may come as several WRITE requests, and none says that it is the last. But the
//! kernel holds the lock of the file from the first to the last, and also over an FSYNC. So files that
//! may be in the middle of a call are held by an FSYNC each, sent by a [process of its
//! own](holder): it comes when the call is complete, and until it is answered there is no further one.
//! Requests that begin to write another file wait meanwhile.
//!
//! Before that, the command that asks for the commit has the kernel send what it holds of mappings and
//! gathered writes ([`flush`](crate::flush)), and those are waited for ([`Cut::settle`]).

mod holder;
mod sender;
mod writes;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lfsfs_vfs::{Hold, WriteBarrier};
use thiserror::Error;
use tokio::time::sleep;
use tracing::{debug, warn};

pub use self::holder::{HOLDER_ARGUMENT, run_holder};
pub(crate) use self::sender::PageSender;
pub use self::sender::{PageSource, SENDER_ARGUMENT, run_sender};
pub use self::writes::Origin;
pub(crate) use self::writes::{Span, Writes};

use self::holder::Holder;
use crate::kernel_mount;
use crate::mountinfo::Device;

/// How long the kernel may take to send what it was made to.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
const SETTLE_PERIOD: Duration = Duration::from_millis(1);
/// How long a moment between all calls is looked for. A call of 2 GiB, the longest, takes less.
const HOLD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the first try may take. Two files can be in each other's way: a program renames one over
/// the other and needs both locks. Letting go of all of them and trying again ends that.
const FIRST_PATIENCE: Duration = Duration::from_millis(20);

/// Finds the moments at which a version may be cut from a mount.
#[derive(Debug)]
pub(crate) struct Cut {
    dir: PathBuf,
    device: Device,
    writes: Arc<Writes>,
}

/// Holds up all that writes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    writes: Arc<Writes>,
    holders: Vec<Holder>,
}

/// Why there is no moment between all calls.
#[derive(Debug, Error)]
enum HoldError {
    #[error("a call takes long")]
    TooLong,
    #[error("the files cannot be held")]
    Holder(#[source] io::Error),
}

impl Cut {
    pub(crate) fn new(dir: PathBuf, device: Device, writes: Arc<Writes>) -> Self {
        Self {
            dir,
            device,
            writes,
        }
    }

    /// Returns when what the kernel was made to send is here.
    pub(crate) async fn settle(&self) {
        settle(&self.writes).await;
    }

    /// Returns when no call is half made, and lets none go on until the result is dropped. Blocks.
    ///
    /// Where that cannot be had, and for all but root, the moment lies between two requests.
    fn hold(&self) -> Held {
        if !kernel_mount::is_root() {
            return Held::new(&self.writes);
        }
        let end = Instant::now() + HOLD_TIMEOUT;
        let mut patience = FIRST_PATIENCE;
        loop {
            let deadline = end.min(Instant::now() + patience);
            match self.try_hold(deadline) {
                Ok(held) => return held,
                Err(HoldError::TooLong) if deadline < end => patience *= 2,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    warn!(error, "the version may have a part of a write call");
                    return Held::new(&self.writes);
                }
            }
        }
    }

    fn try_hold(&self, deadline: Instant) -> Result<Held, HoldError> {
        let mut held = Held::new(&self.writes);
        loop {
            if !self.writes.close(deadline) {
                return Err(HoldError::TooLong);
            }
            let unheld = self.writes.unheld(Instant::now());
            if unheld.is_empty() {
                return Ok(held);
            }
            self.writes.await_holds(&unheld);
            let start = Holder::start(&self.dir, self.device, &unheld);
            let (holder, inodes) = start.map_err(HoldError::Holder)?;
            held.holders.push(holder);
            if !self.writes.wait_for_holds(&inodes, deadline) {
                return Err(HoldError::TooLong);
            }
        }
    }
}

impl WriteBarrier for Cut {
    fn settle(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(settle(&self.writes))
    }

    fn hold(&self) -> Box<dyn Hold> {
        Box::new(self.hold())
    }
}

impl Hold for Held {}

/// Returns when the pages are here that the kernel was made to send.
pub(crate) async fn settle(writes: &Writes) {
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    while !writes.is_silent(Instant::now()) {
        if Instant::now() > deadline {
            debug!("pages come without an end");
            return;
        }
        sleep(SETTLE_PERIOD).await;
    }
}

impl Held {
    fn new(writes: &Arc<Writes>) -> Self {
        let writes = Arc::clone(writes);
        Self {
            writes,
            holders: Vec::new(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.writes.release();
    }
}
