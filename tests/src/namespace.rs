//! Private namespaces for tests that mount, and what the machine says of mounts and processes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lfsfs_testkit::namespace::{NamespaceOptions, in_private_namespace_with};
use lfsfs_testkit::requirements::require_root_and_fuse;

/// Runs `body` in a private namespace if this machine can mount. `name` is the test's own.
pub fn in_namespace(name: &str, body: impl FnOnce()) {
    in_namespace_for(name, NamespaceOptions::default().timeout, body);
}

/// As [`in_namespace`], for a test that may take longer, or must not take as long as others.
pub fn in_namespace_for(name: &str, timeout: Duration, body: impl FnOnce()) {
    if require_root_and_fuse().is_ok() {
        in_private_namespace_with(name, &NamespaceOptions { timeout }, || {
            forget_mounts_of_others();
            body();
        });
    }
}

/// Takes the mounts of lfsfs that this machine had already out of this namespace: they are in no
/// list then, and their owners can end them while the test runs.
fn forget_mounts_of_others() {
    let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
    let found = table.lines().filter(|line| line.contains(" fuse.lfsfs "));
    for dir in found.filter_map(|line| line.split(' ').nth(1)) {
        // Copies; the mounts themselves are in another namespace. Odd names stay.
        let _ = rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Returns the lines of the mount table that are about `dir`.
pub fn mount_table(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
    let dir = format!(" {} ", dir.display());
    let lines = table.lines().filter(|line| line.contains(&dir));
    lines.map(str::to_owned).collect()
}

/// Returns true if a process with this id runs.
pub fn is_running(pid: u32) -> bool {
    // A zombie has no root directory any more: only its parent waits for it.
    fs::metadata(format!("/proc/{pid}/root")).is_ok()
}

/// Waits until `is_so`, and returns false if it is not within `limit`.
pub fn eventually(limit: Duration, is_so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
