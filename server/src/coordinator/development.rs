//! Snapshot and reset: back to where a test began. Only a server that is configured for development serves them.
//!
//! A reset makes versions, as a rollback does: no version number ever means two trees.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lfsfs_metadata::{Deletion, Project, RollbackParams};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{ProjectName, VersionId, VersionNumber};

use super::request::{invalid, project_name};
use super::{Coordinator, log_published};
use crate::ids::random_id;

/// Projects that are read at once.
const PROJECTS_AT_ONCE: usize = 100;
/// Most projects of a state: it is one message.
const PROJECTS_MAX: usize = 10_000;

/// Returns all projects and their newest versions.
pub(super) async fn snapshot(coordinator: &Coordinator) -> Result<v1::SnapshotResponse, Fault> {
    coordinator.expect_development("Snapshot")?;
    let projects = coordinator.all_projects().await?;
    let projects = projects.into_iter().map(|project| v1::ProjectState {
        project: project.name.to_string(),
        version: project.head.number.0,
    });
    Ok(v1::SnapshotResponse {
        projects: projects.collect(),
    })
}

/// Brings each project of a state to its version, and deletes all others.
pub(super) async fn reset(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::ResetRequest,
) -> Result<v1::ResetResponse, Fault> {
    coordinator.expect_development("Reset")?;
    let mut wanted = state(&request.projects)?;
    let projects = coordinator.all_projects().await?;
    check(&wanted, &projects)?;
    for project in projects {
        match wanted.remove(&project.name) {
            None => {
                let name = project.name.clone();
                let deleted = coordinator
                    .metadata(move |metadata| metadata.delete_project(&name, Deletion::AtOnce));
                deleted.await?;
                tracing::info!(project = %project.name, %client, "deleted by a reset");
            }
            Some(version) if version == project.head.number => {}
            Some(version) => coordinator.bring_back(&project, version, client).await?,
        }
    }
    Ok(v1::ResetResponse {})
}

fn state(projects: &[v1::ProjectState]) -> Result<BTreeMap<ProjectName, VersionNumber>, Fault> {
    let mut state = BTreeMap::new();
    for project in projects {
        let name = project_name(&project.project)?;
        if state.insert(name, VersionNumber(project.version)).is_some() {
            let text = format!("projects: {} is there twice", project.project);
            return Err(invalid(&text));
        }
    }
    Ok(state)
}

/// Fails if a wanted version is not there, so that nothing is done by halves.
fn check(wanted: &BTreeMap<ProjectName, VersionNumber>, projects: &[Project]) -> Result<(), Fault> {
    let heads: BTreeMap<_, _> = projects
        .iter()
        .map(|it| (&it.name, it.head.number))
        .collect();
    for (name, version) in wanted {
        let head = heads.get(name).copied();
        let Some(head) = head else {
            let text = format!("projects: there is no project {name}");
            return Err(Fault::new(FaultKind::ProjectNotFound, text));
        };
        if *version > head {
            let text = format!(
                "projects: {name} has no version v{}, the newest is v{}",
                version.0, head.0
            );
            return Err(Fault::new(FaultKind::VersionNotFound, text));
        }
    }
    Ok(())
}

impl Coordinator {
    fn expect_development(&self, call: &str) -> Result<(), Fault> {
        if self.development {
            return Ok(());
        }
        let text = format!(
            "{call} is for development and tests, and this server is not for that; \
             start it with --development if all projects of it may be deleted"
        );
        Err(Fault::new(FaultKind::Denied, text))
    }

    async fn all_projects(&self) -> Result<Vec<Project>, Fault> {
        let mut projects: Vec<Project> = Vec::new();
        loop {
            let last = projects.last().map(|project| project.name.clone());
            let page = self.metadata(move |it| it.list_projects(last.as_ref(), PROJECTS_AT_ONCE));
            let page = page.await?;
            projects.extend(page.items);
            if projects.len() > PROJECTS_MAX {
                let text = format!("there are more than {PROJECTS_MAX} projects");
                return Err(Fault::new(FaultKind::Invalid, text));
            }
            if !page.more {
                return Ok(projects);
            }
        }
    }

    async fn bring_back(
        &self,
        project: &Project,
        to: VersionNumber,
        client: SocketAddr,
    ) -> Result<(), Fault> {
        let params = RollbackParams {
            project: project.id,
            to,
            version: VersionId(random_id()?.0),
            author: String::new(),
            message: format!("reset to v{}", to.0),
        };
        let rolled = self.metadata(move |metadata| metadata.rollback(&params));
        log_published(&project.name, &rolled.await?, client);
        Ok(())
    }
}
