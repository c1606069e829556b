//! One module for each verb.

pub(crate) mod cache;
pub(crate) mod cat;
pub(crate) mod clone;
pub(crate) mod cluster;
pub(crate) mod commit;
pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod diff;
pub(crate) mod discard;
pub(crate) mod doctor;
pub(crate) mod du;
pub(crate) mod export;
pub(crate) mod flush;
pub(crate) mod fsck;
pub(crate) mod fsdiff;
pub(crate) mod gc;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod mount;
pub(crate) mod mounts;
pub(crate) mod node;
pub(crate) mod project;
pub(crate) mod put;
pub(crate) mod queue;
pub(crate) mod rebuild;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod rollback;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod switch;
pub(crate) mod sync;
pub(crate) mod tag;
pub(crate) mod umount;
pub(crate) mod update;
pub(crate) mod watch;

use std::future::Future;

use lfsfs_common::request::RequestId;

use crate::cli::{Cli, Command};
use crate::error::CommandError;

/// Runs what was typed.
pub(crate) fn run(cli: Cli) -> Result<(), CommandError> {
    if let (Some(verb), Some(_)) = (cli.command.of_mount(), &cli.server.server) {
        return Err(CommandError::usage(format!(
            "lfsfs {verb} asks the process of a mount, which has a server of its own: --server has no \
             use here"
        ))
        .hint("give a mount another address of its server with: lfsfs switch --server ADDRESS DIR"));
    }
    let typed = cli.server.clone();
    // Commands that ask the process of a mount work with settings that are wrong, too.
    let server = || cli.server.clone().or_settings();
    match cli.command {
        Command::Project(command) => on_runtime(project::run(server()?, command)),
        Command::Import(args) => on_runtime(import::run(server()?, args)),
        Command::Export(args) => on_runtime(export::run(server()?, args)),
        Command::Rebuild(args) => on_runtime(rebuild::run(server()?, args)),
        Command::Update(args) => on_runtime(update::run(server()?, args)),
        Command::Sync(command) => sync::run(server()?, command),
        Command::Fsdiff(args) => on_runtime(fsdiff::run(server()?, args)),
        Command::Ls(args) => on_runtime(ls::run(server()?, args)),
        Command::Cat(args) => on_runtime(cat::run(server()?, args)),
        Command::Put(args) => on_runtime(put::run(server()?, args)),
        Command::Get(args) => on_runtime(get::run(server()?, args)),
        Command::Rm(args) => on_runtime(rm::run(server()?, args)),
        Command::Log(args) => on_runtime(log::run(server()?, args)),
        Command::Show(args) => on_runtime(show::run(server()?, args)),
        Command::Diff(args) => on_runtime(diff::run(server()?, args)),
        Command::Tag(args) => on_runtime(tag::run(server()?, args)),
        Command::Rollback(args) => on_runtime(rollback::run(server()?, args)),
        Command::Cache(command) => on_runtime(cache::run(server()?, command)),
        Command::Dev(command) => on_runtime(dev::run(server()?, command)),
        Command::Du(args) => on_runtime(du::run(server()?, args)),
        Command::Gc(args) => on_runtime(gc::run(server()?, args)),
        Command::Clone(args) => on_runtime(clone::run(server()?, args)),
        Command::Watch(args) => on_runtime(watch::run(server()?, args)),
        Command::Mount(args) => mount::run(&server()?, args),
        Command::Umount(args) => umount::run(&args),
        Command::Mounts(args) => mounts::run(&args),
        Command::Status(args) => status::run(&args),
        // The author may be set in the settings: a commit fails where they are wrong.
        Command::Commit(args) => commit::run(args, server()?.retry_for()),
        Command::Discard(args) => discard::run(&args),
        Command::Restore(args) => on_runtime(restore::run(server()?, args)),
        Command::Switch(args) => switch::run(&typed, server()?.retry_for(), &args),
        Command::Queue(args) => queue::run(&args),
        Command::Flush(args) => flush::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Node(command) => on_runtime(node::run(server()?, command)),
        Command::Cluster(command) => on_runtime(cluster::run(server()?, command)),
        Command::Fsck(args) => on_runtime(fsck::run(server()?, args)),
        Command::Doctor(args) => on_runtime(doctor::run(server()?, args)),
        Command::Completions(args) => completions::run(&args),
        Command::Documents(args) => completions::documents(&args),
    }
}

fn on_runtime(command: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    // Everything that a command asks is one request.
    let command = RequestId::next().scope(command);
    tokio::runtime::Runtime::new()?.block_on(command)
}
