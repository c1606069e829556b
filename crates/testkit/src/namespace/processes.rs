//! Ends everything that lives in one mount namespace.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long killed processes may take; one in an uninterruptible wait is left to the kernel.
const END_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The name that the kernel gives a mount namespace, such as `mnt:[4026532418]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamespaceId(OsString);

impl NamespaceId {
    /// Returns the namespace of the process; `None` where that has ended already or is our own.
    pub(super) fn of_process(id: u32) -> io::Result<Option<Self>> {
        let own = read(Path::new("/proc/self"))?;
        Ok(read(&PathBuf::from(format!("/proc/{id}")))
            .ok()
            .filter(|other| *other != own))
    }
}

fn read(process: &Path) -> io::Result<NamespaceId> {
    Ok(NamespaceId(
        fs::read_link(process.join("ns/mnt"))?.into_os_string(),
    ))
}

/// Kills all processes of `namespace` and aborts its FUSE connections, until none is left.
pub(super) fn end_all(namespace: &NamespaceId) {
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let threads = threads_in(namespace);
        if threads.is_empty() || Instant::now() > deadline {
            return;
        }
        for thread in &threads {
            // First the abort: who waits for an answer in the kernel is not killed before.
            abort_connections(&thread.path);
            // It may have ended since it was listed.
            let _ = kill_process(thread.process, Signal::KILL);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A thread, because a process whose first thread has ended looks like a zombie, while another
/// one may still hang in a mount.
struct Thread {
    process: Pid,
    path: PathBuf,
}

fn threads_in(namespace: &NamespaceId) -> Vec<Thread> {
    let mut threads = Vec::new();
    for process in numbered_entries(Path::new("/proc")) {
        for thread in numbered_entries(&PathBuf::from(format!("/proc/{process}/task"))) {
            let path = PathBuf::from(format!("/proc/{process}/task/{thread}"));
            // One that has ended has no namespace any more, so zombies are not met.
            if let (Ok(found), Some(process)) = (read(&path), Pid::from_raw(process))
                && found == *namespace
            {
                threads.push(Thread { process, path });
            }
        }
    }
    threads
}

fn numbered_entries(dir: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Aborts the FUSE mounts that `thread` sees and we do not.
fn abort_connections(thread: &Path) {
    let own = fuse_connections(Path::new("/proc/self"));
    for connection in fuse_connections(thread) {
        if !own.contains(&connection) {
            let abort = format!("root/sys/fs/fuse/connections/{connection}/abort");
            let _ = fs::write(thread.join(abort), "1");
        }
    }
}

/// Returns the numbers of the FUSE connections among the mounts that `thread` sees.
fn fuse_connections(thread: &Path) -> Vec<String> {
    let mounts = fs::read(thread.join("mountinfo")).unwrap_or_default();
    String::from_utf8_lossy(&mounts)
        .lines()
        .filter_map(fuse_connection)
        .collect()
}

/// A FUSE connection is named by the minor number of its device, the second part of the third
/// word; the type is the first word after the dash.
fn fuse_connection(mount: &str) -> Option<String> {
    let (mount, rest) = mount.split_once(" - ")?;
    let kind = rest.split(' ').next()?;
    let is_fuse = kind == "fuse" || kind.starts_with("fuse.") || kind == "fuseblk";
    let (_, minor) = mount.split(' ').nth(2)?.split_once(':')?;
    is_fuse.then(|| minor.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuse_connections_are_told_from_other_mounts() {
        let found = |line| fuse_connection(line);
        let mount = "301 23 0:57 / /mnt/a rw,nosuid shared:9 - fuse.lfsfs project@1 rw,user_id=0";
        assert_eq!(found(mount).as_deref(), Some("57"));
        assert_eq!(found("302 23 0:58 / /sys/x rw - fusectl none rw"), None);
        assert_eq!(found("22 1 254:0 / / rw,relatime - ext4 /dev/vda rw"), None);
        assert_eq!(found(""), None);
    }
}
