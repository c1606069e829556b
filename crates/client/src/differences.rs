//! Two versions compared, and where directories are.

use lfsfs_proto::convert::{name, optional_name};
use lfsfs_proto::v1;
use lfsfs_types::{DirId, ObjectPath, ProjectId, VersionNumber};

use crate::error::RemoteError;
use crate::grpc::GrpcRemote;
use crate::remote::{ChangedName, DirectoryPlace};

/// One line of a difference between two versions. Paths are in the second version, but for those of
/// removals and the old path of a rename.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiffEntry {
    /// Only the second version has it.
    Added(ObjectPath),
    /// Only the first version has it.
    Removed(ObjectPath),
    /// Content, kind, mode, owner or extended attributes differ.
    Modified(ObjectPath),
    /// Times alone differ.
    Touched(ObjectPath),
    /// A directory kept its identity at a new place.
    Renamed {
        /// Where it was.
        old: ObjectPath,
        /// Where it is.
        new: ObjectPath,
    },
}

impl GrpcRemote {
    /// Hands each difference from one version to another to `sink`, as it arrives, until `sink`
    /// returns false.
    pub async fn diff(
        &self,
        project: ProjectId,
        (from, to): (VersionNumber, VersionNumber),
        expand_renames: bool,
        mut sink: impl FnMut(DiffEntry) -> bool,
    ) -> Result<(), RemoteError> {
        let connections = &self.connections;
        let wait = connections.config.progress_timeout;
        let request = v1::DiffRequest {
            project_id: project.as_bytes().to_vec(),
            from: from.0,
            to: to.0,
            expand_renames,
        };
        let mut fs = connections.fs();
        let mut stream = connections
            .call("the diff", wait, fs.diff(request))
            .await?
            .into_inner();
        while let Some(message) = connections.call("the diff", wait, stream.message()).await? {
            if !sink(diff_entry(&message)?) {
                break;
            }
        }
        Ok(())
    }

    pub(crate) async fn changed_names_once(
        &self,
        project: ProjectId,
        from: VersionNumber,
        to: VersionNumber,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        let connections = &self.connections;
        let wait = connections.config.progress_timeout;
        let request = v1::ChangedNamesRequest {
            project_id: project.as_bytes().to_vec(),
            from: from.0,
            to: to.0,
        };
        let mut fs = connections.fs();
        let what = "the changed names";
        let answer = connections.call(what, wait, fs.changed_names(request));
        let mut stream = answer.await?.into_inner();
        let mut names = Vec::new();
        let says_something = |it: &v1::ChangedNamesResponse| !it.names.is_empty();
        while let Some(message) = connections.next(what, &mut stream, says_something).await? {
            for changed in message.names {
                names.push(changed_name(changed)?);
            }
        }
        Ok(names)
    }

    pub(crate) async fn directory_places_once(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError> {
        let connections = &self.connections;
        let wait = connections.config.progress_timeout;
        let request = v1::DirectoryPlacesRequest {
            project_id: project.as_bytes().to_vec(),
            version: version.0,
            dirs: dirs.iter().map(|dir| dir.0).collect(),
        };
        let mut fs = connections.fs();
        let what = "places of directories";
        let answer = connections.call(what, wait, fs.directory_places(request));
        let mut stream = answer.await?.into_inner();
        let mut places = Vec::new();
        let says_something = |it: &v1::DirectoryPlacesResponse| !it.places.is_empty();
        while let Some(message) = connections.next(what, &mut stream, says_something).await? {
            for place in message.places {
                let name = name("name", &place.name)?;
                places.push((DirId(place.dir), DirId(place.parent), name));
            }
        }
        Ok(places)
    }
}

fn path(bytes: &[u8]) -> Result<ObjectPath, RemoteError> {
    ObjectPath::new(bytes).map_err(|error| RemoteError::Corrupt(format!("a path: {error}")))
}

fn changed_name(message: v1::ChangedName) -> Result<ChangedName, RemoteError> {
    let path = |bytes: Option<Vec<u8>>| bytes.as_deref().map(path).transpose();
    Ok(ChangedName {
        dir: DirId(message.dir),
        name: optional_name("name", &message.name)?,
        old: path(message.old_path)?,
        new: path(message.new_path)?,
    })
}

fn diff_entry(message: &v1::DiffEntry) -> Result<DiffEntry, RemoteError> {
    let new = path(&message.path)?;
    Ok(match message.kind() {
        v1::DiffKind::Added => DiffEntry::Added(new),
        v1::DiffKind::Removed => DiffEntry::Removed(new),
        v1::DiffKind::Modified => DiffEntry::Modified(new),
        v1::DiffKind::Touched => DiffEntry::Touched(new),
        v1::DiffKind::Renamed => DiffEntry::Renamed {
            old: path(&message.old_path)?,
            new,
        },
        v1::DiffKind::Unspecified => {
            return Err(RemoteError::Corrupt(
                "a diff's line is of no kind".to_owned(),
            ));
        }
    })
}
