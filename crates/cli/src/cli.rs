//! The command line: what a user can type.

#[cfg(test)]
mod docs;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use lfsfs_client::{Client, ClientConfig};
use lfsfs_remote::{RemoteError, Retry};

use crate::commands;
use crate::error::CommandError;
use crate::settings::settings;
use crate::user;

/// How long calls are tried by default.
const RETRY_FOR_DEFAULT: Duration = Duration::from_secs(30);

/// Mount any version of a project as a directory
#[derive(Debug, Parser)]
#[command(
    name = "lfsfs",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        lfsfsd all --data /var/lib/lfsfsd &      start a server\n  \
        lfsfs project new app                    make a project\n  \
        lfsfs import ./app app                   import a directory as its next version\n  \
        lfsfs mount app /mnt/app                 mount it, to read and to write\n  \
        lfsfs diff /mnt/app                      show what was changed in it\n  \
        lfsfs commit /mnt/app -m why             publish the changes as the next version\n  \
        lfsfs switch /mnt/app v1                 show another version in it\n  \
        lfsfs umount /mnt/app                    end the mount"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the server is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Server, HOST or HOST:PORT, or several addresses: A,B [env: LFSFS_SERVER] [default: 127.0.0.1:5051]
    // Without clap's `env`: with it each usage line would show the option as one that is needed.
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) server: Option<String>,
    /// How long to go on trying while the server is away, in seconds; 0 fails at once
    /// [env: LFSFS_RETRY_FOR] [default: 30]
    #[arg(long, global = true, value_name = "SECONDS")]
    retry_for: Option<u64>,
    /// What was typed, and not set elsewhere.
    #[arg(skip)]
    pub(crate) typed: Option<String>,
}

impl ServerArgs {
    /// Takes the address from the settings if none was typed.
    pub(crate) fn or_settings(self) -> Result<Self, CommandError> {
        let settings = settings()?;
        Ok(Self {
            typed: self.server.clone(),
            server: self.server.or(settings.server.clone()),
            retry_for: self.retry_for.or(settings.retry_for),
        })
    }

    /// Returns the address that was given, or where a server listens by default.
    pub(crate) fn address(&self) -> &str {
        self.server
            .as_deref()
            .unwrap_or(ClientConfig::ADDRESS_DEFAULT)
    }

    /// Returns how long calls are tried.
    pub(crate) fn retry_for(&self) -> Duration {
        self.retry_for
            .map_or(RETRY_FOR_DEFAULT, Duration::from_secs)
    }

    /// Returns a client; nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client, RemoteError> {
        self.client_at(self.address())
    }

    /// Returns a client of another address.
    pub(crate) fn client_at(&self, address: &str) -> Result<Client, RemoteError> {
        let notice = Arc::new(|line: &str| user::warn(line));
        let retry = Retry::with_notice(self.retry_for(), notice);
        Client::new(ClientConfig::new(address), retry)
    }
}

