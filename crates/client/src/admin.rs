//! Administration: projects, tags and history. Only verbs ask for it, so it is no part of the seam.

use std::future::Future;
use std::time::Duration;

use lfsfs_proto::convert::{id, required};
use lfsfs_proto::v1;
use lfsfs_proto::v1::fs_client::FsClient;
use lfsfs_remote::{Call, Project, RemoteError, Retry};
use lfsfs_types::{
    ClusterId, ObjectPath, ProjectId, ProjectName, Source, TagName, Timestamp, VersionNumber,
    VersionRecord,
};
use tonic::{Response, Status, Streaming};

use crate::config::ALL_METADATA_MAX;
use crate::connection::Wire;
use crate::fault::{Checked as _, converted};
use crate::grpc::{OneServer, project, project_name};
use crate::servers::Servers;

/// Which cluster and program answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's random id.
    pub id: ClusterId,
    /// The server program's version.
    pub server_version: String,
}

/// A project as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The project.
    pub project: Project,
    /// Its newest version, if it has one.
    pub head: Option<VersionRecord>,
    /// Bytes of the chunks that clients stored for it; earlier servers do not tell.
    pub stored_bytes: Option<u64>,
}

/// What a project takes. Bytes are those of one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectUsage {
    /// Its name.
    pub name: ProjectName,
    /// Bytes of all files of its newest version, each as often as it has a name.
    pub logical_bytes: u64,
    /// Different contents that its versions name, with the pieces of a large content in its place.
    pub contents: u64,
    /// Bytes of these.
    pub content_bytes: u64,
    /// What they take in chunks.
    pub stored_bytes: u64,
    /// The part of that which other projects name, too.
    pub shared_bytes: u64,
}

/// A deleted project that can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedProject {
    /// What it was; another project may have its name now.
    pub project: Project,
    /// When it was deleted.
    pub deleted: Timestamp,
    /// Until when it is kept.
    pub kept_until: Timestamp,
}

/// A project that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProject {
    /// Its name.
    pub name: ProjectName,
    /// Which directories are packed; none means those of the template.
    pub pack_patterns: Vec<String>,
    /// Lines of gitignore(5) of paths that stay out of versions; none means those of the template.
    pub ignore_patterns: Vec<String>,
    /// Whether commits of mounts ignore times; without it as in the template.
    pub ignore_times: Option<bool>,
    /// How many datanodes keep each chunk; without it as many as those of the template, or as the cluster's
    /// usually have.
    pub replication: Option<u32>,
    /// The version that it begins with.
    pub template: Option<Source>,
    /// The author of that version.
    pub author: String,
}

impl NewProject {
    /// Returns an empty project with the usual settings.
    #[must_use]
    pub const fn named(name: ProjectName) -> Self {
        Self {
            name,
            pack_patterns: Vec::new(),
            ignore_patterns: Vec::new(),
            ignore_times: None,
            replication: None,
            template: None,
            author: String::new(),
        }
    }
}

/// Settings that a project gets; what is not told stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewSettings {
    /// Lines of gitignore(5) of paths that stay out of versions.
    pub ignore_patterns: Option<Vec<String>>,
    /// Which directories are packed. The packs follow behind the answer.
    pub pack_patterns: Option<Vec<String>>,
    /// Whether commits of mounts ignore times.
    pub ignore_times: Option<bool>,
}

/// The calls of administration.
#[derive(Debug, Clone)]
pub struct Admin {
    pub(crate) servers: Servers,
    pub(crate) retry: Retry,
}

impl Admin {
    /// Asks these servers.
    #[must_use]
    pub fn new(servers: &Servers, retry: Retry) -> Self {
        Self {
            servers: servers.clone(),
            retry,
        }
    }

    /// Asks which cluster and program this is; a cheap way to see that it is there.
    pub async fn cluster(&self) -> Result<Cluster, RemoteError> {
        let limit = self.servers.config().open_timeout;
        let ask = |server: OneServer| async move {
            let mut fs = server.connections.fs();
            let answer = fs.get_cluster(v1::GetClusterRequest {});
            server.connections.call("its name", limit, answer).await
        };
        let once = || self.servers.ask(Call::Cluster, ask);
        let answer = self.retry.run(Call::Cluster, once).await?.into_inner();
        Ok(Cluster {
            id: id("cluster_id", &answer.cluster_id, ClusterId::from_slice).checked()?,
            server_version: answer.server_version,
        })
    }

