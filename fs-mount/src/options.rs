//! The `-o` options of a mount: one typed value from the lists that users, fstab and mount(8) give.
//!
//! As in mount(8) the later of two options that exclude each other wins. What is not known is an
//! error that names it; what mount(8) handles itself and passes on is accepted and left alone.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lfsfs_common::size;
use lfsfs_types::Name;
use rustix::mount::MountFlags;
use thiserror::Error;

use crate::serving::Serve;

/// Seconds without progress before a read fails.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Options that are decided but that no part of the program serves yet.
const NOT_YET: &[&str] = &["versions", "passthrough", "profile"];

/// What mount(8), fstab and systemd mean for themselves.
const IGNORED: &[&str] = &[
    "_netdev",
    "_rnetdev",
    "auto",
    "noauto",
    "nofail",
    "user",
    "nouser",
    "users",
    "nousers",
    "group",
    "owner",
    "defaults",
    "async",
    "nomand",
    "mand",
    "loud",
    "silent",
    "comment",
    "iversion",
    "noiversion",
];

/// Whether the mount may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Every change is refused.
    ReadOnly,
    /// Changes go to an overlay.
    #[default]
    ReadWrite,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        })
    }
}

/// What is to serve a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WantedMode {
    /// The kernel by itself where it can, else this program.
    Auto,
    /// The kernel by itself, or an error that says why it cannot.
    Kernel,
    /// This program, through FUSE.
    #[default]
    Fuse,
}

/// All that can be said about a mount besides what and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// `ro` or `rw`.
    pub access: Access,
    /// `server=`: where to ask, host:port, or several such addresses, separated by `+`.
    pub server: Option<String>,
    /// `cache=`: the directory of the cache.
    pub cache: Option<PathBuf>,
    /// `cache-size=`: how many bytes the cache may have.
    pub cache_size: Option<u64>,
    /// `state=`: the directory of what must not be deleted.
    pub state: Option<PathBuf>,
    /// `run=`: the directory of sockets.
    pub run: Option<PathBuf>,
    /// `uid=`: the owner shown for all objects.
    pub uid: Option<u32>,
    /// `gid=`: the group shown for all objects.
    pub gid: Option<u32>,
    /// `allow_other`: other users may look in. Root's mounts always allow that.
    pub allow_other: bool,
    /// `default_permissions`: the kernel checks modes. Always on where others may look in.
    pub default_permissions: bool,
    /// `log=`: a log file instead of the one in the state directory.
    pub log: Option<PathBuf>,
    /// `mode=`: what serves the mount.
    pub mode: WantedMode,
    /// `serve=`: where requests are served.
    pub serve: Serve,
    /// `foreground`: serve in this process instead of a new one.
    pub foreground: bool,
    /// `retry=`: how many more times to try to open the version.
    pub retry: u32,
    /// `timeout=`: how long a read may go without progress.
    pub timeout: Duration,
    /// `noxattr`: the mount has no extended attributes.
    pub noxattr: bool,
    /// `acl`: the kernel enforces access lists, and programs can set them.
    pub acl: bool,
    /// `follow`: the mount goes by itself to the version that its source names.
    pub follow: bool,
    /// `overlay=`: the name of where changes are kept, instead of one for project and directory.
    pub overlay: Option<Name>,
    /// `overlay-size=`: how many bytes the changes may take.
    pub overlay_size: Option<u64>,
    /// `volatile`: changes need not survive a crash of the machine.
    pub volatile: bool,
    /// `writeback`: the kernel gathers writes, which die with the mount process if not synced.
    pub writeback: bool,
    /// `noupload`: changes are sent when they are committed, and not before.
    pub noupload: bool,
    /// `upload-rate=`: how many bytes a second the upload queue sends.
    pub upload_rate: Option<u64>,
    /// `upload-executors=`: how many batches are uploaded at once.
    pub upload_executors: Option<u32>,
    /// What the kernel is told, `ro` aside.
    pub flags: MountFlags,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            access: Access::default(),
            server: None,
            cache: None,
            cache_size: None,
            state: None,
            run: None,
            uid: None,
            gid: None,
            allow_other: false,
            default_permissions: false,
            log: None,
            mode: WantedMode::default(),
            serve: Serve::Plain,
            foreground: false,
            retry: 0,
            timeout: TIMEOUT_DEFAULT,
            noxattr: false,
            acl: false,
            follow: false,
            overlay: None,
            overlay_size: None,
            volatile: false,
            writeback: false,
            noupload: false,
            upload_rate: None,
            upload_executors: None,
            // As FUSE file systems have it everywhere: only who asks gets set-user-id programs
            // and device nodes from a file system whose contents came over a network.
            flags: MountFlags::NOSUID | MountFlags::NODEV,
        }
    }
}

