//! What the disk gives: 4 KiB appended to a file and made durable, again and again.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::load::Timings;
use crate::interrupt;
use crate::samples::Samples;

/// Bytes of one append: a page, the least that a program which keeps pages can write.
pub(super) const APPEND_LEN: usize = 4096;

/// Appends to `path`, a new file, for `time`, each time with fdatasync, and removes it.
pub(super) fn measure(path: &Path, time: Duration) -> anyhow::Result<Timings> {
    let mut file = File::create_new(path).context("make a file to append to")?;
    let started = Instant::now();
    let mut took = Samples::default();
    let elapsed = loop {
        interrupt::check()?;
        took.push(append(&mut file)?.as_secs_f64());
        if started.elapsed() >= time {
            break started.elapsed();
        }
    };
    std::fs::remove_file(path).context("remove what was appended")?;
    Ok(Timings { took, elapsed })
}

fn append(file: &mut File) -> anyhow::Result<Duration> {
    let started = Instant::now();
    file.write_all(&[7; APPEND_LEN]).context("append")?;
    rustix::fs::fdatasync(file).context("make an append durable")?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::tempdir::TempDir;

    #[test]
    fn appends_are_counted_and_nothing_is_left() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("appended");
        let timings = measure(&path, Duration::ZERO).unwrap();
        assert!(timings.per_second() > 0.0 && timings.took.median() > 0.0);
        assert!(!path.exists());
    }
}
