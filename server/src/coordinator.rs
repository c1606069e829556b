//! The coordinator: metadata, membership, upload plans and commit sessions, behind two services.
//!
//! What must outlive the process is in [`Metadata`]; what is here may be lost at any time: nodes
//! register again, and clients open new sessions.

mod backup;
mod changes;
mod compaction;
mod compared;
mod coordinator_service;
mod copies;
mod development;
mod differences;
mod disk;
mod figures;
mod files;
mod fs_service;
mod garbage;
mod history;
mod holdings;
mod nodes;
mod objects;
mod plans;
mod projects;
mod receipts;
mod repack;
mod request;
mod resolve;
mod restored;
mod sessions;
mod slots;
mod stats;
mod tree;
mod unhealthy;
mod uploads;
mod usage;
mod watch;

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lfsfs_cluster::{Cluster, ClusterConfig, Member, MemberState};
use lfsfs_common::clock::Clock;
use lfsfs_metadata::{Metadata, Project, Published, RestoredFrom, StoredFor};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::limits::CHUNK_LEN_MAX;
use lfsfs_types::{NodeId, ProjectId, ProjectName, SessionId};
use tokio::sync::{Notify, Semaphore};

use self::compaction::CompactionCounters;
use self::compared::Compared;
pub(crate) use self::coordinator_service::CoordinatorService;
pub(crate) use self::disk::DiskGuard;
pub(crate) use self::figures::CoordinatorFigures;
pub(crate) use self::fs_service::FsService;
use self::plans::Plans;
pub(crate) use self::restored::time_text;
use self::sessions::CommitSessions;
use self::slots::Slots;
use self::uploads::Uploads;
use self::watch::Watches;
use crate::blocking::{IntoFault, blocking};
use crate::config::GarbageSettings;
use crate::connections::Connection;
use crate::datanodes::Datanodes;
use crate::ids::random_id;
use crate::process_key::Callers;
use crate::streams::Tasks;

/// How many nodes have a chunk, unless its project says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replication {
    /// How many should.
    pub(crate) copies: u32,
    /// How many must before a client is answered.
    pub(crate) copies_min: u32,
}

impl Replication {
    /// Returns how many nodes should have a chunk of a project that asks for so many, and how many must.
    fn of(self, project: u32) -> Self {
        Self {
            copies: project,
            copies_min: self.copies_min.min(project),
        }
    }
}

/// What a coordinator is made of.
#[derive(Debug)]
pub(crate) struct CoordinatorParts {
    pub(crate) metadata: Metadata,
    pub(crate) disk: DiskGuard,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) callers: Callers,
    pub(crate) replication: Replication,
    /// Bytes that clients put into a chunk.
    pub(crate) chunk_len: u64,
    pub(crate) cluster: ClusterConfig,
    pub(crate) garbage: GarbageSettings,
    /// Bytes that the marks of a collection may take.
    pub(crate) marks_bytes: usize,
    /// Whether a caller may reset all projects.
    pub(crate) development: bool,
}

/// What the services of a coordinator share.
#[derive(Debug)]
pub(crate) struct Coordinator {
    metadata: Metadata,
    disk: DiskGuard,
    clock: Arc<dyn Clock>,
    started: Instant,
    tasks: Tasks,
    cluster: Mutex<Cluster>,
    datanodes: Datanodes,
    replication: Replication,
    chunk_len: u64,
    plans: Mutex<Plans>,
    slots: Mutex<Slots>,
    sessions: Mutex<CommitSessions>,
    /// Tells that a commit has come to its end.
    commit_ended: Notify,
    /// The place for a list of pieces that is longer than what a connection may hold.
    long_lists: Arc<Semaphore>,
    /// The place for a backup.
    backups: Arc<Semaphore>,
    compared: Compared,
    /// Whether the metadata is that of a backup.
    restored: Option<RestoredFrom>,
    /// Chunks that a datanode had and the metadata did not know.
    found: AtomicU64,
    watches: Watches,
    uploads: Mutex<Uploads>,
    garbage: GarbageSettings,
    marks_bytes: usize,
    /// The place for a collection of garbage.
    collections: Arc<Semaphore>,
    /// The place for a rewriting of chunks.
    compactions: Arc<Semaphore>,
    compacted: CompactionCounters,
    /// The turns of updates.
    objects: objects::Turns,
    development: bool,
    /// Tells that the pack patterns of a project changed.
    repacks: Notify,
}

