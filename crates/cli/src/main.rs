//! lfsfs: everything a user types. Called as `mount.lfsfs` it is mount(8)'s helper.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod contents;
mod error;
mod lookup;
mod made;
mod mount_helper;
mod mounted;
mod named;
mod output;
mod owners;
mod progress;
mod settings;
mod signals;
mod source_path;
mod user;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;
use crate::error::{CommandError, Kind};
use crate::output::Output;

fn main() -> ExitCode {
    lfsfs_common::open_files::raise_limit();
    if let Some(code) = mount_helper::run_if_called_as_one() {
        return code;
    }
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    let form = form_of(&matches);
    let done = Cli::from_arg_matches(&matches).map(commands::run);
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error, form),
        Err(error) => explain(&error),
    }
}

/// In which form the results of a command are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Returns the form that was asked for, by whichever command has `--json`.
fn form_of(matches: &ArgMatches) -> Form {
    let is_json = matches!(matches.try_get_one::<bool>("json"), Ok(Some(true)));
    match matches.subcommand() {
        _ if is_json => Form::Json,
        Some((_, matches)) => form_of(matches),
        None => Form::Text,
    }
}

/// Prints the help that was asked for, or what is wrong with what was typed.
fn explain(error: &clap::Error) -> ExitCode {
    // If the reader went away, there is no other way to tell the user.
    let _ = error.print();
    let mut options = std::env::args_os().skip(1).take_while(|word| word != "--");
    if error.use_stderr() && options.any(|word| word == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        write_failure(&CommandError::usage(message), Form::Json);
    }
    // 0 for help, 2 for wrong usage.
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn fail(error: &CommandError, form: Form) -> ExitCode {
    if error.kind != Kind::BrokenPipe {
        error.tell();
        write_failure(error, form);
    }
    ExitCode::from(error.exit_code())
}

/// Writes to stdout what belongs there. The reason stands on stderr already, so it does not matter
/// if the reader of stdout went away.
fn write_failure(error: &CommandError, form: Form) {
    let mut out = Output::new();
    let _ = match form {
        Form::Json => out.json(&error.json()),
        Form::Text => error
            .paths
            .iter()
            .try_for_each(|path| out.line(output::quoted(path))),
    };
    let _ = out.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(words: &[&str]) -> Form {
        let words = std::iter::once("lfsfs").chain(words.iter().copied());
        let matches = Cli::command().try_get_matches_from(words);
        form_of(&matches.expect("a command"))
    }

    #[test]
    fn every_json_option_is_found() {
        assert_eq!(form(&["log", "app", "--json"]), Form::Json);
        assert_eq!(form(&["project", "list", "--json"]), Form::Json);
        assert_eq!(form(&["log", "app"]), Form::Text);
        assert_eq!(form(&["cat", "app", "--", "--json"]), Form::Text);
    }
}
