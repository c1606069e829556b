//! The configuration that a server starts with. docs/configuration.md describes every setting.

use std::path::PathBuf;
use std::time::Duration;

use lfsfs_cluster::Placement;
use lfsfs_types::limits::CHUNK_LEN_DEFAULT;

use crate::meta_place::MetaPlace;

/// Free bytes of the disk that stay free, unless told otherwise.
pub(crate) const RESERVE_DEFAULT: u64 = 256 * 1024 * 1024;

/// Memory that the server may take, unless told otherwise.
pub(crate) const MEMORY_DEFAULT: u64 = 512 * MIB;
/// The least that works: the share of one connection, a sixteenth of this, holds what the longest
/// message of each call needs with its answer.
pub(crate) const MEMORY_MIN: u64 = 256 * MIB;
/// Connections at the same time, unless told otherwise.
pub(crate) const CONNECTIONS_DEFAULT: u32 = 1024;

const MIB: u64 = 1024 * 1024;
/// The least window of a connection that HTTP/2 knows.
const WINDOW_MIN: u32 = 64 * 1024;
/// A longer window would let one client fill too much of the memory.
const WINDOW_MAX: u32 = 8 * 1024 * 1024;

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Coordinator and one datanode.
    All,
    /// The coordinator alone.
    Coordinator,
    /// A datanode of the coordinator at this address, host:port.
    DataNode {
        /// host:port.
        coordinator: String,
    },
}

impl Role {
    /// Returns the word for it on the command line.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Coordinator => "coordinator",
            Self::DataNode { .. } => "datanode",
        }
    }
}

/// How a server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// What it is.
    pub role: Role,
    /// Where it keeps everything.
    pub data: PathBuf,
    /// Where a datanode keeps chunks besides: directories on other disks.
    pub more_data: Vec<PathBuf>,
    /// Where the coordinator keeps the metadata; none means in the data directory.
    pub meta: Option<MetaPlace>,
    /// How much of the disk stays free.
    pub reserve: u64,
    /// Bytes of memory that the server may take in all.
    pub memory: u64,
    /// Most connections at the same time.
    pub connections: u32,
    /// host:port under which clients reach the datanode; none means the listener's address.
    pub advertise: Option<String>,
    /// How long calls in flight may go on after the server is told to stop.
    pub grace: Duration,
    /// How it takes part in a cluster.
    pub cluster: ClusterSettings,
    /// What garbage the coordinator collects by itself.
    pub garbage: GarbageSettings,
    /// Whether a caller may bring all projects back to earlier versions, and delete others: for tests.
    pub development: bool,
}

/// How a server takes part in a cluster. A coordinator uses what is said of copies, a datanode what is
/// said of its place and its disk, `lfsfsd all` both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Copies that each chunk should have, 1 to 16.
    pub replication: u32,
    /// Copies that a chunk must have before its upload is acknowledged, 1 to `replication`.
    pub min_replicas: u32,
    /// How datanodes are chosen for a chunk.
    pub placement: Placement,
    /// How long a datanode may be silent before its chunks are copied to others.
    pub repair_after: Duration,
    /// Bytes a second that all repair together may move.
    pub repair_rate: u64,
    /// By how many hundredths the used parts of datanodes may differ before chunks move.
    pub rebalance_above: u8,
    /// Bytes that clients put into a chunk before they begin the next.
    pub chunk_size: u64,
    /// What fails together with this datanode, such as a rack; empty if that is not told.
    pub zone: String,
    /// Bytes that chunks may take on this datanode; 0 means what the disk has.
    pub capacity: u64,
    /// In what time this datanode reads each of its chunks again, to find rot.
    pub scrub_period: Duration,
}

