//! What a coordinator tells of itself as metrics: the cluster, the metadata, and what all projects have.
//!
//! All of it stands in memory, but what projects have: that is counted in the background, now and then.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lfsfs_cluster::{Member, MemberState, RepairFigures, Summary};
use lfsfs_meta_store::{CacheFigures, DeviceFigures, EngineFigures};
use lfsfs_metadata::CountedProject;
use lfsfs_proto::status::Fault;

use super::Coordinator;
use super::compaction::Compacted;
use crate::figures::{Figures, Page};

/// Projects read at once; each may have a megabyte of patterns.
const PROJECTS_AT_ONCE: usize = 16;
/// The least time between two counts of the projects.
const COUNT_INTERVAL: Duration = Duration::from_secs(2);
/// How many times as long as a count the pause behind it is at least.
const PAUSE_FACTOR: u32 = 50;

/// What all projects have.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    projects: u64,
    versions: u64,
    objects: u64,
    bytes: u64,
    stored_bytes: u64,
}

impl Totals {
    fn add(&mut self, counted: &CountedProject) {
        self.projects += 1;
        self.versions += counted.project.head.number.0;
        self.objects += counted.counts.objects;
        self.bytes += counted.counts.bytes;
        self.stored_bytes += counted.stored;
    }
}

/// What is known of the cluster at one moment.
#[derive(Debug)]
struct ClusterNow {
    members: Vec<Member>,
    scan: Option<(Summary, Duration)>,
    repairs: RepairFigures,
}

/// The figures of a coordinator.
#[derive(Debug)]
pub(crate) struct CoordinatorFigures {
    coordinator: Arc<Coordinator>,
    /// Of the last count. Held for moments.
    totals: Mutex<Option<Totals>>,
}

impl CoordinatorFigures {
    pub(crate) fn new(coordinator: Arc<Coordinator>) -> Self {
        let totals = Mutex::new(None);
        Self {
            coordinator,
            totals,
        }
    }

    /// Counts what projects have, again and again, until it is dropped. However many there are, it takes a small
    /// part of the time.
    pub(crate) async fn keep_counting(&self) -> Infallible {
        let clock = &self.coordinator.clock;
        loop {
            let started = clock.monotonic();
            match self.count().await {
                Ok(totals) => *self.totals() = Some(totals),
                Err(fault) => {
                    tracing::warn!(reason = fault.message, "projects cannot be counted now");
                }
            }
            let took = clock.monotonic().saturating_duration_since(started);
            tokio::time::sleep(COUNT_INTERVAL.max(took * PAUSE_FACTOR)).await;
        }
    }

    async fn count(&self) -> Result<Totals, Fault> {
        let (mut totals, mut after) = (Totals::default(), None);
        loop {
            let from = after.take();
            let read = move |metadata: &lfsfs_metadata::Metadata| {
                metadata.count_projects(from.as_ref(), PROJECTS_AT_ONCE)
            };
            let page = self.coordinator.metadata(read).await?;
            page.items.iter().for_each(|counted| totals.add(counted));
            match page.items.last() {
                Some(last) if page.more => after = Some(last.project.name.clone()),
                _ => return Ok(totals),
            }
        }
    }

    fn totals(&self) -> std::sync::MutexGuard<'_, Option<Totals>> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster_now(&self) -> ClusterNow {
        let now = self.coordinator.clock.monotonic();
        let mut cluster = self.coordinator.cluster();
        cluster.tick(now);
        let age = |(summary, at): (Summary, _)| (summary, now.saturating_duration_since(at));
        ClusterNow {
            members: cluster.members().all(),
            scan: cluster.summary().map(age),
            repairs: cluster.repairs(),
        }
    }
}

