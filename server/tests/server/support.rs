//! A server on a free port, and the calls that every test needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_proto::address::endpoint;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_client::CoordinatorClient;
use lfsfs_proto::v1::data_node_client::DataNodeClient;
use lfsfs_proto::v1::fs_client::FsClient;
use lfsfs_server::{ListenPolicy, Listeners, ServerConfig, ServerError, bind, run};
use lfsfs_transfer::cut_frames;
use lfsfs_types::chunk::{BuiltChunk, ChunkBuilder};
use lfsfs_types::content::small_content_id;
use lfsfs_types::limits::CHUNK_LEN_DEFAULT;
use lfsfs_types::{ContentId, DirId, Kind, Record, Timestamp};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

/// A running server.
pub(crate) struct TestServer {
    pub(crate) address: String,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), ServerError>>,
    channel: Channel,
}

/// Returns a configuration that does not make tests wait.
pub(crate) fn config(data: &Path) -> ServerConfig {
    ServerConfig {
        reserve: 0,
        grace: Duration::from_millis(500),
        ..ServerConfig::all(data)
    }
}

impl TestServer {
    pub(crate) async fn start(data: &Path) -> Self {
        Self::start_with(config(data)).await
    }

    pub(crate) async fn start_with(config: ServerConfig) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = bind(any, ListenPolicy::LoopbackOnly).await.expect("bind");
        Self::start_on(config, listener).await
    }

    pub(crate) async fn start_on(config: ServerConfig, listeners: impl Into<Listeners>) -> Self {
        let shutdown = CancellationToken::new();
        let (sender, ready) = oneshot::channel();
        let running = run(config, listeners.into(), shutdown.clone(), move |address| {
            let _ = sender.send(address);
        });
        let task = tokio::spawn(running);
        let address = ready.await.expect("the server starts").to_string();
        let endpoint = endpoint(&address).expect("an address");
        let channel = endpoint.connect().await.expect("connect");
        Self {
            address,
            shutdown,
            task,
            channel,
        }
    }

    pub(crate) fn fs(&self) -> FsClient<Channel> {
        FsClient::new(self.channel.clone())
    }

    pub(crate) fn coordinator(&self) -> CoordinatorClient<Channel> {
        CoordinatorClient::new(self.channel.clone())
    }

    pub(crate) fn datanode(&self) -> DataNodeClient<Channel> {
        DataNodeClient::new(self.channel.clone())
    }

    /// Stops the server and waits until everything is closed.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        drop(self.channel);
        self.task.await.expect("no panic").expect("a clean end");
    }

    pub(crate) async fn new_project(&self, name: &str) -> v1::Project {
        let request = v1::NewProjectRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        let answer = self.fs().new_project(request).await.expect("new project");
        answer.into_inner().project.expect("a project")
    }

    pub(crate) async fn resolve_source(
        &self,
        source: &str,
    ) -> Result<v1::ResolveSourceResponse, Status> {
        let source = source.to_owned();
        let request = v1::ResolveSourceRequest {
            source,
            ..Default::default()
        };
        Ok(self.fs().resolve_source(request).await?.into_inner())
    }

    /// Returns the id of the project `app`, which is made if it is not there.
    pub(crate) async fn app(&self) -> Vec<u8> {
        let name = "app".to_owned();
        match self.fs().inspect(v1::InspectRequest { name }).await {
            Ok(answer) => answer.into_inner().project.expect("a project").id,
            Err(_) => self.new_project("app").await.id,
        }
    }

    /// Plans one slot and returns its id.
    pub(crate) async fn plan(&self) -> Vec<u8> {
        let request = v1::PlanUploadRequest {
            project_id: self.app().await,
            count: 1,
            chunk_size: 0,
            avoid: Vec::new(),
        };
        let plan = self.fs().plan_upload(request).await.expect("plan");
        let slot = plan.into_inner().slots.remove(0);
        assert_eq!(slot.primary.expect("a node").address, self.address);
        slot.id
    }

    pub(crate) async fn prepare(
        &self,
        chunk: &BuiltChunk,
        slot: &[u8],
    ) -> Result<v1::PrepareChunkUploadResponse, Status> {
        let request = v1::PrepareChunkUploadRequest {
            chunk_id: chunk.id.as_bytes().to_vec(),
            size: chunk.bytes.len() as u64,
            slot_id: slot.to_vec(),
            propagate: true,
            replicas: Vec::new(),
            ticket: Vec::new(),
            copies: 1,
            copies_min: 1,
        };
        let answer = self.datanode().prepare_chunk_upload(request).await?;
        Ok(answer.into_inner())
    }

    /// Sends frames and returns the acknowledgements.
    pub(crate) async fn send(
        &self,
        frames: Vec<v1::ChunkFrame>,
    ) -> Result<Vec<v1::ChunkAck>, Status> {
        let stream = tokio_stream::iter(frames);
        let mut acks = self
            .datanode()
            .upload_chunk_stream(stream)
            .await?
            .into_inner();
        let mut all = Vec::new();
        while let Some(ack) = acks.message().await? {
            all.push(ack);
        }
        Ok(all)
    }

    /// Uploads a chunk and returns the acknowledgements.
    pub(crate) async fn upload(
        &self,
        chunk: &BuiltChunk,
        slot: &[u8],
    ) -> Result<Vec<v1::ChunkAck>, Status> {
        let prepared = self.prepare(chunk, slot).await?;
        assert!(prepared.accept && !prepared.present);
        self.send(frames(chunk, &prepared.session_id)).await
    }

    /// Downloads a range of a chunk; a length of 0 means up to the end.
    pub(crate) async fn download(
        &self,
        chunk: &[u8],
        offset: u64,
        length: u64,
    ) -> Result<Vec<v1::ChunkFrame>, Status> {
        let target = v1::download_chunk_stream_request::Target::ChunkId(chunk.to_vec());
        let request = v1::DownloadChunkStreamRequest {
            target: Some(target),
            chunk_stream_size: 1000,
            offset,
            length,
            ticket: Vec::new(),
        };
        let mut stream = self
            .datanode()
            .download_chunk_stream(request)
            .await?
            .into_inner();
        let mut frames = Vec::new();
        while let Some(frame) = stream.message().await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Stores contents, all in one chunk.
    pub(crate) async fn store(&self, contents: &[&[u8]]) {
        let stored = self.upload(&chunk_of(contents), &[]).await;
        stored.expect("contents are stored");
    }

    /// Opens a session on a version, told by number and random id.
    pub(crate) async fn open_session(
        &self,
        project_id: &[u8],
        (base, base_id): (u64, &[u8]),
        version_id: [u8; 16],
    ) -> Result<v1::OpenSessionResponse, Status> {
        let request = v1::OpenSessionRequest {
            project_id: project_id.to_vec(),
            base,
            base_id: base_id.to_vec(),
            version_id: version_id.to_vec(),
        };
        Ok(self.fs().open_session(request).await?.into_inner())
    }

    /// Commits changes on the newest version of a project.
    pub(crate) async fn commit(
        &self,
        project: &str,
        version_id: [u8; 16],
        changes: Vec<v1::Change>,
    ) -> Result<v1::CommitResponse, Status> {
        let head = self.resolve_source(project).await?;
        let (project, version) = (
            head.project.expect("project"),
            head.version.expect("version"),
        );
        let base = (version.number, &version.id[..]);
        let session = self.open_session(&project.id, base, version_id).await?;
        match session.published {
            Some(_) => Ok(v1::CommitResponse {
                version: session.published,
                ..v1::CommitResponse::default()
            }),
            None => self.commit_session(session.session_id, changes).await,
        }
    }

    pub(crate) async fn commit_session(
        &self,
        session_id: Vec<u8>,
        changes: Vec<v1::Change>,
    ) -> Result<v1::CommitResponse, Status> {
        self.commit_as(start_of(session_id), changes).await
    }

    /// Sends all of a commit.
    pub(crate) async fn commit_as(
        &self,
        start: v1::CommitStart,
        changes: Vec<v1::Change>,
    ) -> Result<v1::CommitResponse, Status> {
        let part = |part| v1::CommitRequest { part: Some(part) };
        let count = changes.len() as u64;
        let batches = changes.chunks(2).map(|changes| {
            let changes = changes.to_vec();
            part(v1::commit_request::Part::Changes(v1::ChangeBatch {
                changes,
            }))
        });
        let mut messages = vec![part(v1::commit_request::Part::Start(start))];
        messages.extend(batches);
        let finish = v1::CommitFinish { changes: count };
        messages.push(part(v1::commit_request::Part::Finish(finish)));
        self.commit_messages(messages).await
    }

    pub(crate) async fn commit_messages(
        &self,
        messages: Vec<v1::CommitRequest>,
    ) -> Result<v1::CommitResponse, Status> {
        let answer = self.fs().commit(tokio_stream::iter(messages)).await?;
        Ok(answer.into_inner())
    }
}

