//! Single files: each confirmed upload or deletion is a version.

mod write;

use std::net::SocketAddr;

use lfsfs_metadata::{Found, Metadata, MetadataError, Snapshot};
use lfsfs_proto::convert::{ProtocolError, id, optional_id, optional_name, timestamp};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::limits::{PAGE_ENTRIES_MAX, PIECE_LEN_MAX, PIECES_MAX};
use lfsfs_types::{
    ContentId, Kind, ObjectPath, Piece, PieceList, ProjectName, SessionId, Sha256, Source,
    Timestamp, VersionId, VersionRef,
};

use self::write::FileChange;
use super::Coordinator;
use super::holdings::Holder;
use super::plans::FilePlan;
use super::request::{fit, no_such_path, path, source};
use super::resolve::{list_of, locations, places_of};
use crate::blocking::IntoFault as _;
use crate::ids::random_id;

/// The longest file: as many pieces as there can be, each as long as it can be.
const FILE_LEN_MAX: u64 = PIECES_MAX as u64 * PIECE_LEN_MAX as u64;
/// Most slots of one upload.
const SLOTS_MAX: u64 = 16_384;
/// Permissions of a file for which none were named.
const MODE_DEFAULT: u32 = 0o644;

fn invalid(text: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Invalid, text)
}

/// Returns the newest version of a project that a client named.
fn latest(project: &str) -> Result<Source, Fault> {
    let project = ProjectName::new(project).map_err(|error| invalid(error.to_string()))?;
    let version = VersionRef::Latest;
    Ok(Source { project, version })
}

/// Plans an upload: where its chunks go, and the session that the confirmation ends.
pub(super) async fn plan(
    coordinator: &Coordinator,
    request: v1::UploadFileRequest,
    connection: Option<SocketAddr>,
) -> Result<v1::UploadFileResponse, Fault> {
    let path = path(&request.path)?;
    if path.is_root() {
        return Err(invalid("a file needs a path"));
    }
    let checksum = checksum(&request.checksum)?;
    let version = version_id(&request.version_id)?;
    check_size(request.size)?;
    let len = coordinator.chunk_len(request.chunk_size)?;
    let count = match request.without_slots {
        true => 0,
        false => slot_count(request.size, len)?,
    };
    let source = latest(&request.project)?;
    let project = coordinator
        .metadata(move |metadata| metadata.project(&source.project))
        .await?;
    let slots = match count {
        0 => Vec::new(),
        count => coordinator.plan(&project, count, len, &[])?,
    };
    let holder = Holder {
        connection,
        project: project.id,
    };
    let plan = FilePlan {
        project: project.id,
        path,
        size: request.size,
        checksum,
        version,
    };
    let session = random_id()?;
    let ids = slots.iter().filter_map(|s| SessionId::from_slice(&s.id));
    let now = coordinator.clock.monotonic();
    coordinator
        .plans()
        .open(session, plan, ids.collect(), holder, now)?;
    Ok(v1::UploadFileResponse {
        session_id: session.as_bytes().to_vec(),
        slots,
    })
}

fn checksum(bytes: &[u8]) -> Result<Option<Sha256>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let parsed = id("checksum", bytes, Sha256::from_slice);
    parsed.map(Some).map_err(ProtocolError::into_fault)
}

/// Returns the random id of the version to be. If the client has drawn it, a call that is made again makes
/// no second version.
pub(super) fn version_id(bytes: &[u8]) -> Result<VersionId, Fault> {
    let given = optional_id("version_id", bytes, VersionId::from_slice);
    match given.map_err(ProtocolError::into_fault)? {
        Some(given) => Ok(given),
        None => Ok(VersionId(random_id()?.0)),
    }
}

fn check_size(size: u64) -> Result<(), Fault> {
    if size > FILE_LEN_MAX {
        let text = format!("size is wrong: a file has at most {FILE_LEN_MAX} bytes");
        return Err(invalid(text));
    }
    Ok(())
}