impl Figures for CoordinatorFigures {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let cluster = self.cluster_now();
        write_members(page, &cluster.members)?;
        if let Some((summary, age)) = cluster.scan {
            write_scan(page, summary, age)?;
        }
        write_repairs(page, cluster.repairs)?;
        write_compaction(page, self.coordinator.compacted.load())?;
        let totals = *self.totals();
        if let Some(totals) = totals {
            write_totals(page, totals)?;
        }
        let (engine, figures) = self.coordinator.metadata.engine();
        write_engine(page, engine, figures)
    }
}

fn write_members(page: &mut Page<'_>, members: &[Member]) -> fmt::Result {
    let count = |state| members.iter().filter(|it| it.state == state).count() as u64;
    let states = [
        ("available", MemberState::Available),
        ("suspect", MemberState::Suspect),
        ("offline", MemberState::Offline),
    ];
    page.gauges(
        "lfsfs_nodes",
        "Datanodes by state.",
        states.map(|(name, state)| ([("state", name)], count(state))),
    )?;
    let draining = members.iter().filter(|it| it.is_draining);
    page.gauge(
        "lfsfs_nodes_draining",
        "Datanodes that are to be taken away.",
        draining.count(),
    )?;
    let sum = |bytes: fn(&Member) -> u64| members.iter().map(bytes).sum::<u64>();
    page.gauge(
        "lfsfs_cluster_capacity_bytes",
        "Bytes that all datanodes can hold.",
        sum(|it| it.capacity),
    )?;
    page.gauge(
        "lfsfs_cluster_used_bytes",
        "Bytes of these that are used.",
        sum(|it| it.used),
    )?;
    page.gauge(
        "lfsfs_cluster_chunk_bytes",
        "Bytes of all chunks, each copy too.",
        sum(|it| it.chunk_bytes),
    )
}

fn write_scan(page: &mut Page<'_>, summary: Summary, age: Duration) -> fmt::Result {
    page.gauge("lfsfs_chunks", "Chunks at the last scan.", summary.chunks)?;
    page.gauge(
        "lfsfs_chunks_under_replicated",
        "Chunks with fewer copies than they should have, at the last scan.",
        summary.too_few,
    )?;
    page.gauge(
        "lfsfs_chunks_missing",
        "Chunks that no datanode that answers has, at the last scan.",
        summary.unreachable,
    )?;
    page.gauge(
        "lfsfs_chunks_over_replicated",
        "Chunks with more copies than they should have, at the last scan.",
        summary.too_many,
    )?;
    page.gauge(
        "lfsfs_scan_age_seconds",
        "Time since the last scan ended.",
        age.as_secs_f64(),
    )
}

fn write_repairs(page: &mut Page<'_>, repairs: RepairFigures) -> fmt::Result {
    page.gauge(
        "lfsfs_repair_waiting_chunks",
        "Chunks that wait for repair.",
        repairs.waiting,
    )?;
    page.gauge(
        "lfsfs_repair_moving_chunks",
        "Chunks that wait to move to emptier datanodes.",
        repairs.to_move,
    )?;
    page.counter(
        "lfsfs_repair_moved_chunks_total",
        "Copies that were made to move a chunk.",
        repairs.moved,
    )?;
    page.gauge(
        "lfsfs_repair_running_chunks",
        "Chunks that are copied or dropped now.",
        repairs.under_way,
    )?;
    page.gauge(
        "lfsfs_repair_waiting_bytes",
        "Bytes of the chunks that wait for repair or are repaired.",
        repairs.waiting_bytes,
    )?;
    page.counter(
        "lfsfs_repair_copied_chunks_total",
        "Copies that repair made.",
        repairs.copied,
    )?;
    page.counter(
        "lfsfs_repair_copied_bytes_total",
        "Bytes of these copies.",
        repairs.copied_bytes,
    )?;
    page.counter(
        "lfsfs_repair_failures_total",
        "Copies and drops that failed.",
        repairs.failed,
    )
}

