//! Random calls: on a few short paths, so that they meet, and on what the tree began with.

use lfsfs_tests::Numbers;
use lfsfs_types::limits::{FILE_SIZE_MAX, XATTR_NAME_LEN_MAX};
use rustix::fs::{Access, FallocateFlags, FileType, OFlags, RenameFlags, XattrFlags};

use super::call::{Call, HANDLES, Step, Time};
use super::seen::Tree;

const PARTS: [&str; 5] = ["a", "b", "c", "d", "e"];
const USERS: [u32; 2] = [1_000, 2_000];
const ACCESSES: [OFlags; 6] = [
    OFlags::RDONLY,
    OFlags::WRONLY,
    OFlags::RDWR,
    OFlags::RDWR,
    OFlags::RDWR,
    OFlags::RDWR,
];
/// Of every namespace, of none, and with bytes that names of files cannot have.
const XATTRS: [&str; 12] = [
    "user.a",
    "user.a",
    "user.b",
    "user.b",
    "user.long",
    "user.a/b",
    "user.",
    "trusted.a",
    "trusted.",
    "security.other",
    "other",
    "system.other",
];
macro_rules! longest_xattr {
    () => {
        concat!(
            "user.",
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
        )
    };
}
/// As long as a name can be, longer, and with bytes that are odd in any name.
const ODD_XATTRS: [&str; 6] = [
    LONGEST_XATTR,
    concat!(longest_xattr!(), "n"),
    "user..",
    "user.\u{ff}\n",
    "trusted.a/../b",
    "security.other/b",
];
const LONGEST_XATTR: &str = longest_xattr!();
const _: () = assert!(LONGEST_XATTR.len() == XATTR_NAME_LEN_MAX);
/// A name of which a few make a path too long, where the tree lies deep.
const LONG_PART: &str = "ffffffffffffffffffffffffffffffffffffffff";
/// Where 31, 32 and 40 bits end, and almost where files of ext4 end, which have a page less than ours.
const FAR: [u64; 6] = [
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 40) + 1,
    FILE_SIZE_MAX - 8_192,
];
/// Seconds at the edges of what ext4 keeps.
const EDGES: [i64; 6] = [
    -2_147_483_648,
    -1,
    0,
    2_147_483_647,
    4_294_967_296,
    15_032_385_535,
];

