//! The demo: `make demo [DIR=...]`, and `make demo-cluster`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Import, mount and compare a directory with lfsfs, beside cp and tar
#[derive(Debug, Parser)]
struct Arguments {
    /// What to import; without it an application of 5,000 files is made
    dir: Option<PathBuf>,
    /// Show a cluster: two of five datanodes are killed, and what they had comes back
    #[arg(long, conflicts_with = "dir")]
    cluster: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shown = if arguments.cluster {
        lfsfs_benches::demo::cluster::run()
    } else {
        lfsfs_benches::demo::run(arguments.dir.as_deref())
    };
    lfsfs_benches::report(&shown)
}
