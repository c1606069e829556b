//! A process that holds files of a mount, on behalf of the process that serves it.
//!
//! Not that process itself: a thread that waits for the lock of a file cannot be killed. It would
//! keep the FUSE device of a killed process open, the kernel would go on waiting for answers, and so
//! would the program that has the lock.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::fs::fsync;

use crate::limits::NODE_GENERATION;
use crate::mount_point;
use crate::mountinfo::Device;

/// The first argument by which a program knows that it is to call [`run_holder`].
pub const HOLDER_ARGUMENT: &str = "write-holder";

/// This program, also after it was replaced on disk.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";
/// The kernel's FILEID_INO64_GEN: a file handle of a node number and a generation.
const HANDLE_TYPE: i32 = 0x81;

/// A process that holds files; it ends by itself when their FSYNCs are answered.
#[derive(Debug)]
pub(super) struct Holder(Option<Child>);

impl Holder {
    /// Has FSYNCs of these files sent. Returns of which: any other is open nowhere.
    pub(super) fn start(
        dir: &Path,
        device: Device,
        inodes: &[u64],
    ) -> io::Result<(Self, Vec<u64>)> {
        let mut child = Command::new(OWN_PROGRAM)
            .arg(HOLDER_ARGUMENT)
            .arg(dir)
            .args([device.major, device.minor].map(|it| it.to_string()))
            .args(inodes.iter().map(u64::to_string))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let told = child.stdout.take().map(read_inodes);
        let holder = Self(Some(child));
        let inodes = told.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok((holder, inodes))
    }
}

impl Drop for Holder {
    /// Reaps it in a thread: it may still wait for a long call, and no thread waits for it.
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let reaper = thread::Builder::new().name("reap-holder".to_owned());
            // Without a thread it stays a zombie until we end.
            let _ = reaper.spawn(move || child.wait());
        }
    }
}

fn read_inodes(told: impl io::Read) -> io::Result<Vec<u64>> {
    let mut line = String::new();
    BufReader::new(told).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::Error::other("the process that holds files failed"));
    }
    let parse = |word: &str| word.parse().map_err(io::Error::other);
    line.split_whitespace().map(parse).collect()
}

/// Runs the process that holds files: what a program does when its first argument is
/// [`HOLDER_ARGUMENT`], with the arguments behind it. Returns its exit code.
#[must_use]
pub fn run_holder(arguments: impl Iterator<Item = OsString>) -> u8 {
    match hold(arguments) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn hold(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::InvalidInput);
    let dir = arguments.next().ok_or_else(missing)?;
    let mut numbers = arguments.map(|it| it.to_str().and_then(|it| it.parse::<u64>().ok()));
    let mut number = || numbers.next().flatten().ok_or_else(missing);
    let half = |number| u32::try_from(number).map_err(io::Error::other);
    let device = Device {
        major: half(number()?)?,
        minor: half(number()?)?,
    };
    let inodes: Option<Vec<_>> = numbers.collect();
    let files = open_all(Path::new(&dir), device, &inodes.ok_or_else(missing)?)?;
    tell(files.iter().map(|(ino, _)| *ino))?;
    thread::scope(|scope| {
        for (_, file) in &files {
            scope.spawn(move || fsync(file));
        }
    });
    Ok(())
}

/// Opens those of the files that the kernel knows; no program writes one that it does not.
fn open_all(dir: &Path, device: Device, inodes: &[u64]) -> io::Result<Vec<(u64, OwnedFd)>> {
    let root = mount_point::open(dir, device)?;
    let mut files = Vec::new();
    for ino in inodes {
        match open(&root, *ino) {
            Ok(file) => files.push((*ino, file)),
            // Root of a container may not open any.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(_) => {}
        }
    }
    Ok(files)
}

/// A `struct file_handle` of FUSE.
#[repr(C)]
struct NodeHandle {
    len: libc::c_uint,
    kind: libc::c_int,
    /// Upper and lower half of the node number, and the generation.
    words: [u32; 3],
}

/// Opens a file by its node number, wherever it is in the tree. That asks the mount nothing.
#[expect(
    unsafe_code,
    reason = "neither the standard library nor rustix has this call"
)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of the number are wanted"
)]
pub(super) fn open(root: &File, ino: u64) -> io::Result<OwnedFd> {
    let words = [(ino >> 32) as u32, ino as u32, NODE_GENERATION];
    let mut handle = NodeHandle {
        len: size_of_val(&words) as libc::c_uint,
        kind: HANDLE_TYPE,
        words,
    };
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the handle has the layout of the kernel's, `len` bytes behind its head are there, and
    // it lives until the call returns.
    let opened =
        unsafe { libc::open_by_handle_at(root.as_raw_fd(), (&raw mut handle).cast(), flags) };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

fn tell(inodes: impl Iterator<Item = u64>) -> io::Result<()> {
    let words: Vec<_> = inodes.map(|ino| ino.to_string()).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "{}", words.join(" "))?;
    out.flush()
}
