//! The Fs service: messages in, metadata asked, messages out.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_metadata::{MetadataError, Project, Snapshot};
use lfsfs_proto::convert::{ProtocolError, id, ids, optional_name};
use lfsfs_proto::headers::Protocols;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1::fs_server::Fs;
use lfsfs_proto::v1::{self};
use lfsfs_types::limits::PIECES_MAX;
use lfsfs_types::{
    ContentId, DirId, NodeId, ObjectPath, Piece, PieceList, ProjectId, TagName, VersionNumber,
};

use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tonic::{Request, Response, Streaming};

use super::objects::Asked;
use super::request::{
    Answer, StreamProject, add_below, exact, fit, invalid, no_such_path, page_len, path,
    project_id, project_name, source, tag_name,
};
use super::watch::Watching;
use super::{
    Coordinator, changes, development, differences, garbage, history, objects, projects, resolve,
    tree, usage,
};
use crate::blocking::IntoFault as _;
use crate::budget::Held;
use crate::calls::Call;
use crate::streams::{Answers, STALL_MAX, Sink, next};

/// Versions read at once by a log; each may have a message of 64 KiB.
const VERSIONS_AT_ONCE: usize = 32;
/// Most slots of one plan.
const SLOTS_MAX: u32 = 1024;
/// Tags of one page.
const TAGS_PER_PAGE: usize = 1000;

/// Longest list of pieces that a connection holds; the server holds one longer list at a time.
const PIECES_OF_CONNECTION_MAX: usize = 128 * 1024;
/// How long a list of pieces may take to arrive.
const LIST_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// Serves the Fs service.
#[derive(Debug, Clone)]
pub(crate) struct FsService {
    coordinator: Arc<Coordinator>,
}

impl FsService {
    pub(crate) fn new(coordinator: Arc<Coordinator>) -> Self {
        Self { coordinator }
    }

    async fn project(&self, name: &str) -> Result<Project, Fault> {
        let name = project_name(name)?;
        let found = self.coordinator.metadata(move |m| m.project(&name));
        found.await
    }
}

async fn log_into(
    coordinator: Arc<Coordinator>,
    project: ProjectId,
    request: v1::LogRequest,
    sink: Sink<v1::Version>,
) -> Result<(), Fault> {
    let mut left = match request.limit {
        0 => usize::MAX,
        limit => limit as usize,
    };
    let mut before = (request.before > 0).then_some(VersionNumber(request.before));
    while left > 0 {
        let limit = left.min(VERSIONS_AT_ONCE);
        let page = coordinator
            .metadata(move |metadata| metadata.log(project, before, limit))
            .await?;
        for version in &page.items {
            sink.send(version.into()).await?;
        }
        left -= page.items.len();
        before = page.items.last().map(|version| version.number);
        if !page.more {
            break;
        }
    }
    Ok(())
}

/// Memory for pieces while they arrive: that of the call's connection, or the one place of the
/// server for a list that is longer than that.
#[derive(Debug, Default)]
struct PiecesMemory {
    held: Held,
    place: Option<OwnedSemaphorePermit>,
}

impl PiecesMemory {
    /// Makes room for more pieces. `have` are there.
    async fn grow(
        &mut self,
        coordinator: &Coordinator,
        call: &Call,
        have: usize,
        more: usize,
    ) -> Result<(), Fault> {
        if self.place.is_some() {
            return Ok(());
        }
        if have + more <= PIECES_OF_CONNECTION_MAX {
            // A list that grows has its old and its new place for a moment.
            let bytes = 2 * more * size_of::<Piece>();
            self.held.merge(call.account().take_more(bytes).await?);
            return Ok(());
        }
        let place = Arc::clone(&coordinator.long_lists).acquire_owned();
        self.place = timeout(STALL_MAX, place).await.ok().and_then(Result::ok);
        let text = "the server is busy with the pieces of another large content; try again later";
        let busy = || Fault::new(FaultKind::Unavailable, text);
        self.place.is_some().then_some(()).ok_or_else(busy)
    }
}

