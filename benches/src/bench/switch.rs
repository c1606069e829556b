//! Row g: a mount moves to a version in which 100 files differ, against mounting that version anew.

use anyhow::ensure;

use super::Row;
use super::edit_tree::append_to_files;
use super::line::{Bar, Line, Unit};
use super::setting::{PROJECT, SOURCE, Setting, list, read_tree};
use crate::mount::Mount;

const FILES_CHANGED: usize = 100;
const BAR: Bar = Bar::Amount {
    bar: 0.050,
    stretch: 0.010,
};

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let instance = setting.serve_tree()?;
    append_to_files(&setting.tree(), FILES_CHANGED)?;
    instance.import(&setting.tree(), PROJECT)?;
    let cache = instance.place("cache");
    let mut line = Line::new(Row::G, "switch, 100 files / mount anew", Unit::Seconds, BAR);
    setting.rounds(|_| {
        let (dir, other) = (setting.place("mount"), setting.place("mount-anew"));
        let (mount, _) = Mount::new(&instance, SOURCE, &dir, &cache)?;
        // A switch has more to do where the kernel knows everything.
        let before = read_tree(&dir, true)?.times;
        let ours = mount.switch("v2")?.wall;
        let after = read_tree(&dir, true)?.times;
        ensure!(
            after.entries == before.entries && after.bytes > before.bytes,
            "the mount does not show the other version"
        );
        mount.unmount()?;
        let source = format!("{PROJECT}@v2");
        let (mount, ran) = Mount::new(&instance, &source, &other, &cache)?;
        let theirs = ran.wall + list(&other)?;
        mount.unmount()?;
        line.push(theirs.as_secs_f64(), ours.as_secs_f64());
        Ok(())
    })?;
    instance.stop()?;
    Ok(vec![line])
}