/// Returns how many chunks a file may need: what does not compress takes a little more room than
/// it has bytes, so there is one slot to spare.
fn slot_count(size: u64, chunk_size: u64) -> Result<usize, Fault> {
    let count = match size {
        0 => 0,
        size => size.div_ceil(chunk_size) + 1,
    };
    if count > SLOTS_MAX {
        return Err(invalid(format!(
            "{count} chunks are too many for one upload; choose a larger chunk_size"
        )));
    }
    usize::try_from(count).map_err(|_| invalid("too many chunks"))
}

/// Publishes an uploaded file as a version, once its content is stored and verified.
pub(super) async fn confirm(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::ConfirmUploadRequest,
) -> Result<u64, Fault> {
    let confirmation = Confirmation::try_from(request).map_err(ProtocolError::into_fault)?;
    let now = coordinator.clock.monotonic();
    let plan = coordinator
        .plans()
        .confirm(confirmation.session, &confirmation.chunks, now)?;
    coordinator.check_room().await?;
    let published = coordinator.metadata(move |metadata| {
        check_content(metadata, &plan, &confirmation)?;
        write::publish(metadata, client, &file_change(plan, confirmation))
    });
    published.await.map(|version| version.0)
}

/// A request to confirm an upload, checked.
struct Confirmation {
    session: SessionId,
    chunks: Vec<(SessionId, lfsfs_types::ChunkId)>,
    content: ContentId,
    pieces: Vec<Piece>,
    mode: u32,
    mtime: Option<Timestamp>,
    author: String,
    message: String,
}

impl TryFrom<v1::ConfirmUploadRequest> for Confirmation {
    type Error = ProtocolError;

    fn try_from(request: v1::ConfirmUploadRequest) -> Result<Self, ProtocolError> {
        let chunk = |chunk: &v1::UploadedChunk| {
            Ok((
                id("slot_id", &chunk.slot_id, SessionId::from_slice)?,
                id(
                    "chunk_id",
                    &chunk.chunk_id,
                    lfsfs_types::ChunkId::from_slice,
                )?,
            ))
        };
        let mode = request.mode.unwrap_or(MODE_DEFAULT);
        if mode > 0o7777 {
            return Err(ProtocolError::invalid("mode", format!("{mode:o}")));
        }
        let mtime = request.mtime.map(|mtime| timestamp("mtime", mtime));
        let pieces = request.pieces.into_iter().map(Piece::try_from);
        Ok(Self {
            session: id("session_id", &request.session_id, SessionId::from_slice)?,
            chunks: request.chunks.iter().map(chunk).collect::<Result<_, _>>()?,
            content: id("content", &request.content, ContentId::from_slice)?,
            pieces: pieces.collect::<Result<_, _>>()?,
            mode,
            mtime: mtime.transpose()?,
            author: request.author,
            message: request.message,
        })
    }
}

fn file_change(plan: FilePlan, confirmation: Confirmation) -> FileChange {
    FileChange {
        project: plan.project,
        path: plan.path,
        version: plan.version,
        author: confirmation.author,
        message: confirmation.message,
        file: Some(write::NewFile {
            size: plan.size,
            content: confirmation.content,
            sha256: plan.checksum,
            mode: confirmation.mode,
            mtime: confirmation.mtime,
        }),
    }
}

/// Checks that the content is stored, has the planned size, and has the announced checksum, where
/// the coordinator can check that without the bytes.
fn check_content(
    metadata: &Metadata,
    plan: &FilePlan,
    confirmation: &Confirmation,
) -> Result<(), Fault> {
    let content = confirmation.content;
    if confirmation.pieces.is_empty() {
        let differs = plan.checksum.is_some_and(|sum| sum.0 != content.0);
        let is_small = plan.size <= lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
        if is_small && differs {
            let text = format!("content {content} does not have the announced checksum");
            return Err(Fault::new(FaultKind::HashMismatch, text));
        }
    } else {
        let list = PieceList::new(confirmation.pieces.clone())
            .map_err(|error| invalid(error.to_string()))?;
        metadata
            .put_pieces(content, &list)
            .map_err(MetadataError::into_fault)?;
    }
    let missing = metadata.missing(&[content]);
    if !missing.map_err(MetadataError::into_fault)?.is_empty() {
        let text = format!("content {content} is not stored");
        return Err(Fault::new(FaultKind::ContentNotFound, text));
    }
    let resolved = metadata.resolve_contents(&[content]);
    let resolved = resolved.map_err(MetadataError::into_fault)?.contents;
    match resolved.first() {
        Some(found) if found.len == plan.size => Ok(()),
        _ => Err(invalid(format!(
            "content {content} does not have the planned {} bytes",
            plan.size
        ))),
    }
}

