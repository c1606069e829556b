//! Starting a mount in a process of its own.
//!
//! The current program is started again with a hidden argument, in a session of its own, so that
//! the job that mounted may end. Its standard input is a socket: the request goes in, one line
//! with the outcome comes back. The parent returns when the mount answers, or takes the process
//! and its mount away again.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lfsfs_common::PathError;
use lfsfs_common::telemetry::{self, LogTarget};
use serde::{Deserialize, Serialize};

use crate::error::MountError;
use crate::mount_point;
use crate::places::Places;
use crate::process;
use crate::request::{MountRequest, Typed};
use crate::trust;
use crate::version::{Connect, OPEN_TIMEOUT};

/// The first argument by which a program knows that it is to call [`run_daemon`].
pub const DAEMON_ARGUMENT: &str = "mount-process";

/// What mounting takes at most besides opening the version.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(20);
const REQUEST_LEN_MAX: u64 = 1024 * 1024;
/// A system error, in the words of mount(8).
const EXIT_SYSTEM: u8 = 2;
const DEFAULT_LOG_FILTER: &str = "info";

/// How the process of a mount is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Arguments with which it calls [`run_daemon`].
    pub arguments: Vec<OsString>,
}

/// The line that comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ready,
    Failed { message: String, exit_code: u8 },
}

impl Launcher {
    /// Starts the current program again, with [`DAEMON_ARGUMENT`].
    pub fn current_program() -> Result<Self, MountError> {
        let program = env::current_exe().map_err(MountError::system("find this program"))?;
        let arguments = vec![DAEMON_ARGUMENT.into()];
        Ok(Self { program, arguments })
    }
}

/// Mounts in the background: returns when the mount answers. On an error no process and no mount
/// is left.
pub fn mount(request: &MountRequest, launcher: &Launcher) -> Result<(), MountError> {
    let places = Places::find(&request.options)?.prepare()?;
    let dir = mount_point::prepare(&request.dir, &places)?;
    let log = log_path(request, &places, &dir)?;
    let limit = OPEN_TIMEOUT * request.options.retry.saturating_add(1) + MOUNT_TIMEOUT;
    let (mut child, socket) = start(launcher, &log)?;
    let told = exchange(&socket, request, limit);
    let error = match told {
        Ok(Some(Outcome::Ready)) => {
            reap_later(child);
            return Ok(());
        }
        Ok(Some(Outcome::Failed { message, exit_code })) => MountError::Told { message, exit_code },
        Ok(None) => ended(&mut child, log),
        Err(_) => MountError::NoAnswer {
            source_name: request.source_text().to_owned(),
            seconds: limit.as_secs(),
            log,
        },
    };
    clean_up(child, &dir, &places);
    Err(error)
}

/// Returns where a mount that is served by the calling program logs.
pub fn foreground_log(request: &MountRequest) -> Result<LogTarget, MountError> {
    Ok(match &request.options.log {
        Some(log) => LogTarget::OwnFile(trust::resolve(log)?),
        None => LogTarget::Stderr,
    })
}

fn log_path(request: &MountRequest, places: &Places, dir: &Path) -> Result<PathBuf, MountError> {
    if let Some(log) = &request.options.log {
        return trust::resolve(log);
    }
    let state = places.mount_state(dir);
    fs::create_dir_all(&state).map_err(PathError::wrap("create directory", &state))?;
    Ok(state.join("log"))
}

fn start(launcher: &Launcher, log: &Path) -> Result<(Child, UnixStream), MountError> {
    let stderr = telemetry::open_own_file(log)?;
    let (ours, theirs) = UnixStream::pair().map_err(MountError::system("make a socket"))?;
    let child = Command::new(&launcher.program)
        .args(&launcher.arguments)
        // A process that lives long must not hold on to where it was started.
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(MountError::system("start the mount process"))?;
    Ok((child, ours))
}

/// Sends the request and waits for the outcome; `None` if the process ended without one.
fn exchange(
    socket: &UnixStream,
    request: &MountRequest,
    limit: Duration,
) -> io::Result<Option<Outcome>> {
    let deadline = Instant::now() + limit;
    let mut line = serde_json::to_string(request.typed())?;
    line.push('\n');
    let mut socket = socket;
    if socket.write_all(line.as_bytes()).is_err() {
        return Ok(None);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
    let mut answer = String::new();
    match BufReader::new(socket).read_line(&mut answer) {
        Ok(_) => Ok(serde_json::from_str(&answer).ok()),
        // The process died with our request unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}

fn ended(child: &mut Child, log: PathBuf) -> MountError {
    // It may still run with its socket closed, which is as good as ended.
    let _ = child.kill();
    let status = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    MountError::Ended { status, log }
}

/// Waits for the process in a thread, so that it does not stay a zombie if we live longer.
fn reap_later(mut child: Child) {
    let reaper = thread::Builder::new().name("reap-mount".to_owned());
    // Without a thread it stays a zombie until we end: no harm beyond a line in ps.
    let _ = reaper.spawn(move || child.wait());
}

fn clean_up(mut child: Child, dir: &Path, places: &Places) {
    // It has told why it cannot serve, or does not answer: either way nothing of it may stay.
    let _ = child.kill();
    let _ = child.wait();
    // A mount that it made and could not take away is dead now; preparing the place removes it.
    let _ = mount_point::prepare(dir, places);
}

/// Runs the process of a mount: what a program does when its first argument is
/// [`DAEMON_ARGUMENT`]. Returns its exit code.
#[must_use]
pub fn run_daemon(connect: &Connect) -> u8 {
    let Ok(mut socket) = take_socket() else {
        return EXIT_SYSTEM;
    };
    let result = receive(&socket).and_then(|request| serve(&request, connect, &mut socket));
    match result {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(error = %error.full_text(), "the mount failed");
            let exit_code = error.exit_code();
            let message = error.full_text();
            // The parent may have given up.
            let _ = tell(&mut socket, &Outcome::Failed { message, exit_code });
            exit_code
        }
    }
}

/// Takes the socket from standard input, which becomes empty.
fn take_socket() -> io::Result<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let null = fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

fn receive(socket: &UnixStream) -> Result<MountRequest, MountError> {
    let mut line = String::new();
    BufReader::new(socket.take(REQUEST_LEN_MAX))
        .read_line(&mut line)
        .map_err(MountError::system("receive the request to mount"))?;
    let typed: Typed = serde_json::from_str(&line).map_err(|error| MountError::System {
        action: "understand the request to mount",
        source: error.into(),
    })?;
    MountRequest::from_typed(typed)
}

fn serve(
    request: &MountRequest,
    connect: &Connect,
    socket: &mut UnixStream,
) -> Result<(), MountError> {
    // The own session: what ends the job that mounted (a hangup, a terminal's signals) does not
    // reach this process. It fails only where we lead one already.
    let _ = rustix::process::setsid();
    let places = Places::find(&request.options)?.prepare()?;
    let dir = mount_point::canonical(&request.dir)?;
    let log = log_path(request, &places, &dir)?;
    telemetry::init(&LogTarget::OwnFile(log.clone()), DEFAULT_LOG_FILTER)?;
    // A parent that has gone was interrupted: its user does not want the mount any more.
    process::run(request, connect, Some(log), |_| {
        tell(socket, &Outcome::Ready)
    })
}

fn tell(socket: &mut UnixStream, outcome: &Outcome) -> io::Result<()> {
    let mut line = serde_json::to_string(outcome)?;
    line.push('\n');
    socket.write_all(line.as_bytes())
}