/// Makes a directory that a server takes for its data.
pub(crate) fn private_dir() -> TempDir {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let made = tempfile::Builder::new().permissions(mode).tempdir();
    made.expect("a directory")
}

/// Starts a server that has the project `app`.
pub(crate) async fn with_project() -> (TempDir, TestServer, v1::Project) {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let project = server.new_project("app").await;
    (dir, server, project)
}

/// Returns the start of a commit.
pub(crate) fn start_of(session_id: Vec<u8>) -> v1::CommitStart {
    v1::CommitStart {
        session_id,
        origin: Some(lfsfs_types::Origin::Import.into()),
        author: "alice@host".to_owned(),
        message: "what it is".to_owned(),
        ..v1::CommitStart::default()
    }
}

/// Builds a chunk of these contents.
pub(crate) fn chunk_of(contents: &[&[u8]]) -> BuiltChunk {
    let mut builder = ChunkBuilder::new(CHUNK_LEN_DEFAULT);
    for content in contents {
        let id = small_content_id(content);
        builder.add(id, content).expect("a new chunk has room");
    }
    builder.finish()
}

/// Returns where a server keeps a chunk.
pub(crate) fn chunk_path(data: &Path, chunk: &BuiltChunk) -> PathBuf {
    let hex = chunk.id.to_string();
    data.join("chunks").join(&hex[..2]).join(hex)
}

