//! Row e: one byte changed in a large file, imported again, and what passed over the network.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use lfsfs_testkit::tree::{Features, LargeFile, TreeSpec};

use super::Row;
use super::line::{Bar, Line, Unit};
use super::setting::{PROJECT, Setting};
use crate::instance::Instance;
use crate::{command, sizes};

const MIB: f64 = 1_048_576.0;
const BAR: Bar = Bar::Amount {
    bar: 16.0 * MIB,
    stretch: 4.0 * MIB,
};

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let file = make_file(setting)?;
    let instance = setting.start_server("server")?;
    import(&instance, setting)?;
    let mut sent = Line::new(Row::E, "1 byte changed: sent / file", Unit::Bytes, BAR);
    let mut stored = Line::new(Row::E, "1 byte changed: stored / file", Unit::Bytes, BAR);
    let mut time = Line::new(Row::E, "  time / cp, fsync", Unit::Seconds, Bar::None);
    setting.rounds(|round| {
        let copied = copy(setting, &file)?;
        change_one_byte(&file, round)?;
        setting.settle()?;
        let cost = import(&instance, setting)?;
        let whole = sizes::count(&setting.tree())?.bytes;
        sent.push(whole, cost.sent);
        stored.push(whole, cost.stored);
        time.push(copied.as_secs_f64(), cost.wall.as_secs_f64());
        Ok(())
    })?;
    instance.stop()?;
    Ok(vec![sent, stored, time])
}

/// Makes a tree of one file that does not compress, and returns where that is.
fn make_file(setting: &Setting) -> anyhow::Result<PathBuf> {
    let large_file = LargeFile {
        bytes: setting.file_bytes(),
        compressible: false,
    };
    let spec = TreeSpec {
        seed: 1,
        files: 0,
        features: Features {
            large_file: Some(large_file),
            ..Features::none()
        },
    };
    spec.generate(&setting.tree())?;
    find_file(&setting.tree())?.context("the tree has no file")
}

fn find_file(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            return Ok(Some(entry.path()));
        }
        if kind.is_dir()
            && let Some(found) = find_file(&entry.path())?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn copy(setting: &Setting, file: &Path) -> anyhow::Result<Duration> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"cp "$1" "$2" && sync "$2""#, "sh"]);
    let ran = command::run(command.arg(file).arg(setting.place("copy")))?;
    setting.remove("copy")?;
    Ok(ran.wall)
}

/// Flips the bits of one byte, in each round at another place in the middle of the file.
fn change_one_byte(path: &Path, round: u32) -> anyhow::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let place = len / 2 + u64::from(round) * (len / 23) % (len / 2).max(1);
    let mut byte = [0];
    file.read_exact_at(&mut byte, place)
        .context("read the byte to change")?;
    byte[0] = !byte[0];
    file.write_all_at(&byte, place).context("change a byte")
}

/// What one import needed.
struct Cost {
    wall: Duration,
    sent: f64,
    stored: f64,
}

fn import(instance: &Instance, setting: &Setting) -> anyhow::Result<Cost> {
    let sent_before = sent_on_loopback()?;
    let stored_before = sizes::disk_usage(&instance.data())?;
    let ran = instance.import(&setting.tree(), PROJECT)?;
    let sent = sent_on_loopback()? - sent_before;
    setting.settle()?;
    Ok(Cost {
        wall: ran.wall,
        sent: sizes::to_float(sent),
        stored: sizes::disk_usage(&instance.data())? - stored_before,
    })
}

/// Returns how many bytes all programs of the machine have sent to each other: requests, answers
/// and protocol, so more than the import sends and never less.
fn sent_on_loopback() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/sys/class/net/lo/statistics/tx_bytes");
    let text = text.context("read the counters of the loopback device")?;
    text.trim().parse().context("understand a counter")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::tempdir::TempDir;

    #[test]
    fn each_round_changes_one_byte_of_the_file() {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        let path = dir.path().join("below/file");
        let original = vec![0; 10_000];
        std::fs::write(&path, &original).unwrap();
        assert_eq!(find_file(dir.path()).unwrap(), Some(path.clone()));
        for round in 1..=2 {
            change_one_byte(&path, round).unwrap();
        }
        let changed = std::fs::read(&path).unwrap();
        let differing = changed.iter().filter(|byte| **byte != 0).count();
        assert_eq!((changed.len(), differing), (10_000, 2));
    }
}
