//! Who uses a mount: processes of this machine, and mount namespaces that show it.
//!
//! A mount namespace that was made while something is mounted has a copy of that mount. systemd gives
//! one to each service with `PrivateTmp` or `ProtectSystem`, so a mount can have many copies that no
//! program looks at, and the file system lives as long as one of them.
//!
//! All questions are answered by the kernel alone: none of them sends a request to the mount.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::mountinfo::{self, Device, MountEntry};

/// Most users and namespaces that are named; of more, their number is.
const NAMED_MAX: usize = 8;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    name: String,
}

/// A mount namespace other than ours that shows the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// One of the processes in it.
    pub(crate) process: Process,
    /// Where it shows there.
    dir: PathBuf,
    pub(crate) origin: Origin,
}

/// How a copy came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The namespace was made while the file system was mounted, and shows it where we do.
    Inherited,
    /// It was mounted there on purpose, as containers do with their volumes.
    Bound,
}

/// What is known of the use of a file system, as far as this process may look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Use {
    /// Namespaces that show it, and keep it when we unmount.
    pub(crate) copies: Vec<Copy>,
    /// Processes with a file, directory or mapping of it open.
    pub(crate) users: Vec<Process>,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Inherited => self.process.fmt(f),
            Origin::Bound => write!(f, "{}, at {}", self.process, self.dir.display()),
        }
    }
}

impl Use {
    /// Looks at all that shows or uses a file system besides our own mount of it.
    ///
    /// Processes are looked for only where a copy is left, since of our own mount the kernel knows best.
    pub(crate) fn elsewhere(device: Device, dir: &Path) -> Self {
        let copies = copies(device, dir);
        let users = if copies.is_empty() {
            Vec::new()
        } else {
            users(device)
        };
        Self { copies, users }
    }

    /// Returns who would miss it, in words.
    pub(crate) fn in_use_by(&self) -> Vec<String> {
        let users = self.users.iter().map(Process::to_string);
        let bound = self
            .copies
            .iter()
            .filter(|copy| copy.origin == Origin::Bound);
        named(users.chain(bound.map(Copy::to_string)).collect())
    }

    /// Returns the namespaces that show it, in words.
    pub(crate) fn shown_in(&self) -> Vec<String> {
        named(self.copies.iter().map(Copy::to_string).collect())
    }
}

/// Cuts a long list.
pub(crate) fn named(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(NAMED_MAX);
    all.truncate(NAMED_MAX);
    if more > 0 {
        all.push(format!("{more} more"));
    }
    all
}

/// Returns the namespaces that would go on showing the file system after it is unmounted here.
fn copies(device: Device, dir: &Path) -> Vec<Copy> {
    let ours = mountinfo::read().unwrap_or_default();
    let mut of_namespaces: HashMap<PathBuf, u32> = HashMap::new();
    for pid in processes() {
        // Those of other users may not be looked at by a user's mount.
        if let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) {
            of_namespaces.entry(namespace).or_insert(pid);
        }
    }
    if let Ok(own) = fs::read_link("/proc/thread-self/ns/mnt") {
        of_namespaces.remove(&own);
    }
    let mut pids: Vec<u32> = of_namespaces.into_values().collect();
    pids.sort_unstable();
    let look = |pid: u32| {
        let theirs = mountinfo::read_of(pid).ok()?;
        let (dir, origin) = copy_among(&theirs, &ours, device, dir)?;
        let process = Process::of(pid);
        Some(Copy {
            process,
            dir,
            origin,
        })
    };
    pids.into_iter().filter_map(look).collect()
}

/// Finds the file system in the table of another namespace, unless unmounting it here takes it away
/// there, too.
fn copy_among(
    theirs: &[MountEntry],
    ours: &[MountEntry],
    device: Device,
    dir: &Path,
) -> Option<(PathBuf, Origin)> {
    let our_mount = mountinfo::topmost(ours, dir).filter(|it| it.device == device);
    let is_kept = |copy: &&MountEntry| {
        copy.device == device && !our_mount.is_some_and(|it| follows(copy, theirs, it, ours))
    };
    let kept: Vec<_> = theirs.iter().filter(is_kept).collect();
    let root = |table| mountinfo::topmost(table, Path::new("/")).map(|it| (it.device, &it.root));
    // A container has another root; there the same path is not the same place.
    let is_inherited = |copy: &&&MountEntry| copy.dir == dir && root(theirs) == root(ours);
    match kept.iter().find(|copy| !is_inherited(copy)) {
        Some(bound) => Some((bound.dir.clone(), Origin::Bound)),
        None => Some((kept.first()?.dir.clone(), Origin::Inherited)),
    }
}

/// Returns true if the kernel takes a copy away together with our mount: what is mounted above it takes
/// its events from what is mounted above ours.
fn follows(
    copy: &MountEntry,
    theirs: &[MountEntry],
    our_mount: &MountEntry,
    ours: &[MountEntry],
) -> bool {
    let parent = |mount: &MountEntry, table: &[MountEntry]| {
        let found = table.iter().find(|it| it.id == mount.propagation.parent);
        found.map(|it| it.propagation)
    };
    let (Some(above), Some(above_ours)) = (parent(copy, theirs), parent(our_mount, ours)) else {
        return false;
    };
    let Some(group) = above_ours.shared else {
        return false;
    };
    above.shared == Some(group) || above.master == Some(group)
}

