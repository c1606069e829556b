//! Ends everything that lives in one mount namespace.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long killed processes may take; one in an uninterruptible wait is left to the kernel.
const END_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The name that the kernel gives a mount namespace, such as `mnt:[4026532418]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NamespaceId(OsString);

/// A mount namespace that is not our own.
#[derive(Debug)]
pub(super) struct Namespace {
    id: NamespaceId,
    /// The kernel gives the name of a namespace that has ended to the next one, which may be that
    /// of another test. An open one keeps its name.
    _kept: File,
}

impl Namespace {
    /// Returns the namespace of the process; `None` where that has ended already or is our own.
    pub(super) fn of_process(id: u32) -> io::Result<Option<Self>> {
        let own = read(Path::new("/proc/self"))?;
        let process = PathBuf::from(format!("/proc/{id}"));
        // Opened first, so that the name is this one's.
        let Ok(kept) = File::open(process.join("ns/mnt")) else {
            return Ok(None);
        };
        let found = read(&process).ok().filter(|other| *other != own);
        Ok(found.map(|id| Self { id, _kept: kept }))
    }
}

fn read(process: &Path) -> io::Result<NamespaceId> {
    Ok(NamespaceId(
        fs::read_link(process.join("ns/mnt"))?.into_os_string(),
    ))
}

/// Kills all processes of `namespace` and aborts its FUSE connections, until none is left.
pub(super) fn end_all(namespace: &Namespace) {
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let threads = threads_in(&namespace.id);
        if threads.is_empty() || Instant::now() > deadline {
            return;
        }
        for thread in &threads {
            // First the abort: the kernel does not kill a process that waits for an answer of a
            // mount before that.
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
    use std::process::Command;

    use super::*;

    /// Starts a process in a namespace of its own, ends it, and returns the namespace's name.
    #[expect(
        unsafe_code,
        reason = "only before exec a process can get its own namespace"
    )]
    fn name_of_a_short_namespace() -> (NamespaceId, Option<Namespace>) {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sleep");
        // SAFETY: unshare is one system call that takes no lock and allocates nothing.
        unsafe {
            command.arg("60").pre_exec(|| {
                rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)?;
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let namespace = Namespace::of_process(child.id()).unwrap();
        let name = read(&PathBuf::from(format!("/proc/{}", child.id()))).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        (name, namespace)
    }

    #[test]
    fn the_name_of_a_namespace_that_is_held_goes_to_no_other() {
        if crate::requirements::require_root().is_err() {
            return;
        }
        let (held, _namespace) = name_of_a_short_namespace();
        for _ in 0..20 {
            assert_ne!(name_of_a_short_namespace().0, held);
        }
    }

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
