//! A server over gRPC, as a mount needs it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use lfsfs_proto::convert::{self, id, required};
use lfsfs_proto::v1;
use lfsfs_transfer::{DownloadReceiver, Frame};
use lfsfs_types::limits::{
    CHUNK_LEN_MAX, CONTENTS_PER_MESSAGE_MAX, DIRS_PER_MESSAGE_MAX, PAGE_ENTRIES_MAX, PIECES_MAX,
};
use lfsfs_types::{
    ClusterId, ContentId, ContentPlace, DirId, Name, ProjectId, ProjectName, Record, Sha256,
    Source, VersionId, VersionNumber,
};
use tokio_stream::iter;

use crate::config::ClientConfig;
use crate::connection::{Connections, within};
use crate::error::RemoteError;
use crate::remote::{
    ChangedName, ChunkLocation, DirectoryListing, DirectoryPlace, Project, Remote, Resolved,
    Snapshot, StoredList,
};

/// A coordinator and its datanodes, reached over gRPC.
///
/// Cheap to share; connections are made when first used. Must be made on a tokio runtime.
#[derive(Debug, Clone)]
pub struct GrpcRemote {
    pub(crate) connections: Arc<Connections>,
}

impl GrpcRemote {
    /// Checks the configuration; nothing is sent yet.
    pub fn new(config: ClientConfig) -> Result<Self, RemoteError> {
        Ok(Self {
            connections: Arc::new(Connections::new(config)?),
        })
    }

    /// Returns the address of the coordinator.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.connections.config.address
    }

    async fn list_page(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
        after: Option<&Name>,
    ) -> Result<v1::ListDirectoryResponse, RemoteError> {
        let request = v1::ListDirectoryRequest {
            project_id: project.as_bytes().to_vec(),
            version: version.0,
            dir: dir.0,
            after: after
                .map(|name| name.as_bytes().to_vec())
                .unwrap_or_default(),
            limit: u32::try_from(PAGE_ENTRIES_MAX).unwrap_or(u32::MAX),
        };
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let ask = || async {
            let mut fs = connections.fs();
            connections
                .call("a directory", limit, fs.list_directory(request.clone()))
                .await
        };
        Ok(connections.patiently(ask).await?.into_inner())
    }

    async fn resolve_once(&self, contents: &[ContentId]) -> Result<Resolved, RemoteError> {
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let requests: Vec<_> = unique(contents)
            .chunks(CONTENTS_PER_MESSAGE_MAX)
            .map(|part| v1::ResolveRequest {
                contents: part.iter().map(|id| id.as_bytes().to_vec()).collect(),
            })
            .collect();
        let mut fs = connections.fs();
        let answer = fs.resolve(iter(requests));
        let mut stream = connections
            .call("places of contents", limit, answer)
            .await?
            .into_inner();
        let mut resolved = Resolved::default();
        let says_something =
            |it: &v1::ResolveResponse| !(it.chunks.is_empty() && it.contents.is_empty());
        while let Some(message) = connections
            .next("places of contents", &mut stream, says_something)
            .await?
        {
            take_resolved(&mut resolved, message)?;
        }
        Ok(resolved)
    }

    async fn read_from(
        &self,
        node: &str,
        chunk: &ChunkLocation,
        range: &Range<u64>,
    ) -> Result<Bytes, RemoteError> {
        let limit = self.connections.config.progress_timeout;
        let request = v1::DownloadChunkStreamRequest {
            target: Some(v1::download_chunk_stream_request::Target::ChunkId(
                chunk.info.id.as_bytes().to_vec(),
            )),
            chunk_stream_size: 0,
            offset: range.start,
            length: range.end - range.start,
        };
        let mut datanode = self.connections.datanode(node)?;
        let answer = datanode.download_chunk_stream(request);
        let mut stream = within(node, "a chunk", limit, answer).await?.into_inner();
        let mut receiver = DownloadReceiver::new(range.clone());
        let mut bytes = BytesMut::new();
        while let Some(message) = within(node, "a chunk", limit, stream.message()).await? {
            bytes.extend_from_slice(&receiver.receive(frame(message)?)?);
        }
        receiver.finish()?;
        Ok(bytes.freeze())
    }
}

