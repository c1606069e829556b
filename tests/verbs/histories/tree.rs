//! Random changes of a directory in which few names come again and again, as another kind of entry each time.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use lfsfs_tests::{Numbers, paths};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

/// Names that begin like others, sort oddly beside them with a slash behind, or are no text.
const NAMES: [&[u8]; 9] = [
    b"a", b"a.b", b"a-", b"a\xff", b"pack1", b"pack", b"dir", b"x y", b"b",
];
/// Directories in one path, and its name.
const DEPTH_MAX: u64 = 4;
const MODES: [u32; 8] = [0o644, 0o600, 0o755, 0o700, 0o444, 0o4755, 0o2775, 0o1777];

/// What happens to a tree.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    File,
    Edit,
    Directory,
    Symlink,
    Fifo,
    HardLink,
    Remove,
    Rename,
    Mode,
    Owner,
    Time,
    Xattr,
}

const OPERATIONS: [Operation; 21] = [
    Operation::File,
    Operation::File,
    Operation::File,
    Operation::File,
    Operation::Edit,
    Operation::Edit,
    Operation::Edit,
    Operation::Directory,
    Operation::Directory,
    Operation::Symlink,
    Operation::Symlink,
    Operation::Fifo,
    Operation::HardLink,
    Operation::Remove,
    Operation::Remove,
    Operation::Rename,
    Operation::Rename,
    Operation::Mode,
    Operation::Owner,
    Operation::Time,
    Operation::Xattr,
];

/// Makes so many random changes below `tree`, the same ones for the same numbers and tree. Returns them in words.
pub(super) fn change_often(tree: &Path, changes: u64, numbers: &mut Numbers) -> Vec<String> {
    (0..changes).map(|_| change(tree, numbers)).collect()
}

/// Makes a random change. Returns it in words.
fn change(tree: &Path, numbers: &mut Numbers) -> String {
    let operation = OPERATIONS[index(numbers.below(OPERATIONS.len() as u64))];
    let mut change = Change { tree, numbers };
    let at = change.perform(operation);
    at.map_or_else(
        || format!("{operation:?} of nothing"),
        |at| format!("{operation:?} {at:?}"),
    )
}

struct Change<'a> {
    tree: &'a Path,
    numbers: &'a mut Numbers,
}