/// Removes a file, as a version.
pub(super) async fn delete(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::DeleteFileRequest,
) -> Result<u64, Fault> {
    let path = path(&request.path)?;
    let source = latest(&request.project)?;
    let version = version_id(&request.version_id)?;
    coordinator.check_room().await?;
    let published = coordinator.metadata(move |metadata| {
        let project = metadata
            .project(&source.project)
            .map_err(MetadataError::into_fault)?;
        let change = FileChange {
            project: project.id,
            path,
            version,
            author: request.author,
            message: request.message,
            file: None,
        };
        write::publish(metadata, client, &change)
    });
    published.await.map(|version| version.0)
}

/// Returns where the bytes of a file are.
pub(super) async fn download(
    coordinator: &Coordinator,
    request: v1::DownloadFileRequest,
) -> Result<v1::DownloadFileResponse, Fault> {
    let (source, path) = (source(&request.source)?, path(&request.path)?);
    let (record, resolved) = coordinator
        .metadata(move |metadata| {
            let (_, found) = find(metadata, &source, &path)?;
            let Kind::File { content, .. } = found.record.kind else {
                return Err(invalid("this is not a file"));
            };
            let resolved = metadata.resolve_contents(&[content]);
            Ok((found.record, resolved.map_err(MetadataError::into_fault)?))
        })
        .await?;
    let content = resolved.contents.first();
    let places = content.map_or(&[][..], places_of);
    let (list, list_count) = content.map(list_of).unwrap_or_default();
    let chunks = locations(coordinator, &resolved);
    Ok(v1::DownloadFileResponse {
        record: Some((&record).into()),
        places: places.iter().map(v1::ContentPlace::from).collect(),
        chunks: chunks.into_values().collect(),
        list,
        list_count,
    })
}

/// Lists a directory, a page at a time.
pub(super) async fn list(
    coordinator: &Coordinator,
    request: v1::ListFilesRequest,
) -> Result<v1::ListFilesResponse, Fault> {
    let (source, path) = (source(&request.source)?, path(&request.directory)?);
    let after = optional_name("after", &request.after).map_err(ProtocolError::into_fault)?;
    let limit = (request.limit as usize).min(PAGE_ENTRIES_MAX);
    let listing = coordinator
        .metadata(move |metadata| {
            let (snapshot, found) = find(metadata, &source, &path)?;
            let Kind::Directory { dir } = found.record.kind else {
                return Err(invalid("this is not a directory"));
            };
            let (project, version) = (snapshot.project.id, snapshot.version.number);
            metadata
                .list(project, version, dir, after.as_ref(), limit)
                .map_err(MetadataError::into_fault)
        })
        .await?;
    let (entries, more) = fit(listing.entries, listing.more);
    let files = entries.into_iter().map(|entry| v1::FileEntry {
        name: entry.name,
        record: entry.record,
    });
    Ok(v1::ListFilesResponse {
        files: files.collect(),
        more,
    })
}

fn find(
    metadata: &Metadata,
    source: &Source,
    path: &ObjectPath,
) -> Result<(Snapshot, Found), Fault> {
    let snapshot = metadata
        .resolve(source)
        .map_err(MetadataError::into_fault)?;
    let found = metadata
        .lookup(snapshot.project.id, snapshot.version.number, path)
        .map_err(MetadataError::into_fault)?
        .ok_or_else(|| no_such_path(path.as_bytes()))?;
    Ok((snapshot, found))
}
