//! The mounts of this machine, from the outside: found in the kernel's table, asked through their
//! sockets, unmounted.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_common::PathError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;

use crate::control::{self, AnswerSink, ControlError, ControlRequest, MountStatus, Unmounted};
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
    socket: PathBuf,
}

/// Whether a mount is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountState {
    /// Its process answers.
    Served(Box<MountStatus>),
    /// Its process is gone; the next mount at the directory replaces it.
    Dead,
    /// Its process does not answer us: it is another user's, has its socket elsewhere, or hangs.
    Silent,
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
    flush_before(mount, request)?;
    control::call(&mount.socket, request)
}

/// As [`call`]; progress and items of the answer go to `sink`.
pub fn call_with<T: DeserializeOwned>(
    mount: &Mount,
    request: &ControlRequest,
    sink: &mut impl AnswerSink,
) -> Result<T, MountError> {
    flush_before(mount, request)?;
    control::call_with(&mount.socket, request, sink)
}

/// Has the kernel send what it holds, if the request is about what is written.
fn flush_before(mount: &Mount, request: &ControlRequest) -> Result<(), MountError> {
    let MountEntry { dir, device, .. } = &mount.entry;
    match request {
        ControlRequest::Status | ControlRequest::Stats => Ok(()),
        // The kernel sends all before it unmounts; here it is only for the number that is told.
        ControlRequest::Umount { .. } => {
            let _ = flush::flush(dir, *device);
            Ok(())
        }
        _ => flush::flush(dir, *device)
            .map_err(|error| PathError::new("write what the kernel holds of", dir, error).into()),
    }
}

/// Unmounts the mount that `path` lies in and waits for the end of its process, unless files of a
/// lazily unmounted one are still open. Returns what it kept. A dead mount is taken away, and
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
    let lazy = mode == UmountMode::Lazy;
    let unmounted: Unmounted = call(&mount, &ControlRequest::Umount { lazy })?;
    let Some(process) = process else {
        return Ok(Some(unmounted));
    };
    let limit = match mode {
        UmountMode::WhenIdle => END_TIMEOUT,
        // Whoever has files open decides when it ends.
        UmountMode::Lazy => Duration::ZERO,
    };
    match (wait_for_end(&process, limit), mode) {
        (Ok(Ended::No), UmountMode::WhenIdle) => Err(ControlError::failed(format!(
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
        _ => Err(ControlError::failed(format!(
            "the process of {} does not answer; umount {} asks the kernel alone",
            mount.entry.source,
            mount.entry.dir.display()
        ))
        .into()),
    }
}

fn look_at(entry: MountEntry, places: &Places) -> Mount {
    let socket = places.socket(entry.device);
    let state = match control::call::<MountStatus>(&socket, &ControlRequest::Status) {
        // A socket of the same number may have stayed from a mount that is long gone.
        Ok(status) if status.device == entry.device => MountState::Served(Box::new(status)),
        _ if mount_point::is_dead(&entry.dir) => MountState::Dead,
        _ => MountState::Silent,
    };
    Mount {
        entry,
        state,
        socket,
    }
}
