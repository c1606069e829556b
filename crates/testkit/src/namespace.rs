//! A private mount namespace around one test, so that nothing it mounts stays on the machine.
//!
//! A namespace belongs to a process and its threads are started before a test could change it,
//! so the test executable is started once more for this one test, in a new namespace and a new
//! session. The outer run waits, passes the result on, and afterwards ends everything that still
//! lives in the namespace: a hung mount is aborted and its processes are killed, also those that
//! made themselves daemons. With the last of them the kernel removes the mounts.

mod processes;

use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use crate::process::Output;
use crate::tempdir::TempDir;
use processes::Namespace;

/// Names the file by which the inner run says that the body has run to its end.
const INNER_VARIABLE: &str = "LFSFS_TEST_NAMESPACE";
const FUSE_CONTROL: &CStr = c"/sys/fs/fuse/connections";
/// How long a killed test may take to end: a wait in the kernel must not become one out here.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How a test is run in a namespace of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceOptions {
    /// After so long the test fails and everything in the namespace is killed.
    pub timeout: Duration,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(300),
        }
    }
}

/// Runs `body` in a private mount namespace, for at most 300 s. `test_name` is the name that the
/// test harness knows the calling test by, such as `module::mounts_and_reads`.
///
/// ```no_run
/// # use lfsfs_testkit::namespace::in_private_namespace;
/// #[test]
/// fn mounts_and_reads() {
///     in_private_namespace("mounts_and_reads", || {
///         // No other process sees mounts made here, and they are gone afterwards.
///     });
/// }
/// ```
///
/// # Panics
/// Where the body panics, takes too long, or `test_name` is not the calling test's.
#[track_caller]
pub fn in_private_namespace(test_name: &str, body: impl FnOnce()) {
    in_private_namespace_with(test_name, &NamespaceOptions::default(), body);
}

/// As [`in_private_namespace`], with other options.
///
/// # Panics
/// As [`in_private_namespace`].
#[track_caller]
pub fn in_private_namespace_with(test_name: &str, options: &NamespaceOptions, body: impl FnOnce()) {
    if let Some(done) = std::env::var_os(INNER_VARIABLE) {
        body();
        std::fs::write(done, "done").expect("the outer run waits for this file");
        return;
    }
    let run = run_again(test_name, options).expect("the test executable can be started again");
    assert!(
        run.problem.is_none(),
        "{}; it wrote:\n{}",
        run.problem.unwrap_or_default(),
        run.text
    );
}

/// What came of the inner run.
struct Run {
    problem: Option<String>,
    text: String,
}

fn run_again(test_name: &str, options: &NamespaceOptions) -> anyhow::Result<Run> {
    let dir = TempDir::new()?;
    let done = dir.path().join("done");
    let mut child =
        start(test_name, dir.path(), &done).context("start the test in a new namespace")?;
    let namespace = Namespace::of_process(child.id());
    let output = Output::default();
    output.read_from(child.stdout.take().context("stdout is piped")?);
    output.read_from(child.stderr.take().context("stderr is piped")?);
    let ended = wait(&mut child, options.timeout)?;
    if let Some(namespace) = namespace.context("find the namespace")? {
        processes::end_all(&namespace);
    }
    // Killed above where it had not ended; this reaps it.
    let _ = child.kill();
    let reaped = wait(&mut child, KILL_TIMEOUT)?;
    output.wait_for_end(KILL_TIMEOUT);
    let problem = match reaped {
        Some(_) => problem(ended, &done, test_name, options),
        None => Some(format!(
            "{test_name} hangs in the kernel and cannot be killed"
        )),
    };
    Ok(Run {
        problem,
        text: output.text(),
    })
}

fn problem(
    ended: Option<ExitStatus>,
    done: &Path,
    test_name: &str,
    options: &NamespaceOptions,
) -> Option<String> {
    match ended {
        None => Some(format!(
            "{test_name} still ran after {:?} and was killed",
            options.timeout
        )),
        Some(status) if !status.success() => Some(format!("{test_name} failed ({status})")),
        // The harness is content with a name that no test has.
        Some(_) if !done.exists() => Some(format!(
            "{test_name} did not run; is that the name of the calling test?"
        )),
        Some(_) => None,
    }
}

#[expect(
    unsafe_code,
    reason = "only between fork and exec a process can get its own namespace"
)]
fn start(test_name: &str, dir: &Path, done: &Path) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([
            "--exact",
            test_name,
            "--nocapture",
            "--include-ignored",
            "--test-threads=1",
        ])
        .env(INNER_VARIABLE, done)
        // What a killed test leaves there goes with the directory of the outer run.
        .env("TMPDIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: `enter_namespace` only makes system calls with constant arguments, allocates
    // nothing and takes no lock, so it may run after fork in a process with many threads.
    unsafe { command.pre_exec(enter_namespace) };
    command.spawn()
}

#[expect(unsafe_code, reason = "rustix marks unshare as unsafe")]
fn enter_namespace() -> io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: a new mount namespace changes nothing that Rust code relies on; it is the flag for
    // shared file descriptors that makes the call unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    mount_change(
        c"/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )?;
    // For aborting hung connections. It is mounted already on many machines, and missing in a
    // kernel without FUSE, whose tests need no abort.
    let _ = mount(c"none", FUSE_CONTROL, c"fusectl", MountFlags::empty(), None);
    Ok(())
}

fn wait(child: &mut Child, timeout: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("wait for the test")? {
            return Ok(Some(status));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(None)
}