/// An option that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    /// It is not known.
    #[error("unknown mount option: {name}")]
    Unknown {
        /// The option without its value.
        name: String,
    },
    /// It needs a value.
    #[error("mount option {name} needs a value: {name}={expected}")]
    NoValue {
        /// The option.
        name: String,
        /// What the value must be.
        expected: &'static str,
    },
    /// It has a value where none belongs.
    #[error("mount option {name} takes no value")]
    UnexpectedValue {
        /// The option.
        name: String,
    },
    /// Its value makes no sense.
    #[error("mount option {name}={value}: expected {expected}")]
    Value {
        /// The option.
        name: String,
        /// What was given.
        value: String,
        /// What the value must be.
        expected: &'static str,
    },
    /// It is planned, and this version does not serve it.
    #[error("mount option {name} is not served yet by this version of lfsfs")]
    NotYet {
        /// The option.
        name: String,
    },
    /// Options of a mount cannot be changed.
    #[error("lfsfs cannot remount: umount DIR and mount it again with the new options")]
    Remount,
}

impl MountOptions {
    /// Parses the arguments of all `-o`, each a list with commas.
    pub fn parse<S: AsRef<str>>(lists: impl IntoIterator<Item = S>) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for list in lists {
            for option in list.as_ref().split(',').filter(|option| !option.is_empty()) {
                options.apply(option)?;
            }
        }
        Ok(options)
    }

    fn apply(&mut self, option: &str) -> Result<(), OptionError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        if is_ignored(name) {
            return Ok(());
        }
        if name == "remount" {
            return Err(OptionError::Remount);
        }
        if NOT_YET.contains(&name) {
            return Err(OptionError::NotYet { name: name.into() });
        }
        if self.apply_flag(name) || self.apply_switch(name) {
            return match value {
                None => Ok(()),
                Some(_) => Err(OptionError::UnexpectedValue { name: name.into() }),
            };
        }
        self.apply_value(name, value)
    }

    /// Options that the kernel knows as flags of a mount.
    fn apply_flag(&mut self, name: &str) -> bool {
        let (flag, on) = match name {
            "nosuid" => (MountFlags::NOSUID, true),
            "suid" => (MountFlags::NOSUID, false),
            "nodev" => (MountFlags::NODEV, true),
            "dev" => (MountFlags::NODEV, false),
            "noexec" => (MountFlags::NOEXEC, true),
            "exec" => (MountFlags::NOEXEC, false),
            "noatime" => (MountFlags::NOATIME, true),
            "atime" => (MountFlags::NOATIME, false),
            "nodiratime" => (MountFlags::NODIRATIME, true),
            "diratime" => (MountFlags::NODIRATIME, false),
            "relatime" => (MountFlags::RELATIME, true),
            "norelatime" => (MountFlags::RELATIME, false),
            "strictatime" => (MountFlags::STRICTATIME, true),
            "nostrictatime" => (MountFlags::STRICTATIME, false),
            "lazytime" => (MountFlags::LAZYTIME, true),
            "nolazytime" => (MountFlags::LAZYTIME, false),
            "sync" => (MountFlags::SYNCHRONOUS, true),
            "dirsync" => (MountFlags::DIRSYNC, true),
            _ => return false,
        };
        self.flags.set(flag, on);
        true
    }

    fn apply_switch(&mut self, name: &str) -> bool {
        match name {
            "ro" => self.access = Access::ReadOnly,
            "rw" => self.access = Access::ReadWrite,
            "allow_other" => self.allow_other = true,
            "default_permissions" => self.default_permissions = true,
            "foreground" => self.foreground = true,
            "noxattr" => (self.noxattr, self.acl) = (true, false),
            "acl" => (self.noxattr, self.acl) = (false, true),
            "noacl" => self.acl = false,
            "xattr" => self.noxattr = false,
            "follow" => self.follow = true,
            "nofollow" => self.follow = false,
            "volatile" => self.volatile = true,
            "writeback" => self.writeback = true,
            "noupload" => self.noupload = true,
            "upload" => self.noupload = false,
            _ => return false,
        }
        true
    }

    fn apply_value(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionError> {
        let value = Value { name, value };
        match name {
            "server" => {
                let expected = "HOST:PORT, several of them separated by +";
                self.server = Some(value.text(expected)?.to_owned());
            }
            "cache" => self.cache = Some(value.directory()?),
            "cache-size" => {
                self.cache_size = Some(value.parsed("a size such as 20G", size::parse)?);
            }
            "state" => self.state = Some(value.directory()?),
            "run" => self.run = Some(value.directory()?),
            "log" => self.log = Some(value.directory()?),
            "overlay" => self.overlay = Some(value.parsed("a file name", file_name)?),
            "overlay-size" => {
                self.overlay_size = Some(value.parsed("a size such as 20G", size::parse)?);
            }
            "uid" => self.uid = Some(value.number("a numeric user id")?),
            "gid" => self.gid = Some(value.number("a numeric group id")?),
            "retry" => self.retry = value.number("a number of tries")?,
            "timeout" => self.timeout = value.parsed("seconds, at least 1", seconds)?,
            "upload-rate" => {
                self.upload_rate = Some(value.parsed("bytes a second, such as 10M", size::parse)?);
            }
            "upload-executors" => {
                self.upload_executors = Some(value.parsed("a number from 1 to 64", executors)?);
            }
            "mode" => self.mode = value.parsed("auto, kernel or fuse", mode)?,
            "serve" => self.serve = value.parsed("follow or plain", serve)?,
            "transport" => return value.transport(),
            _ => return Err(OptionError::Unknown { name: name.into() }),
        }
        Ok(())
    }
}