/// Returns bytes that do not compress.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Cuts a chunk into the frames of an upload.
pub(crate) fn frames(chunk: &BuiltChunk, session: &[u8]) -> Vec<v1::ChunkFrame> {
    cut_frames(0, chunk.bytes.clone().into(), 10_000)
        .map(|frame| v1::ChunkFrame {
            session_id: session.to_vec(),
            chunk_id: chunk.id.as_bytes().to_vec(),
            data: frame.data,
            offset: frame.offset,
            is_final: frame.is_final,
            partial_checksum: frame.checksum.as_bytes().to_vec(),
        })
        .collect()
}

/// Returns the record of a file.
pub(crate) fn file_record(content: &[u8]) -> Record {
    Record {
        kind: Kind::File {
            size: content.len() as u64,
            content: content_id(content),
        },
        mode: 0o640,
        uid: 7,
        gid: 8,
        mtime: Timestamp { secs: 9, nanos: 10 },
        ctime: Timestamp::default(),
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}

pub(crate) fn content_id(content: &[u8]) -> ContentId {
    small_content_id(content)
}

/// Returns the change that puts a record at a name of a directory.
pub(crate) fn put(dir: u64, name: &str, record: &Record) -> v1::Change {
    v1::Change {
        dir,
        name: name.as_bytes().to_vec(),
        record: Some(record.into()),
    }
}

/// Returns the record of a directory that a commit makes, or that has an id already.
pub(crate) fn directory_record(dir: u64) -> Record {
    Record {
        kind: Kind::Directory { dir: DirId(dir) },
        mode: 0o755,
        ..file_record(b"")
    }
}

/// Returns the change that removes a name of a directory.
pub(crate) fn remove(dir: u64, name: &str) -> v1::Change {
    v1::Change {
        dir,
        name: name.as_bytes().to_vec(),
        record: None,
    }
}

/// Returns the id of a directory that was listed.
pub(crate) fn dir_of(entry: &v1::Entry) -> u64 {
    let record = Record::try_from(entry.record.clone().expect("a record"));
    let dir = record.expect("a valid record").dir();
    dir.expect("a directory").0
}

/// Takes all answers of a stream.
pub(crate) async fn all<T>(
    stream: Result<Response<Streaming<T>>, Status>,
) -> Result<Vec<T>, Status> {
    let mut stream = stream?.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await? {
        answers.push(answer);
    }
    Ok(answers)
}

/// Returns what kind of fault an answer is.
pub(crate) fn kind<T>(answer: Result<T, Status>) -> FaultKind {
    let status = answer.err().expect("the call fails");
    Fault::from_status(&status).kind
}
