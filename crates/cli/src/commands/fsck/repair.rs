//! Waits until the coordinator has made the copies that are missing.

use std::time::Duration;

use lfsfs_client::{ClusterStatus, Nodes, RepairStatus};
use tokio::time::Instant;

use crate::error::CommandError;
use crate::progress;

const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Repair that does nothing for so long cannot go on.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Has all chunks looked at, and waits until nothing waits for a copy any more.
pub(super) async fn wait(nodes: &Nodes) -> Result<(), CommandError> {
    let bar = progress::spinner();
    let mut status = nodes.scan().await?;
    let mut moved = Instant::now();
    while is_busy(&status) && moved.elapsed() < IDLE_MAX {
        let RepairStatus {
            waiting, copying, ..
        } = status.repair;
        bar.set_message(format!("repair: {waiting} waiting, {copying} copying"));
        tokio::time::sleep(POLL_INTERVAL).await;
        let next = nodes.status().await?;
        if (next.repair, next.is_scanning) != (status.repair, status.is_scanning) {
            moved = Instant::now();
        }
        status = next;
    }
    bar.finish_and_clear();
    Ok(())
}

const fn is_busy(status: &ClusterStatus) -> bool {
    status.is_scanning || status.repair.waiting > 0 || status.repair.copying > 0
}
