//! Making the kernel send what it holds of a mount: pages of mappings, and gathered writes.
//!
//! For whoever asks the process of a mount, not for that process: killed while it waits for the kernel,
//! it would keep the device open that the kernel waits for.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use std::{io, thread};

use rustix::fs::syncfs;

use crate::mount_point;
use crate::mountinfo::Device;

/// How long the kernel may take. It sends more than it waits for.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes the kernel send what it holds of the mount that is seen at `dir`.
pub(crate) fn flush(dir: &Path, device: Device) -> io::Result<()> {
    let (done, flushed) = channel();
    let dir = dir.to_owned();
    let sync = move || {
        let synced = mount_point::open(&dir, device).and_then(|it| Ok(syncfs(it)?));
        // Nobody may wait for it any more.
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
