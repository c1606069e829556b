//! The mounts of this machine, from the outside: found in the kernel's table, asked through their
//! sockets, unmounted.

mod client;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_common::PathError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;

pub(crate) use self::client::Address;
pub use self::client::AnswerSink;
use crate::control::{ControlError, ControlRequest, MountStatus, Unmounted};
use crate::error::MountError;
use crate::flush;
use crate::kernel_mount;
use crate::mount_point;
use crate::mountinfo::{self, MountEntry};
use crate::places::Places;

/// How long the process of a mount may take to end after it was unmounted.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// One mount of lfsfs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What the kernel knows of it.
    pub entry: MountEntry,
    /// What its process says.
    pub state: MountState,
    address: Address,
}

/// Whether a mount is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountState {
    /// Its process answers.
    Served(Box<MountStatus>),
    /// Its process is gone; the next mount at the directory replaces it.
    Dead,
    /// Its process does not answer us.
    Silent(Silence),
}

/// Why the process of a mount does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// Only that user and root may ask it.
    OtherUser(u32),
    /// Its socket is not where we look.
    NoSocket(PathBuf),
    /// It hangs, or refuses us.
    NoAnswer(String),
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherUser(uid) => write!(f, "only user {uid} and root may ask its process"),
            Self::NoSocket(socket) => write!(
                f,
                "its process does not listen at {}; it may have another run directory",
                socket.display()
            ),
            Self::NoAnswer(reason) => f.write_str(reason),
        }
    }
}

/// What happens to a mount that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UmountMode {
    /// It stays, and the caller gets an error.
    WhenIdle,
    /// It goes from its directory at once, and its process ends with its last user.
    Lazy,
}

/// Returns all mounts of lfsfs that this process sees, in the order of the kernel's table.
pub fn list_mounts(places: &Places) -> Result<Vec<Mount>, MountError> {
    let mounts = mountinfo::read().map_err(MountError::system("read the mount table"))?;
    let ours = mounts.into_iter().filter(MountEntry::is_ours);
    Ok(ours.map(|entry| look_at(entry, places)).collect())
}

/// Returns the mount that `path` lies in: its directory or anything below.
pub fn find_mount(path: &Path, places: &Places) -> Result<Mount, MountError> {
    let canonical = mount_point::canonical(path)?;
    let mounts = mountinfo::read().map_err(MountError::system("read the mount table"))?;
    // The last of the deepest is the one that path resolution ends in.
    let around = mounts
        .into_iter()
        .filter(|mount| canonical.starts_with(&mount.dir))
        .max_by_key(|mount| mount.dir.components().count());
    match around {
        Some(entry) if entry.is_ours() => Ok(look_at(entry, places)),
        _ => Err(MountError::NotMounted {
            path: path.to_owned(),
        }),
    }
}

/// Asks the process of a mount. [`ControlRequest`] says what it answers with.
pub fn call<T: DeserializeOwned>(mount: &Mount, request: &ControlRequest) -> Result<T, MountError> {
    flush_before(mount, request, |_| ())?;
    client::call(&mount.address, request)
}

/// As [`call`]; progress and items of the answer go to `sink`.
pub fn call_with<T: DeserializeOwned>(
    mount: &Mount,
    request: &ControlRequest,
    sink: &mut impl AnswerSink,
) -> Result<T, MountError> {
    flush_before(mount, request, |text| sink.warn(text))?;
    client::call_with(&mount.address, request, sink)
}

/// Has the kernel send what it holds, if the request is about what is written.
fn flush_before(
    mount: &Mount,
    request: &ControlRequest,
    warn: impl FnOnce(&str),
) -> Result<(), MountError> {
    match request {
        // Unmounting flushes by itself, and says whether that worked.
        ControlRequest::Status
        | ControlRequest::Stats
        | ControlRequest::Umount { .. }
        | ControlRequest::Pause { .. }
        | ControlRequest::Retry
        | ControlRequest::Publication { .. }
        | ControlRequest::Server { .. } => return Ok(()),
        _ => {}
    }
    let Err(error) = flush::flush(&mount.entry) else {
        return Ok(());
    };
    let error = PathError::new("write what the kernel holds of", &mount.entry.dir, error);
    match request {
        // To look needs no space on any disk.
        ControlRequest::Changes | ControlRequest::Queue { .. } => {
            warn(&MountError::from(error).full_text());
            Ok(())
        }
        _ => Err(error.into()),
    }
}

