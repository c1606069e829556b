//! Asking the process of a mount.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lfsfs_common::PathError;
use serde::de::DeserializeOwned;

use super::{Answer, ControlRequest};
use crate::error::MountError;

/// How long the process may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_LEN_MAX: u64 = 1024 * 1024;

/// Sends one request to the process that listens at `socket` and returns its answer.
pub(crate) fn call<T: DeserializeOwned>(
    socket: &Path,
    request: ControlRequest,
) -> Result<T, MountError> {
    let failed =
        |error| MountError::File(PathError::new("ask the mount process at", socket, error));
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
    let mut line = serde_json::to_string(&request).map_err(not_understood)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_LEN_MAX))
        .read_line(&mut answer)
        .map_err(failed)?;
    match serde_json::from_str(&answer).map_err(not_understood)? {
        Answer::Ok(value) => serde_json::from_value(value).map_err(not_understood),
        Answer::Error(text) => Err(MountError::Control(text)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn not_understood(error: serde_json::Error) -> MountError {
    MountError::Control(format!(
        "the answer of the mount process is not understood: {error}"
    ))
}
