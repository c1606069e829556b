//! Row d: the tree stored as a first version, against an archive by tar and zstd.

use std::process::Command;
use std::time::Duration;

use super::Row;
use super::line::{Bar, Line, Unit};
use super::setting::{PROJECT, Setting};
use crate::{command, sizes};

const BAR: Bar = Bar::Ratio {
    bar: 1.5,
    stretch: 1.0,
};
/// `sync FILE` is fsync: the import is durable when it says so, and the archive shall be too.
const ARCHIVE: &str = r#"tar -C "$1" -cf - . | zstd -q -3 -f -o "$2" && sync "$2""#;

/// What one side of a round needed.
struct Cost {
    wall: Duration,
    cpu: Duration,
    stored: f64,
}

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let mut wall = Line::new(Row::D, "import / tar, zstd", Unit::Seconds, BAR);
    let mut cpu = Line::new(Row::D, "  CPU time, server's too", Unit::Seconds, Bar::None);
    let mut stored = Line::new(Row::D, "  stored", Unit::Bytes, Bar::None);
    setting.rounds(|_| {
        let (theirs, ours) = (archive(setting)?, import(setting)?);
        wall.push(theirs.wall.as_secs_f64(), ours.wall.as_secs_f64());
        cpu.push(theirs.cpu.as_secs_f64(), ours.cpu.as_secs_f64());
        stored.push(theirs.stored, ours.stored);
        Ok(())
    })?;
    Ok(vec![wall, cpu, stored])
}

fn archive(setting: &Setting) -> anyhow::Result<Cost> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", ARCHIVE, "sh"]);
    let file = setting.place("archives").join("tree.tar.zst");
    std::fs::create_dir(setting.place("archives"))?;
    let ran = command::run(command.arg(setting.tree()).arg(&file))?;
    let stored = sizes::disk_usage(&setting.place("archives"))?;
    setting.remove("archives")?;
    Ok(Cost {
        wall: ran.wall,
        cpu: ran.cpu,
        stored,
    })
}

/// Imports into a server that has seen nothing: a second one would find all contents there.
fn import(setting: &Setting) -> anyhow::Result<Cost> {
    let instance = setting.start_server("server")?;
    let server_before = instance.server_cpu()?;
    let ran = instance.import(&setting.tree(), PROJECT)?;
    let server = instance.server_cpu()?.saturating_sub(server_before);
    let stored = sizes::disk_usage(&instance.data())?;
    instance.stop()?;
    setting.remove("server")?;
    Ok(Cost {
        wall: ran.wall,
        cpu: ran.cpu + server,
        stored,
    })
}
