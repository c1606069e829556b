//! Row k: a cluster of datanodes: how fast chunks come from it and go to it, what copies cost, how fast they are made
//! again, and what one datanode costs that is dead or slow.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use lfsfs_remote::{ChunkLocation, Remote};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::Row;
use super::chunks::{AT_ONCE, SmallChunks, make, store};
use super::copies::{Copies, Slow};
use super::line::{Bar, Line, Unit};
use super::load::{connect, newest, runtime};
use super::setting::{PROJECT, Setting};
use crate::sizes::to_float;

/// As fast as three fifths of what a socket gives.
const BAR: Bar = Bar::Ratio {
    bar: 1.0 / 0.6,
    stretch: 1.0 / 0.9,
};
const NODES: usize = 3;
/// Chunks that are read, 512 MiB together.
const READ: usize = 64;
const CHUNK_LEN: usize = 8 << 20;
/// Two of three datanodes have each of these; one that is lost has had a thousand.
const REPAIRED: usize = 1_500;
const REPAIRED_LEN: usize = 256 << 10;
const FRAME_LEN: usize = 256 << 10;
const REPAIR_AFTER: &str = "5";

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let seconds = |what: &str, bar| Line::new(Row::K, what, Unit::Seconds, bar);
    let rate = |what: &str| Line::new(Row::K, what, Unit::PerSecond, Bar::None);
    let mut one = seconds("512 MiB of chunks / TCP, SHA-256", BAR);
    let mut eight = seconds("  8 at once", Bar::None);
    let mut small = rate("chunks of 64 KiB stored, 3 copies / 1");
    let mut import = seconds("import, 3 copies / 1", Bar::None);
    let mut import_slow = seconds("  a datanode slow / none", Bar::None);
    let mut export = seconds("export, a datanode dead / all there", Bar::None);
    let mut export_slow = seconds("  a datanode slow / none", Bar::None);
    let mut repair = seconds("1,000 chunks of 256 KiB copied again", Bar::None);
    let mut repair_rate = rate("  chunks a second");
    setting.rounds(|_| {
        let streams = streams(setting)?;
        one.push(streams.tcp.as_secs_f64(), streams.chunks.as_secs_f64());
        eight.push(streams.tcp_8.as_secs_f64(), streams.chunks_8.as_secs_f64());
        let stored = SmallChunks::measure(setting, NODES)?;
        small.push(stored.copies_1, stored.copies_3);
        let copies = Copies::measure(setting, NODES)?;
        import.push(copies.import_1.as_secs_f64(), copies.import_3.as_secs_f64());
        export.push(
            copies.export.as_secs_f64(),
            copies.export_dead.as_secs_f64(),
        );
        let Slow { healthy, slow } = Slow::measure(setting, NODES)?;
        import_slow.push(healthy.import.as_secs_f64(), slow.import.as_secs_f64());
        export_slow.push(healthy.export.as_secs_f64(), slow.export.as_secs_f64());
        let repaired = repaired(setting)?;
        repair.push_ours(repaired.took.as_secs_f64());
        repair_rate.push_ours(repaired.chunks / repaired.took.as_secs_f64());
        Ok(())
    })?;
    let imports = [import, import_slow];
    let exports = [export, export_slow];
    let lines = [one, eight, small].into_iter().chain(imports);
    Ok(lines.chain(exports).chain([repair, repair_rate]).collect())
}

/// How long the same bytes took in four ways.
struct Streams {
    tcp: Duration,
    tcp_8: Duration,
    chunks: Duration,
    chunks_8: Duration,
}

