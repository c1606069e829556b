//! What all tests of mounts share: private namespaces, passes over a tree, counting.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lfsfs_testkit::requirements::require_root_and_fuse;
use lfsfs_tests::{Mounted, Run, World};

/// Counts by name: of opcodes, or of what a mount counts itself.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Runs `body` in a private namespace if this machine can mount. `name` is the test's own.
pub(crate) fn in_namespace(name: &str, body: impl FnOnce()) {
    if require_root_and_fuse().is_ok() {
        lfsfs_testkit::namespace::in_private_namespace(name, || {
            forget_mounts_of_others();
            body();
        });
    }
}

/// Takes the mounts of lfsfs that this machine had already out of this namespace: they are in no
/// list then, and whoever has them can end them while the test runs.
fn forget_mounts_of_others() {
    let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
    let found = table.lines().filter(|line| line.contains(" fuse.lfsfs "));
    for dir in found.filter_map(|line| line.split(' ').nth(1)) {
        // Copies; the mounts themselves are in another namespace. Odd names stay.
        let _ = rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Returns every path below `dir`, directories before what they hold.
pub(crate) fn paths(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).expect("a directory can be listed") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("attributes");
            if metadata.is_dir() {
                todo.push(path.clone());
            }
            found.push((path, metadata));
        }
    }
    found
}

/// Lists and stats everything, and follows links to their targets' names.
pub(crate) fn walk(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let found = paths(dir);
    for (path, _) in found.iter().filter(|(_, metadata)| metadata.is_symlink()) {
        fs::read_link(path).expect("a link");
    }
    found
}

/// Returns the regular files below `dir`.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let found = paths(dir).into_iter();
    let files = found.filter(|(_, metadata)| metadata.is_file());
    files.map(|(path, _)| path).collect()
}

/// Opens, reads and closes every regular file, and returns how many bytes they had.
pub(crate) fn read_all(dir: &Path) -> u64 {
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    for path in files(dir) {
        let mut file = File::open(&path).expect("a file");
        loop {
            let len = file.read(&mut buffer).expect("bytes");
            bytes += len as u64;
            if len == 0 {
                break;
            }
        }
    }
    bytes
}

/// Returns which requests the kernel sends while `body` runs, by opcode.
pub(crate) fn requests_of(mount: &Mounted<'_>, body: impl FnOnce()) -> Counts {
    let before = mount.requests();
    body();
    difference(&before, mount.requests())
}

/// Returns what `body` adds to the counters of a mount, those that stay the same left out.
pub(crate) fn counted(mount: &Mounted<'_>, body: impl FnOnce()) -> Counts {
    let before = mount.counters();
    body();
    difference(&before, mount.counters())
}

fn difference(before: &Counts, after: Counts) -> Counts {
    let more = after.into_iter().map(|(name, count)| {
        let before = before.get(&name).copied().unwrap_or(0);
        (name, count.saturating_sub(before))
    });
    more.filter(|(_, count)| *count > 0).collect()
}

/// Returns counts as a test states them.
pub(crate) fn counts(stated: &[(&str, u64)]) -> Counts {
    let stated = stated.iter();
    stated
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

/// Returns one count; what never happened is 0.
pub(crate) fn count(counts: &Counts, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

/// Waits until `is_so`, and returns false if it is not within `limit`.
pub(crate) fn eventually(limit: Duration, is_so: impl Fn() -> bool) -> bool {
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

/// Waits until everything that a mount has fetched is in the cache on disk.
pub(crate) fn wait_for_cache(mount: &Mounted<'_>) {
    let written = || count(&mount.counters(), "cache_bytes_written");
    let limit = Duration::from_secs(20);
    let settled = eventually(limit, || {
        let before = written();
        std::thread::sleep(Duration::from_millis(200));
        written() == before
    });
    assert!(settled, "the cache is still being written");
}

/// Returns true if a process with this id runs.
pub(crate) fn is_running(pid: u32) -> bool {
    // A zombie has no root directory any more: only its parent waits for it.
    fs::metadata(format!("/proc/{pid}/root")).is_ok()
}

/// Returns the lines of the mount table that are about `dir`.
pub(crate) fn mount_table(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
    let dir = format!(" {} ", dir.display());
    let lines = table.lines().filter(|line| line.contains(&dir));
    lines.map(str::to_owned).collect()
}

/// Runs `lfsfs mount SOURCE DIR -o OPTIONS` to its end.
pub(crate) fn lfsfs_mount(world: &World, source: &str, dir: &Path, options: &str) -> Run {
    let words = [OsStr::new("mount"), source.as_ref(), dir.as_os_str()];
    let options = [OsStr::new("-o"), options.as_ref()];
    world.lfsfs(words.into_iter().chain(options))
}

/// Runs a program of the machine to its end.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Run {
    let mut command = Command::new(program);
    command.args(arguments);
    Run::of(command)
}

/// Returns the inode number of everything below `dir`, by path from there.
pub(crate) fn inode_numbers(dir: &Path) -> BTreeMap<PathBuf, u64> {
    use std::os::unix::fs::MetadataExt as _;
    let numbers = paths(dir).into_iter().map(|(path, metadata)| {
        let path = path.strip_prefix(dir).expect("it lies below");
        (path.to_owned(), metadata.ino())
    });
    numbers.collect()
}

/// What a mount fetched from servers, in counts and bytes.
pub(crate) fn fetched(mount: &Mounted<'_>) -> Counts {
    let counters = mount.counters().into_iter();
    let remote = counters.filter(|(name, count)| name.starts_with("remote_") && *count > 0);
    remote.collect()
}