/// Takes the list of pieces of one content, which may need many messages.
async fn receive_pieces(
    coordinator: &Coordinator,
    call: &Call,
    stream: &mut Streaming<v1::PutPiecesRequest>,
) -> Result<(ContentId, PieceList, PiecesMemory), Fault> {
    let mut content = None;
    let mut pieces = Vec::new();
    let mut memory = PiecesMemory::default();
    let mut project = StreamProject::default();
    while let Some(message) = next(stream).await? {
        project.check(coordinator, &message.project_id).await?;
        if content.is_none() {
            let parsed = id("content", &message.content, ContentId::from_slice);
            content = Some(parsed.map_err(ProtocolError::into_fault)?);
        } else if !message.content.is_empty()
            && content.is_some_and(|content: ContentId| message.content != content.as_bytes())
        {
            return Err(invalid(
                &"content is wrong: it differs from that of the first message",
            ));
        }
        if pieces.len() + message.pieces.len() > PIECES_MAX {
            return Err(invalid(&"the list has too many pieces"));
        }
        let (have, more) = (pieces.len(), message.pieces.len());
        memory.grow(coordinator, call, have, more).await?;
        for piece in message.pieces {
            pieces.push(Piece::try_from(piece).map_err(ProtocolError::into_fault)?);
        }
    }
    let content = content.ok_or_else(|| ProtocolError::Missing("content").into_fault())?;
    let list = PieceList::new(pieces).map_err(|error| invalid(&error))?;
    Ok((content, list, memory))
}

#[tonic::async_trait]
impl Fs for FsService {
    async fn get_cluster(
        &self,
        _: Request<v1::GetClusterRequest>,
    ) -> Answer<v1::GetClusterResponse> {
        let cluster = self.coordinator.metadata.cluster_id();
        let protocols = Protocols::own();
        Ok(Response::new(v1::GetClusterResponse {
            cluster_id: cluster.as_bytes().to_vec(),
            server_version: protocols.program.into_owned(),
            protocol_least: protocols.least,
            protocol_newest: protocols.newest,
        }))
    }

    async fn new_project(
        &self,
        request: Request<v1::NewProjectRequest>,
    ) -> Answer<v1::NewProjectResponse> {
        let client = Call::of(&request)?.connection().peer;
        let made = projects::make(&self.coordinator, client, request.into_inner()).await?;
        let project = Some(projects::message(&made, self.coordinator.chunk_len));
        Ok(Response::new(v1::NewProjectResponse { project }))
    }

