//! The demo: `make demo [DIR=...]`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Import, mount and compare a directory with lfsfs, beside cp and tar
#[derive(Debug, Parser)]
struct Arguments {
    /// What to import; without it an application of 5,000 files is made
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    lfsfs_benches::report(&lfsfs_benches::demo::run(arguments.dir.as_deref()))
}