#[async_trait]
impl Remote for GrpcRemote {
    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError> {
        let connections = &self.connections;
        let request = v1::ResolveSourceRequest {
            source: source.to_string(),
        };
        let limit = connections.config.open_timeout;
        let mut fs = connections.fs();
        let answer = connections
            .call("a version", limit, fs.resolve_source(request))
            .await?;
        let answer = answer.into_inner();
        Ok(Snapshot {
            cluster: id("cluster_id", &answer.cluster_id, ClusterId::from_slice)?,
            project: project(required("project", answer.project)?)?,
            version: required("version", answer.version)?.try_into()?,
            root: required("root", answer.root)?.try_into()?,
        })
    }

    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError> {
        let mut entries: Vec<(Name, Record)> = Vec::new();
        loop {
            let after = entries.last().map(|(name, _)| name);
            let page = self.list_page(project, version, dir, after).await?;
            let got = page.entries.len();
            for entry in page.entries {
                entries.push(entry.try_into()?);
            }
            if !entries.is_sorted_by(|a, b| a.0 < b.0) || (page.more && got == 0) {
                return Err(RemoteError::Corrupt(
                    "a directory's names are out of order".to_owned(),
                ));
            }
            if !page.more {
                let listing_version = id(
                    "listing_version",
                    &page.listing_version,
                    VersionId::from_slice,
                )?;
                return Ok(DirectoryListing {
                    entries,
                    listing_version,
                });
            }
        }
    }

    async fn changed_names(
        &self,
        project: ProjectId,
        from: VersionNumber,
        to: VersionNumber,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        self.connections
            .patiently(|| self.changed_names_once(project, from, to))
            .await
    }

    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError> {
        let mut told = HashSet::new();
        let mut places = Vec::new();
        for dirs in dirs.chunks(DIRS_PER_MESSAGE_MAX) {
            let ask = || self.directory_places_once(project, version, dirs);
            let found = self.connections.patiently(ask).await?;
            places.extend(found.into_iter().filter(|(dir, ..)| told.insert(*dir)));
        }
        Ok(places)
    }

    async fn resolve(&self, contents: &[ContentId]) -> Result<Resolved, RemoteError> {
        self.connections
            .patiently(|| self.resolve_once(contents))
            .await
    }

    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<Bytes, RemoteError> {
        if range.start >= range.end || range.end > chunk.info.len.min(CHUNK_LEN_MAX) {
            let message = format!("bytes {}..{} are not in the chunk", range.start, range.end);
            return Err(RemoteError::Invalid(message));
        }
        let try_each = || async {
            let mut failure = RemoteError::NotFound(format!("chunk {} is nowhere", chunk.info.id));
            for node in &chunk.nodes {
                match self.read_from(node, chunk, &range).await {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => failure = error.of_datanode(&self.connections.config.address),
                }
            }
            Err(failure)
        };
        self.connections.patiently(try_each).await
    }
}

pub(crate) fn project(message: v1::Project) -> Result<Project, RemoteError> {
    let name = ProjectName::new(&message.name)
        .map_err(|error| convert::ProtocolError::invalid("name", error))?;
    Ok(Project {
        id: id("project id", &message.id, ProjectId::from_slice)?,
        name,
        head: (
            VersionNumber(message.head),
            id("head_id", &message.head_id, VersionId::from_slice)?,
        ),
        created: required("created", message.created)?.try_into()?,
        pack_patterns: message.pack_patterns,
        replication: message.replication,
    })
}

fn take_resolved(resolved: &mut Resolved, message: v1::ResolveResponse) -> Result<(), RemoteError> {
    for location in message.chunks {
        let info: lfsfs_types::ChunkInfo = required("info", location.info)?.try_into()?;
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
        let id = id("content", &content.content, ContentId::from_slice)?;
        if !content.list.is_empty() {
            resolved.lists.insert(id, stored_list(&content)?);
            continue;
        }
        let places = content.places.into_iter().map(ContentPlace::try_from);
        let places = places.collect::<Result<Vec<_>, _>>()?;
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
        content: id("list", &content.list, ContentId::from_slice)?,
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

fn frame(message: v1::ChunkFrame) -> Result<Frame, RemoteError> {
    Ok(Frame {
        offset: message.offset,
        data: message.data,
        is_final: message.is_final,
        checksum: id(
            "partial_checksum",
            &message.partial_checksum,
            Sha256::from_slice,
        )?,
    })
}

/// Forgets duplicates, so that a repeated question costs nothing.
pub(crate) fn unique(contents: &[ContentId]) -> Vec<ContentId> {
    let mut seen = HashMap::new();
    contents
        .iter()
        .copied()
        .filter(|content| seen.insert(*content, ()).is_none())
        .collect()
}
