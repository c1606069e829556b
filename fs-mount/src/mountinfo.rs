//! What is mounted where, as the kernel tells this thread's mount namespace.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use lfsfs_types::SourceDirectory;
use serde::{Deserialize, Serialize};

/// The type under which mounts of lfsfs show.
pub const FILE_SYSTEM_TYPE: &str = "fuse.lfsfs";

/// The type of mounts that the kernel serves.
const EROFS: &str = "erofs";

/// The mount table; of the thread, because a thread may have a mount namespace of its own.
const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// A device number. Each mounted lfsfs has its own while it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Device {
    /// The upper half.
    pub major: u32,
    /// The lower half.
    pub minor: u32,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Names the mount as long as it lives.
    pub id: u64,
    /// What is mounted.
    pub device: Device,
    /// Which directory of the file system is seen there: `/`, unless a bind mount shows a part.
    pub root: PathBuf,
    /// Where.
    pub dir: PathBuf,
    /// Options of the mount, as the kernel shows them.
    pub options: String,
    /// The type of the file system.
    pub kind: String,
    /// What was named as source.
    pub source: String,
    /// Who mounted it, where a FUSE file system says that.
    pub owner: Option<MountOwner>,
    /// How mounts and unmounts at other mounts reach it.
    pub propagation: Propagation,
}

/// The user who owns a FUSE file system. Without `allow_other` the kernel shows it to no other user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountOwner {
    /// The user who mounted it.
    pub uid: u32,
    /// The group of the process that mounted it.
    pub gid: u32,
}

/// Which mounts an event at one mount is passed on to: mount_namespaces(7), "shared subtrees".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Propagation {
    /// The mount above it.
    pub parent: u64,
    /// The group that passes events on to each other.
    pub shared: Option<u64>,
    /// The group that it takes events from.
    pub master: Option<u64>,
}

impl MountEntry {
    /// Returns true for a mount of lfsfs.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.kind == FILE_SYSTEM_TYPE || self.is_in_kernel_mode()
    }

    /// Returns true for a mount of lfsfs that the kernel's EROFS serves: its source is no path, but a version.
    #[must_use]
    pub fn is_in_kernel_mode(&self) -> bool {
        self.kind == EROFS
            && self.device.major == 0
            && SourceDirectory::new(self.source.as_bytes()).is_ok()
    }

    /// Returns true if the kernel refuses every change of it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }
}

/// Returns all mounts, in the order in which the later covers the earlier.
pub fn read() -> io::Result<Vec<MountEntry>> {
    read_table(Path::new(MOUNTINFO))
}

/// Returns all mounts that another process sees.
pub(crate) fn read_of(pid: u32) -> io::Result<Vec<MountEntry>> {
    read_table(Path::new(&format!("/proc/{pid}/mountinfo")))
}

fn read_table(path: &Path) -> io::Result<Vec<MountEntry>> {
    Ok(parse(&fs::read(path)?))
}

/// Returns the mount that is seen at `dir`, if `dir` is a mount point.
#[must_use]
pub fn topmost<'a>(mounts: &'a [MountEntry], dir: &Path) -> Option<&'a MountEntry> {
    mounts.iter().rfind(|mount| mount.dir == dir)
}

/// Lines that make no sense are left out: the table is the kernel's, and it only grows fields.
fn parse(table: &[u8]) -> Vec<MountEntry> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw`: fields before the dash are a
/// fixed part and any number of optional ones.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?).parse().ok()?;
    let parent = text(fields.next()?).parse().ok()?;
    let device = parse_device(&text(fields.next()?))?;
    let root = path(fields.next()?);
    let dir = path(fields.next()?);
    let options = text(fields.next()?);
    let optional: Vec<String> = fields
        .by_ref()
        .take_while(|field| *field != b"-")
        .map(text)
        .collect();
    let group = |name: &str| {
        let found = optional.iter().find_map(|it| it.strip_prefix(name));
        found.and_then(|number| number.parse().ok())
    };
    let kind = text(fields.next()?);
    let source = text(fields.next()?);
    let of_file_system = fields.next().map(text).unwrap_or_default();
    Some(MountEntry {
        id,
        device,
        root,
        dir,
        options,
        kind,
        source,
        owner: owner(&of_file_system),
        propagation: Propagation {
            parent,
            shared: group("shared:"),
            master: group("master:"),
        },
    })
}

/// FUSE tells who mounted: `rw,user_id=1000,group_id=1000`.
fn owner(options: &str) -> Option<MountOwner> {
    let number = |name: &str| {
        let found = options
            .split(',')
            .find_map(|option| option.strip_prefix(name));
        found?.parse().ok()
    };
    Some(MountOwner {
        uid: number("user_id=")?,
        gid: number("group_id=")?,
    })
}

fn parse_device(text: &str) -> Option<Device> {
    let (major, minor) = text.split_once(':')?;
    Some(Device {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

fn path(field: &[u8]) -> PathBuf {
    std::ffi::OsString::from_vec(unescape(field)).into()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// The kernel writes blank, tab, newline and backslash (and `#` in sources) as `\` and three
/// octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        match (first, octal(behind)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_optional_fields_is_read() {
        let line = b"301 23 0:57 / /mnt/a rw,nosuid shared:9 master:2 - fuse.lfsfs app@v42 \
                     ro,user_id=1000,group_id=1001";
        let mount = parse_line(line).expect("a line of the table");
        assert_eq!(
            mount,
            MountEntry {
                id: 301,
                device: Device {
                    major: 0,
                    minor: 57
                },
                root: "/".into(),
                dir: "/mnt/a".into(),
                options: "rw,nosuid".into(),
                kind: "fuse.lfsfs".into(),
                source: "app@v42".into(),
                owner: Some(MountOwner {
                    uid: 1000,
                    gid: 1001
                }),
                propagation: Propagation {
                    parent: 23,
                    shared: Some(9),
                    master: Some(2),
                },
            }
        );
        assert!(mount.is_ours() && !mount.is_read_only());
    }

    #[test]
    fn escapes_in_directories_and_sources_are_undone() {
        let line = b"1 2 0:3 / /mnt/a\\040b\\011c\\012d\\134e rw - fuse.lfsfs a\\043b ro";
        let mount = parse_line(line).expect("a line of the table");
        assert_eq!(mount.dir, Path::new("/mnt/a b\tc\nd\\e"));
        assert_eq!(mount.source, "a#b");
        assert_eq!(unescape(b"\\04"), b"\\04");
        assert_eq!(unescape(b"\\999"), b"\\999");
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_in_directories() {
        use std::os::unix::ffi::OsStrExt as _;
        let mount = parse_line(b"1 2 0:3 / /mnt/\xff rw - ext4 x ro").expect("a line");
        assert_eq!(mount.dir.as_os_str().as_bytes(), b"/mnt/\xff");
    }

    #[test]
    fn the_last_mount_at_a_directory_is_the_one_that_is_seen() {
        let table = b"1 0 0:3 / /a rw - ext4 x ro\n2 1 0:4 / /a rw - tmpfs y ro\nnonsense\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 2);
        assert_eq!(topmost(&mounts, Path::new("/a")).map(|m| m.id), Some(2));
        assert_eq!(topmost(&mounts, Path::new("/b")), None);
    }

    #[test]
    fn this_machine_has_a_root() {
        let mounts = read().expect("the mount table");
        assert!(topmost(&mounts, Path::new("/")).is_some());
    }
}
