//! Projects: making, changing and listing them.

use std::net::SocketAddr;
use std::time::Duration;

use lfsfs_metadata::{
    CloneParams, DeletedProject, Deletion, Metadata, MetadataError, PackPatterns, Page, Project,
    ProjectSettings, Published, Snapshot,
};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{ObjectPath, ProjectId, ProjectName, Source, Timestamp, VersionId};
use lfsfs_upload::IgnoreScope;
use prost::Message as _;

use super::request::{LISTING_LEN_MAX, invalid, page_len, project_name};
use super::{Coordinator, log_published};
use crate::blocking::IntoFault as _;
use crate::ids::random_id;

/// Projects of one page.
const PROJECTS_PER_PAGE: usize = 1000;
/// Projects read at once; each may have a megabyte of patterns.
const PROJECTS_AT_ONCE: usize = 16;

/// Returns a project as clients see it.
pub(super) fn message(project: &Project, chunk_len: u64) -> v1::Project {
    v1::Project {
        id: project.id.as_bytes().to_vec(),
        name: project.name.to_string(),
        head: project.head.number.0,
        head_id: project.head.id.as_bytes().to_vec(),
        created: Some(project.created.into()),
        pack_patterns: project.settings.pack_patterns.clone(),
        replication: project.settings.replication,
        chunk_size: chunk_len,
        ignore_patterns: project.settings.ignore_patterns.clone(),
        ignore_times: project.settings.ignore_times,
        repacking: project.repacking,
        deleted: None,
        kept_until: None,
    }
}

/// Returns a deleted project as clients see it.
fn deleted_message(deleted: &DeletedProject, kept: Duration, chunk_len: u64) -> v1::Project {
    let at = deleted.deleted;
    let kept = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
    let until = Timestamp {
        secs: at.secs.saturating_add(kept),
        ..at
    };
    v1::Project {
        deleted: Some(at.into()),
        kept_until: Some(until.into()),
        ..message(&deleted.project, chunk_len)
    }
}

/// Makes a project, which begins with the tree of its template if it has one.
pub(super) async fn make(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::NewProjectRequest,
) -> Result<Project, Fault> {
    let name = project_name(&request.name)?;
    let template = template(coordinator, &request.template).await?;
    let of_template = template.as_ref().map(|template| &template.project.settings);
    let settings = settings(&request, of_template, coordinator.replication.copies)?;
    coordinator.check_room().await?;
    let Some(template) = template else {
        let made = coordinator.metadata(move |metadata| metadata.new_project(&name, settings));
        return made.await;
    };
    let version = VersionId(random_id()?.0);
    let made = coordinator.metadata(move |metadata| {
        let published = make_with_clone(metadata, &name, settings, |project| CloneParams {
            project,
            source: template.project.id,
            from: template.version.number,
            version,
            author: request.author,
            message: String::new(),
        })?;
        Ok::<_, MetadataError>((metadata.project(&name)?, published))
    });
    let (project, published) = made.await?;
    log_published(&project.name, &published, client);
    Ok(project)
}

/// Returns the version that a template names, if one is named.
async fn template(coordinator: &Coordinator, text: &str) -> Result<Option<Snapshot>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let source: Source = text.parse().map_err(|error| invalid(&error))?;
    let found = coordinator.metadata(move |metadata| metadata.resolve(&source));
    found.await.map(Some)
}

/// Makes a project that begins with a clone. Where the clone fails, there is no project.
pub(super) fn make_with_clone(
    metadata: &Metadata,
    name: &ProjectName,
    settings: ProjectSettings,
    params: impl FnOnce(ProjectId) -> CloneParams,
) -> Result<Published, MetadataError> {
    let project = metadata.new_project(name, settings)?.id;
    let cloned = metadata.clone_version(&params(project));
    cloned.inspect_err(|_| drop(metadata.delete_project(name, Deletion::AtOnce)))
}

/// Returns the settings of a new project: what is asked for, else those of its template, else the usual ones.
fn settings(
    request: &v1::NewProjectRequest,
    template: Option<&ProjectSettings>,
    copies: u32,
) -> Result<ProjectSettings, Fault> {
    let settings = ProjectSettings {
        replication: match request.replication {
            0 => template.map_or(copies, |template| template.replication),
            replication => replication,
        },
        pack_patterns: match (&request.pack_patterns[..], template) {
            ([], Some(template)) => template.pack_patterns.clone(),
            (patterns, _) => patterns.to_vec(),
        },
        ignore_patterns: match (&request.ignore_patterns[..], template) {
            ([], Some(template)) => template.ignore_patterns.clone(),
            (patterns, _) => patterns.to_vec(),
        },
        ignore_times: match (request.ignore_times, template) {
            (Some(ignore_times), _) => ignore_times,
            (None, template) => template.is_some_and(|template| template.ignore_times),
        },
    };
    check_patterns(&settings)?;
    Ok(settings)
}

/// Changes settings of a project.
pub(super) async fn set(
    coordinator: &Coordinator,
    request: v1::SetProjectRequest,
) -> Result<v1::SetProjectResponse, Fault> {
    let name = project_name(&request.name)?;
    let ignored = request.ignore_patterns.map(|it| it.patterns);
    let packed = request.pack_patterns.map(|it| it.patterns);
    check_patterns(&ProjectSettings {
        ignore_patterns: ignored.clone().unwrap_or_default(),
        pack_patterns: packed.clone().unwrap_or_default(),
        ..ProjectSettings::default()
    })?;
    let ignore_times = request.ignore_times;
    let repacks = packed.is_some();
    let set = coordinator.metadata(move |metadata| {
        metadata.set_project(&name, |settings| {
            if let Some(patterns) = &ignored {
                settings.ignore_patterns.clone_from(patterns);
            }
            if let Some(patterns) = &packed {
                settings.pack_patterns.clone_from(patterns);
            }
            if let Some(ignore_times) = ignore_times {
                settings.ignore_times = ignore_times;
            }
        })
    });
    let set = set.await?;
    if repacks {
        coordinator.repacks.notify_one();
    }
    Ok(v1::SetProjectResponse {
        project: Some(message(&set, coordinator.chunk_len)),
    })
}

