//! Where one row is measured: a fresh disk, the tree on it, and what all rows do with these.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::tree::TreeSpec;

use super::{Options, Row};
use crate::cluster::Cluster;
use crate::command::{self, Ran};
use crate::instance::{Instance, Programs};
use crate::passes::Times;
use crate::sizes;

pub(super) const PROJECT: &str = "bench";
pub(super) const SOURCE: &str = "bench@v1";

const DISK_BYTES_MIN: f64 = 8e9;
/// For a row that stores a tree once at most.
const SMALL_DISK_BYTES_MIN: f64 = 2e9;
/// A row of each chunk, of its contents and of its datanode, and what a store takes beside them.
const DISK_BYTES_PER_CHUNK: u64 = 900;
/// The tree, its archive, an unpacked copy, what the server keeps, a cache, and room to spare.
const DISK_BYTES_PER_TREE_BYTE: f64 = 8.0;

/// A fresh ext4 with the tree of the benchmark.
#[derive(Debug)]
pub(super) struct Setting {
    programs: Programs,
    options: Options,
    row: Row,
    disk: LoopDisk,
}

impl Setting {
    /// Makes the disk, and on it the tree where `row` is about one.
    pub(super) fn new(programs: &Programs, options: &Options, row: Row) -> anyhow::Result<Self> {
        let given = options.tree.as_deref().map(sizes::disk_usage).transpose()?;
        let bytes = given.unwrap_or_default() * DISK_BYTES_PER_TREE_BYTE;
        let bytes_min = if row.writes_little() {
            SMALL_DISK_BYTES_MIN
                + sizes::to_float(chunks_on_disk(options, row) * DISK_BYTES_PER_CHUNK)
        } else {
            DISK_BYTES_MIN
        };
        let setting = Self {
            programs: programs.clone(),
            options: options.clone(),
            row,
            disk: LoopDisk::new(whole(bytes.max(bytes_min)))?,
        };
        if row.has_tree() {
            setting.make_tree().context("make the tree")?;
            setting.settle()?;
        }
        Ok(setting)
    }

    fn make_tree(&self) -> anyhow::Result<()> {
        match &self.options.tree {
            Some(tree) => {
                command::run(Command::new("cp").arg("-a").arg(tree).arg(self.tree()))?;
            }
            None => {
                TreeSpec::app(self.options.files).generate(&self.tree())?;
            }
        }
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(self.tree()).arg("-cf");
        command::run(pack.arg(self.archive()).arg("."))?;
        Ok(())
    }

    /// Returns the original of the tree.
    pub(super) fn tree(&self) -> PathBuf {
        self.place("tree")
    }

    /// Returns the same tree as a tar archive.
    pub(super) fn archive(&self) -> PathBuf {
        self.place("tree.tar")
    }

    /// Returns a place on the disk.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.options.file_bytes
    }

    /// Chunks in the largest metadata of row l.
    pub(super) fn chunks(&self) -> u64 {
        self.options.chunks
    }

    /// Returns the objects of the large projects of row n.
    pub(super) fn objects(&self) -> Vec<u64> {
        let most = self.options.objects;
        let mut sizes: Vec<u64> = [100_000].into_iter().filter(|size| *size < most).collect();
        sizes.push(most);
        sizes
    }

    /// For how long clients work at one point.
    pub(super) fn point_time(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    /// Starts a server with its data in the place `name`, and one project.
    pub(super) fn start_server(&self, name: &str) -> anyhow::Result<Instance> {
        let instance = Instance::start(&self.programs, &self.place(name))?;
        instance.new_project(PROJECT)?;
        Ok(instance)
    }

    /// Starts a coordinator with its data in the place `name`, where another one may have left some.
    pub(super) fn start_coordinator(
        &self,
        name: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Instance> {
        Instance::start_role("coordinator", &self.programs, &self.place(name), arguments)
    }

    /// Starts a cluster with its data in the place `name`, and one project.
    pub(super) fn start_cluster(
        &self,
        name: &str,
        nodes: usize,
        arguments: &[&str],
    ) -> anyhow::Result<Cluster> {
        let cluster = Cluster::start(&self.programs, &self.place(name), nodes, arguments)?;
        cluster.coordinator.new_project(PROJECT)?;
        Ok(cluster)
    }

    /// Starts a server that has the tree as the first version.
    pub(super) fn serve_tree(&self) -> anyhow::Result<Instance> {
        let instance = self.start_server("server")?;
        instance.import(&self.tree(), PROJECT)?;
        Ok(instance)
    }

    /// Runs `round` as often as the user asked for, each time on a disk at rest.
    pub(super) fn rounds(
        &self,
        mut round: impl FnMut(u32) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for number in 1..=self.options.rounds {
            // Progress is for people; a user who closed stderr does not want it.
            let _ = writeln!(
                std::io::stderr(),
                "row {}: round {number} of {}",
                self.row,
                self.options.rounds
            );
            round(number)?;
        }
        Ok(())
    }

    /// Unpacks the archive into the place `name` and returns how long that took.
    pub(super) fn untar(&self, name: &str) -> anyhow::Result<Ran> {
        let dir = self.place(name);
        fs::create_dir(&dir).context("create a place to unpack")?;
        let mut unpack = Command::new("tar");
        unpack.arg("-C").arg(dir).arg("-xf").arg(self.archive());
        command::run(&mut unpack)
    }

    /// Removes the place `name` and lets the disk come to rest.
    pub(super) fn remove(&self, name: &str) -> anyhow::Result<()> {
        command::run(Command::new("rm").arg("-rf").arg(self.place(name)))?;
        self.settle()
    }

    /// Writes out what is still to be written, so that it does not disturb what comes next.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let root = fs::File::open(self.disk.path()).context("open the disk")?;
        rustix::fs::syncfs(root).context("let the disk come to rest")
    }

    /// Empties the page cache and the caches of names and inodes.
    pub(super) fn drop_caches(&self) -> anyhow::Result<()> {
        self.settle()?;
        fs::write("/proc/sys/vm/drop_caches", "3").context("drop the page cache")
    }
}

/// Returns how many chunks the metadata of all sizes have together, about.
fn chunks_on_disk(options: &Options, row: Row) -> u64 {
    match row {
        Row::L => options.chunks + options.chunks / 8,
        _ => 0,
    }
}

/// A reader that ended.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) times: Times,
    /// From its start to its end.
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

/// Starts the reader on `dir`, in a process of its own.
pub(super) fn read_tree(dir: &Path, once: bool) -> anyhow::Result<Reader> {
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(own);
    command.arg("read-tree").arg(dir);
    if once {
        command.arg("--once");
    }
    let ran = command::run(&mut command)?;
    Ok(Reader {
        times: serde_json::from_slice(&ran.stdout).context("understand the reader")?,
        wall: ran.wall,
        cpu: ran.cpu,
    })
}

/// Fails where both sides of a row did not read the same: a figure about less is no figure.
pub(super) fn ensure_same(theirs: &Times, ours: &Times) -> anyhow::Result<()> {
    ensure!(
        (theirs.entries, theirs.bytes) == (ours.entries, ours.bytes),
        "the mount has {} entries and {} bytes, the original {} and {}",
        ours.entries,
        ours.bytes,
        theirs.entries,
        theirs.bytes
    );
    Ok(())
}

/// Runs `ls` on `dir`, as the first thing that a user does with a mount.
pub(super) fn list(dir: &Path) -> anyhow::Result<Duration> {
    Ok(command::run(Command::new("ls").arg(dir))?.wall)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the size of a disk, far below 2^53"
)]
fn whole(bytes: f64) -> u64 {
    bytes as u64
}
