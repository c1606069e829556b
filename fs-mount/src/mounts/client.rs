//! Asking the process of a mount.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use lfsfs_common::PathError;
use rustix::net::sockopt::socket_peercred;
use serde::de::DeserializeOwned;

use crate::control::{Answer, ControlError, ControlProgress, ControlRequest};
use crate::error::MountError;
use crate::kernel_mount;

/// How long the process may be silent.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest line of an answer: a conflict names many paths.
const ANSWER_LEN_MAX: u64 = 64 * 1024 * 1024;

/// Takes what comes before the end of an answer.
pub trait AnswerSink {
    /// One of many results, as JSON.
    type Item: DeserializeOwned;

    /// Is told how far the work is, about once a second.
    fn progress(&mut self, progress: ControlProgress);

    /// Is told what is odd but does not end the call.
    fn warn(&mut self, _text: &str) {}

    /// Takes a result; an error ends the call.
    fn item(&mut self, item: Self::Item) -> io::Result<()>;
}

/// A sink for answers that have neither.
#[derive(Debug)]
struct Ignored;

impl AnswerSink for Ignored {
    type Item = serde_json::Value;

    fn progress(&mut self, _progress: ControlProgress) {}

    fn item(&mut self, _item: Self::Item) -> io::Result<()> {
        Ok(())
    }
}

/// Where the process of a mount listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) socket: PathBuf,
    /// Whose mount it is: others may have left a socket of that name where we look.
    pub(crate) owner: Option<u32>,
}

/// Sends one request to the process that listens at `address` and returns its answer.
pub(crate) fn call<T: DeserializeOwned>(
    address: &Address,
    request: &ControlRequest,
) -> Result<T, MountError> {
    call_with(address, request, &mut Ignored)
}

/// As [`call`], with what comes before the end of the answer.
pub(crate) fn call_with<T: DeserializeOwned, S: AnswerSink>(
    address: &Address,
    request: &ControlRequest,
    sink: &mut S,
) -> Result<T, MountError> {
    let failed = |error| address.failed(error);
    let mut lines = BufReader::new(address.send(request)?);
    loop {
        let mut line = String::new();
        let read = (&mut lines).take(ANSWER_LEN_MAX).read_line(&mut line);
        if read.map_err(failed)? == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line).map_err(not_understood)? {
            Answer::Progress(progress) => sink.progress(progress),
            Answer::Warning(text) => sink.warn(&text),
            Answer::Item(item) => {
                let item = serde_json::from_value(item).map_err(not_understood)?;
                sink.item(item).map_err(MountError::Sink)?;
            }
            Answer::Ok(value) => return serde_json::from_value(value).map_err(not_understood),
            Answer::Error(error) => return Err(error.into()),
        }
    }
}

impl Address {
    fn failed(&self, error: io::Error) -> MountError {
        PathError::new("ask the mount process at", &self.socket, error).into()
    }

    fn send(&self, request: &ControlRequest) -> Result<UnixStream, MountError> {
        let failed = |error| self.failed(error);
        let mut stream = UnixStream::connect(&self.socket).map_err(failed)?;
        let listener = socket_peercred(&stream).map_err(|error| failed(error.into()))?;
        self.expect_owner(listener.uid.as_raw())?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
        stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
        let mut line = serde_json::to_string(request).map_err(not_understood)?;
        line.push('\n');
        stream.write_all(line.as_bytes()).map_err(failed)?;
        Ok(stream)
    }

    fn expect_owner(&self, listener: u32) -> Result<(), MountError> {
        let ours = kernel_mount::owner().0;
        if listener == 0 || listener == ours || Some(listener) == self.owner {
            return Ok(());
        }
        let text = format!("user {listener} listens there, who does not own the mount");
        Err(self.failed(io::Error::new(io::ErrorKind::PermissionDenied, text)))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn not_understood(error: serde_json::Error) -> MountError {
    ControlError::failed(format!(
        "the answer of the mount process is not understood: {error}"
    ))
    .into()
}