    /// Makes a project.
    pub async fn new_project(&self, new: &NewProject) -> Result<Project, RemoteError> {
        let template = new.template.as_ref().map(Source::to_string);
        let request = v1::NewProjectRequest {
            name: new.name.to_string(),
            pack_patterns: new.pack_patterns.clone(),
            replication: new.replication.unwrap_or(0),
            template: template.unwrap_or_default(),
            author: new.author.clone(),
            ignore_patterns: new.ignore_patterns.clone(),
            ignore_times: new.ignore_times,
        };
        let limit = self.servers.config().commit_timeout;
        let answer = self.ask(Call::NewProject, ("the new project", limit), |mut fs| {
            let request = request.clone();
            async move { fs.new_project(request).await }
        });
        project(required("project", answer.await?.project).checked()?)
    }

    /// Deletes a project with all of its versions. For as long as the server keeps it, it can be brought back; nothing
    /// brings it back if it is purged. What is purged may be a deleted project, by its name or id.
    pub async fn delete_project(&self, name: &ProjectName, purge: bool) -> Result<(), RemoteError> {
        let request = v1::DeleteProjectRequest {
            name: name.to_string(),
            purge,
        };
        let limit = self.servers.config().commit_timeout;
        let answer = self.ask(Call::DeleteProject, ("the deletion", limit), |mut fs| {
            let request = request.clone();
            async move { fs.delete_project(request).await }
        });
        answer.await.map(drop)
    }

    /// Brings a deleted project back, by the name that it had or by its id, and gives it another name if one is given.
    pub async fn undelete_project(
        &self,
        name_or_id: &str,
        new_name: Option<&ProjectName>,
    ) -> Result<Project, RemoteError> {
        let request = v1::UndeleteProjectRequest {
            project: name_or_id.to_owned(),
            new_name: new_name.map(ToString::to_string).unwrap_or_default(),
        };
        let limit = self.servers.config().commit_timeout;
        let what = ("the deleted project", limit);
        let answer = self.ask(Call::UndeleteProject, what, |mut fs| {
            let request = request.clone();
            async move { fs.undelete_project(request).await }
        });
        project(required("project", answer.await?.project).checked()?)
    }

    /// Gives a project another name. Its id, its versions and its mounts stay as they are.
    pub async fn rename_project(
        &self,
        name: &ProjectName,
        new_name: &ProjectName,
    ) -> Result<(), RemoteError> {
        let request = v1::RenameProjectRequest {
            name: name.to_string(),
            new_name: new_name.to_string(),
        };
        let limit = self.servers.config().progress_timeout;
        let answer = self.ask(Call::RenameProject, ("the new name", limit), |mut fs| {
            let request = request.clone();
            async move { fs.rename_project(request).await }
        });
        answer.await.map(drop)
    }

    /// Changes settings of a project, and returns the project.
    pub async fn set_project(
        &self,
        name: &ProjectName,
        settings: &NewSettings,
    ) -> Result<Project, RemoteError> {
        let message = |patterns: &Option<Vec<String>>| {
            let patterns = patterns.clone();
            patterns.map(|patterns| v1::Patterns { patterns })
        };
        let request = v1::SetProjectRequest {
            name: name.to_string(),
            ignore_patterns: message(&settings.ignore_patterns),
            pack_patterns: message(&settings.pack_patterns),
            ignore_times: settings.ignore_times,
        };
        let limit = self.servers.config().progress_timeout;
        let answer = self.ask(Call::SetProject, ("the settings", limit), |mut fs| {
            let request = request.clone();
            async move { fs.set_project(request).await }
        });
        project(required("project", answer.await?.project).checked()?)
    }

