//! What the changes of a mount need from time to time: to reach the disk, and to be compacted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lfsfs_overlay::Overlay;
use lfsfs_vfs::Vfs;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::memory;

/// How often it is looked whether something must be synced; the overlay says what is due.
const SYNC_PERIOD: Duration = Duration::from_secs(1);
/// After how many looks it is asked whether the log is worth a compaction.
const COMPACTION_PERIOD: u32 = 10;

/// How often it is looked whether the base is another one, below files that share bytes with the one before.
const OWN_PERIOD: Duration = Duration::from_secs(5);

/// Works until it is aborted, which may be at any time.
pub(crate) async fn run(vfs: Arc<Vfs>) {
    // What waits for a server must not keep what is due from the disk.
    tokio::join!(sync_and_compact(&vfs), own_shared(&vfs));
}

async fn own_shared(vfs: &Vfs) {
    let mut ticks = interval(OWN_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        ticks.tick().await;
        let owned = vfs.own_shared().await;
        if let (Err(error), false) = (&owned, failed) {
            let error: &dyn std::error::Error = error;
            warn!(
                error,
                "copies of files of an earlier version have no bytes of their own yet"
            );
        }
        failed = owned.is_err();
    }
}

async fn sync_and_compact(vfs: &Vfs) {
    let mut ticks = interval(SYNC_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sync_failed = false;
    for tick in (0..COMPACTION_PERIOD).cycle() {
        ticks.tick().await;
        let synced = vfs.tidy_and_sync_if_due(Instant::now()).await;
        if let (Err(error), false) = (&synced, sync_failed) {
            let error: &dyn std::error::Error = error;
            error!(
                error,
                "changes cannot be synced; they may not survive a power loss"
            );
        }
        sync_failed = synced.is_err();
        if let (0, Some(overlay)) = (tick, vfs.overlay()) {
            let overlay = Arc::clone(overlay);
            // Fails only if it panicked, which was told.
            let _ = spawn_blocking(move || compact(&overlay)).await;
        }
    }
}

fn compact(overlay: &Overlay) {
    let compacted = match overlay.should_compact() {
        Ok(true) => overlay.compact(),
        Ok(false) => return,
        Err(error) => Err(error),
    };
    match compacted {
        Ok(report) => {
            info!(?report, "the log of changes was compacted");
            memory::give_back();
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            warn!(error, "the log of changes cannot be compacted");
        }
    }
}
