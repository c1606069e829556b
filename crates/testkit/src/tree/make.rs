//! Makes a planned tree on disk, from directory handle to directory handle.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, ensure};
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::TreeSummary;
use super::content::Content;
use super::plan::{Attributes, Entry, Kind, Plan};
use crate::directory::Directory;

/// Makes `plan` in `dir`, which may be missing but must not have entries.
pub(crate) fn make(plan: &Plan, dir: &Path) -> anyhow::Result<TreeSummary> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let root = Directory::open(dir).with_context(|| format!("open {}", dir.display()))?;
    ensure!(root.entries()?.is_empty(), "{} is not empty", dir.display());
    let Kind::Directory(children) = &plan.root.kind else {
        unreachable!("the root of a plan is a directory");
    };
    let mut maker = Maker::default();
    maker.children(&root, children)?;
    apply_attributes(&root, OsStr::new("."), &plan.root)?;
    Ok(maker.summary)
}

#[derive(Default)]
struct Maker {
    summary: TreeSummary,
    /// The first name's file of each group of hard links.
    linked: HashMap<u32, OwnedFd>,
}

impl Maker {
    fn children(
        &mut self,
        parent: &Directory,
        children: &BTreeMap<OsString, Entry>,
    ) -> anyhow::Result<()> {
        for (name, entry) in children {
            self.entry(parent, name, entry)
                .with_context(|| format!("make {}", name.display()))?;
        }
        Ok(())
    }

    fn entry(&mut self, parent: &Directory, name: &OsStr, entry: &Entry) -> anyhow::Result<()> {
        match &entry.kind {
            Kind::Directory(children) => {
                let directory = parent.create_directory(name)?;
                self.children(&directory, children)?;
                self.summary.directories += 1;
            }
            Kind::File {
                content,
                link: None,
            } => self.file(parent, name, content)?,
            Kind::File {
                content,
                link: Some(link),
            } => {
                if self.further_name(parent, name, *link)? {
                    return Ok(());
                }
                self.file(parent, name, content)?;
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let file = fs::openat(parent.handle(), name, flags, Mode::empty())?;
                self.linked.insert(*link, file);
            }
            Kind::Symlink(target) => {
                fs::symlinkat(target, parent.handle(), name)?;
                self.summary.symlinks += 1;
            }
            Kind::Fifo => {
                fs::mkfifoat(parent.handle(), name, Mode::from_raw_mode(0o600))?;
                self.summary.fifos += 1;
            }
        }
        // Last, because making its children changes the times of a directory.
        apply_attributes(parent, name, entry)
    }

    fn file(&mut self, parent: &Directory, name: &OsStr, content: &Content) -> anyhow::Result<()> {
        let mut file: File = parent.create_file(name)?;
        content.write_to(&mut file)?;
        self.summary.files += 1;
        self.summary.bytes += content.bytes();
        Ok(())
    }

    /// Gives the file of the group `link` the name `name` as well, if it exists already.
    fn further_name(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        link: u32,
    ) -> anyhow::Result<bool> {
        let Some(file) = self.linked.get(&link) else {
            return Ok(false);
        };
        let first = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::linkat(
            fs::CWD,
            first,
            parent.handle(),
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?;
        self.summary.hard_links += 1;
        Ok(true)
    }
}

/// Sets owner, xattrs, mode and time, in the only order in which none undoes another.
fn apply_attributes(parent: &Directory, name: &OsStr, entry: &Entry) -> anyhow::Result<()> {
    let Attributes {
        mode,
        modified,
        owner,
        xattrs,
    } = &entry.attributes;
    if let Some((user, group)) = owner {
        let (user, group) = (Uid::from_raw(*user), Gid::from_raw(*group));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        fs::chownat(parent.handle(), name, Some(user), Some(group), flags).context("chown")?;
    }
    for (key, value) in xattrs {
        parent
            .set_xattr(name, key, value)
            .with_context(|| format!("set the extended attribute {}", key.display()))?;
    }
    if !matches!(entry.kind, Kind::Symlink(_)) {
        parent.set_mode(name, *mode).context("chmod")?;
    }
    let time = Timespec {
        tv_sec: modified.seconds,
        tv_nsec: modified.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    fs::utimensat(parent.handle(), name, &times, AtFlags::SYMLINK_NOFOLLOW).context("utimens")?;
    Ok(())
}