fn streams(setting: &Setting) -> anyhow::Result<Streams> {
    let cluster = setting.start_cluster("cluster", NODES, &[])?;
    let address = cluster.coordinator.address().to_owned();
    let measured = runtime()?.block_on(async {
        let remote = connect(&address)?;
        let project = newest(&*remote, PROJECT).await?.project.id;
        let stored = make(READ, CHUNK_LEN)?;
        store(&remote, project, &stored).await?;
        let contents: Vec<_> = stored.iter().map(|chunk| chunk.content).collect();
        let resolved = remote.resolve(project, &contents).await?;
        let chunks: Vec<_> = resolved.chunks.into_values().collect();
        ensure!(chunks.len() == READ, "{} chunks are found", chunks.len());
        let bytes = Arc::new(
            stored
                .into_iter()
                .map(|chunk| chunk.bytes)
                .collect::<Vec<_>>(),
        );
        Ok(Streams {
            tcp: tcp(&bytes, 1)?,
            chunks: read(&remote, &chunks, 1).await?,
            tcp_8: tcp(&bytes, AT_ONCE)?,
            chunks_8: read(&remote, &chunks, AT_ONCE).await?,
        })
    });
    drop(cluster);
    setting.remove("cluster")?;
    measured
}

/// Reads chunks through the client, which verifies each frame.
async fn read(
    remote: &Arc<dyn Remote>,
    chunks: &[Arc<ChunkLocation>],
    at_once: usize,
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for part in chunks.chunks(chunks.len().div_ceil(at_once)) {
        let (remote, part) = (Arc::clone(remote), part.to_vec());
        running.spawn(async move {
            for chunk in part {
                remote.read_chunk(&chunk, 0..chunk.info.len).await?;
            }
            Ok::<_, lfsfs_remote::RemoteError>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(started.elapsed())
}

/// Sends the same bytes over plain connections, and hashes them at the other end.
fn tcp(chunks: &Arc<Vec<Bytes>>, at_once: usize) -> anyhow::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sent = Arc::clone(chunks);
    let sending = thread::spawn(move || send_all(&listener, &sent, at_once));
    let started = Instant::now();
    let readers: Vec<_> = (0..at_once)
        .map(|_| thread::spawn(move || receive(address)))
        .collect();
    let mut received = 0;
    for reader in readers {
        received += reader
            .join()
            .map_err(|_| anyhow::anyhow!("a reader panicked"))??;
    }
    let took = started.elapsed();
    sending
        .join()
        .map_err(|_| anyhow::anyhow!("a sender panicked"))??;
    let len: usize = chunks.iter().map(Bytes::len).sum();
    ensure!(received == len, "{received} bytes came of {len}");
    Ok(took)
}

fn send_all(listener: &TcpListener, chunks: &[Bytes], at_once: usize) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let parts = chunks.chunks(chunks.len().div_ceil(at_once));
        for part in parts {
            let (mut stream, _) = listener.accept()?;
            scope.spawn(move || part.iter().try_for_each(|chunk| stream.write_all(chunk)));
        }
        Ok(())
    })
}

fn receive(address: SocketAddr) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    let (mut buffer, mut hash, mut received) = (vec![0; FRAME_LEN], Sha256::new(), 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            len => {
                hash.update(&buffer[..len]);
                received += len;
            }
        }
    }
    std::hint::black_box(hash.finalize());
    Ok(received)
}

/// How long it took to make copies again.
struct Repaired {
    took: Duration,
    chunks: f64,
}

fn repaired(setting: &Setting) -> anyhow::Result<Repaired> {
    let arguments = ["--replication", "2", "--repair-after", REPAIR_AFTER];
    let mut cluster = setting.start_cluster("cluster", NODES, &arguments)?;
    let address = cluster.coordinator.address().to_owned();
    runtime()?.block_on(async {
        let remote = connect(&address)?;
        let project = newest(&*remote, PROJECT).await?.project.id;
        store(&remote, project, &make(REPAIRED, REPAIRED_LEN)?).await
    })?;
    cluster.wait_until_whole()?;
    cluster.kill_node(0)?;
    let begun = cluster.wait_until(|status| status["waiting"] != 0 || status["repairing"] != 0)?;
    let ended = cluster.wait_until_whole()?;
    let copied = cluster.status()?["copied"].as_u64().context("a number")?;
    drop(cluster);
    setting.remove("cluster")?;
    Ok(Repaired {
        took: ended.saturating_duration_since(begun),
        chunks: to_float(copied),
    })
}
