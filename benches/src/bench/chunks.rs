//! Chunks that are stored through the client, with nothing around them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use lfsfs_remote::Remote;
use lfsfs_types::chunk::ChunkBuilder;
use lfsfs_types::{ChunkId, Content, ContentId, ProjectId};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::load::{connect, newest, runtime};
use super::setting::{PROJECT, Setting};
use crate::interrupt;
use crate::sizes::to_float;

pub(super) const AT_ONCE: usize = 8;

const CONTENT_LEN: usize = 1 << 20;
/// Small chunks, whose number and not whose bytes cost.
const SMALL: usize = 2_000;
const SMALL_LEN: usize = 64 << 10;

/// A chunk of contents that do not compress, and one of these.
pub(super) struct NewChunk {
    id: ChunkId,
    pub(super) bytes: Bytes,
    pub(super) content: ContentId,
}

/// Makes chunks that are the same in each run.
pub(super) fn make(count: usize, len: usize) -> anyhow::Result<Vec<NewChunk>> {
    let mut random = SmallRng::seed_from_u64(len as u64);
    let one = || {
        interrupt::check()?;
        chunk(&mut random, len)
    };
    std::iter::repeat_with(one).take(count).collect()
}

fn chunk(random: &mut SmallRng, len: usize) -> anyhow::Result<NewChunk> {
    let mut builder = ChunkBuilder::new(len as u64);
    let mut first = None;
    for _ in 0..len.div_ceil(CONTENT_LEN) {
        let bytes: Vec<u8> = (0..len.min(CONTENT_LEN)).map(|_| random.random()).collect();
        let id = Content::of_bytes(&bytes).id;
        builder.add(id, &bytes)?;
        first.get_or_insert(id);
    }
    let built = builder.finish();
    Ok(NewChunk {
        id: built.id,
        bytes: Bytes::from(built.bytes),
        content: first.context("a content")?,
    })
}

/// Stores chunks in the cluster, several at once.
pub(super) async fn store(
    remote: &Arc<dyn Remote>,
    project: ProjectId,
    chunks: &[NewChunk],
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for chunk in chunks {
        interrupt::check()?;
        let (remote, id, bytes) = (Arc::clone(remote), chunk.id, chunk.bytes.clone());
        running.spawn(async move { remote.store_chunk(project, id, bytes).await });
        if running.len() >= AT_ONCE {
            running.join_next().await.context("an upload")???;
        }
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// How many small chunks are stored in a second.
pub(super) struct SmallChunks {
    pub(super) copies_1: f64,
    pub(super) copies_3: f64,
}

impl SmallChunks {
    /// `nodes` datanodes are there in both cases.
    pub(super) fn measure(setting: &Setting, nodes: usize) -> anyhow::Result<Self> {
        let chunks = make(SMALL, SMALL_LEN)?;
        let rate = |arguments: &[&str]| {
            let took = store_all(setting, nodes, arguments, &chunks)?;
            anyhow::Ok(to_float(SMALL as u64) / took.as_secs_f64())
        };
        Ok(Self {
            copies_1: rate(&["--replication", "1"])?,
            copies_3: rate(&[])?,
        })
    }
}

fn store_all(
    setting: &Setting,
    nodes: usize,
    arguments: &[&str],
    chunks: &[NewChunk],
) -> anyhow::Result<Duration> {
    let cluster = setting.start_cluster("cluster", nodes, arguments)?;
    let took = runtime()?.block_on(async {
        let remote = connect(cluster.coordinator.address())?;
        let project = newest(&*remote, PROJECT).await?.project.id;
        let started = Instant::now();
        store(&remote, project, chunks).await?;
        anyhow::Ok(started.elapsed())
    })?;
    drop(cluster);
    setting.remove("cluster")?;
    Ok(took)
}
