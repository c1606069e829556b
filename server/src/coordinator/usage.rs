//! What projects take, for whom asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use lfsfs_metadata::ProjectUsage;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::ProjectName;

use super::Coordinator;
use super::request::{invalid, project_name};
use crate::streams::Sink;

/// Most projects that a caller can name.
const PROJECTS_NAMED_MAX: usize = 500;

/// Tells what projects take. It uses the memory of a collection, so one of them goes on at a time.
pub(super) async fn tell(
    coordinator: Arc<Coordinator>,
    request: v1::GetUsageRequest,
    sink: Sink<v1::ProjectUsage>,
) -> Result<(), Fault> {
    let wanted = wanted(&request.projects)?;
    let names = wanted.clone();
    let known = coordinator.metadata(move |metadata| {
        names
            .iter()
            .try_for_each(|name| metadata.project(name).map(drop))
    });
    known.await?;
    let place = coordinator.collect_alone()?;
    let memory = coordinator.marks_bytes;
    let usage = coordinator.metadata(move |metadata| {
        let usage = metadata.usage(memory);
        drop(place);
        usage
    });
    let stopping = || Fault::new(FaultKind::Unavailable, "the server stops");
    for project in usage.await?.ok_or_else(stopping)? {
        if wanted.is_empty() || wanted.contains(&project.name) {
            sink.send(message(&project)).await?;
        }
    }
    Ok(())
}

fn wanted(names: &[String]) -> Result<BTreeSet<ProjectName>, Fault> {
    if names.len() > PROJECTS_NAMED_MAX {
        let text = format!(
            "projects: {} names; {PROJECTS_NAMED_MAX} are allowed",
            names.len()
        );
        return Err(invalid(&text));
    }
    names.iter().map(|name| project_name(name)).collect()
}

fn message(usage: &ProjectUsage) -> v1::ProjectUsage {
    v1::ProjectUsage {
        name: usage.name.to_string(),
        project_id: usage.id.as_bytes().to_vec(),
        logical_bytes: usage.logical_bytes,
        contents: usage.contents,
        content_bytes: usage.content_bytes,
        stored_bytes: usage.stored_bytes,
        shared_bytes: usage.shared_bytes,
    }
}
