//! What the coordinator tells an operator: its engine, its nodes, and what its projects have. It knows all
//! of it already and looks at no rows of objects or contents.

use lfsfs_meta_store::{CacheFigures, DeviceFigures, EngineFigures};
use lfsfs_metadata::{CountedProject, Metadata, MetadataError};
use lfsfs_proto::headers::Protocols;
use lfsfs_proto::status::Fault;
use lfsfs_proto::v1;
use lfsfs_types::ProjectName;

use super::request::{page_len, project_name};
use super::{Coordinator, nodes};

/// Projects of one page.
const PROJECTS_PER_PAGE: usize = 1000;
/// Projects read at once; each may have a megabyte of patterns, which the answer leaves out.
const PROJECTS_AT_ONCE: usize = 16;

/// Answers with the figures of the server and one page of projects.
pub(super) async fn answer(
    coordinator: &Coordinator,
    request: v1::GetStatsRequest,
) -> Result<v1::GetStatsResponse, Fault> {
    let v1::GetStatsRequest { after, limit } = request;
    let after = (!after.is_empty())
        .then(|| project_name(&after))
        .transpose()?;
    let limit = page_len(limit, PROJECTS_PER_PAGE);
    let (engine, page) = coordinator
        .metadata(move |metadata| {
            let page = projects(metadata, after, limit)?;
            Ok::<_, MetadataError>((engine(metadata), page))
        })
        .await?;
    Ok(v1::GetStatsResponse {
        cluster_id: coordinator.metadata.cluster_id().as_bytes().to_vec(),
        server_version: Protocols::own().program.into_owned(),
        uptime_secs: coordinator.uptime().as_secs(),
        engine: Some(engine),
        nodes: members(coordinator),
        projects: page.0,
        more: page.1,
    })
}

fn members(coordinator: &Coordinator) -> Vec<v1::NodeInfo> {
    let mut cluster = coordinator.cluster();
    cluster.tick(coordinator.clock.monotonic());
    nodes::messages(&cluster.members().all())
}

/// Returns a page of projects, and whether there are more behind it.
fn projects(
    metadata: &Metadata,
    mut after: Option<ProjectName>,
    limit: usize,
) -> Result<(Vec<v1::ProjectStats>, bool), MetadataError> {
    let (mut found, mut more) = (Vec::new(), true);
    while more && found.len() < limit {
        let count = PROJECTS_AT_ONCE.min(limit - found.len());
        let page = metadata.count_projects(after.as_ref(), count)?;
        more = page.more;
        after = page.items.last().map(|last| last.project.name.clone());
        found.extend(page.items.iter().map(project));
    }
    Ok((found, more))
}

fn project(counted: &CountedProject) -> v1::ProjectStats {
    let CountedProject {
        project,
        counts,
        stored,
    } = counted;
    v1::ProjectStats {
        id: project.id.as_bytes().to_vec(),
        name: project.name.to_string(),
        objects: counts.objects,
        bytes: counts.bytes,
        stored_bytes: *stored,
        versions: project.head.number.0,
    }
}

fn engine(metadata: &Metadata) -> v1::EngineStats {
    let (name, figures) = metadata.engine();
    let EngineFigures {
        file_bytes,
        cache,
        device,
        calls,
    } = figures;
    v1::EngineStats {
        name: name.to_owned(),
        file_bytes,
        cache: cache.map(cache_message),
        device: device.map(device_message),
        batches: calls.batches,
        conflicts: calls.conflicts,
        rows_written: calls.rows_written,
        bytes_written: calls.bytes_written,
        reads: calls.reads,
        rows_read: calls.rows_read,
        flushes: calls.flushes,
        slow_calls: calls.slow_calls,
    }
}

fn cache_message(cache: CacheFigures) -> v1::CacheStats {
    v1::CacheStats {
        bytes: cache.bytes,
        bytes_max: cache.bytes_max,
        hits: cache.hits,
        misses: cache.misses,
        evictions: cache.evictions,
    }
}

fn device_message(device: DeviceFigures) -> v1::DeviceStats {
    v1::DeviceStats {
        bytes: device.bytes,
        syncs: device.syncs,
    }
}
