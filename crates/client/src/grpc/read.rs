//! The reading half over gRPC.

use std::collections::HashSet;
use std::ops::Range;
use std::pin::pin;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use lfsfs_proto::convert::{id, name, required};
use lfsfs_proto::v1;
use lfsfs_remote::{
    ChangedName, ChunkBytes, ChunkLocation, DiffStream, DirectoryListing, DirectoryPlace, Hold,
    RemoteContents, RemoteError, RemoteRead, Renames, Resolved, Snapshot, TreeParams, TreeStream,
    VersionRange,
};
use lfsfs_transfer::DownloadReceiver;
use lfsfs_types::limits::{
    CHUNK_LEN_MAX, CONTENTS_PER_MESSAGE_MAX, DIRS_PER_MESSAGE_MAX, PAGE_ENTRIES_MAX,
};
use lfsfs_types::{
    ContentId, DirId, Name, ObjectPath, ProjectId, Record, Source, VersionId, VersionNumber,
};

use tokio::time::sleep;

use super::OneServer;
use super::messages;
use super::tree;
use super::write::unique;
use crate::connection::within;
use crate::fault::{Checked as _, converted, of_datanode};
use crate::seen::SeenNodes;

#[async_trait]
impl RemoteContents for OneServer {
    async fn resolve(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Resolved, RemoteError> {
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let requests: Vec<_> = unique(contents)
            .chunks(CONTENTS_PER_MESSAGE_MAX)
            .map(|part| v1::ResolveRequest {
                project_id: project.as_bytes().to_vec(),
                contents: part.iter().map(|id| id.as_bytes().to_vec()).collect(),
            })
            .collect();
        let mut fs = connections.fs();
        let answer = fs.resolve(stream::iter(requests));
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
            messages::take_resolved(&mut resolved, message)?;
        }
        Ok(resolved)
    }

    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<ChunkBytes, RemoteError> {
        if range.start >= range.end || range.end > chunk.info.len.min(CHUNK_LEN_MAX) {
            let message = format!("bytes {}..{} are not in the chunk", range.start, range.end);
            return Err(RemoteError::Invalid(message));
        }
        self.read_from_best(chunk, &range).await
    }
}

#[async_trait]
impl RemoteRead for OneServer {
    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError> {
        self.version(v1::ResolveSourceRequest {
            source: source.to_string(),
            ..Default::default()
        })
        .await
    }

    async fn snapshot(
        &self,
        project: ProjectId,
        version: VersionNumber,
    ) -> Result<Snapshot, RemoteError> {
        self.version(v1::ResolveSourceRequest {
            source: String::new(),
            project_id: project.as_bytes().to_vec(),
            version: version.0,
        })
        .await
    }

