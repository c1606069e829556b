//! Row f: what a commit costs depends on what changed, not on what exists.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use lfsfs_testkit::tree::TreeSpec;

use super::Row;
use super::line::{Bar, Line, Unit};
use super::setting::{PROJECT, Setting};
use crate::instance::Instance;
use crate::mount::Mount;

/// The same change in a project of a hundred times as many objects.
const BAR: Bar = Bar::Ratio {
    bar: 1.5,
    stretch: 1.0,
};
const SMALL: Size = Size {
    name: "small",
    files: 1_000,
    moved: 10,
};
const LARGE: Size = Size {
    name: "large",
    files: 90_000,
    moved: 10_000,
};
/// The directory that is renamed back and forth.
const MOVED: [&str; 2] = ["moved", "moved-away"];

/// One of the two projects.
#[derive(Debug, Clone, Copy)]
struct Size {
    name: &'static str,
    files: usize,
    /// Files in the directory that is renamed.
    moved: u32,
}

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let servers = (serve(setting, SMALL)?, serve(setting, LARGE)?);
    let small = mount(setting, &servers.0)?;
    let large = mount(setting, &servers.1)?;
    let what = "commit 1 file, 100k / 1k objects";
    let mut one_file = Line::new(Row::F, what, Unit::Seconds, BAR);
    let what = "commit renamed directory, 10k / 10";
    let mut directory = Line::new(Row::F, what, Unit::Seconds, BAR);
    setting.rounds(|round| {
        let version = 2 * u64::from(round);
        let theirs = change_a_file(&small, version)?;
        one_file.push(theirs, change_a_file(&large, version)?);
        setting.settle()?;
        let theirs = rename(&small, round, version + 1)?;
        directory.push(theirs, rename(&large, round, version + 1)?);
        setting.settle()
    })?;
    small.unmount()?;
    large.unmount()?;
    servers.0.stop()?;
    servers.1.stop()?;
    Ok(vec![one_file, directory])
}

fn serve(setting: &Setting, size: Size) -> anyhow::Result<Instance> {
    let tree = setting.place("tree");
    TreeSpec::app(size.files).generate(&tree)?;
    let moved = tree.join(MOVED[0]);
    fs::create_dir(&moved).context("make a directory to rename")?;
    for number in 0..size.moved {
        fs::write(moved.join(number.to_string()), number.to_string())?;
    }
    let instance = setting.start_server(size.name)?;
    instance.import(&tree, PROJECT)?;
    setting.remove("tree")?;
    Ok(instance)
}

fn mount<'a>(setting: &Setting, instance: &'a Instance) -> anyhow::Result<Mount<'a>> {
    let cache = instance.place("cache");
    let dir = instance.place("mount");
    let (mount, _) = Mount::writable(instance, PROJECT, &dir, &cache)?;
    setting.settle()?;
    Ok(mount)
}

fn change_a_file(mount: &Mount<'_>, version: u64) -> anyhow::Result<f64> {
    let file = fs::File::options()
        .append(true)
        .open(mount.dir().join("package.json"));
    writeln!(file.context("open package.json")?, "{version}").context("change package.json")?;
    commit(mount, version)
}

fn rename(mount: &Mount<'_>, round: u32, version: u64) -> anyhow::Result<f64> {
    let [from, to] = if round % 2 == 1 {
        MOVED
    } else {
        [MOVED[1], MOVED[0]]
    };
    let path = |name: &str| mount.dir().join(name);
    move_dir(&path(from), &path(to))?;
    commit(mount, version)
}

fn move_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    rustix::fs::rename(from, to).context("rename a directory")
}

fn commit(mount: &Mount<'_>, version: u64) -> anyhow::Result<f64> {
    let expected = format!("{PROJECT}@v{version}");
    Ok(mount.commit("", &expected)?.wall.as_secs_f64())
}
