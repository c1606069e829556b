//! Row a: a version is there to be used, by a mount with an empty cache against an untar.

use super::Row;
use super::line::{Bar, Line, Unit};
use super::setting::{SOURCE, Setting, list};
use crate::mount::Mount;
use crate::placement::Placement;

const BAR: Bar = Bar::Ratio {
    bar: 1.0 / 50.0,
    stretch: 1.0 / 100.0,
};

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let instance = setting.serve_tree()?;
    let mut lines = Placement::ALL.map(|placement| {
        let what = format!("mount, first ls / untar, {}", placement.name());
        Line::new(Row::A, what, Unit::Seconds, BAR)
    });
    setting.rounds(|_| {
        for (line, placement) in lines.iter_mut().zip(Placement::ALL) {
            let untar = placement.run(|| setting.untar("untarred"))?;
            setting.remove("untarred")?;
            let (dir, cache) = (setting.place("mount"), setting.place("cache"));
            let (mount, ours) = placement.run(|| {
                let (mount, ran) = Mount::new(&instance, SOURCE, &dir, &cache)?;
                let ls = list(&dir)?;
                Ok((mount, ran.wall + ls))
            })?;
            mount.unmount()?;
            setting.remove("cache")?;
            line.push(untar.wall.as_secs_f64(), ours.as_secs_f64());
        }
        Ok(())
    })?;
    instance.stop()?;
    Ok(lines.into())
}
