//! Versions that are made of versions, rollbacks and clones, and watches of versions. Only verbs ask for it, so it
//! is no part of the seam.

use std::time::Duration;

use lfsfs_proto::v1;
use lfsfs_remote::{Call, RemoteError, Retry};
use lfsfs_types::{ProjectId, ProjectName, VersionId, VersionNumber};

use crate::admin::Admin;
use crate::files::NewVersion;
use crate::servers::Servers;
use crate::watch::Watch;

/// The newest version after a rollback or a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub version: VersionNumber,
    /// False if the newest version had that tree already.
    pub is_new: bool,
}

/// What is cloned, and into which project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneOrder {
    /// The project that the version is taken from.
    pub source: ProjectName,
    /// That version.
    pub from: VersionNumber,
    /// The project that gets it.
    pub project: ProjectName,
    /// Whether the project is made if there is none of this name, with the settings of the source.
    pub create: bool,
}

/// The calls that make versions of versions, and watches.
#[derive(Debug, Clone)]
pub struct History {
    admin: Admin,
}

impl History {
    /// Asks these servers.
    #[must_use]
    pub fn new(servers: &Servers, retry: Retry) -> Self {
        Self {
            admin: Admin::new(servers, retry),
        }
    }

    /// What is waited for, and how long that may take.
    fn limit(&self) -> (&'static str, Duration) {
        ("the version", self.admin.servers.config().commit_timeout)
    }

    /// Publishes a version that has the tree of an earlier one.
    pub async fn roll_back(
        &self,
        project: &ProjectName,
        to: VersionNumber,
        version: &NewVersion,
    ) -> Result<Made, RemoteError> {
        let request = v1::RollbackRequest {
            project: project.to_string(),
            version: to.0,
            version_id: version.id.as_bytes().to_vec(),
            author: version.author.clone(),
            message: version.message.clone(),
        };
        let answer = self.admin.ask(Call::Rollback, self.limit(), |mut fs| {
            let request = request.clone();
            async move { fs.rollback(request).await }
        });
        let answer = answer.await?;
        Ok(Made {
            version: VersionNumber(answer.version),
            is_new: answer.is_new,
        })
    }

    /// Publishes a version of a project that has the tree of a version of another one.
    pub async fn clone_version(
        &self,
        order: &CloneOrder,
        version: &NewVersion,
    ) -> Result<Made, RemoteError> {
        let request = v1::CloneToProjectRequest {
            source: order.source.to_string(),
            version: order.from.0,
            target: order.project.to_string(),
            create: order.create,
            version_id: version.id.as_bytes().to_vec(),
            author: version.author.clone(),
            message: version.message.clone(),
        };
        let answer = self.admin.ask(Call::CloneVersion, self.limit(), |mut fs| {
            let request = request.clone();
            async move { fs.clone_to_project(request).await }
        });
        let answer = answer.await?;
        Ok(Made {
            version: VersionNumber(answer.version),
            is_new: answer.is_new,
        })
    }

    /// Publishes a version of a project that has the packages that most other projects use, so many at most; the
    /// server chooses without a number.
    pub async fn make_cache(
        &self,
        project: &ProjectName,
        packs: Option<u32>,
        version: &NewVersion,
    ) -> Result<Made, RemoteError> {
        let request = v1::MakeCacheRequest {
            project: project.to_string(),
            packs: packs.unwrap_or(0),
            version_id: version.id.as_bytes().to_vec(),
            author: version.author.clone(),
            message: version.message.clone(),
        };
        let answer = self.admin.ask(Call::MakeCache, self.limit(), |mut fs| {
            let request = request.clone();
            async move { fs.make_cache(request).await }
        });
        let answer = answer.await?;
        Ok(Made {
            version: VersionNumber(answer.version),
            is_new: answer.is_new,
        })
    }

    /// Watches a project: the versions behind one that is known, by its number and its id, and then each new one.
    #[must_use]
    pub fn watch(&self, project: ProjectId, after: (VersionNumber, VersionId)) -> Watch {
        let servers = self.admin.servers.clone();
        Watch::new(servers, self.admin.retry.clone(), project, after)
    }
}
