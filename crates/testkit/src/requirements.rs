//! What a test needs from the machine, asked for by name.
//!
//! A test that cannot run says so and passes; with `LFSFS_TEST_NO_SKIP=1`, as in CI on a machine
//! that has everything, it fails instead, so that a broken machine cannot look like success.
//!
//! ```no_run
//! # use lfsfs_testkit::requirements::require_root_and_fuse;
//! if require_root_and_fuse().is_err() {
//!     return;
//! }
//! ```

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// A requirement that this machine does not meet; the test returns early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    needs: String,
    why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "skipped: needs {} ({})", self.needs, self.why)
    }
}

impl std::error::Error for Skipped {}

/// The result of asking; where it is an error, the reason stands on stderr already.
pub type Requirement = Result<(), Skipped>;

/// Asks for root, as private mount namespaces, loop devices and owners need it.
///
/// # Errors
/// The test cannot run here.
pub fn require_root() -> Requirement {
    report("root", check_root())
}

/// Asks for root and a usable `/dev/fuse`.
///
/// # Errors
/// The test cannot run here.
pub fn require_root_and_fuse() -> Requirement {
    report(
        "root and /dev/fuse",
        check_root().and_then(|()| check_device("/dev/fuse")),
    )
}

/// Asks for root, loop devices and `mkfs.ext4`.
///
/// # Errors
/// The test cannot run here.
pub fn require_loop_devices() -> Requirement {
    let checked = check_root()
        .and_then(|()| check_device("/dev/loop-control"))
        .and_then(|()| check_program("mkfs.ext4"));
    report("root, loop devices and mkfs.ext4", checked)
}

/// Asks for a program such as `node`, `python3`, `cc`, `npm` or `git` in `PATH`.
///
/// # Errors
/// The test cannot run here.
pub fn require_program(name: &str) -> Requirement {
    report(name, check_program(name))
}

/// Asks for what the test has looked for itself: `checked` says why it is not there.
///
/// # Errors
/// The test cannot run here.
pub fn require(needs: &str, checked: Result<(), String>) -> Requirement {
    report(needs, checked)
}

/// Returns the place of the program `name` in `PATH` or where administrators' programs lie.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|program| rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok())
}

/// Writes a line to the real stderr: the harness hides what a passing test prints otherwise.
pub(crate) fn say(line: &str) {
    // A test must not fail because no process reads its remarks.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn report(needs: &str, checked: Result<(), String>) -> Requirement {
    let Err(why) = checked else { return Ok(()) };
    let skipped = Skipped {
        needs: needs.to_owned(),
        why,
    };
    assert!(!must_not_skip(), "{skipped}, and LFSFS_TEST_NO_SKIP is set");
    say(&skipped.to_string());
    Err(skipped)
}

fn must_not_skip() -> bool {
    std::env::var_os("LFSFS_TEST_NO_SKIP").is_some_and(|value| value == "1")
}

fn check_root() -> Result<(), String> {
    match rustix::process::geteuid() {
        user if user.is_root() => Ok(()),
        user => Err(format!("running as user {}", user.as_raw())),
    }
}

fn check_device(path: &str) -> Result<(), String> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

fn check_program(name: &str) -> Result<(), String> {
    match find_program(name) {
        Some(_) => Ok(()),
        None => Err(format!("no {name} in PATH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        // Not through `report`, which fails on purpose where nothing may be skipped.
        let why = check_program("no-such-program").unwrap_err();
        let skipped = Skipped {
            needs: "x".into(),
            why,
        };
        assert_eq!(
            skipped.to_string(),
            "skipped: needs x (no no-such-program in PATH)"
        );
        assert_eq!(require_program("sh"), Ok(()));
    }
}