/// Logs a new version, for the operator who looks for it.
fn log_published(project: &ProjectName, published: &Published, client: SocketAddr) {
    if !published.is_new {
        return;
    }
    let record = &published.record;
    let counts = record.counts;
    tracing::info!(
        %project,
        version = record.number.0,
        changes = counts.added + counts.removed + counts.modified,
        // Quoted, because the client chose the text and it may hold any character.
        author = record.author,
        %client,
        "published"
    );
}

impl Coordinator {
    /// Starts with the nodes that are known from earlier, all of them offline until they send a
    /// heartbeat.
    pub(crate) fn new(parts: CoordinatorParts) -> Result<Self, lfsfs_metadata::MetadataError> {
        let mut cluster = Cluster::new(parts.cluster);
        let now = parts.clock.monotonic();
        for node in parts.metadata.nodes()? {
            cluster.known_from_before(nodes::member_of(&node), now);
        }
        let restored = restored::told_once(&parts.metadata)?;
        let watches = Watches::of(&parts.metadata);
        Ok(Self {
            metadata: parts.metadata,
            disk: parts.disk,
            started: now,
            clock: parts.clock,
            tasks: parts.tasks,
            cluster: Mutex::new(cluster),
            datanodes: Datanodes::new(parts.callers),
            replication: parts.replication,
            chunk_len: parts.chunk_len,
            plans: Mutex::default(),
            slots: Mutex::default(),
            sessions: Mutex::default(),
            commit_ended: Notify::new(),
            long_lists: Arc::new(Semaphore::new(1)),
            backups: Arc::new(Semaphore::new(1)),
            compared: Compared::default(),
            restored,
            found: AtomicU64::new(0),
            watches,
            uploads: Mutex::default(),
            garbage: parts.garbage,
            marks_bytes: parts.marks_bytes,
            collections: Arc::new(Semaphore::new(1)),
            compactions: Arc::new(Semaphore::new(1)),
            compacted: CompactionCounters::default(),
            objects: objects::Turns::default(),
            development: parts.development,
            repacks: Notify::new(),
        })
    }

    /// Undoes what an earlier process left half done, and reads all metadata once to find damage; then keeps
    /// the copies of chunks, and collects garbage.
    pub(crate) async fn keep_house(self: &Arc<Self>) {
        let once = async {
            self.recover().await;
            self.verify().await;
        };
        tokio::join!(
            once,
            self.keep_copies(),
            self.keep_collecting(),
            self.keep_packs()
        );
    }

    async fn recover(&self) {
        if let Err(fault) = self.metadata(Metadata::recover).await {
            tracing::error!(
                reason = fault.message,
                "what an earlier process left half done cannot be undone"
            );
        }
    }

    async fn verify(&self) {
        let start = self.clock.monotonic();
        match self.metadata(Metadata::verify).await {
            Ok(()) => {
                let seconds = (self.clock.monotonic() - start).as_secs_f32();
                tracing::info!(seconds, "the metadata is whole");
            }
            Err(fault) => tracing::error!(
                reason = fault.message,
                "the metadata is damaged; stop the server and run `lfsfsd check`"
            ),
        }
    }

    /// Lets what goes on beside calls come to its end.
    pub(crate) fn stop(&self) {
        self.metadata.stop();
    }

