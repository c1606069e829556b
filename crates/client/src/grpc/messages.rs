//! Messages of the wire become checked data.

use std::sync::Arc;

use lfsfs_proto::convert::{self, id, optional_name, required};
use lfsfs_proto::v1;
use lfsfs_remote::{
    ChangedName, ChunkLocation, DiffEntry, Project, RemoteError, Resolved, Snapshot, StoredList,
};
use lfsfs_transfer::Frame;
use lfsfs_types::limits::{CHUNK_LEN_DEFAULT, CHUNK_LEN_MAX, CHUNK_LEN_MIN, PIECES_MAX};
use lfsfs_types::{
    ClusterId, ContentId, ContentPlace, DirId, ObjectPath, ProjectId, ProjectName, Sha256,
    VersionId, VersionNumber,
};

use crate::fault::{Checked as _, converted};

pub(super) fn snapshot(message: v1::ResolveSourceResponse) -> Result<Snapshot, RemoteError> {
    Ok(Snapshot {
        cluster: id("cluster_id", &message.cluster_id, ClusterId::from_slice).checked()?,
        project: project(required("project", message.project).checked()?)?,
        version: converted(required("version", message.version).checked()?)?,
        root: converted(required("root", message.root).checked()?)?,
        root_dir: DirId::ROOT,
    })
}

/// Takes the name of a project, which a field of an answer has.
pub(crate) fn project_name(field: &'static str, text: &str) -> Result<ProjectName, RemoteError> {
    ProjectName::new(text)
        .map_err(|error| convert::ProtocolError::invalid(field, error))
        .checked()
}

pub(crate) fn project(message: v1::Project) -> Result<Project, RemoteError> {
    let name = project_name("name", &message.name)?;
    Ok(Project {
        id: id("project id", &message.id, ProjectId::from_slice).checked()?,
        name,
        head: (
            VersionNumber(message.head),
            id("head_id", &message.head_id, VersionId::from_slice).checked()?,
        ),
        created: converted(required("created", message.created).checked()?)?,
        pack_patterns: message.pack_patterns,
        ignore_patterns: message.ignore_patterns,
        ignore_times: message.ignore_times,
        repacking: message.repacking,
        replication: message.replication,
        chunk_len: chunk_len(message.chunk_size),
    })
}

/// Returns how long chunks should be. A server that tells 0 leaves that to the client.
fn chunk_len(told: u64) -> u64 {
    match told {
        0 => CHUNK_LEN_DEFAULT,
        told => told.clamp(CHUNK_LEN_MIN, CHUNK_LEN_MAX),
    }
}

pub(super) fn take_resolved(
    resolved: &mut Resolved,
    message: v1::ResolveResponse,
) -> Result<(), RemoteError> {
    for location in message.chunks {
        let info: lfsfs_types::ChunkInfo = converted(required("info", location.info).checked()?)?;
        let nodes = location
            .nodes
            .into_iter()
            .map(|node| node.address)
            .collect();
        resolved
            .chunks
            .insert(info.id, Arc::new(ChunkLocation { info, nodes }));
    }
    for content in message.contents {
        if !content.found {
            continue;
        }
        let id = id("content", &content.content, ContentId::from_slice).checked()?;
        if !content.list.is_empty() {
            resolved.lists.insert(id, stored_list(&content)?);
            continue;
        }
        let places = content.places.into_iter().map(ContentPlace::try_from);
        let places = places.collect::<Result<Vec<_>, _>>().checked()?;
        check_chunks_told(&places, resolved)?;
        resolved.contents.entry(id).or_default().extend(places);
    }
    Ok(())
}

fn stored_list(content: &v1::ResolvedContent) -> Result<StoredList, RemoteError> {
    if content.list_count as usize > PIECES_MAX {
        return Err(RemoteError::Corrupt(
            "a list has more pieces than a content may have".to_owned(),
        ));
    }
    Ok(StoredList {
        content: id("list", &content.list, ContentId::from_slice).checked()?,
        count: content.list_count,
    })
}

fn check_chunks_told(places: &[ContentPlace], resolved: &Resolved) -> Result<(), RemoteError> {
    match places
        .iter()
        .find(|place| !resolved.chunks.contains_key(&place.chunk))
    {
        None => Ok(()),
        Some(place) => Err(RemoteError::Corrupt(format!(
            "the server names chunk {} untold",
            place.chunk
        ))),
    }
}

pub(super) fn frame(message: v1::ChunkFrame) -> Result<Frame, RemoteError> {
    Ok(Frame {
        offset: message.offset,
        data: message.data,
        is_final: message.is_final,
        checksum: id(
            "partial_checksum",
            &message.partial_checksum,
            Sha256::from_slice,
        )
        .checked()?,
    })
}

fn path(bytes: &[u8]) -> Result<ObjectPath, RemoteError> {
    ObjectPath::new(bytes).map_err(|error| RemoteError::Corrupt(format!("a path: {error}")))
}

pub(super) fn changed_name(message: v1::ChangedName) -> Result<ChangedName, RemoteError> {
    let path = |bytes: Option<Vec<u8>>| bytes.as_deref().map(path).transpose();
    Ok(ChangedName {
        dir: DirId(message.dir),
        name: optional_name("name", &message.name).checked()?,
        old: path(message.old_path)?,
        new: path(message.new_path)?,
    })
}

pub(super) fn diff_entry(message: &v1::DiffEntry) -> Result<DiffEntry, RemoteError> {
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