    async fn lookup(
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
            version_id: self.versions.find(project, version),
        };
        let mut fs = connections.fs();
        let limit = connections.config.progress_timeout;
        let answer = connections
            .watched("the path", limit, fs.lookup(request))
            .await?;
        converted(required("record", answer.into_inner().record).checked()?)
    }

    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError> {
        let version_id = self.versions.find(project, version);
        if let Some(listing) = self.ahead.take(project, &version_id, dir) {
            return Ok(listing);
        }
        let mut entries: Vec<(Name, Record)> = Vec::new();
        loop {
            let after = entries.last().map(|(name, _)| name.as_bytes().to_vec());
            let page = self
                .list_page(v1::ListDirectoryRequest {
                    project_id: project.as_bytes().to_vec(),
                    version: version.0,
                    dir: dir.0,
                    after: after.unwrap_or_default(),
                    limit: u32::try_from(PAGE_ENTRIES_MAX).unwrap_or(u32::MAX),
                    version_id: version_id.clone(),
                    // Without its id, a version of this number may be another one by the next call.
                    ahead: entries.is_empty() && !version_id.is_empty(),
                })
                .await?;
            for below in page.below {
                let dir = DirId(below.dir);
                self.ahead.put(project, &version_id, dir, whole(below)?);
            }
            let got = page.entries.len();
            for entry in page.entries {
                entries.push(converted(entry)?);
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
                )
                .checked()?;
                return Ok(DirectoryListing {
                    entries,
                    listing_version,
                });
            }
        }
    }

    async fn list_tree(&self, params: &TreeParams) -> Result<TreeStream, RemoteError> {
        let since = params.since.map(|(number, id)| (number.0, id.0.to_vec()));
        let (since, since_id) = since.unwrap_or_default();
        let request = v1::ListTreeRequest {
            project_id: params.project.as_bytes().to_vec(),
            version: params.version.0,
            version_id: self.versions.find(params.project, params.version),
            dir: params.top.0,
            after: params.after.map_or(0, |dir| dir.0),
            since,
            since_id,
        };
        tree::ask(self.connections.clone(), request).await
    }

    async fn changed_names(
        &self,
        project: ProjectId,
        range: VersionRange,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        let connections = &self.connections;
        let wait = connections.config.progress_timeout;
        let request = v1::ChangedNamesRequest {
            project_id: project.as_bytes().to_vec(),
            from: range.from.0,
            to: range.to.0,
            from_id: self.versions.find(project, range.from),
            to_id: self.versions.find(project, range.to),
        };
        let mut fs = connections.fs();
        let what = "the changed names";
        let answer = connections.call(what, wait, fs.changed_names(request));
        let mut stream = answer.await?.into_inner();
        let mut names = Vec::new();
        let says_something = |it: &v1::ChangedNamesResponse| !it.names.is_empty();
        while let Some(message) = connections.next(what, &mut stream, says_something).await? {
            for changed in message.names {
                names.push(messages::changed_name(changed)?);
            }
        }
        Ok(names)
    }

    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError> {
        let mut known = HashSet::new();
        let mut places = Vec::new();
        for dirs in dirs.chunks(DIRS_PER_MESSAGE_MAX) {
            let found = self.places_of(project, version, dirs).await?;
            places.extend(found.into_iter().filter(|(dir, ..)| known.insert(*dir)));
        }
        Ok(places)
    }

    async fn hold_version(&self, hold: &Hold) -> Result<Duration, RemoteError> {
        let request = v1::HoldVersionRequest {
            project_id: hold.project.as_bytes().to_vec(),
            version: hold.version.0,
            version_id: hold.version_id.as_bytes().to_vec(),
            holder_id: hold.holder.as_bytes().to_vec(),
        };
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let mut fs = connections.fs();
        let answer = connections.call("the hold", limit, fs.hold_version(request));
        let lasts = answer.await?.into_inner().lasts_secs;
        Ok(Duration::from_secs(u64::from(lasts)))
    }

    async fn release_version(&self, hold: &Hold) -> Result<(), RemoteError> {
        let request = v1::ReleaseVersionRequest {
            project_id: hold.project.as_bytes().to_vec(),
            version: hold.version.0,
            version_id: hold.version_id.as_bytes().to_vec(),
            holder_id: hold.holder.as_bytes().to_vec(),
        };
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let mut fs = connections.fs();
        let answer = connections.call("the end of the hold", limit, fs.release_version(request));
        answer.await.map(drop)
    }

    async fn diff(
        &self,
        project: ProjectId,
        range: VersionRange,
        renames: Renames,
    ) -> Result<DiffStream, RemoteError> {
        let connections = self.connections.clone();
        let wait = connections.config.progress_timeout;
        let request = v1::DiffRequest {
            project_id: project.as_bytes().to_vec(),
            from: range.from.0,
            to: range.to.0,
            expand_renames: renames == Renames::Expanded,
            from_id: self.versions.find(project, range.from),
            to_id: self.versions.find(project, range.to),
        };
        let mut fs = connections.fs();
        let answer = connections.call("the diff", wait, fs.diff(request));
        let messages = answer.await?.into_inner();
        let entries = stream::try_unfold(messages, move |mut messages| {
            let connections = connections.clone();
            async move {
                let next = connections.call("the diff", wait, messages.message());
                let Some(message) = next.await? else {
                    return Ok(None);
                };
                Ok(Some((messages::diff_entry(&message)?, messages)))
            }
        });
        Ok(Box::pin(entries))
    }
}

/// A read that a datanode works on. It may be dropped before its end.
struct UnderWay<'a> {
    nodes: &'a SeenNodes,
    address: &'a str,
    answered: Option<Duration>,
}

impl<'a> UnderWay<'a> {
    fn begin(nodes: &'a SeenNodes, address: &'a str) -> Self {
        nodes.begin(address);
        Self {
            nodes,
            address,
            answered: None,
        }
    }

    fn end(mut self, answered: Option<Duration>) {
        self.answered = answered;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.nodes.end(self.address, self.answered);
    }
}

impl OneServer {
    async fn version(&self, request: v1::ResolveSourceRequest) -> Result<Snapshot, RemoteError> {
        let connections = &self.connections;
        let limit = connections.open_max;
        let mut fs = connections.fs();
        let answer = connections.call("a version", limit, fs.resolve_source(request));
        let snapshot = messages::snapshot(answer.await?.into_inner())?;
        let Snapshot {
            project, version, ..
        } = &snapshot;
        self.versions.note(project.id, version.number, version.id);
        Ok(snapshot)
    }

