//! Figures as lines and tables for people.

use std::fmt::Write as _;

use lfsfs_proto::v1;

use super::{Stats, state};

/// One row of a table.
type Cells<const N: usize> = [String; N];

/// Returns everything, as it is printed.
pub(super) fn text(stats: &Stats) -> String {
    let mut text = String::new();
    for (what, figures) in lines(stats) {
        push(&mut text, &format!("{what:<9}{figures}"));
    }
    push(&mut text, "");
    push_table(&mut text, nodes(stats));
    push(&mut text, "");
    push_table(&mut text, projects(stats));
    text
}

fn push(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn lines(stats: &Stats) -> Vec<(&'static str, String)> {
    let engine = &stats.engine;
    let (chunks, chunk_bytes) = stats.chunks();
    let (version, uptime) = (safe(&stats.version), uptime(stats.uptime_secs));
    let address = &stats.address;
    vec![
        (
            "server",
            format!("{address}, lfsfsd {version}, up {uptime}"),
        ),
        ("cluster", stats.cluster.clone()),
        ("chunks", format!("{chunks}, {}", size(chunk_bytes))),
        (
            "engine",
            format!("{}, {}", safe(&engine.name), size(engine.file_bytes)),
        ),
        ("cache", cache(stats)),
        ("writes", writes(engine)),
        ("disk", disk(stats)),
        (
            "reads",
            format!("{}, {} rows", engine.reads, engine.rows_read),
        ),
        ("slow", format!("{} calls above 100 ms", engine.slow_calls)),
    ]
}

fn cache(stats: &Stats) -> String {
    let Some(cache) = &stats.engine.cache else {
        return "the engine does not tell".to_owned();
    };
    let hits = stats
        .cache_hit_rate()
        .map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
    format!(
        "{} of {}, hit rate {hits}, {} misses, {} evictions",
        size(cache.bytes),
        size(cache.bytes_max),
        cache.misses,
        cache.evictions
    )
}

fn writes(engine: &v1::EngineStats) -> String {
    format!(
        "{} batches, {} conflicts, {} rows, {}",
        engine.batches,
        engine.conflicts,
        engine.rows_written,
        size(engine.bytes_written)
    )
}

fn disk(stats: &Stats) -> String {
    let flushes = stats.engine.flushes;
    let Some(device) = &stats.engine.device else {
        return format!("{flushes} flushes; the engine does not tell more");
    };
    let (bytes, syncs) = (size(device.bytes), device.syncs);
    let ratio = stats
        .write_amplification()
        .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
    format!("{flushes} flushes, {syncs} syncs, {bytes}, write amplification {ratio}")
}

fn nodes(stats: &Stats) -> Vec<Cells<6>> {
    let head = ["NODE", "STATE", "CHUNKS", "STORED", "USED", "CAPACITY"];
    let row = |node: &v1::NodeInfo| {
        [
            safe(&node.address),
            state(node).to_owned(),
            node.chunks.to_string(),
            size(node.chunk_bytes),
            size(node.used_bytes),
            size(node.capacity_bytes),
        ]
    };
    let rows = stats.nodes.iter().map(row);
    [head.map(str::to_owned)].into_iter().chain(rows).collect()
}

fn projects(stats: &Stats) -> Vec<Cells<5>> {
    let head = ["PROJECT", "OBJECTS", "SIZE", "STORED", "VERSIONS"];
    let row = |project: &v1::ProjectStats| {
        [
            safe(&project.name),
            project.objects.to_string(),
            size(project.bytes),
            size(project.stored_bytes),
            project.versions.to_string(),
        ]
    };
    let rows = stats.projects.iter().map(row);
    [head.map(str::to_owned)].into_iter().chain(rows).collect()
}

/// Writes rows as columns: the first one begins at the left, the others end at the right.
fn push_table<const N: usize>(text: &mut String, rows: Vec<Cells<N>>) {
    let width = |at: usize| {
        let lens = rows.iter().map(|row| row[at].chars().count());
        lens.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            // Writing to a string does not fail.
            let _ = write!(line, "  {cell:>width$}");
        }
        push(text, &line);
    }
}

/// Returns a number of bytes in the largest unit of which there is a whole one.
#[expect(clippy::cast_precision_loss, reason = "one digit behind the point")]
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog2() / 10;
    let unit = UNITS[power as usize - 1];
    format!("{:.1} {unit}", bytes as f64 / (1u64 << (10 * power)) as f64)
}

fn uptime(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Returns a text of the server, so that a terminal obeys no character of it.
fn safe(text: &str) -> String {
    text.escape_debug().to_string()
}
