//! The state of a cluster, for people: one sentence first, then figures.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use lfsfs_client::{ChunkScan, ClusterNode, ClusterStatus, NodeState};

use super::pace::Pace;
use crate::commands::node::{percent, state_word};
use crate::output::{counted, time};

/// All states, the best first.
const STATES: [&str; 4] = ["available", "draining", "suspect", "offline"];

/// Returns what is shown, a line each.
pub(super) fn lines(status: &ClusterStatus, pace: Option<Pace>) -> Vec<String> {
    let mut lines = verdict(status);
    lines.push(String::new());
    lines.push(format!("cluster   {}", status.id));
    lines.push(copies(status));
    lines.extend(nodes(&status.nodes));
    lines.push(capacity(&status.nodes));
    lines.extend(chunks(status));
    lines.extend(repair(status, pace));
    lines.extend(found(status.found));
    lines.extend(restored(status));
    lines
}

/// Says how the chunks are: the worst first.
fn verdict(status: &ClusterStatus) -> Vec<String> {
    if status.nodes.is_empty() {
        return vec!["There is no datanode: nothing can be stored.".to_owned()];
    }
    let Some(scan) = status.scan else {
        return vec!["It is not known yet how the chunks are: no scan has ended.".to_owned()];
    };
    let mut lines = Vec::new();
    if scan.missing > 0 {
        lines.extend(missing(scan.missing, &status.nodes));
    }
    if scan.under_replicated > 0 || is_busy(status) {
        lines.extend(too_few(status, scan));
    }
    if scan.missing == 0 {
        lines.extend(silent(&status.nodes));
    }
    if status.repair.to_move > 0 {
        lines.push("Chunks move to emptier datanodes.".to_owned());
    }
    if lines.is_empty() {
        lines.push("All is well: every chunk had its copies at the last scan.".to_owned());
    }
    lines
}

fn missing(count: u64, nodes: &[ClusterNode]) -> [String; 2] {
    let are = if count == 1 { "is" } else { "are" };
    let chunks = counted(count, "chunk");
    let is_silent = |node: &&ClusterNode| node.state == NodeState::Offline;
    let advice = match nodes.iter().filter(is_silent).count() as u64 {
        0 => "Start a datanode that has them, or import the files again.".to_owned(),
        1 => "One datanode is offline: start it.".to_owned(),
        silent => format!("{silent} datanodes are offline: start them."),
    };
    [
        format!(
            "{chunks} {are} MISSING: no datanode that answers has them, and files that need them \
             cannot be read."
        ),
        advice,
    ]
}

/// Says what is done about chunks with too few copies. The scan does not know what was copied since it
/// ended, so this speaks of its time.
fn too_few(status: &ClusterStatus, scan: ChunkScan) -> [String; 2] {
    let few = counted(scan.under_replicated, "chunk");
    let takers = takers(&status.nodes);
    let next = if is_busy(status) {
        "Repair is at work.".to_owned()
    } else if status.is_scanning {
        "Another scan is under way.".to_owned()
    } else if takers < u64::from(status.copies) {
        let (takers, copies) = (counted(takers, "datanode"), status.copies);
        format!("Only {takers} can take them, for {copies} copies of each: start another one.")
    } else {
        "Nothing waits for a copy any more; the next scan counts again.".to_owned()
    };
    [format!("{few} had too few copies at the last scan."), next]
}

/// Tells of datanodes that do not answer.
fn silent(nodes: &[ClusterNode]) -> Option<String> {
    let is_silent = |node: &&ClusterNode| node.state != NodeState::Available;
    match nodes.iter().filter(is_silent).count() {
        0 => None,
        1 => Some(
            "1 datanode is silent: start it, or take it out with: lfsfs node remove".to_owned(),
        ),
        count => Some(format!(
            "{count} datanodes are silent: start them, or take them out with: lfsfs node remove"
        )),
    }
}

fn is_busy(status: &ClusterStatus) -> bool {
    status.repair.waiting > 0 || status.repair.copying > 0
}

/// Returns how many datanodes can be given chunks.
fn takers(nodes: &[ClusterNode]) -> u64 {
    let takers = nodes.iter().filter(|node| state_word(node) == "available");
    takers.count() as u64
}

fn copies(status: &ClusterStatus) -> String {
    let (copies, least) = (status.copies, status.copies_min);
    format!("copies    {copies} of each chunk; a write waits for {least}")
}

