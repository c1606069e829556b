//! Figures beside ext4, tar and zstd, and the demo.
//!
//! Both programs of this package, `bench` and `demo`, drive `lfsfs` and `lfsfsd` as a user does:
//! as processes, through their command lines, in a scratch directory that is gone afterwards.
//! They link nothing of the product but its client, for the rows of many clients at once, so what they
//! measure is what a user gets.

pub mod bench;
pub mod demo;

mod cluster;
mod command;
mod instance;
mod interrupt;
mod machine;
mod mount;
mod passes;
mod placement;
mod processes;
mod samples;
mod sizes;
mod text;

/// The exit code of a program that Ctrl-C ended, as shells expect it.
const INTERRUPTED: u8 = 130;

/// Ends a program: says what went wrong on stderr and returns the exit code.
#[must_use]
pub fn report(result: &anyhow::Result<bool>) -> std::process::ExitCode {
    use std::io::Write as _;
    match result {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            // Where stderr is gone there is no other way to tell the user.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            match error.downcast_ref::<interrupt::Interrupted>() {
                Some(_) => INTERRUPTED.into(),
                None => std::process::ExitCode::FAILURE,
            }
        }
    }
}