    async fn list_projects(
        &self,
        request: Request<v1::ListProjectsRequest>,
    ) -> Answer<v1::ListProjectsResponse> {
        let page = projects::list(&self.coordinator, request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn inspect(&self, request: Request<v1::InspectRequest>) -> Answer<v1::InspectResponse> {
        let name = project_name(&request.into_inner().name)?;
        let (project, head, stored) = self
            .coordinator
            .metadata(move |metadata| {
                let project = metadata.project(&name)?;
                let number = project.head.number;
                let head = (number > VersionNumber::ZERO)
                    .then(|| metadata.version(project.id, number))
                    .transpose()?;
                let stored = metadata.stored_bytes(project.id)?;
                Ok::<_, MetadataError>((project, head, stored))
            })
            .await?;
        Ok(Response::new(v1::InspectResponse {
            project: Some(projects::message(&project, self.coordinator.chunk_len)),
            head: head.as_ref().map(v1::Version::from),
            stored_bytes: Some(stored),
        }))
    }

    type GetUsageStream = Answers<v1::ProjectUsage>;

    async fn get_usage(
        &self,
        request: Request<v1::GetUsageRequest>,
    ) -> Answer<Self::GetUsageStream> {
        let call = Call::of(&request)?;
        let coordinator = Arc::clone(&self.coordinator);
        let tasks = &self.coordinator.tasks;
        let answers = tasks.answer(call, move |sink| {
            usage::tell(coordinator, request.into_inner(), sink)
        });
        Ok(Response::new(answers))
    }

    async fn resolve_source(
        &self,
        request: Request<v1::ResolveSourceRequest>,
    ) -> Answer<v1::ResolveSourceResponse> {
        let request = request.into_inner();
        let project = (!request.project_id.is_empty())
            .then(|| project_id(&request.project_id))
            .transpose()?;
        let version = VersionNumber(request.version);
        let resolved = match project {
            Some(_) if !request.source.is_empty() => {
                return Err(invalid(&"source and project_id exclude each other").into());
            }
            Some(project) => {
                let resolved = self
                    .coordinator
                    .metadata(move |m| m.snapshot(project, version));
                resolved.await?
            }
            None => {
                let source = source(&request.source)?;
                self.coordinator
                    .metadata(move |m| m.resolve(&source))
                    .await?
            }
        };
        let Snapshot {
            project,
            version,
            root,
            ..
        } = resolved;
        let cluster = self.coordinator.metadata.cluster_id();
        Ok(Response::new(v1::ResolveSourceResponse {
            cluster_id: cluster.as_bytes().to_vec(),
            project: Some(projects::message(&project, self.coordinator.chunk_len)),
            version: Some((&version).into()),
            root: Some((&root).into()),
        }))
    }

    type LogStream = Answers<v1::Version>;

    async fn log(&self, request: Request<v1::LogRequest>) -> Answer<Self::LogStream> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let project = self.coordinator.known_project(&request.project_id).await?;
        let coordinator = Arc::clone(&self.coordinator);
        let tasks = &self.coordinator.tasks;
        let path = path(&request.path)?;
        if path != ObjectPath::ROOT {
            let answers =
                differences::log_of_path(&self.coordinator, call, project, path, &request);
            return Ok(Response::new(answers));
        }
        let answers = tasks.answer(call, move |sink| {
            log_into(coordinator, project, request, sink)
        });
        Ok(Response::new(answers))
    }

    async fn set_tag(&self, request: Request<v1::SetTagRequest>) -> Answer<v1::SetTagResponse> {
        let request = request.into_inner();
        let tag = tag_name(&request.tag)?;
        let project = self.project(&request.project).await?.id;
        let version = VersionNumber(request.version);
        let set = move |metadata: &lfsfs_metadata::Metadata| {
            metadata.set_tag(project, &tag, version, request.force)
        };
        self.coordinator.metadata(set).await?;
        Ok(Response::new(v1::SetTagResponse {}))
    }

    async fn list_directory(
        &self,
        request: Request<v1::ListDirectoryRequest>,
    ) -> Answer<v1::ListDirectoryResponse> {
        let request = request.into_inner();
        let project = project_id(&request.project_id)?;
        let after = optional_name("after", &request.after).map_err(ProtocolError::into_fault)?;
        let exact = exact(request.version, &request.version_id)?;
        let (version, dir) = (VersionNumber(request.version), DirId(request.dir));
        let limit = request.limit as usize;
        let listed = self.coordinator.metadata(move |metadata| {
            metadata.expect_all_exact(project, exact)?;
            let listing = metadata.list(project, version, dir, after.as_ref(), limit)?;
            let (entries, more) = fit(listing.entries, listing.more);
            let mut answer = v1::ListDirectoryResponse {
                entries,
                more,
                listing_version: listing.listing_version.as_bytes().to_vec(),
                below: Vec::new(),
            };
            if request.ahead && !answer.more {
                let mut len = answer.encoded_len();
                metadata.list_pack(project, version, dir, &mut |below| {
                    add_below(&mut answer, &mut len, &below)
                })?;
            }
            Ok::<_, MetadataError>(answer)
        });
        Ok(Response::new(listed.await?))
    }

    type ListTreeStream = Answers<v1::ListTreeResponse>;

    async fn list_tree(
        &self,
        request: Request<v1::ListTreeRequest>,
    ) -> Answer<Self::ListTreeStream> {
        let call = Call::of(&request)?;
        let answers = tree::list_tree(&self.coordinator, call, &request.into_inner())?;
        Ok(Response::new(answers))
    }

    async fn lookup(&self, request: Request<v1::LookupRequest>) -> Answer<v1::LookupResponse> {
        let request = request.into_inner();
        let project = project_id(&request.project_id)?;
        let exact = exact(request.version, &request.version_id)?;
        let (version, path) = (VersionNumber(request.version), path(&request.path)?);
        let found = self
            .coordinator
            .metadata(move |metadata| {
                metadata.expect_all_exact(project, exact)?;
                metadata.lookup(project, version, &path)
            })
            .await?
            .ok_or_else(|| no_such_path(&request.path))?;
        Ok(Response::new(v1::LookupResponse {
            record: Some((&found.record).into()),
            parent: found.dir.0,
        }))
    }

    type DiffStream = Answers<v1::DiffEntry>;

    async fn diff(&self, request: Request<v1::DiffRequest>) -> Answer<Self::DiffStream> {
        let call = Call::of(&request)?;
        let answers = differences::diff(&self.coordinator, call, &request.into_inner())?;
        Ok(Response::new(answers))
    }

    type ChangedNamesStream = Answers<v1::ChangedNamesResponse>;

    async fn changed_names(
        &self,
        request: Request<v1::ChangedNamesRequest>,
    ) -> Answer<Self::ChangedNamesStream> {
        let call = Call::of(&request)?;
        let answers = differences::changed_names(&self.coordinator, call, &request.into_inner())?;
        Ok(Response::new(answers))
    }

    type DirectoryPlacesStream = Answers<v1::DirectoryPlacesResponse>;

    async fn directory_places(
        &self,
        request: Request<v1::DirectoryPlacesRequest>,
    ) -> Answer<Self::DirectoryPlacesStream> {
        let call = Call::of(&request)?;
        let answers = differences::directory_places(&self.coordinator, call, request.into_inner())?;
        Ok(Response::new(answers))
    }

    async fn find_missing(
        &self,
        request: Request<v1::FindMissingRequest>,
    ) -> Answer<v1::FindMissingResponse> {
        self.coordinator
            .note_upload(Call::of(&request)?.connection());
        let request = request.into_inner();
        self.coordinator.known_project(&request.project_id).await?;
        let contents = resolve::contents(&request.contents)?;
        let missing = self
            .coordinator
            .metadata(move |metadata| metadata.missing(&contents))
            .await?;
        let missing = missing.iter().map(|content| content.as_bytes().to_vec());
        Ok(Response::new(v1::FindMissingResponse {
            missing: missing.collect(),
        }))
    }

    async fn put_pieces(
        &self,
        mut request: Request<Streaming<v1::PutPiecesRequest>>,
    ) -> Answer<v1::PutPiecesResponse> {
        let call = Call::of(&request)?;
        self.coordinator.note_upload(call.connection());
        let receiving = receive_pieces(&self.coordinator, &call, request.get_mut());
        let received = timeout(LIST_TIME_MAX, receiving).await;
        let (content, list, _memory) = received.map_err(|_| list_took_too_long())??;
        self.coordinator
            .metadata(move |metadata| metadata.put_pieces(content, &list))
            .await?;
        Ok(Response::new(v1::PutPiecesResponse {}))
    }

    type ResolveStream = Answers<v1::ResolveResponse>;

    async fn resolve(
        &self,
        request: Request<Streaming<v1::ResolveRequest>>,
    ) -> Answer<Self::ResolveStream> {
        let call = Call::of(&request)?;
        let (coordinator, questions) = (Arc::clone(&self.coordinator), request.into_inner());
        let tasks = &self.coordinator.tasks;
        let answers = tasks.answer(call, move |sink| {
            resolve::answer_all(coordinator, questions, sink)
        });
        Ok(Response::new(answers))
    }

    async fn plan_upload(
        &self,
        request: Request<v1::PlanUploadRequest>,
    ) -> Answer<v1::PlanUploadResponse> {
        self.coordinator
            .note_upload(Call::of(&request)?.connection());
        let request = request.into_inner();
        if !(1..=SLOTS_MAX).contains(&request.count) {
            return Err(invalid(&format!("a plan has 1 to {SLOTS_MAX} slots")).into());
        }
        let len = self.coordinator.chunk_len(request.chunk_size)?;
        let avoid =
            ids("avoid", &request.avoid, NodeId::from_slice).map_err(ProtocolError::into_fault)?;
        let id = project_id(&request.project_id)?;
        let found = self.coordinator.metadata(move |m| m.project_by_id(id));
        let count = request.count as usize;
        let slots = self.coordinator.plan(&found.await?, count, len, &avoid)?;
        Ok(Response::new(v1::PlanUploadResponse { slots }))
    }

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Answer<v1::OpenSessionResponse> {
        let connection = request.remote_addr();
        let opened = changes::open_session(&self.coordinator, request.into_inner(), connection);
        Ok(Response::new(opened.await?))
    }

    async fn commit(
        &self,
        request: Request<Streaming<v1::CommitRequest>>,
    ) -> Answer<v1::CommitResponse> {
        let client = Call::of(&request)?.connection().peer;
        let committed = changes::commit(&self.coordinator, client, request.into_inner());
        Ok(Response::new(committed.await?))
    }

    type WatchStream = Answers<v1::Version>;
    type GetStream = Answers<v1::GetResponse>;
    type GetCompressStream = Answers<v1::GetCompressResponse>;
    async fn delete_project(
        &self,
        request: Request<v1::DeleteProjectRequest>,
    ) -> Answer<v1::DeleteProjectResponse> {
        let client = Call::of(&request)?.connection().peer;
        let deleted = projects::delete(&self.coordinator, client, request.into_inner());
        Ok(Response::new(deleted.await?))
    }

    async fn undelete_project(
        &self,
        request: Request<v1::UndeleteProjectRequest>,
    ) -> Answer<v1::UndeleteProjectResponse> {
        let client = Call::of(&request)?.connection().peer;
        let back = projects::undelete(&self.coordinator, client, request.into_inner());
        Ok(Response::new(back.await?))
    }

    async fn rename_project(
        &self,
        request: Request<v1::RenameProjectRequest>,
    ) -> Answer<v1::RenameProjectResponse> {
        let request = request.into_inner();
        let (old, new) = (
            project_name(&request.name)?,
            project_name(&request.new_name)?,
        );
        let renamed = self
            .coordinator
            .metadata(move |m| m.rename_project(&old, &new));
        renamed.await?;
        Ok(Response::new(v1::RenameProjectResponse {}))
    }

    async fn set_project(
        &self,
        request: Request<v1::SetProjectRequest>,
    ) -> Answer<v1::SetProjectResponse> {
        let set = projects::set(&self.coordinator, request.into_inner());
        Ok(Response::new(set.await?))
    }

    async fn delete_tag(
        &self,
        request: Request<v1::DeleteTagRequest>,
    ) -> Answer<v1::DeleteTagResponse> {
        let request = request.into_inner();
        let tag = tag_name(&request.tag)?;
        let project = self.project(&request.project).await?.id;
        let deleted = self
            .coordinator
            .metadata(move |m| m.delete_tag(project, &tag));
        deleted.await?;
        Ok(Response::new(v1::DeleteTagResponse {}))
    }

    async fn list_tags(
        &self,
        request: Request<v1::ListTagsRequest>,
    ) -> Answer<v1::ListTagsResponse> {
        let request = request.into_inner();
        let after = (!request.after.is_empty())
            .then(|| tag_name(&request.after))
            .transpose()?;
        let project = self.project(&request.project).await?.id;
        let limit = page_len(request.limit, TAGS_PER_PAGE);
        let page = self
            .coordinator
            .metadata(move |m| m.list_tags(project, after.as_ref(), limit))
            .await?;
        let tag = |(name, version): (TagName, VersionNumber)| v1::Tag {
            name: name.to_string(),
            version: version.0,
        };
        Ok(Response::new(v1::ListTagsResponse {
            tags: page.items.into_iter().map(tag).collect(),
            more: page.more,
        }))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let call = Call::of(&request)?;
        let watching = Watching::begin(&self.coordinator, request.into_inner()).await?;
        let tasks = &self.coordinator.tasks;
        let answers = tasks.answer(call, move |sink| watching.run(sink));
        Ok(Response::new(answers))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<Self::GetStream> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let versions = (request.from_version, request.to_version);
        let asked = Asked::check(
            &self.coordinator,
            &request.project,
            versions,
            request.queries,
        );
        let answers = objects::get(&self.coordinator, &call, asked.await?);
        Ok(Response::new(answers))
    }

    async fn get_unary(
        &self,
        request: Request<v1::GetUnaryRequest>,
    ) -> Answer<v1::GetUnaryResponse> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let versions = (request.from_version, request.to_version);
        let asked = Asked::check(
            &self.coordinator,
            &request.project,
            versions,
            request.queries,
        );
        let limit = request.max_content_send_size;
        let answer = objects::answer(&self.coordinator, &call, asked.await?, limit);
        Ok(Response::new(answer.await?))
    }