    /// Makes a tag name a version; one that names another is moved only with `force`.
    pub async fn set_tag(
        &self,
        project: &ProjectName,
        tag: &TagName,
        version: VersionNumber,
        force: bool,
    ) -> Result<(), RemoteError> {
        let request = v1::SetTagRequest {
            project: project.to_string(),
            tag: tag.to_string(),
            version: version.0,
            force,
        };
        let limit = self.servers.config().progress_timeout;
        let answer = self.ask(Call::SetTag, ("the tag", limit), |mut fs| {
            let request = request.clone();
            async move { fs.set_tag(request).await }
        });
        answer.await.map(drop)
    }

    /// Removes a tag; the version that it names stays.
    pub async fn delete_tag(
        &self,
        project: &ProjectName,
        tag: &TagName,
    ) -> Result<(), RemoteError> {
        let request = v1::DeleteTagRequest {
            project: project.to_string(),
            tag: tag.to_string(),
        };
        let limit = self.servers.config().progress_timeout;
        let answer = self.ask(Call::DeleteTag, ("the tag", limit), |mut fs| {
            let request = request.clone();
            async move { fs.delete_tag(request).await }
        });
        answer.await.map(drop)
    }

    /// Returns the tags of a project and what they name, in the order of the tags.
    pub async fn list_tags(
        &self,
        project: &ProjectName,
    ) -> Result<Vec<(TagName, VersionNumber)>, RemoteError> {
        let limit = self.servers.config().progress_timeout;
        let mut tags: Vec<(TagName, VersionNumber)> = Vec::new();
        loop {
            let request = v1::ListTagsRequest {
                project: project.to_string(),
                after: tags.last().map(|tag| tag.0.to_string()).unwrap_or_default(),
                limit: 0,
            };
            let answer = self.ask(Call::ListTags, ("the tags", limit), |mut fs| {
                let request = request.clone();
                async move { fs.list_tags(request).await }
            });
            let page = answer.await?;
            let got = page.tags.len();
            for tag in page.tags {
                let name = TagName::new(&tag.name)
                    .map_err(|error| RemoteError::Corrupt(format!("a tag's name: {error}")))?;
                tags.push((name, VersionNumber(tag.version)));
            }
            if !page.more || got == 0 {
                return Ok(tags);
            }
        }
    }

    /// Returns all projects in the order of their names.
    pub async fn list_projects(&self) -> Result<Vec<Project>, RemoteError> {
        let mut projects: Vec<Project> = Vec::new();
        loop {
            let after = projects.last().map(|project| project.name.to_string());
            let page = self.page_of_projects(after, false).await?;
            let got = page.projects.len();
            for message in page.projects {
                projects.push(project(message)?);
            }
            if !page.more || got == 0 {
                return Ok(projects);
            }
        }
    }

    /// Returns the deleted projects that can be brought back, those first that were deleted first.
    pub async fn list_deleted(&self) -> Result<Vec<DeletedProject>, RemoteError> {
        let mut projects: Vec<DeletedProject> = Vec::new();
        loop {
            let after = projects
                .last()
                .map(|deleted| deleted.project.id.to_string());
            let page = self.page_of_projects(after, true).await?;
            let got = page.projects.len();
            for message in page.projects {
                projects.push(deleted(message)?);
            }
            if !page.more || got == 0 {
                projects.sort_by_key(|it| (it.deleted, it.project.id));
                return Ok(projects);
            }
        }
    }

    async fn page_of_projects(
        &self,
        after: Option<String>,
        deleted: bool,
    ) -> Result<v1::ListProjectsResponse, RemoteError> {
        let limit = self.servers.config().progress_timeout;
        let request = v1::ListProjectsRequest {
            after: after.unwrap_or_default(),
            limit: 0,
            deleted,
        };
        let answer = self.ask(Call::ListProjects, ("the projects", limit), |mut fs| {
            let request = request.clone();
            async move { fs.list_projects(request).await }
        });
        answer.await
    }

    /// Returns a project, its newest version and what it stored.
    pub async fn inspect(&self, name: &ProjectName) -> Result<Inspected, RemoteError> {
        let limit = self.servers.config().progress_timeout;
        let answer = self.ask(Call::Inspect, ("the project", limit), |mut fs| {
            let name = name.to_string();
            async move { fs.inspect(v1::InspectRequest { name }).await }
        });
        let answer = answer.await?;
        let head = answer
            .head
            .map(VersionRecord::try_from)
            .transpose()
            .checked()?;
        Ok(Inspected {
            project: project(required("project", answer.project).checked()?)?,
            head,
            stored_bytes: answer.stored_bytes,
        })
    }