    /// Calls the metadata on a thread that may block.
    async fn metadata<T, E>(
        &self,
        call: impl FnOnce(&Metadata) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        E: IntoFault + Send + 'static,
    {
        let metadata = self.metadata.clone();
        blocking(move || call(&metadata)).await
    }

    /// Returns the project that a call names by its id, if there is one.
    async fn known_project(&self, id: &[u8]) -> Result<ProjectId, Fault> {
        let id = request::project_id(id)?;
        self.metadata(move |metadata| metadata.expect_project(id))
            .await?;
        Ok(id)
    }

    /// Fails with FULL if a new version could fill the disk.
    async fn check_room(&self) -> Result<(), Fault> {
        let disk = self.disk.clone();
        blocking(move || disk.check()).await
    }

    /// The locks below are held for moments and never while another is taken.
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a client uploads contents.
    fn note_upload(&self, connection: &Arc<Connection>) {
        let secs = u64::try_from(self.clock.wall_time().seconds()).unwrap_or(0);
        let now = self.clock.monotonic();
        self.uploads().note(connection, secs, now);
    }

    fn sessions(&self) -> MutexGuard<'_, CommitSessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns for how long this coordinator has been there.
    fn uptime(&self) -> Duration {
        self.clock
            .monotonic()
            .saturating_duration_since(self.started)
    }

    /// Returns how long the chunks are that a client is about to send: what it told, or what it is told.
    fn chunk_len(&self, told: u64) -> Result<u64, Fault> {
        match told {
            0 => Ok(self.chunk_len),
            told if told <= CHUNK_LEN_MAX => Ok(told),
            told => {
                let text = format!("chunk_size is wrong: no chunk has {told} bytes");
                Err(Fault::new(FaultKind::Invalid, text))
            }
        }
    }

    /// Hands out slots for chunks of up to `len` bytes that a client is about to send, for a project.
    /// Nodes to `avoid` come behind the others.
    fn plan(
        &self,
        project: &Project,
        count: usize,
        len: u64,
        avoid: &[NodeId],
    ) -> Result<Vec<v1::Slot>, Fault> {
        self.plan_for(self.stored_for_project(project), count, len, avoid)
    }

    /// Returns for what a client's chunks of a project are stored.
    fn stored_for_project(&self, project: &Project) -> StoredFor {
        let replication = self.replication.of(project.settings.replication);
        StoredFor {
            project: Some(project.id),
            copies: replication.copies,
            copies_min: replication.copies_min,
            is_found: false,
        }
    }

    /// As [`plan`](Self::plan), where it is known for what the chunks are stored.
    fn plan_for(
        &self,
        stored: StoredFor,
        count: usize,
        len: u64,
        avoid: &[NodeId],
    ) -> Result<Vec<v1::Slot>, Fault> {
        let replication = Replication {
            copies: stored.copies,
            copies_min: stored.copies_min,
        };
        let slot = || {
            let id = random_id()?;
            let nodes = self.nodes_for(replication, len, avoid)?;
            self.slots().add(id, stored);
            Ok(v1::Slot {
                id: id.as_bytes().to_vec(),
                primary: nodes.first().map(nodes::message),
                replicas: nodes::messages(nodes.get(1..).unwrap_or_default()),
                len_max: CHUNK_LEN_MAX,
                copies: replication.copies,
                copies_min: replication.copies_min,
            })
        };
        std::iter::repeat_with(slot).take(count).collect()
    }

    /// Returns for what a chunk was stored that a datanode has for a slot.
    fn stored_for(&self, slot: Option<SessionId>) -> StoredFor {
        let planned = slot.and_then(|slot| self.slots().find(slot));
        planned.unwrap_or(StoredFor {
            copies_min: self.replication.copies_min,
            is_found: slot.is_none() && self.restored.is_some(),
            ..StoredFor::default()
        })
    }

    /// Returns the nodes that a chunk can go to, and a few to spare.
    fn nodes_for(
        &self,
        replication: Replication,
        len: u64,
        avoid: &[NodeId],
    ) -> Result<Vec<Member>, Fault> {
        let now = self.clock.monotonic();
        let mut cluster = self.cluster();
        cluster.tick(now);
        let copies = replication.copies as usize;
        let mut nodes = cluster.place(copies + SPARE_NODES, len, now);
        nodes.sort_by_key(|node| avoid.contains(&node.id));
        let (found, least) = (nodes.len(), replication.copies_min as usize);
        if found < least {
            return Err(too_few_nodes(&cluster, found, least));
        }
        for node in nodes.iter().take(copies) {
            cluster.promise(node.id, len);
        }
        Ok(nodes)
    }
}

/// Nodes of a slot beside those that should have its chunk, for the case that one of these refuses.
const SPARE_NODES: usize = 2;

/// Says why a chunk has no place.
fn too_few_nodes(cluster: &Cluster, found: usize, least: usize) -> Fault {
    let is_available = |member: &Member| member.state == MemberState::Available;
    let available = cluster
        .members()
        .all()
        .iter()
        .filter(|it| is_available(it))
        .count();
    if available == 0 {
        return Fault::new(FaultKind::Unavailable, "no datanode is available");
    }
    if available < least {
        let text = format!(
            "a write needs {least} datanodes, and {available} are available; start another one, or \
             set --min-replicas of the coordinator lower"
        );
        return Fault::new(FaultKind::Unavailable, text);
    }
    let text = match found {
        0 => "all datanodes are full, or below their reserve".to_owned(),
        found => format!("a write needs {least} datanodes, and only {found} have room"),
    };
    Fault::new(FaultKind::Full, text)
}
