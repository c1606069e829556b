//! Collecting garbage, as an operator asks for it.

use std::time::Duration;

use lfsfs_proto::v1;
use lfsfs_remote::{Call, RemoteError, Retry};
use lfsfs_types::{ProjectName, VersionNumber};

use crate::admin::Admin;
use crate::config::ALL_METADATA_MAX;
use crate::servers::Servers;

/// Which versions of a project expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpireOrder {
    /// So many of the newest stay.
    pub keep: Option<u64>,
    /// Those stay that were the newest one in this time.
    pub older_than: Option<Duration>,
    /// Only versions from this one on expire.
    pub from: Option<VersionNumber>,
    /// How long what was needed a moment ago stays; none for what the server is configured to.
    pub grace: Option<Duration>,
    /// Only counts.
    pub dry_run: bool,
}

/// What was collected, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// The projects that were looked at.
    pub projects: Vec<String>,
    /// Versions that expired.
    pub versions: u64,
    /// Rows of objects and directories that went with them.
    pub rows: u64,
    /// Contents that no version names.
    pub contents: u64,
    /// Their bytes before compression.
    pub content_bytes: u64,
    /// Chunks that datanodes drop; 0 if nothing is removed.
    pub chunks: u64,
    /// Bytes of all of their copies.
    pub chunk_bytes: u64,
    /// Chunks whose contents were moved to new ones.
    pub rewritten_chunks: u64,
    /// The new ones; 0 if nothing is removed.
    pub new_chunks: u64,
    /// Bytes of all copies that come back by that.
    pub rewritten_bytes: u64,
    /// Deleted projects that cannot be brought back any more.
    pub purged_projects: u64,
    /// Whether rows are left for the next time.
    pub is_unfinished: bool,
}

/// The calls that collect garbage.
#[derive(Debug, Clone)]
pub struct Garbage {
    admin: Admin,
}

impl Garbage {
    /// Asks these servers.
    #[must_use]
    pub fn new(servers: &Servers, retry: Retry) -> Self {
        Self {
            admin: Admin::new(servers, retry),
        }
    }

    /// Expires versions of one project.
    pub async fn of_project(
        &self,
        project: &ProjectName,
        order: &ExpireOrder,
    ) -> Result<Collected, RemoteError> {
        let request = v1::GcProjectRequest {
            project: project.to_string(),
            keep_versions: order.keep.unwrap_or(0),
            from_version: order.from.map(|from| from.0),
            dry_run: order.dry_run,
            older_than_secs: order.older_than.map(|age| age.as_secs()),
            grace_secs: order.grace.map(|grace| grace.as_secs()),
        };
        let answer = self.admin.ask(Call::Collect, LIMIT, |mut fs| {
            let request = request.clone();
            async move { fs.gc_project(request).await }
        });
        Ok(answer.await?.into())
    }

    /// Expires versions of all projects, or of some that are chosen at random.
    pub async fn of_projects(
        &self,
        sample_percent: f64,
        order: &ExpireOrder,
    ) -> Result<Collected, RemoteError> {
        let request = v1::GcRandomProjectsRequest {
            sample: sample_percent,
            keep_versions: order.keep.unwrap_or(0),
            dry_run: order.dry_run,
            older_than_secs: order.older_than.map(|age| age.as_secs()),
            grace_secs: order.grace.map(|grace| grace.as_secs()),
            from_version: order.from.map(|from| from.0),
        };
        let answer = self.admin.ask(Call::Collect, LIMIT, |mut fs| async move {
            fs.gc_random_projects(request).await
        });
        Ok(answer.await?.into())
    }

    /// Removes contents that no version names, or a part of them that is chosen at random, and chunks in which none
    /// lies. If it is all, chunks of which little is needed and small ones are rewritten.
    pub async fn of_contents(
        &self,
        sample_percent: f64,
        grace: Option<Duration>,
        dry_run: bool,
    ) -> Result<Collected, RemoteError> {
        let request = v1::GcContentsRequest {
            sample: sample_percent,
            dry_run,
            grace_secs: grace.map(|grace| grace.as_secs()),
        };
        let answer = self.admin.ask(Call::Collect, LIMIT, |mut fs| async move {
            fs.gc_contents(request).await
        });
        Ok(answer.await?.into())
    }
}

const LIMIT: (&str, Duration) = ("the collection", ALL_METADATA_MAX);

impl From<v1::GcResponse> for Collected {
    fn from(answer: v1::GcResponse) -> Self {
        Self {
            projects: answer.projects,
            versions: answer.versions,
            rows: answer.rows,
            contents: answer.contents,
            content_bytes: answer.content_bytes,
            chunks: answer.chunks,
            chunk_bytes: answer.chunk_bytes,
            rewritten_chunks: answer.rewritten_chunks,
            new_chunks: answer.new_chunks,
            rewritten_bytes: answer.rewritten_bytes,
            purged_projects: answer.purged_projects,
            is_unfinished: answer.unfinished,
        }
    }
}