impl Default for ClusterSettings {
    /// Returns those of `lfsfsd all` without options: its one datanode can have one copy.
    fn default() -> Self {
        Self {
            replication: 1,
            min_replicas: 1,
            placement: Placement::default(),
            repair_after: Duration::from_secs(300),
            repair_rate: 200_000_000,
            rebalance_above: 10,
            chunk_size: CHUNK_LEN_DEFAULT,
            zone: String::new(),
            capacity: 0,
            scrub_period: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

/// What is collected by itself, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbageSettings {
    /// Time between two collections; zero for none.
    pub every: Duration,
    /// How long what was needed a moment ago stays.
    pub grace: Duration,
    /// So many of the newest versions of each project stay; 0 for all.
    pub keep: u64,
    /// Versions expire that were the newest one so long ago; zero for none.
    pub older_than: Duration,
    /// How long a deleted project can be brought back; zero for not at all.
    pub deleted_kept: Duration,
    /// Bytes a second that rewriting chunks may read and write; 0 if none are rewritten.
    pub rate: u64,
}

impl Default for GarbageSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(3600),
            grace: Duration::from_secs(24 * 3600),
            keep: 0,
            older_than: Duration::ZERO,
            deleted_kept: Duration::from_secs(7 * 24 * 3600),
            rate: 32 << 20,
        }
    }
}

impl ServerConfig {
    /// Returns the configuration of `lfsfsd all` without options.
    pub fn all(data: impl Into<PathBuf>) -> Self {
        Self {
            role: Role::All,
            data: data.into(),
            more_data: Vec::new(),
            meta: None,
            reserve: RESERVE_DEFAULT,
            memory: MEMORY_DEFAULT,
            connections: CONNECTIONS_DEFAULT,
            advertise: None,
            grace: Duration::from_secs(10),
            cluster: ClusterSettings::default(),
            garbage: GarbageSettings::default(),
            development: false,
        }
    }

    /// Returns how the memory is divided: three eighths are for what clients sent and the server has not
    /// read yet, a quarter for what calls hold, another for the metadata, and the rest for the program: a
    /// quarter of that for what commits stage, another for the filter of contents. Of the metadata's quarter a
    /// quarter is for rows of contents that are written later, the rest for pages.
    pub(crate) fn memory_plan(&self) -> MemoryPlan {
        let bytes = |part: u64| usize::try_from(part).unwrap_or(usize::MAX);
        let windows = self.memory / 8 * 3;
        let window = windows / u64::from(self.connections.max(1));
        let window = u32::try_from(window).unwrap_or(u32::MAX);
        let connection_window = window.clamp(WINDOW_MIN, WINDOW_MAX);
        MemoryPlan {
            calls: bytes(self.memory / 4),
            pages: bytes(self.memory / 16 * 3),
            staging: bytes(self.memory / 64),
            filter: bytes(self.memory / 32),
            late: bytes(self.memory / 16),
            marks: bytes(self.memory / 64),
            connection_window,
            // A client that waits for one upload must be able to go on with others.
            stream_window: (connection_window / STREAMS_PER_WINDOW).max(STREAM_WINDOW_MIN),
        }
    }
}

/// Streams of one connection that may wait, each with a full window, before it stops.
const STREAMS_PER_WINDOW: u32 = 4;
const STREAM_WINDOW_MIN: u32 = 16 * 1024;

/// How the memory of a server is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryPlan {
    /// Bytes that all calls together may hold.
    pub(crate) calls: usize,
    /// Bytes that pages of the metadata may take.
    pub(crate) pages: usize,
    /// Bytes that staged changes may take, and again those that pages of the scratch store may.
    pub(crate) staging: usize,
    /// Bytes that tell which contents are surely unknown.
    pub(crate) filter: usize,
    /// Bytes of rows of contents that are written later.
    pub(crate) late: usize,
    /// Bytes that the marks of a collection of garbage may take.
    pub(crate) marks: usize,
    /// Bytes that a client may send on one connection before the server has read them.
    pub(crate) connection_window: u32,
    /// Those of one call.
    pub(crate) stream_window: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_fit_the_memory() {
        for (memory, connections) in [(512, 1024), (256, 512), (4096, 10_000), (1024, 16)] {
            let config = ServerConfig {
                memory: memory * MIB,
                connections,
                ..ServerConfig::all("data")
            };
            let plan = config.memory_plan();
            let windows = u64::from(plan.connection_window) * u64::from(connections);
            let metadata = plan.pages + plan.late + plan.filter + plan.marks;
            let parts = windows + (plan.calls + metadata + 2 * plan.staging) as u64;
            assert!(parts <= config.memory / 64 * 61, "{plan:?}");
            assert!(plan.stream_window < plan.connection_window);
        }
    }
}