fn write_compaction(page: &mut Page<'_>, compacted: Compacted) -> fmt::Result {
    page.counter(
        "lfsfs_gc_rewritten_chunks_total",
        "Chunks whose contents were moved to new ones.",
        compacted.chunks,
    )?;
    page.counter(
        "lfsfs_gc_new_chunks_total",
        "Chunks that were made of these contents.",
        compacted.new_chunks,
    )?;
    page.counter(
        "lfsfs_gc_rewritten_bytes_total",
        "Bytes of all copies that come back by that.",
        compacted.bytes,
    )
}

fn write_totals(page: &mut Page<'_>, totals: Totals) -> fmt::Result {
    page.gauge("lfsfs_projects", "Projects.", totals.projects)?;
    page.gauge(
        "lfsfs_versions",
        "Versions of all projects.",
        totals.versions,
    )?;
    page.gauge(
        "lfsfs_objects",
        "Objects of the newest versions.",
        totals.objects,
    )?;
    page.gauge(
        "lfsfs_object_bytes",
        "Bytes of these objects.",
        totals.bytes,
    )?;
    page.gauge(
        "lfsfs_stored_bytes",
        "Bytes of the chunks that clients stored for projects, each once.",
        totals.stored_bytes,
    )
}

fn write_engine(page: &mut Page<'_>, name: &str, figures: EngineFigures) -> fmt::Result {
    let EngineFigures {
        file_bytes,
        cache,
        device,
        calls,
    } = figures;
    page.info(
        "lfsfs_meta_engine_info",
        "The engine of the metadata.",
        [("engine", name)],
    )?;
    page.gauge(
        "lfsfs_meta_file_bytes",
        "Bytes of the files of the engine.",
        file_bytes,
    )?;
    for (name, help, count) in [
        (
            "lfsfs_meta_batches_total",
            "Batches that were written.",
            calls.batches,
        ),
        (
            "lfsfs_meta_conflicts_total",
            "Batches that were made again, because a precondition did not hold.",
            calls.conflicts,
        ),
        (
            "lfsfs_meta_rows_written_total",
            "Rows that batches wrote or removed.",
            calls.rows_written,
        ),
        (
            "lfsfs_meta_row_bytes_written_total",
            "Bytes of these rows.",
            calls.bytes_written,
        ),
        ("lfsfs_meta_reads_total", "Reads.", calls.reads),
        (
            "lfsfs_meta_rows_read_total",
            "Rows that reads found.",
            calls.rows_read,
        ),
        ("lfsfs_meta_flushes_total", "Flushes.", calls.flushes),
        (
            "lfsfs_meta_slow_calls_total",
            "Calls of the engine above 100 ms.",
            calls.slow_calls,
        ),
    ] {
        page.counter(name, help, count)?;
    }
    if let Some(cache) = cache {
        write_cache(page, cache)?;
    }
    match device {
        Some(device) => write_device(page, device),
        None => Ok(()),
    }
}

fn write_cache(page: &mut Page<'_>, cache: CacheFigures) -> fmt::Result {
    page.gauge(
        "lfsfs_meta_cache_bytes",
        "Bytes of the pages in memory.",
        cache.bytes,
    )?;
    page.gauge(
        "lfsfs_meta_cache_limit_bytes",
        "Bytes of pages that there may be.",
        cache.bytes_max,
    )?;
    page.counter(
        "lfsfs_meta_cache_hits_total",
        "Reads of a page that was in memory.",
        cache.hits,
    )?;
    page.counter(
        "lfsfs_meta_cache_misses_total",
        "Reads of a page that came from the file.",
        cache.misses,
    )?;
    page.counter(
        "lfsfs_meta_cache_evictions_total",
        "Pages that made room for others.",
        cache.evictions,
    )
}

fn write_device(page: &mut Page<'_>, device: DeviceFigures) -> fmt::Result {
    page.counter(
        "lfsfs_meta_device_bytes_written_total",
        "Bytes that went to the disk.",
        device.bytes,
    )?;
    page.counter(
        "lfsfs_meta_device_syncs_total",
        "How often the engine waited for the disk.",
        device.syncs,
    )
}
