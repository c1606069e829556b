//! The state of a cluster in JSON.

use lfsfs_client::ClusterStatus;
use serde::Serialize;

use super::pace::Pace;
use crate::commands::node::JsonNode;
use crate::output::time;

/// The state of a cluster. What no scan has found yet is null.
#[derive(Debug, Serialize)]
pub(super) struct JsonStatus {
    cluster_id: String,
    nodes: Vec<JsonNode>,
    copies: u32,
    copies_min: u32,
    chunks: Option<u64>,
    under_replicated: Option<u64>,
    missing: Option<u64>,
    over_replicated: Option<u64>,
    scan_age_seconds: Option<u64>,
    scanning: bool,
    waiting: u64,
    to_move: u64,
    repairing: u64,
    waiting_bytes: u64,
    copied: u64,
    copied_bytes: u64,
    moved: u64,
    failed: u64,
    found: u64,
    /// When the backup was begun that the metadata is from, or null.
    backup_time: Option<String>,
    restored_time: Option<String>,
    #[serde(flatten)]
    pace: Option<JsonPace>,
}

/// What only `--watch` can tell; null in its first answer.
#[derive(Debug, Serialize)]
struct JsonPace {
    bytes_per_second: Option<u64>,
    seconds_left: Option<u64>,
}

impl JsonStatus {
    pub(super) fn new(status: &ClusterStatus, pace: Option<Pace>, is_watched: bool) -> Self {
        let (scan, repair) = (status.scan, status.repair);
        let pace = JsonPace {
            bytes_per_second: pace.map(|pace| pace.bytes_per_second),
            seconds_left: pace.and_then(|pace| Some(pace.left?.as_secs())),
        };
        Self {
            cluster_id: status.id.to_string(),
            nodes: status.nodes.iter().map(JsonNode::new).collect(),
            copies: status.copies,
            copies_min: status.copies_min,
            chunks: scan.map(|scan| scan.chunks),
            under_replicated: scan.map(|scan| scan.under_replicated),
            missing: scan.map(|scan| scan.missing),
            over_replicated: scan.map(|scan| scan.over_replicated),
            scan_age_seconds: scan.map(|scan| scan.age_secs),
            scanning: status.is_scanning,
            waiting: repair.waiting,
            to_move: repair.to_move,
            moved: repair.moved,
            repairing: repair.copying,
            waiting_bytes: repair.waiting_bytes,
            copied: repair.copied,
            copied_bytes: repair.copied_bytes,
            failed: repair.failed,
            found: status.found,
            backup_time: status.restored.map(|from| time(from.backup)),
            restored_time: status.restored.map(|from| time(from.restored)),
            pace: is_watched.then_some(pace),
        }
    }
}
