//! lfsfs: everything a user types. Called as `mount.lfsfs` it is mount(8)'s helper.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod error;
mod mount_helper;
mod mounted;
mod output;
mod progress;
mod signals;
mod user;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::error::{CommandError, Kind};

fn main() -> ExitCode {
    lfsfs_common::open_files::raise_limit();
    if let Some(code) = mount_helper::run_if_called_as_one() {
        return code;
    }
    match commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &CommandError) -> ExitCode {
    if error.kind != Kind::BrokenPipe {
        user::tell(&error.to_string());
        let mut out = output::Output::new();
        for path in &error.paths {
            // The reason is told already; nobody may be there to read the list.
            let _ = out.line(output::quoted(path));
        }
        let _ = out.finish();
    }
    ExitCode::from(error.exit_code())
}
