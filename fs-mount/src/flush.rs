//! Making the kernel send what it holds of a mount: pages of mappings, and gathered writes.
//!
//! For the command that asks the process of a mount, not for that process: killed while it waits for the kernel,
//! it would keep the device open that the kernel waits for.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use std::{io, thread};

use rustix::fs::syncfs;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::kernel_mount;
use crate::mount_point;
use crate::mountinfo::{MountEntry, MountOwner};

/// How long the kernel may take. It sends more than it waits for.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes the kernel send what it holds of a mount, if that is the one seen at its directory.
pub(crate) fn flush(mount: &MountEntry) -> io::Result<()> {
    let (done, flushed) = channel();
    let (dir, device, owner) = (mount.dir.clone(), mount.device, mount.owner);
    let sync = move || {
        let synced = become_owner(owner)
            .and_then(|()| mount_point::open(&dir, device))
            .and_then(|it| Ok(syncfs(it)?));
        // The caller may have stopped waiting.
        let _ = done.send(synced);
    };
    thread::Builder::new()
        .name("flush".to_owned())
        .spawn(sync)?;
    match flushed.recv_timeout(TIMEOUT) {
        Ok(synced) => synced,
        Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread ended")),
    }
}

/// Lets this thread of root look into a user's mount, which the kernel shows to that user alone.
fn become_owner(owner: Option<MountOwner>) -> io::Result<()> {
    let Some(MountOwner { uid, gid }) = owner.filter(|it| it.uid != 0 && kernel_mount::is_root())
    else {
        return Ok(());
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}
