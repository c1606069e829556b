//! A process killed at random moments while it acknowledges: everything acknowledged is there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lfsfs_overlay::{Overlay, OverlayOptions};

use crate::common::{open, options, read, source, with_file, write};

const VARIABLE: &str = "LFSFS_OVERLAY_CRASH_TEST";

/// Not a test of its own: what the killed process runs.
#[test]
fn killed_process() {
    let Some(dir) = std::env::var_os(VARIABLE) else {
        return;
    };
    let small = OverlayOptions {
        segment_len_max: 256 * 1024,
        lock_wait: Duration::from_secs(10),
        ..options()
    };
    let overlay = Overlay::open(Path::new(&dir), &source(), &small).unwrap();
    let first = overlay.state().inode(2).unwrap().file().unwrap().size() / 8;
    let mut acknowledged = std::io::stdout();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                overlay.compact().unwrap();
            }
        });
        for number in first.. {
            overlay
                .apply(&[write(2, number * 8, &number.to_be_bytes())])
                .unwrap();
            writeln!(acknowledged, "ok {number}").unwrap();
        }
    });
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    drop(with_file(dir.path()));
    let mut written = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::killed_process", "--nocapture"])
            .env(VARIABLE, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stop_after = rand::random_range(1..400_u64) + round;
        let mut last = None;
        let mut count = 0;
        for line in lines.by_ref() {
            // The harness writes lines of its own; a line may be cut by the kill.
            let line = line.unwrap();
            let Some(number) = line
                .split("ok ")
                .nth(1)
                .and_then(|it| it.parse::<u64>().ok())
            else {
                continue;
            };
            last = Some(number);
            count += 1;
            if count == stop_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let content = read(&open(dir.path()), 2);
        let last = last.expect("the process did not begin");
        assert!(
            content.len() as u64 >= (last + 1) * 8,
            "{last} was acknowledged"
        );
        for (number, bytes) in content.chunks(8).enumerate() {
            assert_eq!(bytes, (number as u64).to_be_bytes(), "round {round}");
        }
        assert!(content.len() as u64 / 8 > written);
        written = content.len() as u64 / 8;
    }
}
