//! A program that reads a file of a mount again and again, while the mount is switched under it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use lfsfs_testkit::process::Program;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Says when it has read the file first, and when it reads something else; at the end how often it
/// has read, and how often that failed.
const SCRIPT: &str = r#"reads=0; failures=0; first=; changed=
trap 'echo "reads: $reads failures: $failures"; exit 0' TERM
while :; do
    sum=$(cksum < "$1") || failures=$((failures + 1))
    reads=$((reads + 1))
    [ -n "$first" ] || { first=$sum; echo "first read"; }
    [ "$sum" = "$first" ] || [ -n "$changed" ] || { changed=yes; echo "changed read"; }
done
"#;

/// The running program; ended when dropped.
#[derive(Debug)]
pub(super) struct Reader(Program);

impl Reader {
    /// Starts it in `dir`, where it reads `file`, and waits until it has read it once.
    pub(super) fn start(dir: &Path, file: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "sh"])
            .arg(file)
            .current_dir(dir);
        let program = Program::start(command)?;
        program.wait_for_line("first read", TIMEOUT)?;
        Ok(Self(program))
    }

    /// Waits until it reads something else, ends it, and returns how often it has read. It must
    /// never have failed.
    pub(super) fn end(mut self) -> anyhow::Result<u64> {
        self.0.wait_for_line("changed read", TIMEOUT)?;
        self.0.terminate(TIMEOUT)?;
        let failures = self.0.wait_for_word("failures: ", TIMEOUT)?;
        ensure!(failures == "0", "{failures} reads failed");
        let reads = self.0.wait_for_word("reads: ", TIMEOUT)?;
        reads.parse().context("understand the reader")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::tempdir::TempDir;

    #[test]
    fn it_sees_the_change_and_counts() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("file"), "one").unwrap();
        let reader = Reader::start(dir.path(), Path::new("file")).unwrap();
        std::fs::write(dir.path().join("file"), "other").unwrap();
        assert!(reader.end().unwrap() >= 2);
    }
}