/// Returns the datanodes by their states, and the same for each zone if there are any.
fn nodes(nodes: &[ClusterNode]) -> Vec<String> {
    let mut zones: BTreeMap<&str, Vec<&ClusterNode>> = BTreeMap::new();
    for node in nodes {
        zones.entry(&node.zone).or_default().push(node);
    }
    let all: Vec<_> = nodes.iter().collect();
    let mut lines = vec![format!("nodes     {}", by_state(&all))];
    if zones.keys().any(|zone| !zone.is_empty()) {
        lines.extend(zones.iter().map(|(zone, nodes)| {
            let zone = if zone.is_empty() { "without" } else { zone };
            format!("  zone    {zone}: {}", by_state(nodes))
        }));
    }
    lines
}

fn by_state(nodes: &[&ClusterNode]) -> String {
    let count = |state: &str| {
        nodes
            .iter()
            .filter(|node| state_word(node) == state)
            .count()
    };
    let counts = STATES.map(|state| (count(state), state));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = counts
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    match words[..] {
        [] => "none".to_owned(),
        [_] => words.join(""),
        _ => format!("{}: {}", nodes.len(), words.join(", ")),
    }
}

/// What is said of the disks is said of datanodes that answer.
fn capacity(nodes: &[ClusterNode]) -> String {
    let answering = || nodes.iter().filter(|node| node.state != NodeState::Offline);
    let capacity = answering().map(|node| node.capacity_bytes).sum();
    let used = answering().map(|node| node.used_bytes).sum();
    let stored: u64 = answering().map(|node| node.stored_bytes).sum();
    format!(
        "capacity  {} of {} used ({}), by chunks {}",
        HumanBytes(used),
        HumanBytes(capacity),
        percent(used, capacity),
        HumanBytes(stored)
    )
}

fn chunks(status: &ClusterStatus) -> Vec<String> {
    let scanning = if status.is_scanning { "; scanning" } else { "" };
    let Some(scan) = status.scan else {
        return vec![format!("chunks    not scanned yet{scanning}")];
    };
    let age = HumanDuration(Duration::from_secs(scan.age_secs));
    let figure = |count: u64, what: &str| format!("          {} {what}", HumanCount(count));
    vec![
        format!(
            "chunks    {}, scanned {age} ago{scanning}",
            HumanCount(scan.chunks)
        ),
        figure(scan.under_replicated, "under-replicated"),
        figure(scan.missing, "missing"),
        figure(scan.over_replicated, "over-replicated"),
    ]
}

fn repair(status: &ClusterStatus, pace: Option<Pace>) -> Vec<String> {
    let repair = status.repair;
    let mut lines = vec![format!(
        "repair    {} waiting, {} copying, {} left",
        HumanCount(repair.waiting),
        HumanCount(repair.copying),
        HumanBytes(repair.waiting_bytes)
    )];
    if repair.to_move > 0 || repair.moved > 0 {
        lines.push(format!(
            "          {} to move to emptier datanodes, {} moved",
            HumanCount(repair.to_move),
            HumanCount(repair.moved)
        ));
    }
    if let Some(pace) = pace.filter(|_| is_busy(status) || repair.to_move > 0) {
        lines.push(format!("          {}", rate(pace)));
    }
    lines.push(format!(
        "          {} copied ({}), {} failed, since the coordinator started",
        HumanCount(repair.copied),
        HumanBytes(repair.copied_bytes),
        HumanCount(repair.failed)
    ));
    lines
}

/// Tells of chunks that came to light by their datanodes alone.
fn found(count: u64) -> Option<String> {
    let chunks = counted(count, "chunk");
    (count > 0).then(|| {
        format!(
            "found     {chunks} that the metadata did not know, kept, since the coordinator started"
        )
    })
}

fn restored(status: &ClusterStatus) -> Option<String> {
    let from = status.restored?;
    let (backup, restored) = (time(from.backup), time(from.restored));
    Some(format!(
        "restored  {restored}, from a backup of {backup}: later versions are gone"
    ))
}

fn rate(pace: Pace) -> String {
    let rate = HumanBytes(pace.bytes_per_second);
    match pace.left {
        Some(left) => format!("{rate} a second, done in {}", HumanDuration(left)),
        None => format!("{rate} a second"),
    }
}

#[cfg(test)]
mod tests;
