//! The demo on one screen: a directory is imported, mounted, changed in a mount and committed, and a
//! running mount is switched to the new version.
//!
//! Everything lies in one scratch directory. What is started is held by values that end it when
//! dropped, so an error or Ctrl-C leaves no mount, no process and no file behind.

mod application;
pub mod cluster;
mod difference;
mod plain;
mod reader;
mod screen;
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use lfsfs_testkit::compare::{CompareOptions, Difference, compare_trees};
use lfsfs_testkit::tempdir::TempDir;

use crate::command;
use crate::instance::{Instance, Programs};
use crate::mount::Mount;
use crate::{interrupt, machine, sizes, text};
use application::Application;
use plain::Plain;
use reader::Reader;
use screen::Times;
use tools::Tools;

const PROJECT: &str = "demo";
const DIFFERENCES_SHOWN: usize = 5;

/// Runs the demo with `dir`, or with a tree of its own; returns whether all went well.
///
/// # Errors
/// Fails at the first step that fails, after cleaning up.
pub fn run(dir: Option<&Path>) -> anyhow::Result<bool> {
    interrupt::watch()?;
    let programs = Programs::find()?;
    let scratch = TempDir::new()?;
    // The programs answer with paths without symlinks, and so does the list of mounts.
    let base = scratch.path().canonicalize()?;
    let source = match dir {
        Some(dir) => {
            ensure!(dir.is_dir(), "{} is no directory", dir.display());
            dir.canonicalize()?
        }
        None => application::make(&base.join("tree"))?,
    };
    let mut demo = Demo {
        application: Application::choose(dir.is_none()),
        versions: Versions {
            first: source,
            second: base.join("changed"),
        },
        base,
        is_good: true,
    };
    demo.show(&programs)?;
    drop(scratch);
    screen::line("")?;
    screen::line(if demo.is_good {
        "cleaned up: mounts, server, scratch directory. All steps passed."
    } else {
        "cleaned up: mounts, server, scratch directory. NOT all is as it should be, see above."
    })?;
    Ok(demo.is_good)
}

/// The directories that become the two versions.
#[derive(Debug)]
struct Versions {
    first: PathBuf,
    second: PathBuf,
}

#[derive(Debug)]
struct Demo {
    application: Application,
    versions: Versions,
    base: PathBuf,
    /// False once something differs.
    is_good: bool,
}

impl Demo {
    fn show(&mut self, programs: &Programs) -> anyhow::Result<()> {
        screen::title(&self.versions.first)?;
        let first = Plain::measure(&self.versions.first, &self.base.join("plain"))?;
        let instance = Instance::start(programs, &self.base.join("server"))?;
        instance.new_project(PROJECT)?;
        screen::head()?;
        self.import(
            "import it as demo@v1",
            &instance,
            &self.versions.first.clone(),
            &first,
        )?;
        match machine::mounts_missing() {
            None => self.mounted(&instance, &first)?,
            Some(missing) => self.unmounted(&instance, &first, &missing)?,
        }
        let stored = sizes::disk_usage(&instance.data())?;
        let stored = text::bytes(stored);
        screen::line(&format!("the server stores both versions in {stored}"))?;
        instance.stop()
    }

    /// What can be shown where a mount works.
    fn mounted(&mut self, instance: &Instance, first: &Plain) -> anyhow::Result<()> {
        let v1 = self.mount("mount demo@v1, ls", instance, "demo@v1", first)?;
        self.run_application(v1.dir(), first)?;
        let tools = Tools::choose(first.copy())?;
        let work = self.mount_writable(instance, first)?;
        let second = self.change_both(&tools, work.dir(), first)?;
        let changes = command::run(instance.lfsfs().arg("diff").arg(work.dir()))?;
        screen::row("show what was changed: lfsfs diff", Times::of(changes.wall))?;
        let what = "commit that as demo@v2";
        let committed = work.commit("made by the demo", "demo@v2")?;
        screen::row(what, second.beside(committed.wall))?;
        let v2 = self.mount(
            "mount demo@v2 beside them, ls",
            instance,
            "demo@v2",
            &second,
        )?;
        self.switch(&v1, &v2, &tools, &second)?;
        self.verify(instance, &work, &v2)?;
        let diff = self.difference(instance)?;
        let claim = "as it was told of the mount before the commit";
        self.verdict(diff == changes.stdout, claim)?;
        let unmounted = [v1, work, v2]
            .into_iter()
            .map(|mount| Ok(mount.unmount()?.wall))
            .sum::<anyhow::Result<Duration>>()?;
        let unmounted = text::duration(unmounted);
        screen::line(&format!("all three unmounted in {unmounted}"))
    }

