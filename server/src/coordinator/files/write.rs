//! The version that a single file makes.

use std::net::SocketAddr;

use lfsfs_metadata::{Begun, Change, CommitParams, Metadata, MetadataError};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{
    ContentId, DirId, Kind, ObjectPath, Origin, ProjectId, Record, Sha256, Timestamp, VersionId,
    VersionNumber,
};

use super::super::log_published;
use super::super::request::no_such_path;
use super::invalid;
use crate::blocking::IntoFault as _;

/// How often a change is made anew because the version of another client came first.
const ATTEMPTS: usize = 20;
/// Permissions of directories that are made on the way to a file.
const DIRECTORY_MODE: u32 = 0o755;

/// What shall become of one path.
#[derive(Debug, Clone)]
pub(super) struct FileChange {
    pub(super) project: ProjectId,
    pub(super) path: ObjectPath,
    /// The random id of the version to be.
    pub(super) version: VersionId,
    pub(super) author: String,
    pub(super) message: String,
    /// The file; none removes what is there.
    pub(super) file: Option<NewFile>,
}

/// A file as it shall be.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewFile {
    pub(super) size: u64,
    pub(super) content: ContentId,
    pub(super) sha256: Option<Sha256>,
    pub(super) mode: u32,
    pub(super) mtime: Option<Timestamp>,
}

/// Makes the change on the newest version, whatever that is by then.
pub(super) fn publish(
    metadata: &Metadata,
    client: SocketAddr,
    change: &FileChange,
) -> Result<VersionNumber, Fault> {
    for _ in 0..ATTEMPTS {
        match try_publish(metadata, client, change)? {
            Ok(version) => return Ok(version),
            Err(MetadataError::Conflicts { .. }) => {}
            Err(error) => return Err(error.into_fault()),
        }
    }
    let text = "others publish too many versions at the same time";
    Err(Fault::new(FaultKind::Unavailable, text))
}

/// Tries once. The outer error is one of the change itself, and final; the inner one may not come
/// again, and the caller tries again.
fn try_publish(
    metadata: &Metadata,
    client: SocketAddr,
    change: &FileChange,
) -> Result<Result<VersionNumber, MetadataError>, Fault> {
    let project = metadata
        .project_by_id(change.project)
        .map_err(MetadataError::into_fault)?;
    let params = CommitParams {
        project: change.project,
        base: project.head,
        version: change.version,
        origin: Origin::Put,
        author: change.author.clone(),
        message: change.message.clone(),
        force: false,
        ignore_times: false,
    };
    let mut session = match metadata.begin_commit(params) {
        Ok(Begun::Session(session)) => session,
        // The answer to an earlier confirmation was lost.
        Ok(Begun::AlreadyDone(record)) => return Ok(Ok(record.number)),
        Err(error) => return Ok(Err(error)),
    };
    let changes = changes(metadata, project.head.number, change)?;
    let published = session.stage(changes).and_then(|()| session.publish());
    Ok(published.map(|published| {
        log_published(&project.name, &published, client);
        published.record.number
    }))
}

/// Returns the file's change, and those of the directories that it needs.
fn changes(
    metadata: &Metadata,
    head: VersionNumber,
    change: &FileChange,
) -> Result<Vec<Change>, Fault> {
    let now = Timestamp::default();
    let mtime = change.file.and_then(|file| file.mtime).unwrap_or(now);
    let (parent, name) = change
        .path
        .split_last()
        .ok_or_else(|| invalid("the root is not a file"))?;
    let mut changes = Vec::new();
    let dir = directory(metadata, head, change, &parent, mtime, &mut changes)?;
    let known = if dir.is_session() {
        None
    } else {
        let state = metadata.state(change.project, head, dir, Some(&name));
        state.map_err(MetadataError::into_fault)?
    };
    let state = match (&change.file, &known) {
        (_, Some(known)) if known.kind.is_directory() => {
            return Err(invalid("there is a directory at this path"));
        }
        (None, None) => return Err(no_such_path(change.path.as_bytes())),
        (None, Some(_)) => None,
        (Some(file), known) => Some(record(file, known.as_ref(), mtime)),
    };
    let name = Some(name);
    changes.push(Change { dir, name, state });
    Ok(changes)
}

/// Returns the directory at `path`; missing ones are made if a file goes there.
fn directory(
    metadata: &Metadata,
    head: VersionNumber,
    change: &FileChange,
    path: &ObjectPath,
    mtime: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<DirId, Fault> {
    let mut dir = DirId::ROOT;
    for name in path.names() {
        let known = if dir.is_session() {
            None
        } else {
            let state = metadata.state(change.project, head, dir, Some(&name));
            state.map_err(MetadataError::into_fault)?
        };
        dir = match known.map(|record| record.kind) {
            Some(Kind::Directory { dir }) => dir,
            Some(_) => return Err(invalid("a part of the path is not a directory")),
            None if change.file.is_none() => return Err(no_such_path(change.path.as_bytes())),
            None => {
                let made = DirId(DirId::SESSION_FIRST.0 + changes.len() as u64);
                let kind = Kind::Directory { dir: made };
                changes.push(Change {
                    dir,
                    name: Some(name),
                    state: Some(plain_record(kind, DIRECTORY_MODE, mtime)),
                });
                made
            }
        };
    }
    Ok(dir)
}

/// Returns the new record of a file; the owner of the one that it replaces stays.
fn record(file: &NewFile, known: Option<&Record>, mtime: Timestamp) -> Record {
    let kind = Kind::File {
        size: file.size,
        content: file.content,
    };
    Record {
        uid: known.map_or(0, |known| known.uid),
        gid: known.map_or(0, |known| known.gid),
        sha256: file.sha256,
        ..plain_record(kind, file.mode, mtime)
    }
}

fn plain_record(kind: Kind, mode: u32, mtime: Timestamp) -> Record {
    Record {
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime,
        ctime: mtime,
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}
