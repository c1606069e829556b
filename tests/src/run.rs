//! One run of a program, and what came of it.

use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, Output};

/// A program that has ended.
#[derive(Clone)]
pub struct Run {
    what: String,
    output: Output,
}

impl Run {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn of(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("start {what}: {error}"));
        Self { what, output }
    }

    /// Returns the exit code, or `None` if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Returns what it wrote to standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Returns what it wrote to standard output, as bytes.
    #[must_use]
    pub fn stdout_bytes(&self) -> &[u8] {
        &self.output.stdout
    }

    /// Returns what it wrote to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Returns standard output without its last line feed, of a run that went well.
    ///
    /// # Panics
    /// Where it did not.
    #[must_use]
    #[track_caller]
    pub fn ok(&self) -> String {
        assert_eq!(self.code(), Some(0), "{self:?}");
        self.stdout().trim_end_matches('\n').to_owned()
    }

    /// Returns standard output as JSON, of a run that went well.
    ///
    /// # Panics
    /// Where it did not.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it failed with `code` and that its complaint has every one of `words`. Returns
    /// the complaint.
    ///
    /// # Panics
    /// Where that is not so, and where the complaint looks like a panic.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code(), Some(code), "{self:?}");
        let complaint = self.stderr();
        for word in words {
            assert!(complaint.contains(word), "{word:?} is not told: {self:?}");
        }
        assert!(!complaint.contains("panicked"), "{self:?}");
        complaint
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, output } = self;
        write!(
            f,
            "{what} ended with {}\n{}{}",
            output.status,
            self.stdout(),
            self.stderr()
        )
    }
}

/// Runs a program of the machine to its end.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Run {
    let mut command = Command::new(program);
    command.args(arguments);
    Run::of(command)
}