    fn mount_writable<'a>(
        &mut self,
        instance: &'a Instance,
        first: &Plain,
    ) -> anyhow::Result<Mount<'a>> {
        let dir = self.base.join("mounts/work");
        let cache = instance.place("cache");
        let (work, ran) = Mount::writable(instance, "demo@v1", &dir, &cache)?;
        let ls = command::run(Command::new("ls").arg(&dir))?;
        let what = "mount demo@v1 again, writable, ls";
        screen::row(what, first.beside(ran.wall + ls.wall))?;
        Ok(work)
    }

    /// Changes the writable mount, and a plain copy in the same way.
    fn change_both(&mut self, tools: &Tools, work: &Path, first: &Plain) -> anyhow::Result<Plain> {
        let changed = self.versions.second.clone();
        let plain = plain::change(tools, first.copy(), &changed)?;
        let ours = tools.run(work)?.wall;
        let what = "change it: mkdir, mv, cp, ln, chmod, rm, >>";
        screen::row(what, Times::of(ours).copy(plain))?;
        Plain::measure(&changed, &self.base.join("plain-changed"))
    }

    /// Moves a mount to the second version while a program reads in it.
    fn switch(
        &mut self,
        mount: &Mount<'_>,
        v2: &Mount<'_>,
        tools: &Tools,
        second: &Plain,
    ) -> anyhow::Result<()> {
        let file = tools.file().map(Path::new);
        let reader = file.map(|file| Reader::start(mount.dir(), file));
        let reader = reader.transpose()?;
        let switched = mount.switch("v2")?;
        screen::row(
            "switch the first mount to demo@v2",
            second.beside(switched.wall),
        )?;
        screen::line("")?;
        if let Some(reader) = reader {
            let reads = text::count(reader.end()?);
            screen::line(&format!(
                "a program read in it meanwhile: {reads} reads, none failed, first the old, then the new"
            ))?;
        }
        let differences = compare_trees(v2.dir(), mount.dir(), &CompareOptions::default())?;
        self.claim_equal("the switched mount equals demo@v2", &differences)
    }

    /// Compares each version with what it was made of.
    fn verify(
        &mut self,
        instance: &Instance,
        work: &Mount<'_>,
        v2: &Mount<'_>,
    ) -> anyhow::Result<()> {
        let all = CompareOptions::default();
        let cache = instance.place("cache");
        let dir = self.base.join("mounts/first");
        let (v1, _) = Mount::new(instance, "demo@v1", &dir, &cache)?;
        let differences = compare_trees(&self.versions.first, v1.dir(), &all)?;
        v1.unmount()?;
        self.claim_equal(
            "demo@v1 equals its source: contents, modes, owners, times, links, xattrs",
            &differences,
        )?;
        let differences = compare_trees(work.dir(), v2.dir(), &all)?;
        self.claim_equal(
            "demo@v2 equals the mount in which it was made",
            &differences,
        )?;
        let but_times = CompareOptions {
            times: false,
            directory_times: false,
            ..all
        };
        let differences = compare_trees(&self.versions.second, v2.dir(), &but_times)?;
        let claim = "and a plain copy that was changed in the same way, but for the clock";
        self.claim_equal(claim, &differences)
    }

    /// What can be shown where no mount works.
    fn unmounted(
        &mut self,
        instance: &Instance,
        first: &Plain,
        missing: &str,
    ) -> anyhow::Result<()> {
        screen::line(&format!(
            "not mounted here, which needs {missing}; so read without:"
        ))?;
        let mut list = instance.lfsfs();
        let ran = command::run(list.args(["ls", "demo@v1"]))?;
        let ls = command::run(Command::new("ls").arg(first.copy()))?;
        screen::row("ls demo@v1", Times::of(ran.wall).copy(ls.wall))?;
        if let Some(name) = plain::some_file(first.copy())? {
            let ran = command::run(instance.lfsfs().args(["cat", "demo@v1"]).arg(&name))?;
            let cat = command::run(Command::new("cat").arg(first.copy().join(&name)))?;
            let what = format!("cat demo@v1 {}", name.display());
            screen::row(&what, Times::of(ran.wall).copy(cat.wall))?;
            self.verdict(
                ran.stdout == cat.stdout,
                "what cat writes is what the file holds",
            )?;
        }
        self.change_and_import(instance, first)?;
        screen::line("")?;
        self.difference(instance).map(|_| ())
    }

    fn import(
        &mut self,
        what: &str,
        instance: &Instance,
        dir: &Path,
        plain: &Plain,
    ) -> anyhow::Result<()> {
        let ran = instance.import(dir, PROJECT)?;
        screen::row(what, plain.beside(ran.wall))
    }

    fn mount<'a>(
        &mut self,
        what: &str,
        instance: &'a Instance,
        source: &str,
        plain: &Plain,
    ) -> anyhow::Result<Mount<'a>> {
        let dir = self.base.join("mounts").join(source);
        let (mount, ran) = Mount::new(instance, source, &dir, &instance.place("cache"))?;
        let ls = command::run(Command::new("ls").arg(&dir))?;
        screen::row(what, plain.beside(ran.wall + ls.wall))?;
        Ok(mount)
    }

    fn run_application(&mut self, mounted: &Path, plain: &Plain) -> anyhow::Result<()> {
        let expected = self.application.run(plain.copy())?;
        let cold = self.application.run(mounted)?;
        let warm = self.application.run(mounted)?;
        let name = self.application.name();
        let first = Times::of(cold.wall).copy(expected.wall);
        screen::row(&format!("run {name} in demo@v1"), first)?;
        screen::row("  the same again", Times::of(warm.wall).copy(expected.wall))?;
        let is_same = cold.stdout == expected.stdout && warm.stdout == expected.stdout;
        let said = String::from_utf8_lossy(&cold.stdout);
        let said = said.lines().next().unwrap_or_default();
        self.verdict(is_same, &format!("  it says \"{said}\", as in the copy"))
    }

    /// Changes the copy of the first version and imports it as the second.
    fn change_and_import(&mut self, instance: &Instance, first: &Plain) -> anyhow::Result<Plain> {
        let changed = self.versions.second.clone();
        let tools = Tools::choose(first.copy())?;
        plain::change(&tools, first.copy(), &changed)?;
        let second = Plain::measure(&changed, &self.base.join("plain-changed"))?;
        self.import("change it and import it as v2", instance, &changed, &second)?;
        Ok(second)
    }

    fn claim_equal(&mut self, claim: &str, differences: &[Difference]) -> anyhow::Result<()> {
        self.verdict(differences.is_empty(), claim)?;
        for difference in differences.iter().take(DIFFERENCES_SHOWN) {
            screen::line(&format!("  {difference}"))?;
        }
        Ok(())
    }

    /// Shows what differs between the two versions, and returns all of it.
    fn difference(&mut self, instance: &Instance) -> anyhow::Result<Vec<u8>> {
        let ran = command::run(instance.lfsfs().args(["diff", "demo@v1", "demo@v2"]))?;
        let took = text::duration(ran.wall);
        let diff = str::from_utf8(&ran.stdout).context("read the difference")?;
        self.verdict(
            !diff.trim().is_empty(),
            &format!("lfsfs diff demo@v1 demo@v2, in {took}:"),
        )?;
        for line in difference::summary(diff) {
            screen::line(&format!("  {line}"))?;
        }
        Ok(ran.stdout)
    }

    fn verdict(&mut self, is_good: bool, claim: &str) -> anyhow::Result<()> {
        self.is_good &= is_good;
        let claim = if is_good {
            claim.to_owned()
        } else {
            format!("NOT SO: {claim}")
        };
        screen::line(&claim)
    }
}
