//! The command line of `lfsfsd`.

mod args;
mod backup;
mod config_error;
mod configuration;
mod file;
mod keys;
mod kinds;
mod run;
mod show;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use lfsfs_common::documents;
use lfsfs_common::full_text;
use lfsfs_proto::address::{ADDRESS_DEFAULT, AddressError, parse_list};
use rustix::fs::Mode;

use self::args::Given;
use self::configuration::Configuration;
use self::keys::RoleName;
use crate::meta_place::{MetaPlace, copy_meta};
use crate::stats::{self, Form};
use crate::{ServerError, check, health};

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of wrong usage, a configuration that is refused included.
const USAGE: u8 = 2;

/// Serve versioned filesystems
#[derive(Debug, Parser)]
#[command(name = "lfsfsd", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run coordinator and datanode in one process
    #[command(after_help = "Example: lfsfsd all --data /var/lib/lfsfsd")]
    All,
    /// Run the coordinator alone
    #[command(after_help = "Example: lfsfsd coordinator --data /var/lib/lfsfsd")]
    Coordinator,
    /// Run a datanode of a coordinator
    #[command(
        after_help = "Example: lfsfsd datanode --data /srv/chunks --listen 127.0.0.1:5052 \
                      --coordinator 127.0.0.1:5051"
    )]
    Datanode,
    /// Show the configuration that a server would run with, and where each value came from
    #[command(
        after_help = "Starts nothing and changes nothing. Exit codes: 0 a server could start with it, \
                      1 its addresses cannot be, 2 refused\n\n\
                      Examples:\n  lfsfsd config --config /etc/lfsfs/lfsfsd.toml\n  \
                      lfsfsd config datanode --json"
    )]
    Config(ConfigArgs),
    /// Ask a server whether it serves
    #[command(after_help = "Exit codes: 0 it serves, 1 it does not, 2 usage")]
    Health(HealthArgs),
    /// Show what a server holds and did: engine, nodes, projects
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage\n\n\
                            Examples:\n  lfsfsd stats\n  \
                            lfsfsd stats --server 10.0.0.5 --json      for scripts")]
    Stats(StatsArgs),
    /// Check everything in a data directory, and change nothing in it
    #[command(after_help = "Exit codes: 0 all is well, 1 something is wrong, 2 usage")]
    Check(CheckArgs),
    /// Write the metadata of a coordinator to a file, while it runs
    #[command(
        after_help = "Exit codes: 0 done, 1 failed, 2 usage. A backup that fails leaves no file.\n\n\
                            Examples:\n  lfsfsd backup --server 10.0.0.5 /backup/lfsfs-monday\n  \
                            lfsfsd backup --data /var/lib/lfsfsd /backup/lfsfs-monday    it is stopped"
    )]
    Backup(backup::BackupArgs),
    /// Put the metadata of a backup into a new place, or verify a backup
    #[command(
        after_help = "The file is verified before anything is made. A restore that was interrupted begins \
                            again when it is run again.\n\n\
                            Examples:\n  lfsfsd restore /backup/lfsfs-monday --data /var/lib/lfsfsd-new\n  \
                            lfsfsd restore --check /backup/lfsfs-monday"
    )]
    Restore(backup::RestoreArgs),
    /// Work on the metadata of a server that is not running
    #[command(subcommand)]
    Meta(MetaCommand),
    /// Write completions and manual pages into a directory such as /usr/share
    #[command(hide = true)]
    Documents { dir: PathBuf },
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// What the server would be
    #[arg(value_name = "ROLE", value_enum, default_value_t = RoleName::All)]
    role: RoleName,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum MetaCommand {
    /// Copy all metadata to another place, for example to another engine, and compare it
    #[command(
        after_help = "A copy that was interrupted goes on when it is run again.\n\
                      Example: lfsfsd meta copy sled:/var/lib/lfsfsd/meta redb:/var/lib/lfsfsd/new"
    )]
    Copy {
        /// Engine and directory of the metadata
        #[arg(value_name = "ENGINE:DIR")]
        from: MetaPlace,
        /// Engine and directory of the copy, which must be empty
        #[arg(value_name = "ENGINE:DIR")]
        to: MetaPlace,
    },
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Directory of a server that is not running
    #[arg(long, value_name = "DIR", env = "LFSFSD_DATA")]
    data: PathBuf,
    /// Engine and directory of the metadata, as the server was started with
    #[arg(long, value_name = "ENGINE:DIR", env = "LFSFSD_META")]
    meta: Option<MetaPlace>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HealthArgs {
    /// host:port of the server
    #[arg(
        long,
        value_name = "ADDR",
        env = "LFSFSD_LISTEN",
        default_value = "127.0.0.1:5051"
    )]
    server: String,
    /// Seconds that the answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

/// A server that is asked.
#[derive(Debug, Args)]
struct ServerAddress {
    /// Server, HOST or HOST:PORT; the first one of several
    #[arg(
        long = "server",
        value_name = "ADDRESS",
        env = "LFSFS_SERVER",
        default_value = ADDRESS_DEFAULT,
        value_parser = address
    )]
    address: String,
}

