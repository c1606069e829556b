//! Projects and history: what verbs ask that a mount does not.

use lfsfs_proto::convert::{id, required};
use lfsfs_proto::v1;
use lfsfs_types::{
    ClusterId, ObjectPath, ProjectId, ProjectName, Record, TagName, VersionNumber, VersionRecord,
};

use crate::error::RemoteError;
use crate::grpc::{GrpcRemote, project};
use crate::remote::Project;

/// Which cluster and program answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's random id.
    pub id: ClusterId,
    /// The server program's version.
    pub server_version: String,
}

impl GrpcRemote {
    /// Asks which cluster and program this is; a cheap way to see that it is there.
    pub async fn cluster(&self) -> Result<Cluster, RemoteError> {
        let connections = &self.connections;
        let mut fs = connections.fs();
        let answer = fs.get_cluster(v1::GetClusterRequest {});
        let limit = connections.config.open_timeout;
        let answer = connections
            .call("its name", limit, answer)
            .await?
            .into_inner();
        Ok(Cluster {
            id: id("cluster_id", &answer.cluster_id, ClusterId::from_slice)?,
            server_version: answer.server_version,
        })
    }

    /// Makes a project.
    pub async fn new_project(
        &self,
        name: &ProjectName,
        pack_patterns: Vec<String>,
    ) -> Result<Project, RemoteError> {
        let connections = &self.connections;
        let request = v1::NewProjectRequest {
            name: name.to_string(),
            pack_patterns,
            replication: 0,
            template: String::new(),
        };
        let mut fs = connections.fs();
        let limit = connections.config.progress_timeout;
        let answer = connections
            .watched("the new project", limit, fs.new_project(request))
            .await?;
        project(required("project", answer.into_inner().project)?)
    }

    /// Deletes a project with all of its versions. Nothing brings it back.
    pub async fn delete_project(&self, name: &ProjectName) -> Result<(), RemoteError> {
        let connections = &self.connections;
        let request = v1::DeleteProjectRequest {
            name: name.to_string(),
        };
        let mut fs = connections.fs();
        let limit = connections.config.commit_timeout;
        connections
            .watched("the deletion", limit, fs.delete_project(request))
            .await?;
        Ok(())
    }

    /// Gives a project another name. Its id, its versions and its mounts stay as they are.
    pub async fn rename_project(
        &self,
        name: &ProjectName,
        new_name: &ProjectName,
    ) -> Result<(), RemoteError> {
        let connections = &self.connections;
        let request = v1::RenameProjectRequest {
            name: name.to_string(),
            new_name: new_name.to_string(),
        };
        let mut fs = connections.fs();
        let limit = connections.config.progress_timeout;
        connections
            .watched("the new name", limit, fs.rename_project(request))
            .await?;
        Ok(())
    }

    /// Makes a tag name a version; one that names another is moved only with `force`.
    pub async fn set_tag(
        &self,
        project: &ProjectName,
        tag: &TagName,
        version: VersionNumber,
        force: bool,
    ) -> Result<(), RemoteError> {
        let connections = &self.connections;
        let request = v1::SetTagRequest {
            project: project.to_string(),
            tag: tag.to_string(),
            version: version.0,
            force,
        };
        let mut fs = connections.fs();
        let limit = connections.config.progress_timeout;
        connections
            .watched("the tag", limit, fs.set_tag(request))
            .await?;
        Ok(())
    }

    /// Removes a tag; the version that it names stays.
    pub async fn delete_tag(
        &self,
        project: &ProjectName,
        tag: &TagName,
    ) -> Result<(), RemoteError> {
        let connections = &self.connections;
        let request = v1::DeleteTagRequest {
            project: project.to_string(),
            tag: tag.to_string(),
        };
        let mut fs = connections.fs();
        let limit = connections.config.progress_timeout;
        connections
            .watched("the tag", limit, fs.delete_tag(request))
            .await?;
        Ok(())
    }

    /// Returns the tags of a project and what they name, in the order of the tags.
    pub async fn list_tags(
        &self,
        project: &ProjectName,
    ) -> Result<Vec<(TagName, VersionNumber)>, RemoteError> {
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let mut tags: Vec<(TagName, VersionNumber)> = Vec::new();
        loop {
            let request = v1::ListTagsRequest {
                project: project.to_string(),
                after: tags.last().map(|tag| tag.0.to_string()).unwrap_or_default(),
                limit: 0,
            };
            let mut fs = connections.fs();
            let answer = connections
                .watched("the tags", limit, fs.list_tags(request))
                .await?;
            let page = answer.into_inner();
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
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let mut projects: Vec<Project> = Vec::new();
        loop {
            let after = projects
                .last()
                .map(|project| project.name.to_string())
                .unwrap_or_default();
            let mut fs = connections.fs();
            let request = v1::ListProjectsRequest { after, limit: 0 };
            let answer = connections
                .watched("the projects", limit, fs.list_projects(request))
                .await?;
            let page = answer.into_inner();
            let got = page.projects.len();
            for message in page.projects {
                projects.push(project(message)?);
            }
            if !page.more || got == 0 {
                return Ok(projects);
            }
        }
    }

    /// Returns a project and its newest version, if it has one.
    pub async fn inspect(
        &self,
        name: &ProjectName,
    ) -> Result<(Project, Option<VersionRecord>), RemoteError> {
        let connections = &self.connections;
        let mut fs = connections.fs();
        let request = v1::InspectRequest {
            name: name.to_string(),
        };
        let limit = connections.config.progress_timeout;
        let answer = connections
            .watched("the project", limit, fs.inspect(request))
            .await?;
        let answer = answer.into_inner();
        let head = answer.head.map(VersionRecord::try_from).transpose()?;
        Ok((project(required("project", answer.project)?)?, head))
    }

    /// Returns the versions that made, removed or changed what is at a path or below it, newest
    /// first, from `up_to` on if that is given; at most `limit` of them if it is not 0. A path that
    /// no version has had is not found.
    pub async fn log_of_path(
        &self,
        name: &ProjectName,
        path: &ObjectPath,
        up_to: Option<VersionNumber>,
        limit: u32,
    ) -> Result<Vec<VersionRecord>, RemoteError> {
        let connections = &self.connections;
        let wait = connections.config.progress_timeout;
        let mut fs = connections.fs();
        let request = v1::LogRequest {
            project: name.to_string(),
            before: up_to.map_or(0, |version| version.0.saturating_add(1)),
            limit,
            path: path.as_bytes().to_vec(),
        };
        let mut stream = connections
            .watched("the log", wait, fs.log(request))
            .await?
            .into_inner();
        let mut versions = Vec::new();
        while let Some(message) = connections
            .watched("the log", wait, stream.message())
            .await?
        {
            versions.push(message.try_into()?);
        }
        Ok(versions)
    }

    /// Returns one object of a version by its path.
    pub async fn lookup(
        &self,
        project: ProjectId,
        version: VersionNumber,
        path: &ObjectPath,
    ) -> Result<Record, RemoteError> {
        let connections = &self.connections;
        let request = v1::LookupRequest {
            project_id: project.as_bytes().to_vec(),
            version: version.0,
            path: path.as_bytes().to_vec(),
        };
        let mut fs = connections.fs();
        let limit = connections.config.progress_timeout;
        let answer = connections
            .watched("the path", limit, fs.lookup(request))
            .await?;
        Ok(required("record", answer.into_inner().record)?.try_into()?)
    }
}
