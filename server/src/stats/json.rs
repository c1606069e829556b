//! Figures as one JSON object. docs/configuration.md has its keys, which stay.

use lfsfs_proto::v1;
use lfsfs_types::NodeId;
use serde_json::{Value, json};

use super::{Stats, state};

pub(super) fn json(stats: &Stats) -> Value {
    let (chunks, chunk_bytes) = stats.chunks();
    json!({
        "server": {
            "address": stats.address,
            "version": stats.version,
            "cluster": stats.cluster,
            "uptime_seconds": stats.uptime_secs,
        },
        "engine": engine(stats),
        "nodes": stats.nodes.iter().map(node).collect::<Vec<_>>(),
        "chunks": chunks,
        "chunk_bytes": chunk_bytes,
        "projects": stats.projects.iter().map(project).collect::<Vec<_>>(),
    })
}

/// What an engine does not tell is null.
fn engine(stats: &Stats) -> Value {
    let engine = &stats.engine;
    let cache = engine.cache.as_ref();
    let device = engine.device.as_ref();
    json!({
        "name": engine.name,
        "file_bytes": engine.file_bytes,
        "cache_bytes": cache.map(|cache| cache.bytes),
        "cache_bytes_max": cache.map(|cache| cache.bytes_max),
        "cache_hits": cache.map(|cache| cache.hits),
        "cache_misses": cache.map(|cache| cache.misses),
        "cache_evictions": cache.map(|cache| cache.evictions),
        "cache_hit_rate": stats.cache_hit_rate(),
        "batches": engine.batches,
        "conflicts": engine.conflicts,
        "rows_written": engine.rows_written,
        "bytes_written": engine.bytes_written,
        "device_bytes": device.map(|device| device.bytes),
        "device_syncs": device.map(|device| device.syncs),
        "write_amplification": stats.write_amplification(),
        "flushes": engine.flushes,
        "reads": engine.reads,
        "rows_read": engine.rows_read,
        "slow_calls": engine.slow_calls,
    })
}

fn node(node: &v1::NodeInfo) -> Value {
    json!({
        "id": NodeId::from_slice(&node.id).map(|id| id.to_string()),
        "address": node.address,
        "state": state(node),
        "chunks": node.chunks,
        "chunk_bytes": node.chunk_bytes,
        "used_bytes": node.used_bytes,
        "capacity_bytes": node.capacity_bytes,
    })
}

fn project(project: &v1::ProjectStats) -> Value {
    json!({
        "name": project.name,
        "objects": project.objects,
        "bytes": project.bytes,
        "stored_bytes": project.stored_bytes,
        "versions": project.versions,
    })
}
