//! Mounting without being root: fusermount3 mounts and sends the descriptor back.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::MountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Laziness, MountSpec};
use crate::error::MountError;

const PROGRAM: &str = "fusermount3";
/// Names the descriptor on which the helper answers.
const SOCKET_VARIABLE: &str = "_FUSE_COMMFD";
const CONFIG: &str = "/etc/fuse.conf";

/// Mounts by the helper.
pub(super) fn attach(spec: &MountSpec) -> Result<OwnedFd, MountError> {
    check(spec)?;
    let failed = MountError::system;
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket"))?;
    let child = Command::new(PROGRAM)
        .arg("-o")
        .arg(options(spec))
        .arg("--")
        .arg(&spec.dir)
        // The socket is the helper's standard input: no descriptor has to be leaked to it.
        .env(SOCKET_VARIABLE, "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    let device = receive_descriptor(&ours);
    let output = child
        .wait_with_output()
        .map_err(failed("wait for fusermount3"))?;
    match device {
        Ok(Some(device)) if output.status.success() => Ok(device),
        _ => Err(refused(&output.stderr)),
    }
}

/// Unmounts by the helper.
pub(super) fn detach(dir: &Path, laziness: Laziness) -> Result<(), MountError> {
    let flags = match laziness {
        Laziness::AtOnce => "-uz",
        Laziness::WhenIdle => "-u",
    };
    let output = Command::new(PROGRAM)
        .args([flags, "--"])
        .arg(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(not_started)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(refused(&output.stderr))
    }
}

/// Says what is missing before the helper would say it less clearly.
fn check(spec: &MountSpec) -> Result<(), MountError> {
    let needs_root = [(MountFlags::NOSUID, "suid"), (MountFlags::NODEV, "dev")];
    for (flag, option) in needs_root {
        if !spec.flags.contains(flag) {
            return Err(MountError::OnlyRoot { option });
        }
    }
    if !Path::new(super::DEVICE).exists() {
        return Err(MountError::DeviceMissing);
    }
    let config = fs::read_to_string(CONFIG).unwrap_or_default();
    if spec.allow_other && !allows_others(&config) {
        return Err(MountError::AllowOther);
    }
    Ok(())
}

fn allows_others(config: &str) -> bool {
    config.lines().any(|line| line.trim() == "user_allow_other")
}

fn options(spec: &MountSpec) -> String {
    let flags = [
        (MountFlags::RDONLY, "ro"),
        (MountFlags::NOSUID, "nosuid"),
        (MountFlags::NODEV, "nodev"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::NOATIME, "noatime"),
        (MountFlags::NODIRATIME, "nodiratime"),
        (MountFlags::SYNCHRONOUS, "sync"),
        (MountFlags::DIRSYNC, "dirsync"),
    ];
    let mut options = vec![
        format!("fsname={}", spec.source),
        "subtype=lfsfs".to_owned(),
    ];
    let set = flags.iter().filter(|(flag, _)| spec.flags.contains(*flag));
    options.extend(set.map(|(_, name)| (*name).to_owned()));
    if spec.allow_other {
        options.push("allow_other".to_owned());
    }
    if spec.default_permissions {
        options.push("default_permissions".to_owned());
    }
    options.join(",")
}

fn not_started(error: io::Error) -> MountError {
    if error.kind() == io::ErrorKind::NotFound {
        MountError::HelperMissing
    } else {
        MountError::System {
            action: "start fusermount3",
            source: error,
        }
    }
}

fn refused(stderr: &[u8]) -> MountError {
    let text = String::from_utf8_lossy(stderr);
    let message = text.trim().trim_start_matches("fusermount3: ").to_owned();
    MountError::Helper { message }
}

/// Returns `None` where the helper closed the socket without sending a descriptor.
fn receive_descriptor(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    Ok(descriptors.next().and_then(|mut rights| rights.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MountSpec {
        MountSpec {
            source: "app@v42".into(),
            dir: "/mnt".into(),
            flags: MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
            allow_other: false,
            default_permissions: true,
        }
    }

    #[test]
    fn the_helper_is_told_name_type_and_flags() {
        assert_eq!(
            options(&spec()),
            "fsname=app@v42,subtype=lfsfs,ro,nosuid,nodev,default_permissions"
        );
    }

    #[test]
    fn a_user_cannot_ask_for_set_user_id() {
        let mut spec = spec();
        spec.flags.remove(MountFlags::NOSUID);
        let error = check(&spec).unwrap_err();
        assert!(matches!(error, MountError::OnlyRoot { option: "suid" }));
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn a_comment_in_fuse_conf_allows_nothing() {
        assert!(!allows_others("#user_allow_other\n"));
        assert!(allows_others("# text\nuser_allow_other\n"));
    }
}
