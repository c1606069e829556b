//! What copies cost, and what a datanode costs that is dead or slow: imports and exports of the tree.

use std::time::Duration;

use super::setting::{PROJECT, SOURCE, Setting};
use crate::cluster::Cluster;
use crate::command;

/// How much later everything arrives that a slow datanode is sent, and everything that it sends.
const DELAY: Duration = Duration::from_millis(50);

/// What copies cost.
pub(super) struct Copies {
    pub(super) import_1: Duration,
    pub(super) import_3: Duration,
    pub(super) export: Duration,
    pub(super) export_dead: Duration,
}

impl Copies {
    pub(super) fn measure(setting: &Setting, nodes: usize) -> anyhow::Result<Self> {
        let single = setting.start_cluster("single", 1, &["--replication", "1"])?;
        let import_1 = single.coordinator.import(&setting.tree(), PROJECT)?.wall;
        drop(single);
        setting.remove("single")?;
        let mut cluster = setting.start_cluster("cluster", nodes, &[])?;
        let import_3 = cluster.coordinator.import(&setting.tree(), PROJECT)?.wall;
        // The third copy of the last chunks is made behind the answer.
        cluster.wait_until_whole()?;
        let export = export(setting, &cluster)?;
        cluster.kill_node(0)?;
        let export_dead = self::export(setting, &cluster)?;
        drop(cluster);
        setting.remove("cluster")?;
        Ok(Self {
            import_1,
            import_3,
            export,
            export_dead,
        })
    }
}

/// An import, and then an export.
pub(super) struct Trip {
    pub(super) import: Duration,
    pub(super) export: Duration,
}

/// The same way there and back, with one of the datanodes behind a proxy.
pub(super) struct Slow {
    /// The proxy passes on what comes.
    pub(super) healthy: Trip,
    /// It passes it on later.
    pub(super) slow: Trip,
}

impl Slow {
    pub(super) fn measure(setting: &Setting, nodes: usize) -> anyhow::Result<Self> {
        Ok(Self {
            healthy: trip(setting, nodes, Duration::ZERO)?,
            slow: trip(setting, nodes, DELAY)?,
        })
    }
}

fn trip(setting: &Setting, nodes: usize, delay: Duration) -> anyhow::Result<Trip> {
    let mut cluster = setting.start_cluster("cluster", nodes - 1, &[])?;
    let link = cluster.start_node_behind_proxy(nodes - 1)?;
    link.proxy.delay(delay);
    let import = cluster.coordinator.import(&setting.tree(), PROJECT)?.wall;
    cluster.wait_until_whole()?;
    let export = export(setting, &cluster)?;
    drop(cluster);
    drop(link);
    setting.remove("cluster")?;
    Ok(Trip { import, export })
}

fn export(setting: &Setting, cluster: &Cluster) -> anyhow::Result<Duration> {
    setting.drop_caches()?;
    let mut command = cluster.coordinator.lfsfs();
    command.args(["export", SOURCE]).arg(setting.place("out"));
    let ran = command::run(&mut command)?;
    setting.remove("out")?;
    Ok(ran.wall)
}
