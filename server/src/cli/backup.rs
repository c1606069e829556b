//! The commands `backup` and `restore`: arguments, progress, what is printed.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::fs::Mode;
use serde::Serialize;

use super::{ServerAddress, print};
use crate::backup::{BackUpError, Backup, Origin, Replace, RestoreTarget, back_up, check, restore};
use crate::coordinator::time_text;
use crate::meta_place::MetaPlace;

/// How often a person is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// File to write, which must not be there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    server: ServerAddress,
    /// Directory of a coordinator that is not running, instead of one that runs
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Engine and directory of the metadata, as that coordinator was started with
    #[arg(long, value_name = "ENGINE:DIR", requires = "data")]
    meta: Option<MetaPlace>,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Seconds that the coordinator may send nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// File of a backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Directory of a coordinator that is not running and has no metadata; made if it is missing
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    data: Option<PathBuf>,
    /// Engine and directory of the metadata, if it is not to be in that directory
    #[arg(long, value_name = "ENGINE:DIR")]
    meta: Option<MetaPlace>,
    /// Verify the file and restore nothing
    #[arg(long, conflicts_with_all = ["data", "meta"])]
    check: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What is printed at the end.
#[derive(Debug, Serialize)]
struct Told {
    file: String,
    cluster: String,
    /// When the backup was begun, RFC 3339.
    time: String,
    program: String,
    rows: u64,
    row_bytes: u64,
    bytes: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<String>,
}

impl Told {
    fn new(file: &std::path::Path, backup: &Backup, since: Instant) -> Self {
        Self {
            file: file.display().to_string(),
            cluster: backup.head.cluster.to_string(),
            time: time_text(backup.head.time),
            program: backup.head.program.clone(),
            rows: backup.summary.rows,
            row_bytes: backup.summary.row_bytes,
            bytes: backup.bytes,
            seconds: since.elapsed().as_secs_f64(),
            meta: None,
        }
    }

    fn json(&self) -> String {
        let object = serde_json::to_string(self);
        object.expect("names and numbers can be written") + "\n"
    }
}

/// Makes a backup.
pub(super) fn execute(args: BackupArgs) -> Result<(), BackUpError> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let since = Instant::now();
    let origin = match args.data {
        Some(data) => Origin::Data {
            data,
            meta: args.meta,
        },
        None => Origin::Server {
            address: args.server.address,
            limit: Duration::from_secs(args.timeout.max(1)),
        },
    };
    let replace = if args.force {
        Replace::Always
    } else {
        Replace::Never
    };
    let backup = back_up(&origin, &args.file, replace, &mut teller())?;
    let told = Told::new(&args.file, &backup, since);
    let Told {
        file,
        cluster,
        time,
        rows,
        bytes,
        ..
    } = &told;
    let line =
        format!("{file} is a backup of cluster {cluster} at {time}: {rows} rows, {bytes} bytes\n");
    Ok(print(&if args.json { told.json() } else { line })?)
}

/// Restores a backup, or verifies one.
pub(super) fn execute_restore(args: &RestoreArgs) -> Result<(), BackUpError> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let since = Instant::now();
    let Some(data) = &args.data else {
        let told = Told::new(&args.file, &check(&args.file)?, since);
        let Told {
            file,
            cluster,
            time,
            rows,
            ..
        } = &told;
        let line = format!("{file} is whole: {rows} rows of cluster {cluster} at {time}\n");
        return Ok(print(&if args.json { told.json() } else { line })?);
    };
    let target = RestoreTarget {
        data: data.clone(),
        meta: args.meta.clone(),
    };
    let restored = restore(&args.file, &target, &mut teller())?;
    let mut told = Told::new(&args.file, &restored.backup, since);
    told.meta = Some(restored.place.to_string());
    let meta = match args.meta {
        Some(_) => format!(" --meta {}", restored.place),
        None => String::new(),
    };
    let line = format!(
        "{} rows of {} are at {}; versions that were published later are gone.\n\
         Start the coordinator with --data {}{meta}\n",
        told.rows,
        told.time,
        restored.place,
        data.display()
    );
    Ok(print(&if args.json { told.json() } else { line })?)
}

/// Returns what tells a person at a terminal how far it is.
fn teller() -> impl FnMut(u64, u64) {
    let is_terminal = std::io::stderr().is_terminal();
    let mut told = Instant::now();
    move |rows, bytes| {
        if !is_terminal || told.elapsed() < TOLD_EVERY {
            return;
        }
        told = Instant::now();
        let line = match bytes {
            0 => format!("{rows} rows"),
            bytes => format!("{rows} rows, {bytes} bytes"),
        };
        // A terminal that is gone needs no progress.
        drop(writeln!(std::io::stderr(), "{line}"));
    }
}
