//! How long the paths of a mount are, so that nothing gets a path that no version can have.
//!
//! A new name costs the way up to the root. A directory that moves takes along what is below it: as
//! long as the longest path of the mount, which is known as an upper bound, leaves room for what the
//! move adds, nothing is looked at. Only beyond that everything below is.

use std::collections::HashMap;

use lfsfs_overlay::{Inode, Slot, State};
use lfsfs_types::limits::PATH_LEN_MAX;
use lfsfs_types::{Name, nodeid};

use crate::error::{Stop, VfsError};
use crate::inode::Place;
use crate::vfs::Vfs;
use crate::writable::Known;
use crate::writable::plan::Plan;
use crate::writable::scene::{Dir, Object, Scene};

/// Returns the length of the path of a name in a directory, which must be short enough.
pub(super) fn check(
    plan: &Plan<'_, '_>,
    known: &Known,
    directory: u64,
    name: &Name,
) -> Result<usize, VfsError> {
    let inodes = plan.scene.base().inodes();
    match known.path_len(inodes, directory) {
        Some(len) => checked(len, name),
        // A switch moved the directory below what the kernel does not know. What is too long then is
        // told by the commit.
        None => Ok(0),
    }
}

/// Returns an upper bound of the paths of a directory and all below it, which go from a path of
/// length `from` to one of length `to`; none may get too long.
pub(super) fn check_move(
    scene: &Scene<'_>,
    known: &Known,
    object: &Object<'_>,
    (from, to): (usize, usize),
) -> Result<usize, Stop> {
    let Some(growth) = to.checked_sub(from).filter(|growth| *growth > 0) else {
        return Ok(to);
    };
    let bound = known.longest().max(longest_of(scene.base())) + growth;
    match bound <= PATH_LEN_MAX {
        true => Ok(bound),
        false => check_below(scene, object, to),
    }
}

/// Returns an upper bound of all paths of a version.
pub(super) fn longest_of(base: &Vfs) -> usize {
    let counted = base.snapshot().version.counts.path_len;
    counted.map_or(PATH_LEN_MAX, |len| len as usize)
}

/// Looks at everything below a directory and returns the longest path, if none is too long.
fn check_below(scene: &Scene<'_>, object: &Object<'_>, len: usize) -> Result<usize, Stop> {
    let mut longest = len;
    let mut open = Vec::new();
    open.extend(scene.directory_of(object).map(|dir| (dir, len)));
    while let Some((dir, len)) = open.pop() {
        for_each_entry(scene, &dir, |name, object| {
            let len = checked(len, name)?;
            longest = longest.max(len);
            let below = scene.directory_of(object).filter(|_| !object.is_pack());
            open.extend(below.map(|dir| (dir, len)));
            Ok(())
        })?;
    }
    Ok(longest)
}

fn for_each_entry<'a>(
    scene: &Scene<'a>,
    dir: &Dir<'a>,
    mut each: impl FnMut(&Name, &Object<'a>) -> Result<(), VfsError>,
) -> Result<(), Stop> {
    let slots = dir.upper.into_iter().flat_map(|(_, data)| &data.entries);
    for (name, slot) in slots {
        if let Slot::Inode { ino, .. } = slot {
            each(name, &scene.upper(*ino)?)?;
        }
    }
    let Some(base) = dir.base else { return Ok(()) };
    let listing = scene.listing(base)?;
    for index in 0..listing.len() {
        let name = listing.name(index).map_err(VfsError::damaged_record)?;
        let name = Name::new(name).map_err(|_| VfsError::Stale)?;
        if dir.slot(&name).is_none() {
            let place = Place { dir: base, index };
            each(&name, &scene.entry(dir.ino, place, &listing)?)?;
        }
    }
    Ok(())
}

/// Returns an upper bound of the paths of all that an overlay has names for, if no path of its base is
/// longer than `base`.
pub(super) fn longest_in(state: &State, base: usize) -> usize {
    let mut above = HashMap::new();
    for (directory, name, ino) in named(state) {
        if state.inode(ino).and_then(Inode::directory).is_some() {
            above.insert(ino, (directory, name.as_bytes().len()));
        }
    }
    let len_of = |directory: u64| {
        let (mut at, mut len) = (directory, 0);
        while let Some((directory, name_len)) = above.get(&at).filter(|_| len <= PATH_LEN_MAX) {
            len += name_len + 1;
            at = *directory;
        }
        match at {
            nodeid::ROOT => len,
            _ => len + base + 1,
        }
    };
    let lens = named(state).map(|(directory, name, _)| len_of(directory) + name.as_bytes().len());
    lens.max().unwrap_or(0).min(PATH_LEN_MAX)
}

/// Returns the names that the overlay gives: directory, name and inode.
fn named(state: &State) -> impl Iterator<Item = (u64, &Name, u64)> {
    state.changed().flat_map(|(directory, inode)| {
        let entries = inode.directory().into_iter().flat_map(|it| &it.entries);
        entries.filter_map(move |(name, slot)| match slot {
            Slot::Inode { ino, .. } => Some((directory, name, *ino)),
            Slot::Removed => None,
        })
    })
}

/// Returns the length of a path below one of `len` bytes.
fn checked(len: usize, name: &Name) -> Result<usize, VfsError> {
    let slash = usize::from(len > 0);
    let len = len + slash + name.as_bytes().len();
    match len <= PATH_LEN_MAX {
        true => Ok(len),
        false => Err(VfsError::NameTooLong),
    }
}
