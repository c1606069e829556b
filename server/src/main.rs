//! `lfsfsd`: the coordinator, the datanode, or both in one process.

use std::process::ExitCode;

use clap::Parser as _;
use lfsfs_server::cli::Cli;

fn main() -> ExitCode {
    lfsfs_common::open_files::raise_limit();
    lfsfs_server::cli::execute(Cli::parse())
}
