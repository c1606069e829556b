//! A process that has the kernel send what mappings wrote into files, on behalf of the process that
//! serves the mount: for a program that looks for holes, while its request waits.
//!
//! Not that process itself, for the reason that [`holder`](super::holder) states. It keeps nothing of
//! the mount open between requests, and ends when its input does.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::holder::{OWN_PROGRAM, open};
use crate::mount_point;
use crate::mountinfo::Device;

/// The first argument by which a program knows that it is to call [`run_sender`].
pub const SENDER_ARGUMENT: &str = "page-sender";

/// Makes the side that has pages of files in memory send them.
#[async_trait]
pub trait PageSource: Send + Sync + fmt::Debug + 'static {
    /// Returns when the pages of a file have been sent.
    async fn send(&self, ino: u64) -> io::Result<()>;
}

/// The process, which is started when it is needed first.
#[derive(Debug)]
pub(crate) struct PageSender {
    dir: PathBuf,
    device: Device,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    requests: Option<ChildStdin>,
    next: u64,
    /// Who waits for which request.
    waiting: HashMap<u64, oneshot::Sender<bool>>,
}

#[async_trait]
impl PageSource for PageSender {
    async fn send(&self, ino: u64) -> io::Result<()> {
        match self.request(ino)?.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other("the file cannot be opened by its number")),
            Err(_) => Err(io::Error::other(
                "the process that has pages sent has ended",
            )),
        }
    }
}

impl PageSender {
    pub(crate) fn new(dir: PathBuf, device: Device) -> Self {
        Self {
            dir,
            device,
            state: Arc::default(),
        }
    }

    fn request(&self, ino: u64) -> io::Result<oneshot::Receiver<bool>> {
        let mut state = lock(&self.state);
        if state.requests.is_none() {
            state.requests = Some(self.start()?);
        }
        let (answer, answered) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, answer);
        let line = format!("{number} {ino}\n");
        let requests = state.requests.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        if let Err(error) = requests.write_all(line.as_bytes()) {
            state.end();
            return Err(error);
        }
        Ok(answered)
    }

    fn start(&self) -> io::Result<ChildStdin> {
        let mut child = Command::new(OWN_PROGRAM)
            .arg(SENDER_ARGUMENT)
            .arg(&self.dir)
            .args([self.device.major, self.device.minor].map(|it| it.to_string()))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let state = Arc::downgrade(&self.state);
        thread::Builder::new()
            .name("page-sender".to_owned())
            .spawn(move || take_answers(&state, answers, child))?;
        requests.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl State {
    /// Lets those that wait know that nothing comes any more; the next request starts another process.
    fn end(&mut self) {
        self.requests = None;
        self.waiting.clear();
    }
}

/// Hands answers to those who wait, until the process ends.
fn take_answers(state: &Weak<Mutex<State>>, answers: Option<ChildStdout>, mut child: Child) {
    let answers = answers
        .into_iter()
        .flat_map(|it| BufReader::new(it).lines());
    for line in answers.map_while(Result::ok) {
        let Some((number, is_sent)) = answer(&line) else {
            continue;
        };
        let waiting = state.upgrade();
        let waiting = waiting.and_then(|state| lock(&state).waiting.remove(&number));
        if let Some(waiting) = waiting {
            // Its request may have been given up.
            let _ = waiting.send(is_sent);
        }
    }
    if let Some(state) = state.upgrade() {
        lock(&state).end();
    }
    // Its status says nothing that the end of its answers did not.
    let _ = child.wait();
}

fn answer(line: &str) -> Option<(u64, bool)> {
    let (number, is_sent) = line.split_once(' ')?;
    Some((number.parse().ok()?, is_sent == "sent"))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder of this lock panics")
}

/// Runs the process that has pages sent: what a program does when its first argument is
/// [`SENDER_ARGUMENT`], with the arguments behind it. Returns its exit code.
#[must_use]
pub fn run_sender(arguments: impl Iterator<Item = OsString>) -> u8 {
    match serve(arguments) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn serve(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::InvalidInput);
    let dir = PathBuf::from(arguments.next().ok_or_else(missing)?);
    let mut half = || {
        let argument = arguments.next().ok_or_else(missing)?;
        let number = argument.to_str().and_then(|it| it.parse::<u32>().ok());
        number.ok_or_else(missing)
    };
    let device = Device {
        major: half()?,
        minor: half()?,
    };
    for line in io::stdin().lines() {
        let line = line?;
        let Some((number, Ok(ino))) = line.split_once(' ').map(|it| (it.0, it.1.parse())) else {
            return Err(missing());
        };
        let (number, dir) = (number.to_owned(), dir.clone());
        // To close the file waits for its lock, which the request has that waits for the answer.
        thread::Builder::new().spawn(move || {
            let sent = send_pages(&dir, device, ino);
            tell(&number, sent.is_ok());
            drop(sent);
        })?;
    }
    Ok(())
}

/// Has the pages of a file sent, and returns it and the root, open.
fn send_pages(dir: &Path, device: Device, ino: u64) -> io::Result<(File, OwnedFd)> {
    let root = mount_point::open(dir, device)?;
    let file = open(&root, ino)?;
    let how = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the descriptor is open; the call takes no memory of this process.
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has it")]
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, how) };
    match result {
        0 => Ok((root, file)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn tell(number: &str, is_sent: bool) {
    let word = if is_sent { "sent" } else { "failed" };
    let mut out = io::stdout().lock();
    // Who does not read it any more needs no answer.
    let _ = writeln!(out, "{number} {word}").and_then(|()| out.flush());
}
