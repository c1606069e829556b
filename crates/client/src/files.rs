//! Single files: each that is put or removed is a version of its own. Only verbs ask for it, so it is no
//! part of the seam.
//!
//! The contents of a file are stored through the seam, like those of any version; these calls name it.

use lfsfs_proto::v1;
use lfsfs_remote::{Call, RemoteError, Retry};
use lfsfs_types::{
    ContentId, ObjectPath, ProjectName, Sha256, Timestamp, VersionId, VersionNumber,
};

use crate::grpc::OneServer;
use crate::servers::Servers;

/// A file as it shall be in a new version. Its content is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// The project that gets the version.
    pub project: ProjectName,
    /// Where the file goes. Directories on the way that are missing are made.
    pub path: ObjectPath,
    /// Its length in bytes.
    pub size: u64,
    /// Its content.
    pub content: ContentId,
    /// SHA-256 of all its bytes.
    pub sha256: Sha256,
    /// Its permissions.
    pub mode: u32,
    /// When it was changed last.
    pub mtime: Timestamp,
}

/// What the version of a single file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    /// Its random id. A call under the id of a version that was made already is answered with it.
    pub id: VersionId,
    /// Who makes it.
    pub author: String,
    /// Why.
    pub message: String,
}

/// The calls for single files.
#[derive(Debug, Clone)]
pub struct Files {
    servers: Servers,
    retry: Retry,
}

impl Files {
    /// Asks these servers.
    #[must_use]
    pub fn new(servers: &Servers, retry: Retry) -> Self {
        Self {
            servers: servers.clone(),
            retry,
        }
    }

    /// Publishes a version with the file, whatever is at its path now. Returns the newest version if that
    /// has the file already.
    pub async fn put(
        &self,
        file: &NewFile,
        version: &NewVersion,
    ) -> Result<VersionNumber, RemoteError> {
        let once = |server| Self::put_once(server, file, version);
        let put = || self.servers.ask(Call::PutFile, once);
        self.retry.run(Call::PutFile, put).await
    }

    /// Publishes a version without the file.
    pub async fn delete(
        &self,
        project: &ProjectName,
        path: &ObjectPath,
        version: &NewVersion,
    ) -> Result<VersionNumber, RemoteError> {
        let once = |server| Self::delete_once(server, project, path, version);
        let delete = || self.servers.ask(Call::DeleteFile, once);
        self.retry.run(Call::DeleteFile, delete).await
    }

    async fn put_once(
        server: OneServer,
        file: &NewFile,
        version: &NewVersion,
    ) -> Result<VersionNumber, RemoteError> {
        let session = Self::plan(&server, file, version).await?;
        match Self::confirm(&server, session, file, version).await {
            // A coordinator that was started anew has forgotten the plan.
            Err(RemoteError::SessionLost(_)) => {
                let session = Self::plan(&server, file, version).await?;
                Self::confirm(&server, session, file, version).await
            }
            confirmed => confirmed,
        }
    }

    /// Returns the session of a new plan.
    async fn plan(
        server: &OneServer,
        file: &NewFile,
        version: &NewVersion,
    ) -> Result<Vec<u8>, RemoteError> {
        let request = v1::UploadFileRequest {
            project: file.project.to_string(),
            path: file.path.as_bytes().to_vec(),
            size: file.size,
            chunk_size: 0,
            // The content is stored already.
            without_slots: true,
            checksum: file.sha256.as_bytes().to_vec(),
            version_id: version.id.as_bytes().to_vec(),
        };
        let connections = &server.connections;
        let limit = connections.config.progress_timeout;
        let mut coordinator = connections.coordinator();
        let answer = coordinator.upload_file(request);
        let answer = connections.watched("the upload", limit, answer).await?;
        Ok(answer.into_inner().session_id)
    }

    async fn confirm(
        server: &OneServer,
        session_id: Vec<u8>,
        file: &NewFile,
        version: &NewVersion,
    ) -> Result<VersionNumber, RemoteError> {
        let request = v1::ConfirmUploadRequest {
            session_id,
            chunks: Vec::new(),
            content: file.content.as_bytes().to_vec(),
            pieces: Vec::new(),
            mode: Some(file.mode),
            mtime: Some(file.mtime.into()),
            author: version.author.clone(),
            message: version.message.clone(),
        };
        let connections = &server.connections;
        let limit = connections.config.commit_timeout;
        let mut coordinator = connections.coordinator();
        let answer = coordinator.confirm_upload(request);
        let answer = connections.watched("the version", limit, answer).await?;
        Ok(VersionNumber(answer.into_inner().version))
    }

    async fn delete_once(
        server: OneServer,
        project: &ProjectName,
        path: &ObjectPath,
        version: &NewVersion,
    ) -> Result<VersionNumber, RemoteError> {
        let request = v1::DeleteFileRequest {
            project: project.to_string(),
            path: path.as_bytes().to_vec(),
            version_id: version.id.as_bytes().to_vec(),
            author: version.author.clone(),
            message: version.message.clone(),
        };
        let connections = &server.connections;
        let limit = connections.config.commit_timeout;
        let mut coordinator = connections.coordinator();
        let answer = coordinator.delete_file(request);
        let answer = connections.watched("the version", limit, answer).await?;
        Ok(VersionNumber(answer.into_inner().version))
    }
}