    async fn get_compress(
        &self,
        request: Request<v1::GetCompressRequest>,
    ) -> Answer<Self::GetCompressStream> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let versions = (request.from_version, request.to_version);
        let asked = Asked::check(
            &self.coordinator,
            &request.project,
            versions,
            request.queries,
        );
        let answers = objects::get_compress(&self.coordinator, &call, asked.await?);
        Ok(Response::new(answers))
    }

    async fn update(
        &self,
        request: Request<Streaming<v1::UpdateRequest>>,
    ) -> Answer<v1::UpdateResponse> {
        let call = Call::of(&request)?;
        let updated = objects::update(&self.coordinator, call, request.into_inner());
        Ok(Response::new(updated.await?))
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Answer<v1::RollbackResponse> {
        let client = Call::of(&request)?.connection().peer;
        let made = history::roll_back(&self.coordinator, client, request.into_inner()).await?;
        Ok(Response::new(made))
    }

    async fn clone_to_project(
        &self,
        request: Request<v1::CloneToProjectRequest>,
    ) -> Answer<v1::CloneToProjectResponse> {
        let client = Call::of(&request)?.connection().peer;
        let made = history::clone_version(&self.coordinator, client, request.into_inner()).await?;
        Ok(Response::new(made))
    }

    async fn gc_project(&self, request: Request<v1::GcProjectRequest>) -> Answer<v1::GcResponse> {
        let collected = garbage::of_project(&self.coordinator, request.into_inner());
        Ok(Response::new(collected.await?))
    }

    async fn gc_random_projects(
        &self,
        request: Request<v1::GcRandomProjectsRequest>,
    ) -> Answer<v1::GcResponse> {
        let collected = garbage::of_random_projects(&self.coordinator, request.into_inner());
        Ok(Response::new(collected.await?))
    }

    async fn gc_contents(&self, request: Request<v1::GcContentsRequest>) -> Answer<v1::GcResponse> {
        let collected = garbage::of_contents(&self.coordinator, request.into_inner());
        Ok(Response::new(collected.await?))
    }

    async fn hold_version(
        &self,
        request: Request<v1::HoldVersionRequest>,
    ) -> Answer<v1::HoldVersionResponse> {
        let held = garbage::hold(&self.coordinator, request.into_inner()).await?;
        Ok(Response::new(held))
    }

    async fn release_version(
        &self,
        request: Request<v1::ReleaseVersionRequest>,
    ) -> Answer<v1::ReleaseVersionResponse> {
        let released = garbage::release(&self.coordinator, request.into_inner()).await?;
        Ok(Response::new(released))
    }

    async fn snapshot(&self, _: Request<v1::SnapshotRequest>) -> Answer<v1::SnapshotResponse> {
        let snapshot = development::snapshot(&self.coordinator).await?;
        Ok(Response::new(snapshot))
    }

    async fn reset(&self, request: Request<v1::ResetRequest>) -> Answer<v1::ResetResponse> {
        let client = Call::of(&request)?.connection().peer;
        let reset = development::reset(&self.coordinator, client, request.into_inner()).await?;
        Ok(Response::new(reset))
    }

    async fn make_cache(
        &self,
        request: Request<v1::MakeCacheRequest>,
    ) -> Answer<v1::MakeCacheResponse> {
        let client = Call::of(&request)?.connection().peer;
        let made = history::make_cache(&self.coordinator, client, request.into_inner()).await?;
        Ok(Response::new(made))
    }
}

fn list_took_too_long() -> Fault {
    let seconds = LIST_TIME_MAX.as_secs();
    let text = format!("a list of pieces did not arrive within {seconds} s");
    Fault::new(FaultKind::Unavailable, text)
}
