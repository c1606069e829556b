//! What can be done only when every entry is there: further names of hard-linked files, and the
//! attributes of directories, which change while entries are made in them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use lfsfs_types::{Name, ObjectPath, Record};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::error::ExportError;
use super::target::failed;
use super::walk::{LaterName, Rest};
use super::worker::{Manner, Workshop, below, move_over, take_back, unused_name};
use crate::attributes::handle_path;
use crate::local::{self, DirHandle};

/// Does the rest.
pub(crate) fn finish(shop: &Workshop, rest: &Rest) -> Result<(), ExportError> {
    for later in &rest.later_names {
        shop.go_on()?;
        let first = rest.first_names.get(&later.link);
        let first = first.ok_or(ExportError::Stopped("no first name"))?;
        if let Err(failure) = link(shop, first, later) {
            let path = below(&later.dir, &later.name);
            shop.progress.leave_out(&path, failure)?;
        }
    }
    // Deeper directories come first: with its final mode a directory above may let this process in no
    // more.
    for (path, record) in rest.directories.iter().rev() {
        shop.go_on()?;
        if path.is_root() {
            shop.target.unmark()?;
        }
        if let Err(failure) = apply_to_directory(shop, path, record) {
            shop.progress.leave_out(path.as_bytes(), failure)?;
        }
    }
    Ok(())
}

fn link(
    shop: &Workshop,
    (first_dir, first): &(ObjectPath, Name),
    later: &LaterName,
) -> Result<(), ExportError> {
    let path = later.dir.join(&later.name)?;
    let (from, parent) = (shop.target.dir(first_dir)?, shop.target.parent(&later.dir)?);
    let to = &parent.handle;
    let look = |dir: &DirHandle, name: &Name| local::stat_entry(dir, name);
    let made = look(&from, first).map_err(failed("look at", &path))?;
    let made = made.ok_or_else(|| ExportError::FirstName {
        path: OsStr::from_bytes(path.as_bytes()).into(),
        first: OsStr::from_bytes(&below(first_dir, first)).into(),
    })?;
    let present = look(to, &later.name).map_err(failed("look at", &path))?;
    if present.is_some_and(|present| present.identity() == made.identity()) {
        return Ok(());
    }
    let link_in = |dir: &DirHandle, name: &Name| -> Result<(), Errno> {
        let (old, new) = (first.as_bytes(), name.as_bytes());
        fs::linkat(&from, old, dir, new, AtFlags::empty())
    };
    match shop.manner {
        Manner::Fresh => link_in(to, &later.name).map_err(failed("link", &path))?,
        Manner::Live | Manner::UnderWay => {
            let made_in = &shop.target.staging(&parent).handle;
            let made_as = unused_name(&path)?;
            link_in(made_in, &made_as).map_err(failed("link", &path))?;
            let moved = move_over((made_in, &made_as), (to, &later.name), &path);
            if moved.is_err() {
                take_back(made_in, &made_as);
            }
            moved?;
        }
    }
    shop.wrote(&path);
    Ok(())
}

fn apply_to_directory(
    shop: &Workshop,
    path: &ObjectPath,
    record: &Record,
) -> Result<(), ExportError> {
    let handle = shop.target.dir(path)?;
    let applier = shop.applier();
    let stat = local::stat(&handle).map_err(failed("look at", path))?;
    if applier.has_attributes(&handle, None, &stat, record) {
        return Ok(());
    }
    let contents = shop.xattr_contents(record)?;
    applier
        .apply(&handle_path(&handle, None), record, &contents)
        .map_err(|error| error.of(path))
}
