//! Where all projects are, and back there: for tests.

use std::time::Duration;

use lfsfs_proto::v1;
use lfsfs_remote::{Call, RemoteError, Retry};
use lfsfs_types::{ProjectName, VersionNumber};

use crate::admin::Admin;
use crate::config::ALL_METADATA_MAX;
use crate::grpc::project_name;
use crate::servers::Servers;

/// Projects, and a version of each.
pub type ProjectStates = Vec<(ProjectName, VersionNumber)>;

/// The calls that only a server for development serves.
#[derive(Debug, Clone)]
pub struct Development {
    admin: Admin,
}

impl Development {
    /// Asks these servers.
    #[must_use]
    pub fn new(servers: &Servers, retry: Retry) -> Self {
        Self {
            admin: Admin::new(servers, retry),
        }
    }

    /// Returns all projects and their newest versions.
    pub async fn snapshot(&self) -> Result<ProjectStates, RemoteError> {
        let limit = ("the projects", self.admin.servers.config().progress_timeout);
        let answer = self
            .admin
            .ask(Call::ListProjects, limit, |mut fs| async move {
                fs.snapshot(v1::SnapshotRequest {}).await
            });
        let projects = answer.await?.projects.into_iter();
        let states = projects.map(|it| {
            let name = project_name("project", &it.project)?;
            Ok((name, VersionNumber(it.version)))
        });
        states.collect()
    }

    /// Gives each project a new version that is as the given one, and deletes all other projects.
    pub async fn reset(&self, states: &ProjectStates) -> Result<(), RemoteError> {
        let projects = states.iter().map(|(name, version)| v1::ProjectState {
            project: name.to_string(),
            version: version.0,
        });
        let projects: Vec<_> = projects.collect();
        let limit: (_, Duration) = ("the reset", ALL_METADATA_MAX);
        let answer = self.admin.ask(Call::Reset, limit, |mut fs| {
            let projects = projects.clone();
            async move { fs.reset(v1::ResetRequest { projects }).await }
        });
        answer.await.map(drop)
    }
}
