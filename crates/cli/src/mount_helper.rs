//! The program as other programs start it: mount(8) calls `mount.lfsfs`, `lfsfs mount` starts the
//! process of the mount, and that process starts one that holds files.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lfsfs_mount::{
    DAEMON_ARGUMENT, HOLDER_ARGUMENT, MountError, MountRequest, SENDER_ARGUMENT, connect,
    run_daemon, run_holder, run_sender,
};

use crate::commands::mount::mount;
use crate::settings::settings;
use crate::user;

const NAME: &str = "mount.lfsfs";
/// mount(8): wrong usage, or no permission.
const EXIT_USAGE: u8 = 1;

/// Runs as a helper if the program was called as one.
pub(crate) fn run_if_called_as_one() -> Option<ExitCode> {
    let arguments = || env::args_os().skip(1);
    let first = arguments().next().unwrap_or_default();
    if first == DAEMON_ARGUMENT {
        return Some(ExitCode::from(run_daemon(&connect)));
    }
    if first == HOLDER_ARGUMENT {
        return Some(ExitCode::from(run_holder(arguments().skip(1))));
    }
    if first == SENDER_ARGUMENT {
        return Some(ExitCode::from(run_sender(arguments().skip(1))));
    }
    let program = env::args_os().next().unwrap_or_default();
    let is_called_so = Path::new(&program).file_name() == Some(OsStr::new(NAME));
    is_called_so.then(|| run(arguments()))
}

fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let called = match parse(arguments) {
        Ok(called) => called,
        Err(message) => {
            user::tell(&format!("{NAME}: {message}"));
            user::tell(&format!("usage: {NAME} SOURCE DIR [-fnrsvw] [-o OPTIONS]"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let server = match settings() {
        Ok(settings) => settings.server.as_deref(),
        Err(error) => {
            user::tell(&format!("{NAME}: {}", error.message()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match called.mount(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            user::tell(&format!("{NAME}: {}", error.full_text()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// What mount(8) asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Called {
    source: String,
    dir: PathBuf,
    options: Vec<String>,
    /// `-f`: check everything, mount nothing.
    is_fake: bool,
}

impl Called {
    /// Mounts; `server` is the one of the settings, before which an option counts.
    fn mount(&self, server: Option<&str>) -> Result<(), MountError> {
        let server = server.map(lfsfs_mount::server_option);
        let options: Vec<_> = server.iter().chain(&self.options).cloned().collect();
        let request = MountRequest::new(&self.source, &self.dir, &options)?;
        if self.is_fake {
            Ok(())
        } else {
            mount(&request)
        }
    }
}

/// Takes the arguments of a mount helper: mount(8), "External helpers".
fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Called, String> {
    let mut called = Called::default();
    let mut places = Vec::new();
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.to_str().and_then(|text| text.strip_prefix('-')) else {
            places.push(argument);
            continue;
        };
        match letters {
            "o" => called.options.push(text(arguments.next())?),
            // mount(8) itself has used the namespace and the type.
            "N" | "t" => drop(arguments.next()),
            _ => called.take_flags(letters)?,
        }
    }
    let [source, dir] = <[OsString; 2]>::try_from(places)
        .map_err(|places| format!("expected a source and a directory, got {}", places.len()))?;
    called.source = text(Some(source))?;
    called.dir = dir.into();
    Ok(called)
}

impl Called {
    fn take_flags(&mut self, letters: &str) -> Result<(), String> {
        for letter in letters.chars() {
            match letter {
                'r' => self.options.push("ro".to_owned()),
                'w' => self.options.push("rw".to_owned()),
                'f' => self.is_fake = true,
                // Options of mount(8) that change nothing here: tolerate unknown options, write no
                // mtab, print more.
                's' | 'n' | 'v' => {}
                other => return Err(format!("unknown flag -{other}")),
            }
        }
        Ok(())
    }
}

fn text(argument: Option<OsString>) -> Result<String, String> {
    let argument = argument.ok_or("-o needs options")?;
    argument
        .into_string()
        .map_err(|bytes| format!("{} is not UTF-8", bytes.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Called, String> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn what_mount_passes_is_understood() {
        let called = parsed(&[
            "app@v1",
            "/mnt/app",
            "-sn",
            "-o",
            "rw,nosuid",
            "-t",
            "lfsfs",
        ]);
        let expected = Called {
            source: "app@v1".to_owned(),
            dir: "/mnt/app".into(),
            options: vec!["rw,nosuid".to_owned()],
            is_fake: false,
        };
        assert_eq!(called, Ok(expected));
        assert_eq!(
            parsed(&["-r", "a", "b"]).map(|called| called.options),
            Ok(vec!["ro".to_owned()])
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &["app"][..],
            &["a", "b", "c"],
            &["a", "b", "-o"],
            &["a", "b", "-x"],
        ] {
            assert!(parsed(arguments).is_err(), "{arguments:?}");
        }
    }
}
