//! The coordinator: metadata, membership, upload plans and commit sessions, behind two services.
//!
//! What must outlive the process is in [`Metadata`]; what is here may be lost at any time: nodes
//! register again, and clients open new sessions.

mod changes;
mod coordinator_service;
mod differences;
mod disk;
mod files;
mod fs_service;
mod holdings;
mod membership;
mod plans;
mod receipts;
mod request;
mod resolve;
mod sessions;
mod slots;
mod stats;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lfsfs_common::clock::Clock;
use lfsfs_metadata::{Metadata, Published};
use lfsfs_proto::status::Fault;
use lfsfs_proto::v1;
use lfsfs_types::{ProjectId, ProjectName};
use tokio::sync::Semaphore;

pub(crate) use self::coordinator_service::CoordinatorService;
pub(crate) use self::disk::DiskGuard;
pub(crate) use self::fs_service::FsService;
use self::membership::{Member, MemberState, Membership, Updates};
use self::plans::Plans;
use self::sessions::CommitSessions;
use self::slots::SlotProjects;
use crate::blocking::{IntoFault, blocking};
use crate::ids::random_id;
use crate::streams::Tasks;

/// What the services of a coordinator share.
#[derive(Debug)]
pub(crate) struct Coordinator {
    metadata: Metadata,
    disk: DiskGuard,
    clock: Arc<dyn Clock>,
    started: Instant,
    tasks: Tasks,
    members: Mutex<Membership>,
    plans: Mutex<Plans>,
    slot_projects: Mutex<SlotProjects>,
    sessions: Mutex<CommitSessions>,
    /// The place for a list of pieces that is longer than what a connection may hold.
    long_lists: Arc<Semaphore>,
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
    pub(crate) fn new(
        metadata: Metadata,
        disk: DiskGuard,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Result<Self, lfsfs_metadata::MetadataError> {
        let mut members = Membership::new();
        for node in metadata.nodes()? {
            members.known_from_before(Member::of_node(&node));
        }
        Ok(Self {
            metadata,
            disk,
            started: clock.monotonic(),
            clock,
            tasks,
            members: Mutex::new(members),
            plans: Mutex::default(),
            slot_projects: Mutex::default(),
            sessions: Mutex::default(),
            long_lists: Arc::new(Semaphore::new(1)),
        })
    }

    /// Undoes what an earlier process left half done, and reads all metadata once to find damage.
    pub(crate) async fn keep_house(&self) {
        self.recover().await;
        self.verify().await;
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
    fn members(&self) -> MutexGuard<'_, Membership> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot_projects(&self) -> MutexGuard<'_, SlotProjects> {
        self.slot_projects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

    /// Hands out slots for chunks that a client is about to build, for a project.
    fn slots(&self, project: ProjectId, count: usize) -> Result<Vec<v1::Slot>, Fault> {
        let now = self.clock.monotonic();
        let mut primaries = self.members().place(count, now)?.into_iter();
        let slot = || {
            let id = random_id()?;
            self.slot_projects().add(id, project);
            let primary = primaries.next().as_ref().map(v1::NodeInfo::from);
            Ok(v1::Slot {
                id: id.as_bytes().to_vec(),
                primary,
                replicas: Vec::new(),
                len_max: lfsfs_types::limits::CHUNK_LEN_MAX,
            })
        };
        std::iter::repeat_with(slot).take(count).collect()
    }
}
