//! What breaks under an import or a version: processes, connections, disks, bits.

#[path = "faults/addresses.rs"]
mod addresses;
#[path = "faults/away.rs"]
mod away;
#[path = "faults/bad_disk.rs"]
mod bad_disk;
#[path = "faults/chaos.rs"]
mod chaos;
#[path = "faults/chunks.rs"]
mod chunks;
#[path = "faults/client_killed.rs"]
mod client_killed;
#[path = "faults/cluster.rs"]
mod cluster;
#[path = "faults/compaction.rs"]
mod compaction;
#[path = "faults/full_disk.rs"]
mod full_disk;
#[path = "faults/garbage.rs"]
mod garbage;
#[path = "faults/hostile.rs"]
mod hostile;
#[path = "faults/metadata.rs"]
mod metadata;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/no_server.rs"]
mod no_server;
#[path = "faults/partitions.rs"]
mod partitions;
#[path = "faults/power_loss.rs"]
mod power_loss;
#[path = "faults/requests.rs"]
mod requests;
#[path = "faults/restored.rs"]
mod restored;
#[path = "faults/server.rs"]
mod server;
#[path = "faults/server_killed.rs"]
mod server_killed;
#[path = "faults/service.rs"]
mod service;
#[path = "faults/steps.rs"]
mod steps;
#[path = "faults/support.rs"]
mod support;
#[path = "faults/versions.rs"]
mod versions;
