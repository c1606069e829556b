//! `lfsfs completions`: what a shell needs to complete the words of this program.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use lfsfs_common::documents::{Shell, write_all, write_completions, write_file};
use lfsfs_common::full_text;

use crate::cli::Cli;
use crate::error::CommandError;
use crate::output::Output;

/// The page of mount(8)'s helper is that of the command that does the same.
const HELPER_PAGE: (&str, &str) = ("man/man8/mount.lfsfs.8", ".so man1/lfsfs-mount.1\n");

#[derive(Debug, Args)]
#[command(
    after_help = "make install puts completions and manual pages where shells and man look for them.\n\n\
    Example:\n  \
    lfsfs completions bash > ~/.lfsfs-completion"
)]
pub(crate) struct CompletionsArgs {
    /// Shell that will read them
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct DocumentsArgs {
    /// Directory such as /usr/share
    dir: PathBuf,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut text = Vec::new();
    write_completions(Cli::command(), args.shell, &mut text);
    let mut out = Output::new();
    out.bytes(&text)?;
    out.finish()
}

/// Writes all that `make install` copies.
pub(crate) fn documents(args: &DocumentsArgs) -> Result<(), CommandError> {
    let (page, text) = HELPER_PAGE;
    write_all(&Cli::command(), &args.dir)
        .and_then(|()| write_file(&args.dir.join(page), text.as_bytes()))
        .map_err(|error| CommandError::failed(full_text(&error)))
}