/// Returns the option that names a server. A comma between its addresses would end the option.
#[must_use]
pub fn server_option(address: &str) -> String {
    format!("server={}", address.replace(',', "+"))
}

/// `x-` and `X-` options are comments to a file system by the rules of mount(8).
fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name) || name.starts_with("x-") || name.starts_with("X-")
}

/// A name without slashes; a dot in front would hide it.
fn file_name(text: &str) -> Option<Name> {
    let name = Name::new(text.as_bytes()).ok()?;
    (!text.starts_with('.')).then_some(name)
}

fn mode(text: &str) -> Option<WantedMode> {
    match text {
        "auto" => Some(WantedMode::Auto),
        "kernel" => Some(WantedMode::Kernel),
        "fuse" => Some(WantedMode::Fuse),
        _ => None,
    }
}

fn serve(text: &str) -> Option<Serve> {
    match text {
        "follow" => Some(Serve::Follow),
        "plain" => Some(Serve::Plain),
        _ => None,
    }
}

fn executors(text: &str) -> Option<u32> {
    let count = text.parse().ok()?;
    (1..=64).contains(&count).then_some(count)
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: u32 = text.parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// The value of one option, on its way to a type.
struct Value<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

impl<'a> Value<'a> {
    fn text(&self, expected: &'static str) -> Result<&'a str, OptionError> {
        self.value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| OptionError::NoValue {
                name: self.name.into(),
                expected,
            })
    }

    fn parsed<T>(
        &self,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, OptionError> {
        let text = self.text(expected)?;
        parse(text).ok_or_else(|| self.wrong(text, expected))
    }

    fn number(&self, expected: &'static str) -> Result<u32, OptionError> {
        self.parsed(expected, |text| text.parse().ok())
    }

    /// A mount process works in the root directory, so relative paths would mean another place.
    fn directory(&self) -> Result<PathBuf, OptionError> {
        self.parsed("an absolute path", |text| {
            let path = PathBuf::from(text);
            path.is_absolute().then_some(path)
        })
    }

    fn transport(&self) -> Result<(), OptionError> {
        match self.text("device")? {
            "device" => Ok(()),
            "uring" => Err(OptionError::NotYet {
                name: "transport=uring".into(),
            }),
            other => Err(self.wrong(other, "device or uring")),
        }
    }

    fn wrong(&self, value: &str, expected: &'static str) -> OptionError {
        OptionError::Value {
            name: self.name.into(),
            value: value.into(),
            expected,
        }
    }
}

#[cfg(test)]
mod tests;