/// Draws calls. The same seed and the same paths give the same calls.
#[derive(Debug)]
pub(crate) struct Generator {
    numbers: Numbers,
    /// Whether names, attributes and sizes go to the edges of what there can be.
    edges: bool,
    /// Paths that exist, or did a while ago.
    known: Vec<String>,
    /// Those of directories; the root is the empty one.
    directories: Vec<String>,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            let _ = numbers.below(1);
        }
        Self {
            numbers,
            edges: false,
            known: Vec::new(),
            directories: Vec::new(),
        }
    }

    /// Draws also what is at the edges of what there can be.
    pub(crate) fn at_the_edges(seed: u64) -> Self {
        Self {
            edges: true,
            ..Self::new(seed)
        }
    }

    /// Tells which paths there are.
    pub(crate) fn learn(&mut self, tree: &Tree) {
        self.known = tree.paths().collect();
        self.directories = tree.directories().collect();
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.numbers.below(end as u64)).expect("below a usize")
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Returns the next call and the user that makes it.
    pub(crate) fn step(&mut self) -> Step {
        let user = if self.one_in(5) { self.pick(&USERS) } else { 0 };
        let call = match self.below(20) {
            0..=6 => self.names(),
            7..=13 => self.contents(),
            14..=16 => self.attributes(),
            _ => self.look(),
        };
        Step { user, call }
    }

    fn part(&mut self) -> &'static str {
        if self.edges && self.one_in(3) {
            LONG_PART
        } else {
            self.pick(&PARTS)
        }
    }

    fn xattr(&mut self) -> &'static str {
        if self.edges && self.one_in(3) {
            self.pick(&ODD_XATTRS)
        } else {
            self.pick(&XATTRS)
        }
    }

    fn path(&mut self) -> String {
        if !self.known.is_empty() && self.below(5) < 3 {
            let at = self.below(self.known.len());
            return self.known[at].clone();
        }
        if self.one_in(200) {
            return "n".repeat(200 + self.below(100));
        }
        let depth = self.pick(&[1, 1, 2, 2, 2, 3]);
        let parts: Vec<_> = (0..depth).map(|_| self.part()).collect();
        parts.join("/")
    }

    /// Returns a path where there is probably nothing, in a directory that there probably is.
    fn new_path(&mut self) -> String {
        if self.directories.is_empty() || self.one_in(4) {
            return self.path();
        }
        let at = self.below(self.directories.len());
        let (directory, number) = (self.directories[at].clone(), self.below(10));
        let name = format!("{}{number}", self.part());
        if directory.is_empty() {
            name
        } else {
            format!("{directory}/{name}")
        }
    }

    fn mode(&mut self) -> u32 {
        let plain = self.pick(&[0o777, 0o755, 0o644, 0o666, 0o600, 0o700, 0o070, 0o007, 0]);
        let special = if self.one_in(4) {
            self.pick(&[0o1000, 0o2000, 0o4000, 0o6000, 0o7000])
        } else {
            0
        };
        plain | special
    }

    fn offset(&mut self) -> u64 {
        let end = self.pick(&[10, 5_000, 5_000, 100_000, 3_000_000]);
        self.numbers.below(end)
    }

    fn len(&mut self) -> usize {
        let end = self.pick(&[2, 100, 5_000, 5_000, 200_000]);
        self.below(end)
    }

    fn fill(&mut self) -> u8 {
        self.below(256).try_into().expect("a byte")
    }

    fn names(&mut self) -> Call {
        let path = self.path();
        match self.below(16) {
            0..=2 => Call::MakeDir(self.new_path(), self.mode()),
            3 => Call::RemoveDir(path),
            4 | 5 => Call::Unlink(path),
            6..=9 => {
                let how = self.pick(&[
                    RenameFlags::empty(),
                    RenameFlags::empty(),
                    RenameFlags::empty(),
                    RenameFlags::NOREPLACE,
                    RenameFlags::EXCHANGE,
                ]);
                let to = if self.one_in(2) {
                    self.new_path()
                } else {
                    self.path()
                };
                Call::Rename(path, to, how)
            }
            10..=12 => Call::Link(path, self.new_path()),
            13 => {
                let target = self.pick(&["a", "b", "c/d", "d", "nothing", "e/a"]);
                Call::Symlink(target.to_owned(), self.new_path())
            }
            _ => {
                let kind = self.pick(&[
                    FileType::Fifo,
                    FileType::Socket,
                    FileType::CharacterDevice,
                    FileType::BlockDevice,
                    FileType::RegularFile,
                    FileType::RegularFile,
                ]);
                Call::MakeNode(self.new_path(), kind, self.mode())
            }
        }
    }

    fn open_flags(&mut self) -> OFlags {
        let access = self.pick(&ACCESSES);
        let mut flags = access;
        for (flag, chance) in [
            (OFlags::CREATE, 2),
            (OFlags::EXCL, 8),
            (OFlags::TRUNC, 5),
            (OFlags::APPEND, 6),
            (OFlags::NOFOLLOW, 10),
            (OFlags::DIRECTORY, 30),
        ] {
            if self.one_in(chance) {
                flags |= flag;
            }
        }
        if !flags.contains(OFlags::CREATE) {
            // Without it the flag means nothing for files.
            flags -= OFlags::EXCL;
        }
        flags
    }

    fn contents(&mut self) -> Call {
        let slot = self.below(HANDLES);
        if self.edges && self.one_in(12) {
            return Call::WriteFar(slot, self.pick(&FAR), self.fill());
        }
        match self.below(20) {
            0..=3 => Call::Open(slot, self.path(), self.open_flags(), self.mode()),
            4 => {
                let flags = OFlags::RDWR | OFlags::CREATE;
                Call::Open(slot, self.new_path(), flags, self.mode())
            }
            5 if self.one_in(2) => Call::Close(slot),
            5 => {
                let to = (self.below(HANDLES), self.offset());
                Call::Copy((slot, self.offset()), to, self.len())
            }
            6..=8 => Call::Read(slot, self.offset(), self.len()),
            9..=12 => Call::Write(slot, self.offset(), self.len(), self.fill()),
            13 => Call::SetLen(slot, self.offset()),
            14 | 15 => {
                let how = self.pick(&[
                    FallocateFlags::empty(),
                    FallocateFlags::KEEP_SIZE,
                    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    FallocateFlags::ZERO_RANGE,
                    FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
                    FallocateFlags::PUNCH_HOLE,
                ]);
                Call::Allocate(slot, how, self.offset(), self.len() as u64)
            }
            16 | 17 => Call::WriteMapped(slot, self.offset() / 4, self.len(), self.fill()),
            18 => Call::Truncate(self.path(), self.offset()),
            _ => Call::Sync(slot, self.one_in(2)),
        }
    }

    fn owner(&mut self) -> Option<u32> {
        self.pick(&[None, None, Some(0), Some(1_000), Some(2_000)])
    }

    /// Never without both: FUSE does not tell the daemon of a call that names no owner, which makes a
    /// local file system set the change time.
    fn chown(&mut self, path: String) -> Call {
        match (self.owner(), self.owner()) {
            (None, None) => Call::Chown(path, Some(1_000), None),
            (user, group) => Call::Chown(path, user, group),
        }
    }

    fn time(&mut self) -> Time {
        match self.below(6) {
            0 => Time::Now,
            1 => Time::Omit,
            2 => self.time_at_an_edge(),
            _ => {
                let seconds = self.numbers.below(1_500_000_000);
                let nanos = self.numbers.below(1_000_000_000);
                Time::At(
                    i64::try_from(seconds).expect("small"),
                    i64::try_from(nanos).expect("small"),
                )
            }
        }
    }

    /// In the first and the last second that a file system keeps, the kernel drops the nanoseconds.
    fn time_at_an_edge(&mut self) -> Time {
        let seconds = self.pick(&EDGES);
        let is_cut = [EDGES[0], EDGES[EDGES.len() - 1]].contains(&seconds);
        let nanos = self.pick(&[0, 999_999_999]);
        Time::At(seconds, if is_cut { 0 } else { nanos })
    }

    fn attributes(&mut self) -> Call {
        let path = self.path();
        match self.below(11) {
            0..=2 => Call::Chmod(path, self.mode()),
            3 => Call::ChmodOpen(self.below(HANDLES), self.mode()),
            4..=5 => self.chown(path),
            6..=7 => Call::SetTimes(path, self.time(), self.time()),
            8..=9 => {
                let how = self.pick(&[
                    XattrFlags::empty(),
                    XattrFlags::empty(),
                    XattrFlags::CREATE,
                    XattrFlags::REPLACE,
                ]);
                // A local ext4 has room for little more.
                let len = self.pick(&[0, 5, 100, if self.edges { 64 } else { 300 }]);
                Call::SetXattr(path, self.xattr(), len, how)
            }
            _ => Call::RemoveXattr(path, self.xattr()),
        }
    }

    fn look(&mut self) -> Call {
        let path = self.path();
        match self.below(10) {
            0 => Call::ReadLink(path),
            1 => Call::Xattr(path, self.xattr()),
            2 => Call::Xattrs(path),
            3 => Call::List(path),
            4..=5 => Call::Stat(path, self.one_in(2)),
            6..=7 => Call::StatOpen(self.below(HANDLES)),
            8 => {
                let access = self.pick(&[
                    Access::READ_OK,
                    Access::WRITE_OK,
                    Access::EXEC_OK,
                    Access::EXISTS,
                ]);
                Call::MayAccess(path, access)
            }
            _ => Call::FileSystem(path),
        }
    }
}