    /// Returns what projects take, in the order of their names: those that are named, or all. The server reads all
    /// its metadata for it.
    pub async fn usage(&self, names: &[ProjectName]) -> Result<Vec<ProjectUsage>, RemoteError> {
        let request = v1::GetUsageRequest {
            projects: names.iter().map(ToString::to_string).collect(),
        };
        let once = |server| Self::usage_once(server, request.clone());
        let ask = || self.servers.ask(Call::Usage, once);
        self.retry.run(Call::Usage, ask).await
    }

    async fn usage_once(
        server: OneServer,
        request: v1::GetUsageRequest,
    ) -> Result<Vec<ProjectUsage>, RemoteError> {
        let mut fs = server.connections.fs();
        let limit = ("the usage", ALL_METADATA_MAX);
        all_of(&server, limit, fs.get_usage(request), usage).await
    }

    /// Returns the versions that made, removed or changed what is at a path or below it, newest
    /// first, from `up_to` on if that is given; at most `limit` of them if it is not 0. A path that
    /// no version has had is not found.
    pub async fn log_of_path(
        &self,
        project: ProjectId,
        path: &ObjectPath,
        up_to: Option<VersionNumber>,
        limit: u32,
    ) -> Result<Vec<VersionRecord>, RemoteError> {
        let request = v1::LogRequest {
            project_id: project.as_bytes().to_vec(),
            before: up_to.map_or(0, |version| version.0.saturating_add(1)),
            limit,
            path: path.as_bytes().to_vec(),
        };
        let once = |server| Self::log_once(server, request.clone());
        let ask = || self.servers.ask(Call::Log, once);
        self.retry.run(Call::Log, ask).await
    }

    async fn log_once(
        server: OneServer,
        request: v1::LogRequest,
    ) -> Result<Vec<VersionRecord>, RemoteError> {
        let mut fs = server.connections.fs();
        let limit = ("the log", server.connections.config.progress_timeout);
        all_of(&server, limit, fs.log(request), converted).await
    }

    /// Makes a call with one answer.
    pub(crate) async fn ask<T, F>(
        &self,
        call: Call,
        (what, limit): (&'static str, Duration),
        ask: impl Fn(FsClient<Wire>) -> F,
    ) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let once = |server: OneServer| {
            let answer = ask(server.connections.fs());
            async move {
                let answer = server.connections.watched(what, limit, answer);
                Ok(answer.await?.into_inner())
            }
        };
        let ask = || self.servers.ask(call, &once);
        self.retry.run(call, ask).await
    }
}

/// Takes all messages of an answer; none is waited for longer than the limit.
async fn all_of<M, T>(
    server: &OneServer,
    (what, limit): (&'static str, Duration),
    answer: impl Future<Output = Result<Response<Streaming<M>>, Status>>,
    convert: impl Fn(M) -> Result<T, RemoteError>,
) -> Result<Vec<T>, RemoteError> {
    let connections = &server.connections;
    let mut stream = connections.watched(what, limit, answer).await?.into_inner();
    let mut all = Vec::new();
    while let Some(message) = connections.watched(what, limit, stream.message()).await? {
        all.push(convert(message)?);
    }
    Ok(all)
}

/// Reads a deleted project. A server that knows of none tells those that are there.
fn deleted(message: v1::Project) -> Result<DeletedProject, RemoteError> {
    let time = |field, time: &Option<v1::Timestamp>| converted(required(field, *time).checked()?);
    Ok(DeletedProject {
        deleted: time("deleted", &message.deleted)?,
        kept_until: time("kept_until", &message.kept_until)?,
        project: project(message)?,
    })
}

fn usage(message: v1::ProjectUsage) -> Result<ProjectUsage, RemoteError> {
    Ok(ProjectUsage {
        name: project_name("name", &message.name)?,
        logical_bytes: message.logical_bytes,
        contents: message.contents,
        content_bytes: message.content_bytes,
        stored_bytes: message.stored_bytes,
        shared_bytes: message.shared_bytes,
    })
}