/// Returns the processes that have something of a file system open, without this one.
pub(crate) fn users(device: Device) -> Vec<Process> {
    let own = std::process::id();
    let found = processes().filter(|pid| *pid != own && uses(*pid, device));
    let mut found: Vec<_> = found.map(Process::of).collect();
    found.sort_unstable();
    found
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn uses(pid: u32, device: Device) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let links = ["cwd", "root", "exe"].map(|name| process.join(name));
    let open = fs::read_dir(process.join("fd")).into_iter().flatten();
    let open = open.flatten().map(|entry| entry.path());
    let mut links = links.into_iter().chain(open);
    links.any(|link| leads_to(&link, device)) || maps(&process, device)
}

/// Asks where a link of the kernel leads. For nothing but the device it asks no file system.
fn leads_to(link: &Path, device: Device) -> bool {
    let flags = AtFlags::STATX_DONT_SYNC;
    statx(CWD, link, flags, StatxFlags::empty())
        .is_ok_and(|it| (it.stx_dev_major, it.stx_dev_minor) == (device.major, device.minor))
}

/// Looks for the device in lines like `7f..-7f.. r--p 00000000 00:39 12 /path`.
fn maps(process: &Path, device: Device) -> bool {
    let Ok(maps) = fs::read(process.join("maps")) else {
        return false;
    };
    let wanted = format!("{:02x}:{:02x}", device.major, device.minor);
    let mut lines = maps.split(|byte| *byte == b'\n');
    lines.any(|line| line.split(|byte| *byte == b' ').nth(3) == Some(wanted.as_bytes()))
}

impl Process {
    fn of(pid: u32) -> Self {
        let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        let name = std::ffi::OsStr::from_bytes(name.trim_ascii_end());
        Self {
            pid,
            name: name.to_string_lossy().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use rustix::fs::{major, minor};

    use super::*;
    use crate::mountinfo::Propagation;

    const OURS: Device = Device {
        major: 0,
        minor: 57,
    };
    const DISK: Device = Device { major: 8, minor: 1 };

    fn entry(id: u64, device: Device, dir: &str, propagation: Propagation) -> MountEntry {
        MountEntry {
            id,
            device,
            root: "/".into(),
            dir: dir.into(),
            options: String::new(),
            kind: String::new(),
            source: String::new(),
            owner: None,
            propagation,
        }
    }

    fn shared(group: u64) -> Propagation {
        Propagation {
            shared: Some(group),
            ..Propagation::default()
        }
    }

    fn below(parent: u64) -> Propagation {
        Propagation {
            parent,
            ..Propagation::default()
        }
    }

    fn table(root: Device, above: Propagation, dir: &str) -> Vec<MountEntry> {
        vec![entry(1, root, "/", above), entry(2, OURS, dir, below(1))]
    }

    fn found(theirs: &[MountEntry]) -> Option<Origin> {
        let ours = table(DISK, shared(1), "/mnt");
        copy_among(theirs, &ours, OURS, Path::new("/mnt")).map(|(_, origin)| origin)
    }

    #[test]
    fn copies_of_a_private_namespace_are_told_from_volumes() {
        let private = Propagation::default();
        let inherited = table(DISK, private, "/mnt");
        assert_eq!(found(&inherited), Some(Origin::Inherited));
        assert_eq!(
            found(&table(DISK, private, "/data")),
            Some(Origin::Bound),
            "another directory"
        );
        let container = Device { major: 0, minor: 9 };
        assert_eq!(
            found(&table(container, private, "/mnt")),
            Some(Origin::Bound),
            "another root"
        );
        assert_eq!(found(&inherited[..1]), None);
    }

    #[test]
    fn what_the_kernel_takes_away_with_ours_is_no_copy() {
        let slave = Propagation {
            master: Some(1),
            ..Propagation::default()
        };
        assert_eq!(found(&table(DISK, slave, "/mnt")), None);
        assert_eq!(found(&table(DISK, shared(1), "/mnt")), None);
        assert_eq!(
            found(&table(DISK, shared(2), "/mnt")),
            Some(Origin::Inherited)
        );
    }

    #[test]
    fn an_open_file_is_a_use_and_our_own_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let device = file.as_file().metadata().unwrap().dev();
        let device = Device {
            major: major(device),
            minor: minor(device),
        };
        assert!(uses(std::process::id(), device));
        assert!(maps(Path::new("/proc/self"), program_device()));
        assert!(!users(device).iter().any(|it| it.pid == std::process::id()));
    }

    fn program_device() -> Device {
        let program = fs::metadata("/proc/self/exe").unwrap().dev();
        Device {
            major: major(program),
            minor: minor(program),
        }
    }

    #[test]
    fn of_many_only_some_are_named() {
        let all = |count| named((0..count).map(|it: u32| it.to_string()).collect());
        assert_eq!(all(2), ["0", "1"]);
        assert_eq!(all(10).len(), NAMED_MAX + 1);
        assert_eq!(all(10)[NAMED_MAX], "2 more");
    }
}
