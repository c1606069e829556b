//! The benchmark: `make bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lfsfs_benches::bench::{self, Options};

/// Measure lfsfs beside ext4, tar and zstd
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    job: Option<Job>,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Read a tree and print the times as JSON: how the benchmark starts its reader
    #[command(hide = true)]
    ReadTree {
        dir: PathBuf,
        /// Walk and read once, instead of all passes several times
        #[arg(long)]
        once: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    lfsfs_benches::report(&match arguments.job {
        Some(Job::ReadTree { dir, once }) => bench::read_tree(&dir, once),
        None => bench::run(&arguments.options),
    })
}
