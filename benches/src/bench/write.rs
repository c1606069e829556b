//! Row h: untar into a writable mount, a commit of that, and rm -rf, against the same on ext4.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::Row;
use super::line::{Bar, Line, Unit};
use super::setting::{PROJECT, Setting};
use crate::command::{self, Ran};
use crate::instance::Instance;
use crate::mount::Mount;
use crate::placement::Placement;

const UNTAR: Bar = Bar::Ratio {
    bar: 3.5,
    stretch: 2.0,
};
const REMOVE: Bar = Bar::Ratio {
    bar: 2.0,
    stretch: 1.3,
};

/// What one side of a round needed, in seconds.
struct Cost {
    untar: f64,
    remove: f64,
}

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let mut lines = Placement::ALL.map(|placement| {
        let line = |what: &str, bar| {
            let what = format!("{what}, {}", placement.name());
            Line::new(Row::H, what, Unit::Seconds, bar)
        };
        [line("untar", UNTAR), line("rm -rf", REMOVE)]
    });
    let what = "  commit of it / import";
    let mut commit = Line::new(Row::H, what, Unit::Seconds, Bar::None);
    setting.rounds(|_| {
        for ([untar, remove], placement) in lines.iter_mut().zip(Placement::ALL) {
            let theirs = on_ext4(setting, placement)?;
            let ours = in_mount(setting, placement)?;
            untar.push(theirs.untar, ours.untar);
            remove.push(theirs.remove, ours.remove);
        }
        let (theirs, ours) = (import(setting)?, commit_of_it(setting)?);
        commit.push(theirs, ours);
        Ok(())
    })?;
    Ok(lines.into_iter().flatten().chain([commit]).collect())
}

fn on_ext4(setting: &Setting, placement: Placement) -> anyhow::Result<Cost> {
    setting.settle()?;
    let dir = setting.place("untarred");
    fs::create_dir(&dir).context("make a place to unpack")?;
    let cost = placement.run(|| unpack_and_remove(setting, &dir))?;
    setting.remove("untarred")?;
    Ok(cost)
}

fn in_mount(setting: &Setting, placement: Placement) -> anyhow::Result<Cost> {
    let instance = setting.start_server("server")?;
    let cost = placement.run(|| {
        let mount = mount(setting, &instance)?;
        let cost = unpack_and_remove(setting, mount.dir())?;
        mount.unmount()?;
        Ok(cost)
    })?;
    instance.stop()?;
    setting.remove("server")?;
    Ok(cost)
}

fn unpack_and_remove(setting: &Setting, dir: &Path) -> anyhow::Result<Cost> {
    let untar = unpack(setting, dir)?.wall.as_secs_f64();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"rm -rf "$1"/* "$1"/.[!.]*"#, "sh"]);
    let remove = command::run(command.arg(dir))?.wall.as_secs_f64();
    ensure!(
        fs::read_dir(dir)?.count() == 0,
        "something is left of the tree"
    );
    Ok(Cost { untar, remove })
}

pub(super) fn unpack(setting: &Setting, dir: &Path) -> anyhow::Result<Ran> {
    let mut command = Command::new("tar");
    command.arg("-C").arg(dir).arg("-xf");
    command::run(command.arg(setting.archive()))
}

/// Mounts a project without versions, to be written in.
fn mount<'a>(setting: &Setting, instance: &'a Instance) -> anyhow::Result<Mount<'a>> {
    let dir = setting.place("mount");
    let (mount, _) = Mount::writable(instance, PROJECT, &dir, &instance.place("cache"))?;
    Ok(mount)
}

fn import(setting: &Setting) -> anyhow::Result<f64> {
    let instance = setting.start_server("server")?;
    let took = instance.import(&setting.tree(), PROJECT)?.wall;
    instance.stop()?;
    setting.remove("server")?;
    Ok(took.as_secs_f64())
}

fn commit_of_it(setting: &Setting) -> anyhow::Result<f64> {
    let instance = setting.start_server("server")?;
    let mount = mount(setting, &instance)?;
    unpack(setting, mount.dir())?;
    setting.settle()?;
    let took = mount.commit("", &format!("{PROJECT}@v1"))?.wall;
    mount.unmount()?;
    instance.stop()?;
    setting.remove("server")?;
    Ok(took.as_secs_f64())
}
