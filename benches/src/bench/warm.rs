//! Rows b and r: a tree that was read before, walked and read again, against ext4.

use super::Row;
use super::line::{Bar, Line, Unit};
use super::setting::{SOURCE, Setting, ensure_same, read_tree};
use crate::instance::Instance;
use crate::mount::{FUSE_MODE, Mount};
use crate::passes::Times;
use crate::placement::Placement;

/// A pass, how to get its time, and its bar.
type Pass = (&'static str, fn(&Times) -> f64, Bar);

const PASSES: [Pass; 5] = [
    ("walk", |times| times.walk, Bar::None),
    ("stat", |times| times.stat, Bar::None),
    (
        "open, close",
        |times| times.open,
        Bar::Ratio {
            bar: 1.25,
            stretch: 1.0,
        },
    ),
    ("read", |times| times.read, Bar::None),
    (
        "sum",
        Times::sum,
        Bar::Ratio {
            bar: 1.1,
            stretch: 1.0,
        },
    ),
];

/// Measures mounts in fuse mode.
pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    measure_mode(setting, Row::B, FUSE_MODE)
}

/// Measures mounts with these options.
pub(super) fn measure_mode(
    setting: &Setting,
    row: Row,
    options: &str,
) -> anyhow::Result<Vec<Line>> {
    let instance = setting.serve_tree()?;
    let lines_of = |placement| lines_of(row, placement);
    let mut lines: Vec<Line> = Placement::ALL.into_iter().flat_map(lines_of).collect();
    setting.rounds(|_| {
        for (lines, placement) in lines.chunks_mut(PASSES.len()).zip(Placement::ALL) {
            let (theirs, ours) = placement.run(|| both(setting, &instance, options))?;
            ensure_same(&theirs, &ours)?;
            for (line, (_, time, _)) in lines.iter_mut().zip(PASSES) {
                line.push(time(&theirs), time(&ours));
            }
        }
        Ok(())
    })?;
    instance.stop()?;
    Ok(lines)
}

fn lines_of(row: Row, placement: Placement) -> impl Iterator<Item = Line> {
    PASSES.into_iter().map(move |(name, _, bar)| {
        let what = format!("warm {name} / ext4, {}", placement.name());
        Line::new(row, what, Unit::Seconds, bar)
    })
}

fn both(setting: &Setting, instance: &Instance, options: &str) -> anyhow::Result<(Times, Times)> {
    let theirs = read_tree(&setting.tree(), false)?.times;
    let (dir, cache) = (setting.place("mount"), setting.place("cache"));
    let (mount, _) = Mount::with_mode(options, instance, SOURCE, &dir, &cache)?;
    let ours = read_tree(mount.dir(), false)?.times;
    mount.unmount()?;
    Ok((theirs, ours))
}