impl Change<'_> {
    /// Returns where it was done; `None` if the tree has nothing to do it to.
    fn perform(&mut self, operation: Operation) -> Option<PathBuf> {
        let at = match operation {
            Operation::File | Operation::Directory | Operation::Symlink | Operation::Fifo => {
                let at = self.place();
                self.make_room(&at);
                at
            }
            Operation::Edit => self.present(|it| it.is_file() && it.len() < 100_000)?,
            Operation::HardLink => self.present(fs::Metadata::is_file)?,
            Operation::Mode => self.present(|it| !it.is_symlink())?,
            Operation::Xattr => self.present(|it| it.is_file() || it.is_dir())?,
            Operation::Owner | Operation::Time | Operation::Remove | Operation::Rename => {
                self.present(|_| true)?
            }
        };
        let full = self.tree.join(&at);
        match operation {
            Operation::File => fs::write(&full, self.bytes()).expect("a file"),
            Operation::Edit => self.edit(&full),
            Operation::Directory => fs::create_dir(&full).expect("a directory"),
            Operation::Symlink => {
                symlink(OsStr::from_bytes(self.name()), &full).expect("a symlink");
            }
            Operation::Fifo => {
                let mode = Mode::from_raw_mode(0o640);
                rustix::fs::mknodat(CWD, &full, FileType::Fifo, mode, 0).expect("a fifo");
            }
            Operation::HardLink => return self.move_to(&at, fs::hard_link),
            Operation::Remove => remove(&full),
            Operation::Rename => {
                return self.move_to(&at, |from, to| Ok(rustix::fs::rename(from, to)?));
            }
            Operation::Mode => {
                let mode = MODES[self.below(MODES.len())];
                fs::set_permissions(&full, PermissionsExt::from_mode(mode)).expect("a mode");
            }
            Operation::Owner => self.own(&full),
            Operation::Time => self.date(&full),
            Operation::Xattr => self.attribute(&full),
        }
        Some(at)
    }

    fn below(&mut self, end: usize) -> usize {
        index(self.numbers.below(end as u64))
    }

    fn name(&mut self) -> &'static [u8] {
        NAMES[self.below(NAMES.len())]
    }

    /// Returns a path that may be anything or nothing now.
    fn place(&mut self) -> PathBuf {
        let depth = 1 + self.numbers.below(DEPTH_MAX);
        (0..depth).map(|_| OsStr::from_bytes(self.name())).collect()
    }

    /// Returns the path of an entry of the tree that suits.
    fn present(&mut self, suits: impl Fn(&fs::Metadata) -> bool) -> Option<PathBuf> {
        let found = paths(self.tree).into_iter();
        let mut found: Vec<PathBuf> = found
            .filter(|(_, metadata)| suits(metadata))
            .map(|(path, _)| path.strip_prefix(self.tree).expect("below").to_owned())
            .filter(|path| !path.starts_with(".lfsfs"))
            .collect();
        // The order of a directory is the file system's: a seed must mean the same everywhere.
        found.sort();
        let chosen = self.below(found.len());
        found.into_iter().nth(chosen)
    }

    /// Removes what is at a path, and what is on the way there and no directory.
    fn make_room(&self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for above in above.into_iter().rev() {
            let above = self.tree.join(above);
            if above.symlink_metadata().is_ok_and(|it| !it.is_dir()) {
                remove(&above);
            }
            if above.symlink_metadata().is_err() {
                fs::create_dir(&above).expect("a directory");
            }
        }
        if self.tree.join(path).symlink_metadata().is_ok() {
            remove(&self.tree.join(path));
        }
    }

    /// Gives an entry another name, or one more, in place of what has that. Returns the new one.
    fn move_to(
        &mut self,
        from: &Path,
        act: impl FnOnce(PathBuf, PathBuf) -> std::io::Result<()>,
    ) -> Option<PathBuf> {
        let to = self.place();
        // It cannot come into itself, and making room must not remove it.
        if to.starts_with(from) || from.starts_with(&to) {
            return None;
        }
        self.make_room(&to);
        act(self.tree.join(from), self.tree.join(&to)).expect("a new name");
        Some(to)
    }

    /// Returns bytes that other files may have, too.
    fn bytes(&mut self) -> Vec<u8> {
        match self.below(16) {
            0 => Vec::new(),
            1..6 => format!("text {}\n", self.numbers.below(8)).into_bytes(),
            // A hole in front, where that is as long as one has to be.
            6 => [vec![0; 128 * 1024], self.numbers.bytes(500)].concat(),
            7 => self.large(),
            _ => {
                let len = self.below(6_000);
                self.numbers.bytes(len)
            }
        }
    }

    /// Returns enough for a few pieces, of which files that are large have some in common.
    fn large(&mut self) -> Vec<u8> {
        let mut bytes = Numbers(1 + self.numbers.below(3)).bytes(1_500_000);
        let at = self.below(bytes.len());
        bytes[at] ^= 1;
        bytes
    }

    fn edit(&mut self, full: &Path) {
        let file = OpenOptions::new().write(true).open(full).expect("a file");
        let len = file.metadata().expect("attributes").len();
        let bytes = self.numbers.bytes(50);
        match self.below(3) {
            0 => file.set_len(len / 2).expect("a length"),
            1 => file.write_all_at(&bytes, len).expect("bytes"),
            _ => {
                let at = self.numbers.below(len);
                file.write_all_at(&bytes[..1], at).expect("a byte");
            }
        }
    }

    fn own(&mut self, full: &Path) {
        let (user, group) = (self.numbers.below(3), self.numbers.below(3));
        let id = |number: u64| Some(1_000 + u32::try_from(number).expect("a small number"));
        let is_symlink = full.symlink_metadata().expect("attributes").is_symlink();
        let owned = match is_symlink {
            true => lchown(full, id(user), id(group)),
            false => chown(full, id(user), id(group)),
        };
        owned.expect("an owner");
    }

    fn date(&mut self, full: &Path) {
        let time = Timespec {
            tv_sec: i64::try_from(self.numbers.below(2_000_000_000)).expect("a small number"),
            tv_nsec: i64::try_from(self.numbers.below(1_000_000_000)).expect("a small number"),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, full, &times, flags).expect("a time");
    }

    fn attribute(&mut self, full: &Path) {
        let name = ["user.one", "user.two"][self.below(2)];
        let len = self.below(200);
        match xattr::get(full, name).expect("attributes") {
            Some(_) if len.is_multiple_of(2) => xattr::remove(full, name).expect("an attribute"),
            _ => xattr::set(full, name, &self.numbers.bytes(len)).expect("an attribute"),
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

fn remove(full: &Path) {
    let is_dir = full.symlink_metadata().expect("attributes").is_dir();
    let removed = match is_dir {
        true => fs::remove_dir_all(full),
        false => fs::remove_file(full),
    };
    removed.expect("it can be removed");
}