/// Refuses patterns that would fail whenever they are used.
fn check_patterns(settings: &ProjectSettings) -> Result<(), Fault> {
    // Before anything is compiled: a pattern costs many times its length.
    settings.check().map_err(MetadataError::into_fault)?;
    for pattern in &settings.pack_patterns {
        check_pattern(pattern)?;
    }
    check_ignored(&settings.ignore_patterns)
}

/// Refuses what is no pattern of ignored paths.
fn check_ignored(patterns: &[String]) -> Result<(), Fault> {
    match IgnoreScope::of_project(patterns, &ObjectPath::ROOT) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::new(FaultKind::Invalid, error.to_string())),
    }
}

/// Refuses what is no pack pattern.
fn check_pattern(pattern: &String) -> Result<(), Fault> {
    match PackPatterns::new(std::slice::from_ref(pattern)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = format!("pack pattern {pattern:?}: {error}");
            Err(Fault::new(FaultKind::Invalid, text))
        }
    }
}

/// Deletes a project, and keeps it for a time unless it is to be purged.
pub(super) async fn delete(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::DeleteProjectRequest,
) -> Result<v1::DeleteProjectResponse, Fault> {
    let name = project_name(&request.name)?;
    let at_once = request.purge || coordinator.garbage.deleted_kept.is_zero();
    let purges = request.purge;
    let deleted = coordinator.metadata(move |metadata| {
        let deletion = if at_once {
            Deletion::AtOnce
        } else {
            Deletion::Kept
        };
        match metadata.delete_project(&name, deletion) {
            Err(unknown @ MetadataError::UnknownProject { .. }) if purges => {
                match metadata.find_deleted(name.as_str()) {
                    Ok(id) => metadata.purge_deleted(id),
                    Err(MetadataError::UnknownDeleted { .. }) => Err(unknown),
                    Err(error) => Err(error),
                }
            }
            deleted => deleted,
        }
    });
    deleted.await?;
    tracing::info!(project = request.name, %client, at_once, "deleted");
    Ok(v1::DeleteProjectResponse {})
}

/// Brings a deleted project back.
pub(super) async fn undelete(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::UndeleteProjectRequest,
) -> Result<v1::UndeleteProjectResponse, Fault> {
    let v1::UndeleteProjectRequest { project, new_name } = request;
    let new_name = (!new_name.is_empty())
        .then(|| project_name(&new_name))
        .transpose()?;
    let back = coordinator.metadata(move |metadata| {
        let id = metadata.find_deleted(&project)?;
        metadata.undelete_project(id, new_name.as_ref())
    });
    let back = back.await?;
    tracing::info!(project = %back.name, id = %back.id, %client, "brought back");
    coordinator.repacks.notify_one();
    Ok(v1::UndeleteProjectResponse {
        project: Some(message(&back, coordinator.chunk_len)),
    })
}

/// Returns a page of projects, in the order of their names; of deleted ones, in the order of their ids.
pub(super) async fn list(
    coordinator: &Coordinator,
    request: v1::ListProjectsRequest,
) -> Result<v1::ListProjectsResponse, Fault> {
    let v1::ListProjectsRequest {
        after,
        limit,
        deleted,
    } = request;
    let limit = page_len(limit, PROJECTS_PER_PAGE);
    let chunk_len = coordinator.chunk_len;
    let after = Some(after).filter(|after| !after.is_empty());
    if deleted {
        let after = after.map(|after| ProjectId::try_from_hex(&after));
        let mut after = after.transpose().map_err(|error| invalid(&error))?;
        let kept = coordinator.garbage.deleted_kept;
        let page = coordinator.metadata(move |metadata| {
            page(limit, |count| {
                let page = metadata.list_deleted(after, count)?;
                after = page
                    .items
                    .last()
                    .map(|deleted| deleted.project.id)
                    .or(after);
                Ok(page.map(|deleted| deleted_message(&deleted, kept, chunk_len)))
            })
        });
        return page.await;
    }
    let mut after = after.map(|after| project_name(&after)).transpose()?;
    let page = coordinator.metadata(move |metadata| {
        page(limit, |count| {
            let page = metadata.list_projects(after.as_ref(), count)?;
            after = page
                .items
                .last()
                .map(|project| project.name.clone())
                .or(after.take());
            Ok(page.map(|project| message(&project, chunk_len)))
        })
    });
    page.await
}

/// Reads projects until a page is full. Patterns make some of them long, so a few are read at once.
fn page(
    limit: usize,
    mut next: impl FnMut(usize) -> Result<Page<v1::Project>, MetadataError>,
) -> Result<v1::ListProjectsResponse, MetadataError> {
    let mut answer = v1::ListProjectsResponse {
        projects: Vec::new(),
        more: true,
    };
    let mut len = 0;
    while answer.more && answer.projects.len() < limit {
        let count = PROJECTS_AT_ONCE.min(limit - answer.projects.len());
        let page = next(count)?;
        answer.more = page.more;
        for message in page.items {
            len += message.encoded_len() + 8;
            if len > LISTING_LEN_MAX && !answer.projects.is_empty() {
                answer.more = true;
                return Ok(answer);
            }
            answer.projects.push(message);
        }
    }
    Ok(answer)
}
