//! `lfsfsd stats`: what a server tells of its engine, its nodes and its projects, for an operator.

mod ask;
mod json;
mod text;

use std::io::{self, Write as _};
use std::time::Duration;

use lfsfs_proto::v1;

use crate::error::ServerError;

/// In which form figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines and tables for people.
    Text,
    /// One JSON object.
    Json,
}

/// What a server told, with all of its projects.
#[derive(Debug, Clone, Default)]
struct Stats {
    /// The address that was asked.
    address: String,
    cluster: String,
    version: String,
    uptime_secs: u64,
    engine: v1::EngineStats,
    nodes: Vec<v1::NodeInfo>,
    projects: Vec<v1::ProjectStats>,
}

impl Stats {
    /// Returns the chunks of all nodes and their bytes: each replica counts.
    fn chunks(&self) -> (u64, u64) {
        let nodes = self.nodes.iter();
        nodes.fold((0, 0), |(chunks, bytes): (u64, u64), node| {
            (
                chunks.saturating_add(node.chunks),
                bytes.saturating_add(node.chunk_bytes),
            )
        })
    }

    /// Returns which part of the page reads found their page in memory, if there were any.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    fn cache_hit_rate(&self) -> Option<f64> {
        let cache = self.engine.cache.as_ref()?;
        let reads = cache.hits.saturating_add(cache.misses);
        (reads > 0).then(|| cache.hits as f64 / reads as f64)
    }

    /// Returns how many bytes went to the disk for each byte of a row, if that is known.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    fn write_amplification(&self) -> Option<f64> {
        let rows = self.engine.bytes_written;
        let device = self.engine.device.as_ref().filter(|_| rows > 0)?;
        Some(device.bytes as f64 / rows as f64)
    }
}

/// Returns the word for the state of a node.
fn state(node: &v1::NodeInfo) -> &'static str {
    match node.state() {
        v1::NodeState::Available => "available",
        v1::NodeState::Suspect => "suspect",
        v1::NodeState::Offline => "offline",
        v1::NodeState::Draining => "draining",
        v1::NodeState::Unspecified => "unknown",
    }
}

/// Asks a server at `address` and prints what it tells. Each answer may take `limit`. Blocks the
/// thread.
pub(crate) fn execute(address: &str, limit: Duration, form: Form) -> Result<(), ServerError> {
    let stats = ask::ask(address, limit)?;
    let text = match form {
        Form::Text => text::text(&stats),
        Form::Json => format!("{}\n", json::json(&stats)),
    };
    let mut stdout = io::stdout().lock();
    let printed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match printed {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(ServerError::System {
            act: "print the figures",
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
