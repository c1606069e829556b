//! `lfsfs switch`: a mount shows another version, or asks its server at another address.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lfsfs_mount::{ControlRequest, Mount, ServerMoved, Switched, call, call_with, find_mount};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::mounted::{places, served, source};
use crate::output::Output;
use crate::progress::{Work, millis};
use crate::user;

#[derive(Debug, Args)]
#[command(
    override_usage = "lfsfs switch [OPTIONS] [DIR] <VERSION>\n       \
    lfsfs switch [OPTIONS] --server <ADDRESS> [DIR] [VERSION]",
    after_help = "Programs go on in the mount: what is the same in both versions keeps its inode \
    number and stays cached, open files stay what was opened. Refused while there are uncommitted \
    changes, and where the version has something at a path that is ignored; other ignored paths stay. Prints PROJECT@vN.\n\n\
    With --server the mount asks its server at that address from now on, if the same version is \
    there. Uncommitted changes stay. A mount that is made anew gets its address as before: change \
    fstab too.\n\n\
    Examples:\n  \
    lfsfs switch /mnt/app v43\n  \
    lfsfs switch /mnt/app stable          the version of a tag\n  \
    lfsfs switch latest                   in a mount\n  \
    lfsfs switch --server 10.0.0.7:5051 /mnt/app"
)]
pub(crate) struct SwitchArgs {
    /// A path in the mount [default: .], and a version of the same project: vN, latest, a tag, or
    /// PROJECT@ and one of them
    #[arg(value_name = "DIR|VERSION", num_args = 0..=2)]
    words: Vec<OsString>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    dir: PathBuf,
    version: Option<String>,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonSwitch {
    project: String,
    from: u64,
    version: u64,
    changed: u64,
    server: String,
}

impl SwitchArgs {
    /// A single word is the version, or the directory where only the server is to change.
    fn wanted(&self, server: Option<&str>) -> Result<Wanted, CommandError> {
        let (dir, version) = match (&self.words[..], server) {
            ([], Some(_)) => (None, None),
            ([dir], Some(_)) => (Some(dir), None),
            ([version], None) => (None, Some(version)),
            ([dir, version], _) => (Some(dir), Some(version)),
            _ => {
                return Err(CommandError::usage("no version")
                    .hint("lfsfs switch DIR VERSION, or lfsfs switch --server ADDRESS DIR"));
            }
        };
        Ok(Wanted {
            dir: dir.map_or_else(|| ".".into(), PathBuf::from),
            version: version.map(|it| it.to_string_lossy().into_owned()),
        })
    }
}

/// Switches as wanted; `server` has the address only if one was typed.
pub(crate) fn run(
    server: &ServerArgs,
    retry_for: Duration,
    args: &SwitchArgs,
) -> Result<(), CommandError> {
    let server = server.server.as_deref();
    let wanted = args.wanted(server)?;
    let mount = find_mount(&wanted.dir, &places()?)?;
    let mut shown = served(&mount)?.version.clone();
    let from = shown.version;
    if let Some(address) = server {
        shown.server = move_to(&mount, address)?;
    }
    let mut changed = 0;
    if let Some(version) = wanted.version {
        let switched = switch(&mount, version, retry_for)?;
        (shown, changed) = (switched.version, switched.changed);
    }
    let mut out = Output::new();
    if args.json {
        out.json(&JsonSwitch {
            project: shown.project,
            from,
            version: shown.version,
            changed,
            server: shown.server,
        })?;
    } else {
        out.line(source(&shown))?;
    }
    out.finish()
}

/// Has the mount ask its server at another address, and returns that.
fn move_to(mount: &Mount, address: &str) -> Result<String, CommandError> {
    let address = address.to_owned();
    let moved: ServerMoved = call(mount, &ControlRequest::Server { address })?;
    let dir = mount.entry.dir.display();
    user::warn(&format!(
        "{dir} asks the server at {} from now on",
        moved.server
    ));
    Ok(moved.server)
}

fn switch(mount: &Mount, version: String, retry_for: Duration) -> Result<Switched, CommandError> {
    let mut work = Work::new("switch");
    let retry_ms = millis(retry_for);
    let request = ControlRequest::Switch { version, retry_ms };
    let switched = call_with(mount, &request, &mut work);
    work.end();
    Ok(switched?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str], server: Option<&str>) -> Option<(String, Option<String>)> {
        let words = words.iter().map(OsString::from).collect();
        let args = SwitchArgs { words, json: false };
        let wanted = args.wanted(server).ok()?;
        Some((wanted.dir.display().to_string(), wanted.version))
    }

    #[test]
    fn one_word_is_a_version_and_with_a_server_a_directory() {
        let version = |version: &str| Some(version.to_owned());
        assert_eq!(wanted(&["v2"], None), Some((".".to_owned(), version("v2"))));
        assert_eq!(
            wanted(&["/mnt", "v2"], None),
            Some(("/mnt".to_owned(), version("v2")))
        );
        let server = Some("host:1");
        assert_eq!(wanted(&["/mnt"], server), Some(("/mnt".to_owned(), None)));
        assert_eq!(wanted(&[], server), Some((".".to_owned(), None)));
        assert_eq!(
            wanted(&["/mnt", "v2"], server),
            Some(("/mnt".to_owned(), version("v2")))
        );
        assert_eq!(wanted(&[], None), None);
    }
}
