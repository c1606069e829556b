//! How long the paths of a mount are, so that nothing gets a path that no version can have.
//!
//! A new name costs the way up to the root. A directory that moves takes along what is below it: as
//! long as the longest path of the mount, which is known as an upper bound, leaves room for what the
//! move adds, nothing is looked at. Only beyond that everything below is.

use std::collections::HashMap;

use lfsfs_overlay::{Inode, Slot, State};
use lfsfs_types::limits::PATH_LEN_MAX;
use lfsfs_types::{Name, nodeid};

use crate::base::BaseVersion;
use crate::error::{Interrupted, VfsError};
use crate::inode::Place;
use crate::merged::{MergedDir, MergedView, Object};
use crate::writable::Known;
use crate::writable::plan::Plan;

/// Returns the length of the path of a name in a directory, which must be short enough.
pub(super) fn check(
    plan: &Plan<'_, '_>,
    known: &Known,
    directory: u64,
    name: &Name,
) -> Result<usize, VfsError> {
    let inodes = plan.merged.base().inodes();
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
    merged: &MergedView<'_>,
    known: &Known,
    object: &Object<'_>,
    from: usize,
    to: usize,
) -> Result<usize, Interrupted> {
    let Some(growth) = to.checked_sub(from).filter(|growth| *growth > 0) else {
        return Ok(to);
    };
    let bound = known.longest().max(longest_of(merged.base())) + growth;
    if bound <= PATH_LEN_MAX {
        Ok(bound)
    } else {
        check_below(merged, object, to)
    }
}

/// Returns an upper bound of all paths of a version.
pub(super) fn longest_of(base: &BaseVersion) -> usize {
    let counted = base.snapshot().version.counts.path_len;
    counted.map_or(PATH_LEN_MAX, |len| len as usize)
}

/// Looks at everything below a directory and returns the longest path, if none is too long.
fn check_below(
    merged: &MergedView<'_>,
    object: &Object<'_>,
    len: usize,
) -> Result<usize, Interrupted> {
    let mut longest = len;
    let mut open = Vec::new();
    open.extend(merged.directory_of(object).map(|dir| (dir, len)));
    while let Some((dir, len)) = open.pop() {
        for_each_entry(merged, &dir, |name, object| {
            let len = checked(len, name)?;
            longest = longest.max(len);
            let below = merged.directory_of(object);
            open.extend(below.map(|dir| (dir, len)));
            Ok(())
        })?;
    }
    Ok(longest)
}

fn for_each_entry<'a>(
    merged: &MergedView<'a>,
    dir: &MergedDir<'a>,
    mut each: impl FnMut(&Name, &Object<'a>) -> Result<(), VfsError>,
) -> Result<(), Interrupted> {
    let slots = dir
        .upper
        .into_iter()
        .flat_map(|(_, data)| data.entries.iter());
    for (name, slot) in slots {
        if let Slot::Inode { ino, .. } = slot {
            each(name, &merged.upper(*ino)?)?;
        }
    }
    let Some(base) = dir.base else { return Ok(()) };
    let listing = merged.listing(base)?;
    for index in 0..listing.len() {
        let name = listing.entry_name(index)?;
        if dir.slot(&name).is_none() {
            let place = Place { dir: base, index };
            each(&name, &merged.entry(dir.ino, place, &listing)?)?;
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
        let entries = inode
            .directory()
            .into_iter()
            .flat_map(|it| it.entries.iter());
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
    if len <= PATH_LEN_MAX {
        Ok(len)
    } else {
        Err(VfsError::NameTooLong)
    }
}