#[derive(Debug, Args)]
struct StatsArgs {
    #[command(flatten)]
    server: ServerAddress,
    /// Seconds that each answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Takes the address of a server as a user types it; an empty variable is as good as none. `LFSFS_SERVER` may have
/// several for clients; one process is asked here.
fn address(typed: &str) -> Result<String, AddressError> {
    let typed = if typed.is_empty() {
        ADDRESS_DEFAULT
    } else {
        typed
    };
    Ok(parse_list(typed)?.swap_remove(0))
}

/// Returns the whole command line: what is derived, and the flags of the configuration.
fn command() -> clap::Command {
    let mut command = Cli::command();
    for role in RoleName::EVERY {
        let roles = std::slice::from_ref(role);
        command = command.mut_subcommand(role.word(), |it| args::with_flags(it, roles));
    }
    command.mut_subcommand("config", |it| args::with_flags(it, RoleName::EVERY))
}

/// Does what the command line of this process says. One that is wrong ends the process.
pub fn execute() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = |roles: &[RoleName]| {
        let own = matches.subcommand();
        own.map_or_else(Given::default, |(_, own)| Given::of(own, roles))
    };
    match cli.command {
        Command::All => serve(RoleName::All, &given),
        Command::Coordinator => serve(RoleName::Coordinator, &given),
        Command::Datanode => serve(RoleName::Datanode, &given),
        Command::Config(args) => show_config(&args, given(RoleName::EVERY)),
        Command::Documents { dir } => ended(documents::write_all(&command(), &dir)),
        Command::Health(args) => {
            let limit = Duration::from_secs(args.timeout);
            ended(health::ask(&args.server, limit))
        }
        Command::Stats(args) => {
            let form = if args.json { Form::Json } else { Form::Text };
            let limit = Duration::from_secs(args.timeout);
            ended(stats::execute(&args.server.address, limit, form))
        }
        Command::Check(args) => match check::execute(&args.data, args.meta.as_ref(), args.json) {
            Ok(check::Verdict::Clean) => ExitCode::SUCCESS,
            Ok(check::Verdict::Damaged) => ExitCode::from(FAILED),
            Err(error) if error.is_corrupt() => fail(&Unreadable(error)),
            Err(error) => fail(&error),
        },
        Command::Backup(args) => ended(backup::execute(args)),
        Command::Restore(args) => ended(backup::execute_restore(&args)),
        Command::Meta(MetaCommand::Copy { from, to }) => ended(copy(&from, &to)),
    }
}

/// Runs a server, once all of its configuration is checked.
fn serve(role: RoleName, given: &dyn Fn(&[RoleName]) -> Given) -> ExitCode {
    let configuration = match Configuration::new(role, given(&[role])) {
        Ok(configuration) => configuration,
        Err(error) => return fail_with(USAGE, &error),
    };
    match configuration.start() {
        Ok(start) => run::execute(start),
        Err(error) => fail(&error),
    }
}

/// Prints the configuration that a server would run with, if it would run.
fn show_config(args: &ConfigArgs, given: Given) -> ExitCode {
    let configuration = match Configuration::new(args.role, given) {
        Ok(configuration) => configuration,
        Err(error) => return fail_with(USAGE, &error),
    };
    if let Err(error) = configuration.start() {
        return fail(&error);
    }
    ended(print(&match args.json {
        true => format!("{}\n", show::json(&configuration)),
        false => show::text(&configuration),
    }))
}

/// Prints on the standard output. That its reader is gone is no failure.
fn print(text: &str) -> Result<(), ServerError> {
    let mut stdout = std::io::stdout().lock();
    let printed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match printed {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(ServerError::System {
                act: "write to the standard output",
                source,
            })
        }
        _ => Ok(()),
    }
}

/// Copies metadata, and tells how far it is where a person looks.
fn copy(from: &MetaPlace, to: &MetaPlace) -> Result<(), ServerError> {
    const PERIOD: Duration = Duration::from_secs(1);
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let is_terminal = std::io::stderr().is_terminal();
    let mut told = Instant::now();
    let mut tell = |rows: u64| {
        if is_terminal && told.elapsed() >= PERIOD {
            told = Instant::now();
            // A terminal that is gone needs no progress.
            drop(writeln!(std::io::stderr(), "{rows} rows"));
        }
    };
    let rows = copy_meta(from, to, &mut tell)?;
    let line = writeln!(
        std::io::stdout(),
        "{rows} rows are at {to}, each as at {from}; start the server with --meta {to}"
    );
    line.map_err(|source| ServerError::System {
        act: "write to the standard output",
        source,
    })
}

/// Metadata so damaged that nothing in it can be checked.
#[derive(Debug, thiserror::Error)]
#[error(
    "the metadata cannot be read; keep the directory as it is, and restore a backup, or import \
     again into a new one"
)]
struct Unreadable(#[source] ServerError);

fn ended<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    fail_with(FAILED, error)
}

fn fail_with(code: u8, error: &dyn std::error::Error) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    // Where this fails there is no other way to tell the operator; the exit code says that it failed.
    drop(writeln!(stderr, "lfsfsd: {}", full_text(error)));
    ExitCode::from(code)
}
