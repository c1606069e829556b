//! `lfsfs cache`: what this machine keeps of versions.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use lfsfs_client::NewProject;
use lfsfs_common::size;
use lfsfs_mount::{MountOptions, Places};
use lfsfs_remote::{RemoteError, RemoteRead};
use lfsfs_types::SourceDirectory;
use lfsfs_vfs::{BaseVersion, NotWarmed, VfsConfig, VfsStats, WarmFigures, WarmProgress};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::commands::project;
use crate::contents::cache;
use crate::error::CommandError;
use crate::lookup::{Directory, find_directory};
use crate::made::{VersionArgs, print_made};
use crate::output::{JsonPath, Output, counted, quoted};
use crate::progress;

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Fetch whole versions before a mount asks for them
    Warm(WarmArgs),
    /// Make a version of the packages that most projects use
    Make(MakeArgs),
    /// Show what the cache holds
    Status(StatusArgs),
    /// Remove what was used least recently
    Prune(PruneArgs),
    /// Remove everything from the cache
    Clear(ClearArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "All mounts of this machine share the cache, and so do cat and diff. What is there already is \
    verified and not fetched again. A version that is larger than the cache may become is not there as a whole after it. \
    Objects that are damaged or missing are listed, and the exit code is 1. Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs cache warm app@v42              before pods mount it\n  \
    lfsfs cache warm app@v42:src\n  \
    lfsfs cache warm app@stable --json"
)]
pub(crate) struct WarmArgs {
    /// Versions: PROJECT, PROJECT@vN, PROJECT@latest or PROJECT@TAG; with :PATH, that directory of it alone
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<OsString>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The packages are the packs of the newest versions of all other projects, those first that most of them \
    have. Machines fetch the version with lfsfs cache warm, and then have most of what their next mounts need. PROJECT \
    has nothing else; what it had stays in its earlier versions. If it has just these already, no version is made. \
    Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs cache make common --create\n  \
    lfsfs cache make common --packs 200\n  \
    lfsfs cache warm common               on each machine"
)]
pub(crate) struct MakeArgs {
    /// Project that gets the version
    project: String,
    /// How many packages, at most 100,000 (default: 1,000)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    packs: Option<u32>,
    /// Make the project if it does not exist
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    version: VersionArgs,
}

/// Each package of a cache version lies in a directory of its own.
const CACHE_PACKS: &str = "^[0-9a-f]{32}/$";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lfsfs cache status\n  \
    lfsfs cache status --json             for scripts")]
