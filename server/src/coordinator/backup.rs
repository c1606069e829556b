//! Sends a backup of the metadata while calls go on.
//!
//! The rows are those of one moment. They are read as fast as the client takes them, so what waits in memory is
//! bounded; the engine keeps the pages of that moment meanwhile, and a client that takes nothing is cut off.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lfsfs_metadata::RestoreError;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;

use super::Coordinator;
use crate::blocking::blocking;
use crate::calls::Call;
use crate::streams::{Answers, Sink};

/// Bytes of one message.
const PART_LEN: usize = 256 * 1024;

/// Sends a backup.
pub(super) fn send(
    coordinator: &Coordinator,
    call: Call,
) -> Result<Answers<v1::BackUpPart>, Fault> {
    let place = Arc::clone(&coordinator.backups).try_acquire_owned();
    let place = place.map_err(|_| {
        let text = "another backup is under way; try again later";
        Fault::new(FaultKind::Unavailable, text)
    })?;
    let metadata = coordinator.metadata.clone();
    let client = call.connection().peer;
    Ok(coordinator.tasks.answer(call, move |sink| {
        blocking(move || {
            let _place = place;
            let rows = Arc::new(AtomicU64::new(0));
            let mut parts = Parts::new(sink, Arc::clone(&rows));
            let progress = &mut |count| rows.store(count, Ordering::Relaxed);
            let made = metadata.back_up(&mut parts, env!("CARGO_PKG_VERSION"), progress);
            let made = made.map_err(|error| parts.fault.take().unwrap_or_else(|| fault(error)))?;
            tracing::info!(rows = made.rows, bytes = made.row_bytes, %client, "a backup was made");
            Ok::<_, Fault>(())
        })
    }))
}

/// Where the bytes of a backup go: to the client, many in a message.
struct Parts {
    sink: Sink<v1::BackUpPart>,
    rows: Arc<AtomicU64>,
    data: Vec<u8>,
    /// Why a message was not sent.
    fault: Option<Fault>,
}

impl Parts {
    fn new(sink: Sink<v1::BackUpPart>, rows: Arc<AtomicU64>) -> Self {
        Self {
            sink,
            rows,
            data: Vec::new(),
            fault: None,
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.data.is_empty() {
            return Ok(());
        }
        let part = v1::BackUpPart {
            data: std::mem::take(&mut self.data),
            rows: self.rows.load(Ordering::Relaxed),
        };
        self.sink.blocking_send(part).map_err(|fault| {
            let error = io::Error::other(fault.message.clone());
            self.fault = Some(fault);
            error
        })
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.data.len() >= PART_LEN {
            self.send()?;
        }
        let taken = &bytes[..bytes.len().min(PART_LEN - self.data.len())];
        self.data.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

fn fault(error: RestoreError) -> Fault {
    use crate::blocking::IntoFault as _;
    error.into_fault()
}
