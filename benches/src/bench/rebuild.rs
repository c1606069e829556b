//! Row m: a version in a plain directory, against untar; and what changed since, in both directions.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use super::Row;
use super::edit_tree::append_to_files;
use super::line::{Bar, Line, Unit};
use super::setting::{PROJECT, SOURCE, Setting};
use crate::instance::Instance;
use crate::{command, sizes};

const BAR: Bar = Bar::Ratio {
    bar: 1.0,
    stretch: 0.8,
};
/// So many files are changed, and then one.
const MANY: usize = 100;

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let instance = setting.serve_tree()?;
    for files in [MANY, 1] {
        append_to_files(&setting.tree(), files)?;
        instance.import(&setting.tree(), PROJECT)?;
    }
    let line = |what: &str, bar| Line::new(Row::M, what, Unit::Seconds, bar);
    let mut fresh = line("rebuild / untar", BAR);
    let mut cpu = line("  CPU time, server's too", Bar::None);
    let mut many = line("rebuild, 100 files differ / untar", Bar::None);
    let mut one = line("rebuild, 1 file differs / untar", Bar::None);
    let mut many_sent = line("update, 100 files changed / untar", Bar::None);
    let mut one_sent = line("update, 1 file changed / untar", Bar::None);
    setting.rounds(|_| {
        let untar = setting.untar("unpacked")?;
        let theirs = untar.wall.as_secs_f64();
        setting.remove("unpacked")?;
        let dir = setting.place("rebuilt");
        let server_before = instance.server_cpu()?;
        let ran = rebuild(&instance, SOURCE, &dir)?;
        let server = instance.server_cpu()?.saturating_sub(server_before);
        fresh.push(theirs, ran.wall.as_secs_f64());
        cpu.push(untar.cpu.as_secs_f64(), (ran.cpu + server).as_secs_f64());
        ensure_whole(setting, &dir)?;
        setting.settle()?;
        for (line, source) in [(&mut many, "bench@v2"), (&mut one, "bench@v3")] {
            line.push(theirs, rebuild(&instance, source, &dir)?.wall.as_secs_f64());
            setting.settle()?;
        }
        rebuild(&instance, PROJECT, &dir)?;
        for (line, files) in [(&mut many_sent, MANY), (&mut one_sent, 1)] {
            append_to_files(&dir, files)?;
            line.push(theirs, update(&instance, &dir)?.as_secs_f64());
            setting.settle()?;
        }
        setting.remove("rebuilt")
    })?;
    instance.stop()?;
    Ok(vec![fresh, cpu, many, one, many_sent, one_sent])
}

fn rebuild(instance: &Instance, source: &str, dir: &Path) -> anyhow::Result<command::Ran> {
    command::run(instance.lfsfs().args(["rebuild", source]).arg(dir))
}

fn update(instance: &Instance, dir: &Path) -> anyhow::Result<Duration> {
    Ok(command::run(instance.lfsfs().arg("update").arg(dir))?.wall)
}

/// Fails where the directory has not as many files as the archive.
fn ensure_whole(setting: &Setting, dir: &Path) -> anyhow::Result<()> {
    let mut list = Command::new("tar");
    let listed = command::run(list.arg("-tvf").arg(setting.archive()))?;
    let is_file = |line: &&[u8]| line.starts_with(b"-") || line.starts_with(b"h");
    let expected = listed.stdout.split(|byte| *byte == b'\n').filter(is_file);
    let expected = expected.count() as u64;
    let own = sizes::count(&dir.join(".lfsfs"))?.files;
    let found = sizes::count(dir)?.files - own;
    ensure!(
        found == expected,
        "the rebuilt directory has {found} files, the archive {expected}"
    );
    Ok(())
}