pub(crate) struct StatusArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Mounts go on: what they miss then they fetch again. A mount prunes by itself when the cache \
    becomes larger than its -o cache-size.\n\n\
    Examples:\n  \
    lfsfs cache prune --size 2G"
)]
pub(crate) struct PruneArgs {
    /// Leave at most so much, such as 2G
    #[arg(long, value_name = "SIZE", value_parser = parsed_size)]
    size: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Mounts go on: what they miss then they fetch again.\n\n\
    Examples:\n  \
    lfsfs cache clear")]
pub(crate) struct ClearArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn parsed_size(text: &str) -> Result<u64, String> {
    size::parse(text)
        .ok_or_else(|| "a size is a number with a unit, such as 2G or 500MiB".to_owned())
}

/// A version that was fetched, in JSON.
#[derive(Debug, Serialize)]
struct JsonWarmed {
    project: String,
    version: u64,
    entries: u64,
    bytes: u64,
    fetched_bytes: u64,
    failed: u64,
    first_failed: Vec<JsonNotWarmed>,
}

/// An object that could not be fetched, in JSON.
#[derive(Debug, Serialize)]
struct JsonNotWarmed {
    #[serde(flatten)]
    path: JsonPath,
    reason: String,
}

/// What the cache holds, in JSON.
#[derive(Debug, Serialize)]
struct JsonStatus {
    dir: String,
    bytes: u64,
    files: u64,
    stores: Vec<JsonStore>,
}

/// One kind of files of the cache, in JSON.
#[derive(Debug, Serialize)]
struct JsonStore {
    name: &'static str,
    files: u64,
    bytes: u64,
}

/// What was removed, in JSON.
#[derive(Debug, Serialize)]
struct JsonPruned {
    files: u64,
    left_bytes: u64,
}

pub(crate) async fn run(server: ServerArgs, command: CacheCommand) -> Result<(), CommandError> {
    match command {
        CacheCommand::Warm(args) => warm(&server, args).await,
        CacheCommand::Make(args) => make(&server, args).await,
        CacheCommand::Status(args) => status(&args),
        CacheCommand::Prune(args) => prune(args.size, args.json),
        CacheCommand::Clear(args) => prune(0, args.json),
    }
}

async fn make(server: &ServerArgs, args: MakeArgs) -> Result<(), CommandError> {
    let project = project::name(&args.project)?;
    let client = server.client()?;
    if args.create {
        let new = NewProject {
            pack_patterns: vec![CACHE_PACKS.to_owned()],
            ..NewProject::named(project.clone())
        };
        match client.admin.new_project(&new).await {
            Ok(_) | Err(RemoteError::AlreadyExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let version = args.version.new_version()?;
    let made = client.history.make_cache(&project, args.packs, &version);
    print_made(&project, made.await?, args.version.json)
}

async fn warm(server: &ServerArgs, args: WarmArgs) -> Result<(), CommandError> {
    let sources = args.sources.iter();
    let sources = sources.map(|text| SourceDirectory::new(text.as_bytes()));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let remote: Arc<dyn RemoteRead> = server.client()?.remote;
    let mut out = Output::new();
    let mut failed = Vec::new();
    for source in sources {
        let warmed = Warmed::of(&remote, source).await?;
        if args.json {
            out.json(&warmed.json())?;
        } else if warmed.figures.failed == 0 {
            out.line(warmed.name())?;
        }
        if warmed.figures.failed > 0 {
            failed.push(warmed);
        }
    }
    out.finish()?;
    match failed.first() {
        None => Ok(()),
        Some(warmed) => Err(warmed.failure()),
    }
}

/// A version that was fetched as far as it could be.
struct Warmed {
    project: String,
    version: u64,
    figures: WarmFigures,
    stats: VfsStats,
    first_failed: Vec<NotWarmed>,
}

impl Warmed {
    async fn of(
        remote: &Arc<dyn RemoteRead>,
        source: SourceDirectory,
    ) -> Result<Self, CommandError> {
        let Directory {
            remote,
            snapshot,
            counts,
        } = find_directory(Arc::clone(remote), source).await?;
        let (project, version) = (snapshot.project.name.to_string(), snapshot.version.number.0);
        let base = BaseVersion::new(remote, cache()?, snapshot, VfsConfig::default());
        let progress = Arc::new(WarmProgress::default());
        let bar = draw(Arc::clone(&progress), counts.map(|counts| counts.bytes));
        base.warm(&progress).await;
        bar.finish_and_clear();
        Ok(Self {
            project,
            version,
            figures: progress.figures(),
            stats: base.stats(),
            first_failed: progress.first_failed(),
        })
    }

    fn name(&self) -> String {
        format!("{}@v{}", self.project, self.version)
    }

    fn json(&self) -> JsonWarmed {
        let failed = self.first_failed.iter().map(|failed| JsonNotWarmed {
            path: JsonPath::new(&failed.path),
            reason: failed.reason.clone(),
        });
        JsonWarmed {
            project: self.project.clone(),
            version: self.version,
            entries: self.figures.entries,
            bytes: self.figures.bytes,
            fetched_bytes: self.stats.remote_bytes,
            failed: self.figures.failed,
            first_failed: failed.collect(),
        }
    }

    fn failure(&self) -> CommandError {
        let count = counted(self.figures.failed, "object");
        let text = format!("{count} of {} could not be fetched", self.name());
        let failed = self.first_failed.iter();
        failed.fold(CommandError::failed(text), |error, failed| {
            let path = if failed.path.is_empty() {
                b"."
            } else {
                &failed.path[..]
            };
            error.detail(format!("{}: {}", quoted(path), failed.reason))
        })
    }
}

fn draw(progress: Arc<WarmProgress>, expected: Option<u64>) -> ProgressBar {
    let bar = expected.map_or_else(progress::spinner, progress::bar);
    progress::watch(&bar, move |bar| {
        let figures = progress.figures();
        let (entries, bytes) = (HumanCount(figures.entries), HumanBytes(figures.bytes));
        bar.set_position(figures.bytes);
        bar.set_message(format!("{entries} entries, {bytes}"));
    });
    bar
}

fn status(args: &StatusArgs) -> Result<(), CommandError> {
    let places = Places::find(&MountOptions::default())?;
    let stores = cache()?.measure();
    let (bytes, files) = (
        stores.iter().map(|store| store.bytes).sum(),
        stores.iter().map(|store| store.files).sum(),
    );
    let mut out = Output::new();
    if args.json {
        let stores = stores.iter().map(|store| JsonStore {
            name: store.name,
            files: store.files,
            bytes: store.bytes,
        });
        out.json(&JsonStatus {
            dir: places.cache.display().to_string(),
            bytes,
            files,
            stores: stores.collect(),
        })?;
        return out.finish();
    }
    let dir = quoted(places.cache.as_os_str().as_bytes());
    out.line(format!("cache      {dir}"))?;
    out.line(format!("size       {}", HumanBytes(bytes)))?;
    for store in stores {
        let (files, bytes) = (counted(store.files, "file"), HumanBytes(store.bytes));
        out.line(format!("{:<10} {bytes} in {files}", store.name))?;
    }
    out.finish()
}

fn prune(size: u64, json: bool) -> Result<(), CommandError> {
    let pruned = cache()?.prune(size);
    let pruned = pruned.map_err(|error| CommandError::failed(error.to_string()))?;
    let mut out = Output::new();
    if json {
        out.json(&JsonPruned {
            files: pruned.files,
            left_bytes: pruned.left,
        })?;
    } else {
        let (files, left) = (counted(pruned.files, "file"), HumanBytes(pruned.left));
        out.line(format!("removed {files}, {left} are left"))?;
    }
    out.finish()
}
