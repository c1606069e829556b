//! `lfsfsd`: the coordinator, the datanode, or both in one process.

use std::process::ExitCode;

use clap::Parser as _;
use lfsfs_server::cli::Cli;

fn main() -> ExitCode {
    lfsfs_server::cli::execute(Cli::parse())
}
