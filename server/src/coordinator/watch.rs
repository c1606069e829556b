//! Watching a project: its versions behind one, and each new one as it is published.
//!
//! A publication wakes the watches of its project. They also look by themselves from time to time, for versions
//! that another coordinator published.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lfsfs_metadata::Metadata;
use lfsfs_proto::convert::{ProtocolError, optional_id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{ProjectId, VersionId, VersionNumber};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::Coordinator;
use super::request::project_id;
use crate::blocking::IntoFault as _;
use crate::streams::{Sink, stopping};

/// How often a watch looks by itself.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Versions that are read at once.
const VERSIONS_AT_ONCE: usize = 16;
/// Most watches at the same time. A watch that waits holds some kilobytes and nothing of the budget.
const WATCHES_MAX: usize = 4096;
/// Publications that a watch may be behind; then it looks without having been told.
const PUBLICATIONS_WAITING_MAX: usize = 1024;

/// What the watches of a coordinator share.
#[derive(Debug)]
pub(super) struct Watches {
    published: broadcast::Sender<ProjectId>,
    count: Arc<AtomicUsize>,
}

impl Watches {
    /// Listens to what this process publishes.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let published = broadcast::Sender::new(PUBLICATIONS_WAITING_MAX);
        let told = published.clone();
        metadata.on_published(move |project| {
            // Without a watch there is no receiver.
            let _ = told.send(project);
        });
        Self {
            published,
            count: Arc::default(),
        }
    }

    fn begin(&self) -> Result<Counted, Fault> {
        let counted = Counted(Arc::clone(&self.count));
        if self.count.fetch_add(1, Ordering::Relaxed) >= WATCHES_MAX {
            let text = format!("{WATCHES_MAX} watches are under way; try again later");
            return Err(Fault::new(FaultKind::Unavailable, text));
        }
        Ok(counted)
    }
}

/// One of the watches that are under way.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A watch that is about to begin.
#[derive(Debug)]
pub(super) struct Watching {
    coordinator: Arc<Coordinator>,
    project: ProjectId,
    /// The last version that the client has, or was sent.
    after: VersionNumber,
    published: broadcast::Receiver<ProjectId>,
    _counted: Counted,
}

impl Watching {
    /// Checks what is to be watched.
    pub(super) async fn begin(
        coordinator: &Arc<Coordinator>,
        request: v1::WatchRequest,
    ) -> Result<Self, Fault> {
        let project = project_id(&request.project_id)?;
        let after = VersionNumber(request.after);
        let id = optional_id("after_id", &request.after_id, VersionId::from_slice)
            .map_err(ProtocolError::into_fault)?;
        let counted = coordinator.watches.begin()?;
        // Before the first look, so that no publication falls between the two.
        let published = coordinator.watches.published.subscribe();
        let known = coordinator.metadata(move |metadata| metadata.version(project, after));
        let known = known.await?;
        if id.is_some_and(|id| id != known.id) {
            let text =
                format!("{after} of the project is another version than the one with this id");
            return Err(Fault::new(FaultKind::VersionNotFound, text));
        }
        Ok(Self {
            coordinator: Arc::clone(coordinator),
            project,
            after,
            published,
            _counted: counted,
        })
    }

    /// Sends versions until the client or the server goes away.
    pub(super) async fn run(mut self, sink: Sink<v1::Version>) -> Result<(), Fault> {
        let stop = self.coordinator.tasks.stop.clone();
        loop {
            let (project, after) = (self.project, self.after);
            let versions = self.coordinator.metadata(move |metadata| {
                metadata.versions_after(project, after, VERSIONS_AT_ONCE)
            });
            let versions = versions.await?;
            for version in &versions {
                sink.send(version.into()).await?;
                self.after = version.number;
            }
            if versions.len() == VERSIONS_AT_ONCE {
                continue;
            }
            sink.rest();
            tokio::select! {
                () = self.woken() => {}
                () = sleep(LOOK_INTERVAL) => {}
                () = stop.cancelled() => return Err(stopping()),
            }
        }
    }

    /// Ends when a version of the project was published.
    async fn woken(&mut self) {
        loop {
            match self.published.recv().await {
                Ok(project) if project != self.project => {}
                Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            }
        }
    }
}
