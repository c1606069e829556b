//! Ignored objects at a switch: they stay where they are, or they are in the way.

use std::collections::{BTreeMap, BTreeSet};

use lfsfs_overlay::{BaseObject, EntryName, State};
use lfsfs_types::{DirId, Name, ObjectPath, nodeid};

use super::Vfs;
use super::flip::refuse_changes;
use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::ignored::{Ignored, ignored_of};
use crate::verb_error::SwitchError;

/// What a switch leaves where it is.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) names: Vec<EntryName>,
    /// What the directories are in the version that comes that the names are in.
    directories: BTreeMap<u64, BaseObject>,
}

impl Kept {
    /// Returns what is ignored of the changes of a mount and can stay when `next` becomes the base.
    ///
    /// # Errors
    ///
    /// [`SwitchError::HasChanges`] if there is anything else that no commit took; [`SwitchError::InTheWay`] if
    /// `next` has something at an ignored path, or has not the directory of one at its place.
    pub(super) async fn of(vfs: &Vfs, next: &BaseVersion) -> Result<Self, SwitchError> {
        let view = vfs.stack.view();
        let ignored = match view.changes() {
            Some(changes) => ignored_of(view.base(), changes).await?,
            None => Ignored::default(),
        };
        refuse_others(view.state(), &ignored.names)?;
        let mut kept = Self::default();
        let mut in_the_way = BTreeSet::new();
        for (name, path) in ignored.names.into_iter().zip(ignored.paths) {
            if kept.add(name, view.state(), next).await? == Standing::InTheWay {
                in_the_way.insert(path.path);
            }
        }
        if in_the_way.is_empty() {
            Ok(kept)
        } else {
            let paths: Vec<ObjectPath> = in_the_way.into_iter().collect();
            Err(SwitchError::InTheWay { paths })
        }
    }

    /// Returns what the directories become.
    pub(super) fn directories(&self) -> Vec<(u64, BaseObject)> {
        let directories = self.directories.iter();
        directories
            .map(|(ino, object)| (*ino, object.clone()))
            .collect()
    }

    async fn add(
        &mut self,
        name: EntryName,
        state: &State,
        next: &BaseVersion,
    ) -> Result<Standing, VfsError> {
        let object = match self.directories.get(&name.directory) {
            Some(object) => object.clone(),
            None => match directory_in(next, state, name.directory).await? {
                None => return Ok(Standing::InTheWay),
                Some(object) => {
                    self.directories.insert(name.directory, object.clone());
                    object
                }
            },
        };
        let id = object.record.dir().unwrap_or(DirId::ROOT);
        let standing = match next.listing(id).await?.find(name.name.as_bytes()) {
            Some(_) => Standing::InTheWay,
            None => Standing::Stays,
        };
        self.names.push(name);
        Ok(standing)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Stays,
    InTheWay,
}

/// Fails if there is anything that no commit took but what is ignored.
pub(super) fn refuse_others(state: &State, ignored: &[EntryName]) -> Result<(), SwitchError> {
    if ignored.is_empty() {
        return refuse_changes(state);
    }
    match state.without(ignored) {
        Ok(rest) => refuse_changes(&rest),
        // A program changed it since.
        Err(_) => Err(SwitchError::HasChanges {
            count: state.changes_len() as u64,
        }),
    }
}

/// Returns what a directory of the mount is in another version, if that has it at the same place.
async fn directory_in(
    next: &BaseVersion,
    state: &State,
    ino: u64,
) -> Result<Option<BaseObject>, VfsError> {
    let base = state.inode(ino).and_then(|inode| inode.base.as_deref());
    let Some(base) = base else { return Ok(None) };
    if ino == nodeid::ROOT {
        let record = next.snapshot().root.clone();
        return Ok(Some(BaseObject {
            record,
            ..base.clone()
        }));
    }
    let Some(name) = &base.name else {
        return Ok(None);
    };
    let record = match next.listing(base.directory).await {
        Ok(listing) => listing.record_of(name)?,
        Err(VfsError::Stale) => None,
        Err(error) => return Err(error),
    };
    let same = record.filter(|record| record.dir() == base.record.dir());
    Ok(same.map(|record| BaseObject {
        directory: base.directory,
        name: Some(Name::clone(name)),
        record,
    }))
}
