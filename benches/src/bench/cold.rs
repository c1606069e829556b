//! Rows c and s: everything read through a fresh mount with empty caches, against untar and read.

use std::process::Command;
use std::time::Duration;

use super::Row;
use super::line::{Bar, Line, Unit};
use super::setting::{SOURCE, Setting, ensure_same, read_tree};
use crate::command;
use crate::instance::Instance;
use crate::mount::{FUSE_MODE, Mount};
use crate::passes::Times;
use crate::placement::Placement;

const BAR: Bar = Bar::Ratio {
    bar: 1.0,
    stretch: 0.5,
};

/// What one side of a round needed.
struct Cost {
    wall: Duration,
    cpu: Duration,
    read: Times,
}

/// Measures mounts in fuse mode.
pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    measure_mode(setting, Row::C, FUSE_MODE)
}

/// Measures mounts with these options.
pub(super) fn measure_mode(
    setting: &Setting,
    row: Row,
    options: &str,
) -> anyhow::Result<Vec<Line>> {
    let instance = setting.serve_tree()?;
    let mut lines = Placement::ALL.map(|placement| {
        let what = format!("cold read / untar, read, {}", placement.name());
        Line::new(row, what, Unit::Seconds, BAR)
    });
    let what = "  CPU time, daemon's and server's too";
    let mut cpu = Line::new(row, what, Unit::Seconds, Bar::None);
    setting.rounds(|_| {
        for (line, placement) in lines.iter_mut().zip(Placement::ALL) {
            let theirs = untar_and_read(setting, placement)?;
            let ours = mount_and_read(setting, &instance, placement, options)?;
            ensure_same(&theirs.read, &ours.read)?;
            line.push(theirs.wall.as_secs_f64(), ours.wall.as_secs_f64());
            if placement == Placement::Free {
                cpu.push(theirs.cpu.as_secs_f64(), ours.cpu.as_secs_f64());
            }
        }
        Ok(())
    })?;
    instance.stop()?;
    Ok(lines.into_iter().chain([cpu]).collect())
}

fn untar_and_read(setting: &Setting, placement: Placement) -> anyhow::Result<Cost> {
    setting.drop_caches()?;
    // The archive is in memory, as one that just came over the network. The mount gets no such
    // help: its server reads from the disk.
    command::run(Command::new("cat").arg(setting.archive()))?;
    let cost = placement.run(|| {
        let untar = setting.untar("untarred")?;
        let reader = read_tree(&setting.place("untarred"), true)?;
        Ok(Cost {
            wall: untar.wall + reader.wall,
            cpu: untar.cpu + reader.cpu,
            read: reader.times,
        })
    })?;
    setting.remove("untarred")?;
    Ok(cost)
}

fn mount_and_read(
    setting: &Setting,
    instance: &Instance,
    placement: Placement,
    options: &str,
) -> anyhow::Result<Cost> {
    let (dir, cache) = (setting.place("mount"), setting.place("cache"));
    setting.drop_caches()?;
    let server_before = instance.server_cpu()?;
    let (mount, cost) = placement.run(|| {
        let (mount, ran) = Mount::with_mode(options, instance, SOURCE, &dir, &cache)?;
        let reader = read_tree(&dir, true)?;
        let cpu = ran.cpu + reader.cpu + mount.daemon_cpu()?;
        let cost = Cost {
            wall: ran.wall + reader.wall,
            cpu,
            read: reader.times,
        };
        Ok((mount, cost))
    })?;
    let server = instance.server_cpu()?.saturating_sub(server_before);
    mount.unmount()?;
    setting.remove("cache")?;
    Ok(Cost {
        cpu: cost.cpu + server,
        ..cost
    })
}