impl Command {
    /// Returns the name of a command that asks the process of a mount, which knows its server.
    pub(crate) fn of_mount(&self) -> Option<&'static str> {
        match self {
            Self::Umount(_) => Some("umount"),
            Self::Mounts(_) => Some("mounts"),
            Self::Status(_) => Some("status"),
            Self::Stats(_) => Some("stats"),
            Self::Commit(_) => Some("commit"),
            Self::Discard(_) => Some("discard"),
            Self::Queue(_) => Some("queue"),
            Self::Flush(_) => Some("flush"),
            Self::Restore(_) => Some("restore"),
            Self::Diff(args) => args.is_of_mount().then_some("diff"),
            // `switch` takes the address: it gives the mount another one.
            Self::Switch(_)
            | Self::Project(_)
            | Self::Import(_)
            | Self::Export(_)
            | Self::Rebuild(_)
            | Self::Update(_)
            | Self::Fsdiff(_)
            | Self::Sync(_)
            | Self::Ls(_)
            | Self::Cat(_)
            | Self::Put(_)
            | Self::Get(_)
            | Self::Rm(_)
            | Self::Log(_)
            | Self::Show(_)
            | Self::Tag(_)
            | Self::Rollback(_)
            | Self::Clone(_)
            | Self::Gc(_)
            | Self::Du(_)
            | Self::Cache(_)
            | Self::Dev(_)
            | Self::Watch(_)
            | Self::Mount(_)
            | Self::Doctor(_)
            | Self::Node(_)
            | Self::Cluster(_)
            | Self::Fsck(_)
            | Self::Completions(_)
            | Self::Documents(_) => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make, list, inspect, rename, delete and bring back projects
    #[command(subcommand)]
    Project(commands::project::ProjectCommand),
    /// Import a directory as the next version of a project
    Import(commands::import::ImportArgs),
    /// Write a version into a directory
    Export(commands::export::ExportArgs),
    /// Bring a plain directory to a version, from the one that it has
    Rebuild(commands::rebuild::RebuildArgs),
    /// Make what was changed in a rebuilt directory the next version
    Update(commands::update::UpdateArgs),
    /// Keep directories and a project in step, both ways
    #[command(subcommand)]
    Sync(commands::sync::SyncCommand),
    /// Show what was changed in a rebuilt directory
    Fsdiff(commands::fsdiff::FsdiffArgs),
    /// List a directory of a version
    Ls(commands::ls::LsArgs),
    /// Write files of a version to standard output
    Cat(commands::cat::CatArgs),
    /// Upload one file as a new version
    Put(commands::put::PutArgs),
    /// Download one file of a version
    Get(commands::get::GetArgs),
    /// Remove one file, as a new version
    Rm(commands::rm::RmArgs),
    /// Show the versions of a project, newest first
    Log(commands::log::LogArgs),
    /// Show one version and what it changed
    Show(commands::show::ShowArgs),
    /// Show what changed between two versions, or in a mount
    Diff(commands::diff::DiffArgs),
    /// Give versions names (tags), list or delete them
    Tag(commands::tag::TagArgs),
    /// Make an earlier version the newest again
    Rollback(commands::rollback::RollbackArgs),
    /// Make a version of one project the newest version of another
    Clone(commands::clone::CloneArgs),
    /// Remove what no version needs: expired versions, contents, chunks
    Gc(commands::gc::GcArgs),
    /// Show how much projects take, and how much of it they share
    Du(commands::du::DuArgs),
    /// Show each new version of a project, or run a command for it
    Watch(commands::watch::WatchArgs),
    /// Mount a version of a project
    Mount(commands::mount::MountArgs),
    /// End a mount
    Umount(commands::umount::UmountArgs),
    /// List the mounts of this machine
    Mounts(commands::mounts::MountsArgs),
    /// Show the version, the changes and the process of a mount
    Status(commands::status::StatusArgs),
    /// Make the changes of a mount the next version
    Commit(commands::commit::CommitArgs),
    /// Drop changes of a mount
    Discard(commands::discard::DiscardArgs),
    /// Bring back the state of a path in a mount from another version
    Restore(commands::restore::RestoreArgs),
    /// Show another version in a mount
    Switch(commands::switch::SwitchArgs),
    /// Show what a mount has not uploaded yet, pause and repeat uploads
    Queue(commands::queue::QueueArgs),
    /// Upload what was written in a mount, and wait for it
    Flush(commands::flush::FlushArgs),
    /// Show the counters of a mount
    Stats(commands::stats::StatsArgs),
    /// Fill the cache of this machine, show and empty it
    #[command(subcommand)]
    Cache(commands::cache::CacheCommand),
    /// List the datanodes of a cluster, drain and remove them
    #[command(subcommand)]
    Node(commands::node::NodeCommand),
    /// Show how a cluster is: its datanodes, and the copies of its chunks
    #[command(subcommand)]
    Cluster(commands::cluster::ClusterCommand),
    /// Compare the metadata with the datanodes, and mend what is wrong
    Fsck(commands::fsck::FsckArgs),
    /// Take and reset to a state of all projects: for tests
    #[command(subcommand)]
    Dev(commands::dev::DevCommand),
    /// Check what this machine offers to mounts
    Doctor(commands::doctor::DoctorArgs),
    /// Write the completions of this program for a shell
    Completions(commands::completions::CompletionsArgs),
    /// Write completions and manual pages into a directory
    #[command(hide = true)]
    Documents(commands::completions::DocumentsArgs),
}
