//! What can be done only when every entry is there: further names of hard-linked files, and the
//! attributes of directories, which change while entries are made in them.

use lfsfs_types::{Name, ObjectPath, Record};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::error::ExportError;
use super::target::failed;
use super::walk::{LaterName, Rest};
use super::worker::{Manner, Workshop, move_over, unused_name};
use crate::attributes::handle_path;
use crate::local::{self, DirHandle};

/// Does the rest.
pub(crate) fn finish(shop: &Workshop, rest: &Rest) -> Result<(), ExportError> {
    for later in &rest.later_names {
        shop.go_on()?;
        let first = rest.first_names.get(&later.link);
        link(
            shop,
            first.ok_or(ExportError::Stopped("no first name"))?,
            later,
        )?;
    }
    // Those below first: a directory that nobody may enter is still on their way.
    for (path, record) in rest.directories.iter().rev() {
        shop.go_on()?;
        dress_directory(shop, path, record)?;
    }
    Ok(())
}

fn link(
    shop: &Workshop,
    (first_dir, first): &(ObjectPath, Name),
    later: &LaterName,
) -> Result<(), ExportError> {
    let path = later.dir.join(&later.name)?;
    let (from, to) = (shop.target.dir(first_dir)?, shop.target.dir(&later.dir)?);
    let inode = |dir: &DirHandle, name: &Name| local::stat_entry(dir, name);
    let made = inode(&from, first).map_err(failed("look at", &path))?;
    let made = made.ok_or(ExportError::Stopped("a first name is gone"))?;
    let present = inode(&to, &later.name).map_err(failed("look at", &path))?;
    if present.is_some_and(|present| present.inode == made.inode) {
        return Ok(());
    }
    let link_as = |name: &Name| -> Result<(), Errno> {
        let (old, new) = (first.as_bytes(), name.as_bytes());
        fs::linkat(&from, old, &to, new, AtFlags::empty())
    };
    match shop.manner {
        Manner::Fresh => link_as(&later.name).map_err(failed("link", &path))?,
        Manner::Live => {
            let beside = unused_name(&path)?;
            link_as(&beside).map_err(failed("link", &path))?;
            move_over(&to, &beside, &later.name, &path)?;
        }
    }
    shop.progress.written();
    Ok(())
}

fn dress_directory(shop: &Workshop, path: &ObjectPath, record: &Record) -> Result<(), ExportError> {
    let handle = shop.target.dir(path)?;
    let dresser = shop.dresser();
    let stat = local::stat(&handle).map_err(failed("look at", path))?;
    if dresser.is_dressed(&handle, None, &stat, record) {
        return Ok(());
    }
    let contents = shop.xattr_contents(record)?;
    dresser
        .dress(&handle_path(&handle, None), record, &contents)
        .map_err(|error| error.of(path))
}
