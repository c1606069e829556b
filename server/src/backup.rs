//! `lfsfsd backup` and `lfsfsd restore`: the metadata of a coordinator in a file, and back.
//!
//! A backup comes from a running server, or from the data directory of one that is stopped. It is there whole,
//! verified and durable, or not at all. A restore verifies the file before it makes anything.

mod ask;
mod error;
mod restore;

use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_common::PathError;
use lfsfs_common::clock::{Clock as _, SystemClock};
use lfsfs_common::durable::{TempFile, parent_of};
use lfsfs_meta_store::{BackupError, BackupHead, BackupSummary, Engine};
use lfsfs_metadata::{RestoreError, back_up_store, verify_backup};
use lfsfs_types::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(crate) use self::error::BackUpError;
pub(crate) use self::restore::{RestoreTarget, restore};
use crate::ServerError;
use crate::data::DataDir;
use crate::meta_place::MetaPlace;

/// Is told how many rows, and how many bytes of the file, are done.
pub(crate) type Tell<'a> = dyn FnMut(u64, u64) + 'a;

/// Where the metadata is.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// At a running coordinator.
    Server {
        /// host:port.
        address: String,
        /// How long it may send nothing.
        limit: Duration,
    },
    /// In the data directory of a stopped one.
    Data {
        /// The directory.
        data: PathBuf,
        /// Where the metadata is, if it is not in it.
        meta: Option<MetaPlace>,
    },
}

/// Whether a file may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    Never,
    Always,
}

/// A file that is a whole backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backup {
    pub(crate) head: BackupHead,
    pub(crate) summary: BackupSummary,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Makes a backup. On an error, and after a signal, there is no file that was not there before.
pub(crate) fn back_up(
    origin: &Origin,
    file: &Path,
    replace: Replace,
    tell: &mut Tell<'_>,
) -> Result<Backup, BackUpError> {
    expect_absent(file, replace)?;
    let (runtime, stop) = (runtime()?, CancellationToken::new());
    cancel_on_signal(&runtime, stop.clone())?;
    let mut temp = TempFile::create_in(parent_of(file))?;
    match origin {
        Origin::Server { address, limit } => {
            let receiving = ask::receive(address, *limit, &mut temp, tell);
            let receiving = stop.run_until_cancelled(receiving);
            runtime
                .block_on(receiving)
                .unwrap_or(Err(BackUpError::Interrupted))?;
        }
        Origin::Data { data, meta } => read(data, meta.as_ref(), &mut temp, &stop, tell)?,
    }
    // From the file, so that what was received is verified, too.
    let backup = verify_open(temp.file_mut(), file)?;
    if stop.is_cancelled() {
        return Err(BackUpError::Interrupted);
    }
    expect_absent(file, replace)?;
    temp.persist(file)?;
    Ok(backup)
}

/// Verifies a file from its beginning to its end.
pub(crate) fn check(file: &Path) -> Result<Backup, BackUpError> {
    verify_open(&mut open(file)?, file)
}

fn expect_absent(file: &Path, replace: Replace) -> Result<(), BackUpError> {
    if replace == Replace::Never && file.symlink_metadata().is_ok() {
        let file = file.to_owned();
        return Err(BackUpError::Exists { file });
    }
    Ok(())
}

fn open(file: &Path) -> Result<std::fs::File, PathError> {
    std::fs::File::open(file).map_err(PathError::wrap("open", file))
}

fn verify_open(file: &mut std::fs::File, path: &Path) -> Result<Backup, BackUpError> {
    file.seek(SeekFrom::Start(0))
        .map_err(PathError::wrap("read", path))?;
    let verified = verify_backup(BufReader::new(&mut *file), &mut |_| ());
    let (head, summary) = verified.map_err(|source| BackUpError::File {
        file: path.to_owned(),
        source: source.into(),
    })?;
    let bytes = file
        .metadata()
        .map_err(PathError::wrap("stat", path))?
        .len();
    Ok(Backup {
        head,
        summary,
        bytes,
    })
}

/// Reads the metadata of a server that is not running. Its directory is locked meanwhile.
fn read(
    data: &Path,
    meta: Option<&MetaPlace>,
    temp: &mut TempFile,
    stop: &CancellationToken,
    tell: &mut Tell<'_>,
) -> Result<(), BackUpError> {
    let data = DataDir::open_existing(data)?;
    let place = MetaPlace::find(meta, &data.meta())?;
    let found = Engine::found_in(&place.dir).map_err(ServerError::MetaStore)?;
    if found.is_none() {
        let place = place.to_string();
        return Err(ServerError::NoMeta { place }.into());
    }
    let store = place.open(lfsfs_meta_store::OpenOptions::default())?;
    let out = BufWriter::new(Stoppable {
        out: temp.file_mut(),
        stop,
    });
    let program = env!("CARGO_PKG_VERSION");
    let progress = &mut |rows| tell(rows, 0);
    let made = back_up_store(store.as_ref(), now(), out, program, progress);
    match made {
        Err(RestoreError::Backup(BackupError::Write(_))) if stop.is_cancelled() => {
            Err(BackUpError::Interrupted)
        }
        made => made
            .map(drop)
            .map_err(|error| BackUpError::NotMade(error.into())),
    }
}

/// A file that is written until the process is told to stop.
struct Stoppable<'a, W> {
    out: W,
    stop: &'a CancellationToken,
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn now() -> Timestamp {
    let now = SystemClock.wall_time();
    Timestamp {
        secs: now.seconds(),
        nanos: now.subsecond_nanoseconds(),
    }
}

/// Returns a runtime with a thread of its own, which sees signals while the caller works.
fn runtime() -> Result<Runtime, BackUpError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.map_err(system("start a runtime"))
}

fn system(act: &'static str) -> impl Fn(io::Error) -> BackUpError {
    move |source| ServerError::System { act, source }.into()
}

/// Cancels `stop` at the first signal that asks the process to end.
fn cancel_on_signal(runtime: &Runtime, stop: CancellationToken) -> Result<(), BackUpError> {
    let _context = runtime.enter();
    let wait = system("wait for signals");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(&wait)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(&wait)?;
    runtime.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
