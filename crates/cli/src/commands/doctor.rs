//! `lfsfs doctor`: what this machine offers to mounts, and what is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::Args;
use lfsfs_mount::{MountOptions, Places};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{Output, counted};
use crate::settings;

/// Free space below which a cache is of little use.
const FREE_MIN: u64 = 1 << 30;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lfsfs doctor\n  \
    lfsfs doctor --server 10.0.0.5:5051   asks that server, too")]
pub(crate) struct DoctorArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    /// Works, but something is not as it could be.
    Note,
    /// Mounts will fail.
    Bad,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    health: Health,
    text: String,
}

impl Finding {
    fn new(what: &'static str, health: Health, text: impl Into<String>) -> Self {
        Self {
            what,
            health,
            text: text.into(),
        }
    }
}

pub(crate) async fn run(server: ServerArgs, args: DoctorArgs) -> Result<(), CommandError> {
    let mut findings = vec![device(), helper(), fuse_conf(), io_uring()];
    findings.extend(disks());
    findings.extend(files());
    findings.push(server_answers(&server).await);
    let mut out = Output::new();
    for finding in &findings {
        if args.json {
            out.json(finding)?;
        } else {
            let mark = match finding.health {
                Health::Ok => "ok  ",
                Health::Note => "note",
                Health::Bad => "BAD ",
            };
            out.line(format!("{mark}  {:<12} {}", finding.what, finding.text))?;
        }
    }
    out.finish()?;
    let bad = findings
        .iter()
        .filter(|finding| finding.health == Health::Bad)
        .count();
    if bad == 0 {
        Ok(())
    } else {
        let bad = counted(bad as u64, "check");
        Err(CommandError::failed(format!(
            "{bad} of this machine failed"
        )))
    }
}

fn device() -> Finding {
    let found = match fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
    {
        Ok(_) => (Health::Ok, "/dev/fuse can be opened".to_owned()),
        Err(error) => (
            Health::Bad,
            format!("/dev/fuse: {error}; load the module with: modprobe fuse"),
        ),
    };
    Finding::new("fuse device", found.0, found.1)
}

fn helper() -> Finding {
    let places = ["/sbin/mount.lfsfs", "/usr/sbin/mount.lfsfs"];
    let is_program =
        |path: &&&str| fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 != 0);
    match places.iter().find(is_program) {
        Some(path) => Finding::new("mount helper", Health::Ok, format!("{path} is there")),
        None => Finding::new(
            "mount helper",
            Health::Note,
            "mount -t lfsfs needs /sbin/mount.lfsfs; put it there with: make install",
        ),
    }
}

fn fuse_conf() -> Finding {
    let is_root = rustix::process::geteuid().is_root();
    let text = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    let allowed = text.lines().any(|line| line.trim() == "user_allow_other");
    let (health, text) = match (is_root, allowed) {
        (true, _) => (Health::Ok, "root's mounts are for all users"),
        (false, true) => (Health::Ok, "users may mount with allow_other"),
        (false, false) => (
            Health::Note,
            "allow_other needs this line in /etc/fuse.conf: user_allow_other",
        ),
    };
    Finding::new("fuse.conf", health, text)
}

fn io_uring() -> Finding {
    let parameter = fs::read_to_string("/sys/module/fuse/parameters/enable_uring");
    let text = match parameter.as_deref().map(str::trim) {
        Ok("Y") => "FUSE over io_uring is switched on; mounts do not use it yet",
        Ok(_) => "FUSE over io_uring is switched off; mounts do not use it yet",
        Err(_) => "this kernel has no FUSE over io_uring; mounts do not use it yet",
    };
    Finding::new("io_uring", Health::Ok, text)
}

fn disks() -> Vec<Finding> {
    match Places::find(&MountOptions::default()) {
        Err(error) => vec![Finding::new("places", Health::Bad, error.full_text())],
        Ok(places) => vec![disk("cache", &places.cache), disk("state", &places.state)],
    }
}

fn disk(what: &'static str, path: &Path) -> Finding {
    // The directory is made by the first mount; its disk is that of the nearest parent.
    let existing = path
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(path);
    match rustix::fs::statvfs(existing) {
        Err(error) => Finding::new(what, Health::Bad, format!("{}: {error}", path.display())),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let health = if free < FREE_MIN {
                Health::Note
            } else {
                Health::Ok
            };
            let free = indicatif::HumanBytes(free);
            Finding::new(what, health, format!("{}, {free} free", path.display()))
        }
    }
}

/// Returns the files of settings that are there. One that is wrong has ended the command before.
fn files() -> Vec<Finding> {
    let there = settings::files().into_iter().filter(|file| file.exists());
    there
        .map(|file| Finding::new("settings", Health::Ok, file.display().to_string()))
        .collect()
}

async fn server_answers(server: &ServerArgs) -> Finding {
    let answer = match server.client() {
        Ok(client) => client.admin.cluster().await,
        Err(error) => Err(error),
    };
    match answer {
        Err(error) => Finding::new("server", Health::Bad, error.to_string()),
        Ok(cluster) => {
            let same = cluster.server_version == env!("CARGO_PKG_VERSION");
            let health = if same { Health::Ok } else { Health::Note };
            let (address, version) = (server.address(), cluster.server_version);
            Finding::new(
                "server",
                health,
                format!("{address}, lfsfsd {version}, cluster {}", cluster.id),
            )
        }
    }
}