/// Unmounts the mount that `path` lies in and waits for the end of its process, unless another
/// process still uses it, which the answer says. Returns what it kept. A dead mount is taken away, and
/// tells nothing.
pub fn unmount(
    path: &Path,
    mode: UmountMode,
    places: &Places,
) -> Result<Option<Unmounted>, MountError> {
    let mount = find_mount(path, places)?;
    let MountState::Served(status) = &mount.state else {
        return unmount_unserved(mount).map(|()| None);
    };
    let process = i32::try_from(status.pid).ok().and_then(Pid::from_raw);
    // Opened before it ends, so that no other process with its number is waited for.
    let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let request = ControlRequest::Umount {
        lazy: mode == UmountMode::Lazy,
        // While it can still be opened.
        is_flushed: flush::flush(&mount.entry).is_ok(),
    };
    let unmounted: Unmounted = call(&mount, &request)?;
    let Some(process) = process else {
        return Ok(Some(unmounted));
    };
    let limit = if unmounted.used_by.is_empty() {
        END_TIMEOUT
    } else {
        // The programs that have files open decide when it ends.
        Duration::ZERO
    };
    let must_end = !limit.is_zero();
    match (wait_for_end(&process, limit), must_end) {
        (Ok(Ended::No), true) => Err(ControlError::failed(format!(
            "unmounted, but process {} did not end within {} s",
            status.pid,
            END_TIMEOUT.as_secs()
        ))
        .into()),
        (Ok(_), _) => Ok(Some(unmounted)),
        (Err(source), _) => Err(MountError::System {
            action: "wait for the mount process",
            source,
        }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Yes,
    No,
}

fn wait_for_end(process: &OwnedFd, limit: Duration) -> io::Result<Ended> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    match poll(&mut watched, Some(&limit))? {
        0 => Ok(Ended::No),
        _ => Ok(Ended::Yes),
    }
}

fn unmount_unserved(mount: Mount) -> Result<(), MountError> {
    match mount.state {
        MountState::Dead => kernel_mount::detach_dead(&mount.entry).map(|_| ()),
        MountState::Served(_) => Ok(()),
        MountState::Silent(silence) => {
            let dir = mount.entry.dir.display();
            let text = format!("the process of the mount at {dir} does not answer: {silence}");
            let hint = format!("umount {dir} asks the kernel alone");
            Err(ControlError::failed(text).hint(hint).into())
        }
    }
}

/// Asks the process that listens at an address for its status.
pub(crate) fn status_at(address: &Address) -> Result<MountStatus, MountError> {
    client::call(address, &ControlRequest::Status)
}

fn look_at(entry: MountEntry, places: &Places) -> Mount {
    let owner = entry.owner.map(|owner| owner.uid);
    let address = |socket| Address { socket, owner };
    let mut silence = None;
    for address in places.sockets(&entry).into_iter().map(address) {
        match status_at(&address) {
            // A socket of the same number may have stayed from a mount that is long gone.
            Ok(status) if status.device == entry.device => {
                return Mount {
                    entry,
                    state: MountState::Served(Box::new(status)),
                    address,
                };
            }
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => silence = Some(Silence::NoAnswer(error.full_text())),
        }
    }
    let state = if mount_point::is_dead(&entry, places) {
        MountState::Dead
    } else {
        MountState::Silent(why_silent(&entry, silence, places))
    };
    let address = address(places.socket(entry.device));
    Mount {
        entry,
        state,
        address,
    }
}

/// Returns true if no process listens at a socket.
fn is_absent(error: &MountError) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error, MountError::File(error) if matches!(error.kind(), ConnectionRefused | NotFound))
}

fn why_silent(entry: &MountEntry, silence: Option<Silence>, places: &Places) -> Silence {
    let ours = kernel_mount::owner().0;
    match entry.owner.map(|owner| owner.uid) {
        Some(owner) if owner != ours && !kernel_mount::is_root() => Silence::OtherUser(owner),
        _ => silence.unwrap_or_else(|| Silence::NoSocket(places.socket(entry.device))),
    }
}
