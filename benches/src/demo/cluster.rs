//! The demo of a cluster on one screen: two of five datanodes are killed while a program reads, a new one
//! joins, and the copies come back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lfsfs_testkit::compare::{CompareOptions, compare_trees};
use lfsfs_testkit::tempdir::TempDir;

use super::{application, screen};
use crate::cluster::Cluster;
use crate::command;
use crate::instance::{Instance, Programs};
use crate::mount::Mount;
use crate::{interrupt, machine, text};

const PROJECT: &str = "demo";
const NODES: usize = 5;
const KILLED: usize = 2;
const COPIES: usize = 3;
const REPAIR_TIMEOUT: Duration = Duration::from_secs(120);
/// Sooner than an operator would want, so that the demo is short.
const REPAIR_AFTER: &str = "8";

/// Runs the demo; returns whether all went well.
///
/// # Errors
/// Fails at the first step that fails, after cleaning up.
pub fn run() -> anyhow::Result<bool> {
    interrupt::watch()?;
    let programs = Programs::find()?;
    let scratch = TempDir::new()?;
    let base = scratch.path().canonicalize()?;
    let is_good = ClusterDemo::start(&programs, &base)?.show()?;
    drop(scratch);
    screen::line(if is_good {
        "cleaned up: mounts, servers, scratch directory. All steps passed."
    } else {
        "cleaned up: mounts, servers, scratch directory. NOT all is as it should be, see above."
    })?;
    Ok(is_good)
}

struct ClusterDemo {
    base: PathBuf,
    tree: PathBuf,
    cluster: Cluster,
    is_good: bool,
}

impl ClusterDemo {
    fn start(programs: &Programs, base: &Path) -> anyhow::Result<Self> {
        let tree = application::make(&base.join("tree"))?;
        let arguments = ["--repair-after", REPAIR_AFTER];
        Ok(Self {
            base: base.to_owned(),
            tree,
            cluster: Cluster::start(programs, base, NODES, &arguments)?,
            is_good: true,
        })
    }

    fn instance(&self) -> &Instance {
        &self.cluster.coordinator
    }

    fn show(mut self) -> anyhow::Result<bool> {
        screen::line(&format!(
            "lfsfs cluster: 1 coordinator, {NODES} datanodes in 3 zones; {COPIES} copies of each chunk, \
             a write waits for 2"
        ))?;
        screen::line("")?;
        self.instance().new_project(PROJECT)?;
        let imported = self.instance().import(&self.tree, PROJECT)?;
        screen::step("import 5,000 files as demo@v1", imported.wall)?;
        self.show_copies()?;
        match machine::mounts_missing() {
            None => self.mounted()?,
            Some(missing) => {
                screen::line(&format!("not mounted here, which needs {missing}"))?;
                self.kill_two()?;
                self.export("demo@v1")?;
            }
        }
        self.change()?;
        let imported = self.instance().import(&self.tree, PROJECT)?;
        screen::step("change 100 files, import that as demo@v2", imported.wall)?;
        self.repair()?;
        self.export("demo@v2")?;
        screen::line("")?;
        Ok(self.is_good)
    }

    /// Kills datanodes while a mount is read.
    fn mounted(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let dir = self.base.join("mount");
        let cache = self.instance().place("cache");
        let instance = Arc::clone(&self.cluster.coordinator);
        let (mount, _) = Mount::new(&instance, "demo@v1", &dir, &cache)?;
        screen::step("mount demo@v1", started.elapsed())?;
        self.kill_two()?;
        let started = Instant::now();
        let differences = compare_trees(&self.tree, mount.dir(), &CompareOptions::default())?;
        screen::step("  read every file of the mount", started.elapsed())?;
        mount.unmount()?;
        self.verdict(
            differences.is_empty(),
            "  all files are as they were imported",
        )
    }

    fn kill_two(&mut self) -> anyhow::Result<()> {
        (0..KILLED).try_for_each(|number| self.cluster.kill_node(number))?;
        screen::line(&format!("  kill -9 of {KILLED} datanodes"))
    }

    /// Adds files that no version has.
    fn change(&self) -> anyhow::Result<()> {
        let dir = self.tree.join("added");
        fs::create_dir(&dir).context("change the tree")?;
        for number in 0..100_u32 {
            let text = format!("file {number} of the second version\n").repeat(500);
            fs::write(dir.join(format!("{number}.txt")), text).context("change the tree")?;
        }
        Ok(())
    }

    /// Adds a datanode and waits until the running ones have all copies.
    fn repair(&mut self) -> anyhow::Result<()> {
        self.cluster.start_node(NODES)?;
        screen::line("start another datanode, with an empty disk")?;
        let started = Instant::now();
        let mut told = Vec::new();
        loop {
            interrupt::check()?;
            let copies = self.cluster.copies();
            let numbers: Vec<_> = copies.values().copied().collect();
            if numbers != told {
                let least = numbers.iter().min().copied().unwrap_or_default();
                let at = text::duration(started.elapsed());
                screen::line(&format!(
                    "  after {at}: at least {least} copies of each chunk"
                ))?;
                told = numbers;
            }
            if told.iter().all(|count| *count >= COPIES) {
                break;
            }
            ensure!(started.elapsed() < REPAIR_TIMEOUT, "repair takes too long");
            std::thread::sleep(Duration::from_millis(200));
        }
        self.show_copies()
    }

    fn export(&mut self, source: &str) -> anyhow::Result<()> {
        let out = self.base.join("out");
        let ran = command::run(self.instance().lfsfs().args(["export", source]).arg(&out))?;
        screen::step(&format!("export {source}"), ran.wall)?;
        let differences = compare_trees(&self.tree, &out, &CompareOptions::default())?;
        fs::remove_dir_all(&out).context("remove what was exported")?;
        self.verdict(
            differences.is_empty(),
            "  all files are as they were imported",
        )
    }

    /// Shows how the chunks lie on the datanodes that run.
    fn show_copies(&self) -> anyhow::Result<()> {
        let chunks = self.cluster.copies().len();
        let counts = self.cluster.chunk_counts();
        let counts: Vec<_> = counts.iter().map(ToString::to_string).collect();
        screen::line(&format!(
            "  {chunks} chunks; datanodes that run have {}",
            counts.join(", ")
        ))
    }

    fn verdict(&mut self, is_good: bool, claim: &str) -> anyhow::Result<()> {
        self.is_good &= is_good;
        match is_good {
            true => screen::line(claim),
            false => screen::line(&format!("NOT SO: {claim}")),
        }
    }
}
