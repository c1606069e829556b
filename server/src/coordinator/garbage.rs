//! Collecting garbage: when an operator asks for it, and now and then by itself.
//!
//! The metadata decides what goes (`lfsfs_metadata`, module `collect`). Here is what only the coordinator knows: the
//! commits and uploads that are under way, and the datanodes that are to drop chunks. One collection goes on at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_metadata::{
    ChunkHolders, CollectParams, Collected, ExpireParams, Expired, Hold, Metadata, MetadataError,
    Project, Retention, UnneededChunks,
};
use lfsfs_proto::convert::{ProtocolError, id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{ProjectId, SessionId, VersionId, VersionNumber};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Coordinator;
use super::compaction::Compacted;
use super::request::{invalid, project_id, project_name};
use crate::blocking::{IntoFault as _, blocking};
use crate::config::GarbageSettings;

/// How long a version is held without being renewed.
const HOLD: Duration = Duration::from_secs(10 * 60);
/// Projects of one page.
const PROJECTS_AT_ONCE: usize = 100;
/// Most projects that one answer names.
const PROJECTS_TOLD: usize = 10_000;

/// Returns which versions stay in a collection that goes on by itself.
fn retention(settings: &GarbageSettings) -> Retention {
    Retention {
        keep: Some(settings.keep).filter(|keep| *keep > 0),
        older_than: Some(settings.older_than).filter(|age| !age.is_zero()),
        from: None,
        grace: settings.grace,
    }
}

/// What was collected of all that was looked at.
#[derive(Debug, Default)]
struct Report {
    expired: Expired,
    collected: Collected,
    chunks: UnneededChunks,
    compacted: Compacted,
    /// Deleted projects that went for good.
    purged: u64,
    projects: Vec<String>,
}

impl Report {
    fn add(&mut self, project: &Project, expired: Expired) {
        self.expired.versions += expired.versions;
        self.expired.rows += expired.rows;
        self.expired.is_unfinished |= expired.is_unfinished;
        if self.projects.len() < PROJECTS_TOLD {
            self.projects.push(project.name.to_string());
        }
    }

    fn log(&self) {
        tracing::info!(
            versions = self.expired.versions,
            rows = self.expired.rows,
            purged_projects = self.purged,
            contents = self.collected.contents,
            chunks = self.chunks.count,
            chunk_bytes = self.chunks.bytes,
            rewritten_chunks = self.compacted.chunks,
            new_chunks = self.compacted.new_chunks,
            unfinished = self.expired.is_unfinished,
            "garbage was collected"
        );
    }
}

impl From<Report> for v1::GcResponse {
    fn from(report: Report) -> Self {
        Self {
            rows: report.expired.rows,
            contents: report.collected.contents,
            projects: report.projects,
            versions: report.expired.versions,
            content_bytes: report.collected.content_bytes,
            chunks: report.chunks.count,
            chunk_bytes: report.chunks.bytes,
            unfinished: report.expired.is_unfinished,
            rewritten_chunks: report.compacted.chunks,
            new_chunks: report.compacted.new_chunks,
            rewritten_bytes: report.compacted.bytes,
            purged_projects: report.purged,
        }
    }
}

/// Expires versions of one project.
pub(super) async fn of_project(
    coordinator: &Arc<Coordinator>,
    request: v1::GcProjectRequest,
) -> Result<v1::GcResponse, Fault> {
    let name = project_name(&request.project)?;
    let retention = asked_retention(Retention {
        keep: Some(request.keep_versions),
        older_than: request.older_than_secs.map(Duration::from_secs),
        from: request.from_version.map(VersionNumber),
        grace: coordinator.grace(request.grace_secs),
    })?;
    let _place = coordinator.collect_alone()?;
    let project = coordinator
        .metadata(move |metadata| metadata.project(&name))
        .await?;
    let mut report = Report::default();
    let expired = coordinator
        .expire(project.id, retention, request.dry_run)
        .await?;
    report.add(&project, expired);
    report.log();
    Ok(report.into())
}

/// Expires versions of projects that are chosen at random.
pub(super) async fn of_random_projects(
    coordinator: &Arc<Coordinator>,
    request: v1::GcRandomProjectsRequest,
) -> Result<v1::GcResponse, Fault> {
    let retention = asked_retention(Retention {
        keep: Some(request.keep_versions),
        older_than: request.older_than_secs.map(Duration::from_secs),
        from: request.from_version.map(VersionNumber),
        grace: coordinator.grace(request.grace_secs),
    })?;
    let sample = sample(request.sample)?;
    let _place = coordinator.collect_alone()?;
    let mut report = Report::default();
    coordinator
        .expire_some(sample, retention, request.dry_run, &mut report)
        .await?;
    report.log();
    Ok(report.into())
}

/// Removes contents that no version names, has chunks dropped in which none lies, and rewrites those of which little
/// is needed, and small ones. A part of all contents does not tell how much is needed of a chunk.
pub(super) async fn of_contents(
    coordinator: &Arc<Coordinator>,
    request: v1::GcContentsRequest,
) -> Result<v1::GcResponse, Fault> {
    let sample = sample(request.sample)?;
    let grace = coordinator.grace(request.grace_secs);
    let mut report = Report::default();
    let place = coordinator.collect_alone()?;
    coordinator
        .collect(sample, grace, request.dry_run, &mut report)
        .await?;
    drop(place);
    if sample >= 100.0 && request.dry_run {
        report.compacted = coordinator.count_compaction().await?;
    } else if sample >= 100.0 {
        coordinator.rewrite(None, grace, &mut report).await;
    }
    report.log();
    Ok(report.into())
}

/// Holds a version for a client.
pub(super) async fn hold(
    coordinator: &Coordinator,
    request: v1::HoldVersionRequest,
) -> Result<v1::HoldVersionResponse, Fault> {
    let version = (request.version, request.version_id);
    let hold = hold_of(&request.project_id, version, &request.holder_id)?;
    let held = coordinator.metadata(move |metadata| metadata.hold_version(&hold, HOLD));
    held.await?;
    Ok(v1::HoldVersionResponse {
        lasts_secs: u32::try_from(HOLD.as_secs()).unwrap_or(u32::MAX),
    })
}

/// Ends a hold.
pub(super) async fn release(
    coordinator: &Coordinator,
    request: v1::ReleaseVersionRequest,
) -> Result<v1::ReleaseVersionResponse, Fault> {
    let version = (request.version, request.version_id);
    let hold = hold_of(&request.project_id, version, &request.holder_id)?;
    let released = coordinator.metadata(move |metadata| metadata.release_version(&hold));
    released.await?;
    Ok(v1::ReleaseVersionResponse {})
}

fn hold_of(project: &[u8], version: (u64, Vec<u8>), holder: &[u8]) -> Result<Hold, Fault> {
    let (number, version_id) = version;
    let exact = lfsfs_metadata::ExactVersion {
        number: VersionNumber(number),
        id: id("version_id", &version_id, VersionId::from_slice)
            .map_err(ProtocolError::into_fault)?,
    };
    Ok(Hold {
        project: project_id(project)?,
        version: exact,
        holder: id("holder_id", holder, SessionId::from_slice)
            .map_err(ProtocolError::into_fault)?,
    })
}

/// Takes what a caller asks for, where 0 versions to keep are no reason. Fails if no version could expire then.
fn asked_retention(asked: Retention) -> Result<Retention, Fault> {
    let retention = Retention {
        keep: asked.keep.filter(|keep| *keep > 0),
        ..asked
    };
    if retention.expires_any() {
        return Ok(retention);
    }
    let text =
        "keep_versions is 0 and older_than_secs is missing: one of them says which versions stay";
    Err(Fault::new(FaultKind::Invalid, text))
}

/// Takes a part in percent.
fn sample(percent: f64) -> Result<f64, Fault> {
    if percent > 0.0 && percent <= 100.0 {
        return Ok(percent);
    }
    Err(invalid(&format!(
        "sample is wrong: {percent} percent; it is above 0, and at most 100"
    )))
}

impl Coordinator {
    /// Collects garbage now and then, until it is dropped.
    pub(crate) async fn keep_collecting(self: &Arc<Self>) {
        let settings = self.garbage;
        if settings.every.is_zero() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(settings.every).await;
            let Ok(place) = self.collect_alone() else {
                continue;
            };
            let mut report = Report::default();
            let collected = self.collect_all(&settings, &mut report).await;
            drop(place);
            match collected {
                Ok(()) => self.rewrite_until_next(&settings, &mut report).await,
                Err(fault) => {
                    tracing::warn!(reason = fault.message, "garbage cannot be collected");
                }
            }
        }
    }

    /// Rewrites chunks; what is left when the next collection is due goes on behind it.
    async fn rewrite_until_next(self: &Arc<Self>, settings: &GarbageSettings, report: &mut Report) {
        let end = Instant::now() + settings.every;
        self.rewrite(Some(end), settings.grace, report).await;
        report.log();
    }

    /// Rewrites chunks, beside which collections may go on, and has the old ones dropped if their grace is over. If it
    /// fails, what is left stays as it is until the next time: no caller needs it.
    async fn rewrite(self: &Arc<Self>, end: Option<Instant>, grace: Duration, report: &mut Report) {
        let begun = Instant::now();
        if let Err(fault) = self.compact(end, &mut report.compacted).await {
            tracing::warn!(reason = fault.message, "chunks cannot be rewritten now");
        }
        if report.compacted.chunks == 0 || begun.elapsed() < grace {
            return;
        }
        let Ok(_place) = self.collect_alone() else {
            return;
        };
        match self.mark_unneeded(grace).await {
            Ok(unneeded) => {
                report.chunks.count += unneeded.count;
                report.chunks.bytes += unneeded.bytes;
            }
            Err(fault) => {
                tracing::warn!(
                    reason = fault.message,
                    "old chunks are dropped another time"
                );
            }
        }
    }

    async fn collect_all(
        self: &Arc<Self>,
        settings: &GarbageSettings,
        report: &mut Report,
    ) -> Result<(), Fault> {
        self.expire_some(100.0, retention(settings), false, report)
            .await?;
        self.collect(100.0, settings.grace, false, report).await
    }

    /// Returns how long what was needed a moment ago stays.
    fn grace(&self, asked: Option<u64>) -> Duration {
        asked.map_or(self.garbage.grace, Duration::from_secs)
    }

    /// Takes the one place for what reads all metadata.
    pub(super) fn collect_alone(&self) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(&self.collections)
            .try_acquire_owned()
            .map_err(|_| {
                let text = "garbage is being collected, or usage counted, by another call; try again later";
                Fault::new(FaultKind::Unavailable, text)
            })
    }

    /// Calls the metadata, with this coordinator at hand.
    async fn with_metadata<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Self, &Metadata) -> Result<T, MetadataError> + Send + 'static,
    ) -> Result<T, Fault> {
        let coordinator = Arc::clone(self);
        blocking(move || call(&coordinator, &coordinator.metadata)).await
    }

    async fn expire(
        self: &Arc<Self>,
        project: ProjectId,
        retention: Retention,
        dry_run: bool,
    ) -> Result<Expired, Fault> {
        self.with_metadata(move |coordinator, metadata| {
            metadata.expire_versions(&ExpireParams {
                project,
                retention,
                in_use: &|| coordinator.bases_of(project),
                dry_run,
            })
        })
        .await
    }

    /// Expires versions of projects, of each with a chance of `sample` percent. One that is deleted meanwhile is passed
    /// over.
    async fn expire_some(
        self: &Arc<Self>,
        sample: f64,
        retention: Retention,
        dry_run: bool,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let last = after.take();
            let page = self
                .metadata(move |metadata| metadata.list_projects(last.as_ref(), PROJECTS_AT_ONCE))
                .await?;
            after = page.items.last().map(|project| project.name.clone());
            for project in page.items {
                if rand::random_range(0.0..100.0) >= sample {
                    continue;
                }
                match self.expire(project.id, retention, dry_run).await {
                    Ok(expired) => report.add(&project, expired),
                    Err(fault) if fault.kind == FaultKind::ProjectNotFound => {}
                    Err(fault) => return Err(fault),
                }
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    async fn collect(
        self: &Arc<Self>,
        sample: f64,
        grace: Duration,
        dry_run: bool,
        report: &mut Report,
    ) -> Result<(), Fault> {
        let kept = self.garbage.deleted_kept;
        let purged = self.metadata(move |metadata| metadata.purge_kept_for(kept, dry_run));
        report.purged = purged.await?;
        // Contents of the second in which it begins stay: what was needed before this call must not.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let params = CollectParams {
            grace_secs: grace.as_secs(),
            uploads_since: self.uploads().since(self.clock.monotonic()),
            sample_percent: sample,
            marks_bytes: self.marks_bytes,
            dry_run,
        };
        let collected = self.metadata(move |metadata| metadata.collect_contents(&params));
        report.collected = collected.await?;
        if dry_run {
            return Ok(());
        }
        report.chunks = self.mark_unneeded(grace).await?;
        Ok(())
    }

    /// Has the datanodes of chunks drop them in which nothing lies.
    async fn mark_unneeded(self: &Arc<Self>, grace: Duration) -> Result<UnneededChunks, Fault> {
        let unneeded = self.with_metadata(move |coordinator, metadata| {
            metadata.mark_unneeded_chunks(grace.as_secs(), |chunks| coordinator.drop_chunks(chunks))
        });
        let unneeded = unneeded.await?;
        self.cluster().request_scan();
        Ok(unneeded)
    }

    /// Has the datanodes of chunks drop them.
    fn drop_chunks(&self, chunks: Vec<ChunkHolders>) {
        let copies = chunks.into_iter().map(|holders| self.copies_of(holders));
        let copies = copies.collect();
        self.cluster().lost(copies, self.clock.monotonic());
    }

    /// Returns the versions of a project on which commits are under way.
    fn bases_of(&self, project: ProjectId) -> BTreeSet<VersionNumber> {
        self.sessions().bases_of(project)
    }
}
