//! Receives a backup from a running coordinator.

use std::io::Write as _;
use std::time::Duration;

use lfsfs_common::durable::TempFile;
use lfsfs_common::{PathError, full_text};
use lfsfs_proto::address::endpoint;
use lfsfs_proto::headers::Headers;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_client::CoordinatorClient;
use tokio::time::timeout;
use tonic::Status;

use super::{BackUpError, Tell};

/// Writes what a coordinator sends to a file. It may send nothing for `limit`.
pub(super) async fn receive(
    address: &str,
    limit: Duration,
    temp: &mut TempFile,
    tell: &mut Tell<'_>,
) -> Result<(), BackUpError> {
    let asking = Asking { address, limit };
    let endpoint = endpoint(address).map_err(|error| asking.failed(full_text(&error)))?;
    let channel = asking.within(endpoint.connect()).await?;
    let channel = channel.map_err(|error| asking.failed(full_text(&error)))?;
    let mut coordinator = CoordinatorClient::with_interceptor(channel, Headers::default());
    let answer = asking.within(coordinator.back_up(v1::BackUpRequest {}));
    let mut parts = answer
        .await?
        .map_err(|status| asking.refused(&status))?
        .into_inner();
    let mut bytes = 0;
    loop {
        let part = asking.within(parts.message()).await?;
        let Some(part) = part.map_err(|status| asking.refused(&status))? else {
            return Ok(());
        };
        bytes += part.data.len() as u64;
        let path = temp.path().to_owned();
        let written = temp.file_mut().write_all(&part.data);
        written.map_err(PathError::wrap("write", &path))?;
        tell(part.rows, bytes);
    }
}

/// A coordinator that is being asked.
#[derive(Debug, Clone, Copy)]
struct Asking<'a> {
    address: &'a str,
    limit: Duration,
}

impl Asking<'_> {
    async fn within<T>(self, answer: impl Future<Output = T>) -> Result<T, BackUpError> {
        let seconds = self.limit.as_secs();
        let late = |_| self.failed(format!("nothing came for {seconds} s"));
        timeout(self.limit, answer).await.map_err(late)
    }

    fn failed(self, reason: String) -> BackUpError {
        BackUpError::NotSent {
            address: self.address.to_owned(),
            reason,
        }
    }

    fn refused(self, status: &Status) -> BackUpError {
        let Fault { kind, message, .. } = Fault::from_status(status);
        match kind {
            FaultKind::Unimplemented => BackUpError::NotServed {
                address: self.address.to_owned(),
                reason: message,
            },
            _ => self.failed(message),
        }
    }
}