    async fn list_page(
        &self,
        request: v1::ListDirectoryRequest,
    ) -> Result<v1::ListDirectoryResponse, RemoteError> {
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let mut fs = connections.fs();
        let answer = connections.call("a directory", limit, fs.list_directory(request));
        Ok(answer.await?.into_inner())
    }

    async fn places_of(
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
            version_id: self.versions.find(project, version),
        };
        let mut fs = connections.fs();
        let what = "places of directories";
        let answer = connections.call(what, wait, fs.directory_places(request));
        let mut stream = answer.await?.into_inner();
        let mut places = Vec::new();
        let says_something = |it: &v1::DirectoryPlacesResponse| !it.places.is_empty();
        while let Some(message) = connections.next(what, &mut stream, says_something).await? {
            for place in message.places {
                let name = name("name", &place.name).checked()?;
                places.push((DirId(place.dir), DirId(place.parent), name));
            }
        }
        Ok(places)
    }

    /// Reads from the datanode that is expected to answer first. One that fails is followed by the next;
    /// one that is late gets a second one beside it, and the first answer counts.
    async fn read_from_best(
        &self,
        chunk: &ChunkLocation,
        range: &Range<u64>,
    ) -> Result<ChunkBytes, RemoteError> {
        let nodes = &self.connections.nodes;
        let mut rest = nodes.order(&chunk.nodes).into_iter();
        let mut asked = Vec::new();
        let mut reads = FuturesUnordered::new();
        let mut failure = RemoteError::NotFound(format!("chunk {} is nowhere", chunk.info.id));
        let late = sleep(nodes.late_after());
        let mut late = pin!(late);
        let mut may_hedge = true;
        loop {
            if reads.is_empty() {
                let Some(node) = rest.next() else {
                    return Err(failure);
                };
                asked.push(node.clone());
                reads.push(self.timed_read(node, chunk, range));
            }
            tokio::select! {
                Some((node, read)) = reads.next() => match read {
                    Ok(bytes) => {
                        asked.iter().filter(|it| **it != node).for_each(|it| nodes.failed(it));
                        return Ok(ChunkBytes { bytes, node });
                    }
                    Err(error) => {
                        // One that does not have the chunk any more is as good as before for others.
                        if error.is_retryable() {
                            nodes.failed(&node);
                        }
                        failure = of_datanode(error, self.address());
                    }
                },
                () = &mut late, if may_hedge => {
                    may_hedge = false;
                    if rest.len() > 0 && nodes.may_hedge() {
                        let next = rest.next();
                        asked.extend(next.clone());
                        reads.extend(next.map(|node| self.timed_read(node, chunk, range)));
                    }
                }
            }
        }
    }

    /// Reads from one datanode, and notes how long that took.
    async fn timed_read(
        &self,
        node: String,
        chunk: &ChunkLocation,
        range: &Range<u64>,
    ) -> (String, Result<Bytes, RemoteError>) {
        let started = Instant::now();
        let under_way = UnderWay::begin(&self.connections.nodes, &node);
        let read = self.read_from(&node, chunk, range).await;
        under_way.end(read.is_ok().then(|| started.elapsed()));
        (node, read)
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
            ticket: Vec::new(),
        };
        let mut datanode = self.connections.datanode(node)?;
        let answer = datanode.download_chunk_stream(request);
        let mut stream = within(node, "a chunk", limit, answer).await?.into_inner();
        let mut receiver = DownloadReceiver::new(range.clone());
        let len = usize::try_from(range.end - range.start).unwrap_or(0);
        let mut bytes = BytesMut::with_capacity(len);
        while let Some(message) = within(node, "a chunk", limit, stream.message()).await? {
            bytes.extend_from_slice(&receiver.receive(messages::frame(message)?).checked()?);
        }
        receiver.finish().checked()?;
        Ok(bytes.freeze())
    }
}

/// Returns the listing of a directory that came with that of another one.
fn whole(message: v1::DirectoryBelow) -> Result<DirectoryListing, RemoteError> {
    let entries = message.entries.into_iter().map(converted);
    let entries: Vec<(Name, Record)> = entries.collect::<Result<_, _>>()?;
    if !entries.is_sorted_by(|a, b| a.0 < b.0) {
        let text = "a directory's names are out of order";
        return Err(RemoteError::Corrupt(text.to_owned()));
    }
    let version = id(
        "listing_version",
        &message.listing_version,
        VersionId::from_slice,
    );
    Ok(DirectoryListing {
        entries,
        listing_version: version.checked()?,
    })
}
