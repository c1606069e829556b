//! Seals: what a commit takes, and what happens to it when the commit ends.
//!
//! From the seal on there are two states. The sealed one never changes. The other goes on and still
//! holds everything above the old base, so giving a commit up costs nothing; when the commit is
//! published, what the sealed state held is taken out of it, unless it changed since.

use std::collections::HashMap;
use std::sync::Arc;

use lfsfs_types::{DirId, Name, VersionId};

use crate::Map;
use crate::base::Base;
use crate::entries::Entries;
use crate::error::ApplyError;
use crate::inode::{BaseObject, DirectoryData, Inode, Node, Slot};
use crate::state::{SealedLayer, State};

/// What the commit made of the inodes of a seal.
#[derive(Debug, Default)]
struct Outcome {
    directories: HashMap<u64, DirId>,
    /// The new names that each inode has in the new version, but for those taken away meanwhile.
    places: HashMap<u64, Vec<(DirId, Name)>>,
    /// How many names each inode lost since the seal.
    lost: HashMap<u64, u32>,
}

impl State {
    /// Takes the state at this moment.
    pub(super) fn seal(&mut self, commit: VersionId) -> Result<(), ApplyError> {
        if let Some(commit) = self.sealed_commit() {
            return Err(ApplyError::SealOutstanding { commit });
        }
        self.seals += 1;
        let state = self.clone();
        self.sealed = Some(Arc::new(SealedLayer {
            commit,
            state,
            is_draft: false,
        }));
        Ok(())
    }

    /// Returns the sealed inodes that changed since and still have a name: those of which the end of
    /// the commit must be told what they became.
    #[must_use]
    pub fn changed_since_seal(&self) -> Vec<u64> {
        let Some(sealed) = self.sealed_state() else {
            return Vec::new();
        };
        let changed = |ino: &u64| {
            let inode = self.inode(*ino);
            inode.is_some_and(|it| !it.is_orphan() && it.generation > sealed.generation)
        };
        sealed.dirty.iter().filter(changed).collect()
    }

    pub(super) fn mapped(&mut self, ino: u64, base: &Arc<BaseObject>) -> Result<(), ApplyError> {
        let known = self
            .sealed_state()
            .is_some_and(|sealed| sealed.inode(ino).is_some());
        if !known {
            return Err(ApplyError::NotMapped { ino });
        }
        self.mapped.insert_mut(ino, base.clone());
        Ok(())
    }

    pub(super) fn aborted(&mut self, commit: VersionId) -> Result<(), ApplyError> {
        self.layer(commit)?;
        self.sealed = None;
        self.mapped = Map::default();
        Ok(())
    }

    pub(super) fn committed(
        &mut self,
        commit: VersionId,
        base: Base,
        directories: &[(u64, DirId)],
    ) -> Result<(), ApplyError> {
        let layer = self.layer(commit)?;
        let sealed = &layer.state;
        let mut outcome = Outcome {
            directories: directories.iter().copied().collect(),
            ..Outcome::default()
        };
        for ino in sealed.dirty.iter() {
            self.settle_directory(ino, sealed, &mut outcome)?;
        }
        for ino in sealed.dirty.iter() {
            self.settle_inode(ino, sealed, &outcome)?;
        }
        let clean: Vec<_> = self.clean.iter().collect();
        for ino in clean {
            self.remove(ino);
        }
        self.base = base;
        self.sealed = None;
        self.mapped = Map::default();
        Ok(())
    }

    /// Takes the sealed entries out of a directory and notes what became of their inodes.
    fn settle_directory(
        &mut self,
        ino: u64,
        sealed: &Self,
        outcome: &mut Outcome,
    ) -> Result<(), ApplyError> {
        let Some(then) = sealed.inode(ino).and_then(Inode::directory) else {
            return Ok(());
        };
        let id = then.base.or(outcome.directories.get(&ino).copied());
        let id = id.ok_or(ApplyError::NotMapped { ino })?;
        outcome.directories.insert(ino, id);
        // A directory that was removed and forgotten since lost its entries one by one before.
        let now = self
            .inode(ino)
            .and_then(Inode::directory)
            .cloned()
            .unwrap_or_default();
        let entries = settle_entries(id, then, &now, outcome);
        if let Some(Node::Directory(data)) = self.inodes.get_mut(&ino).map(|it| &mut it.node) {
            *data = DirectoryData {
                base: Some(id),
                entries,
            };
        }
        Ok(())
    }

    fn settle_inode(
        &mut self,
        ino: u64,
        sealed: &Self,
        outcome: &Outcome,
    ) -> Result<(), ApplyError> {
        let (Some(then), Some(now)) = (sealed.inode(ino), self.inode(ino)) else {
            return Ok(());
        };
        if now.is_orphan() {
            return Ok(());
        }
        if now.generation <= sealed.generation {
            self.remove(ino);
            return Ok(());
        }
        let base = self
            .mapped
            .get(&ino)
            .cloned()
            .ok_or(ApplyError::NotMapped { ino })?;
        let gone = then.base_names.saturating_sub(now.base_names);
        let lost = gone + outcome.lost.get(&ino).copied().unwrap_or(0);
        let base_names = then.attributes.nlink.saturating_sub(lost);
        let place =
            |(id, name): &(DirId, Name)| *id == base.directory && Some(name) == base.name.as_ref();
        let same_place = then
            .base
            .as_ref()
            .is_some_and(|old| old.directory == base.directory && old.name == base.name);
        let stayed = same_place && then.in_place && now.in_place;
        let in_place = stayed
            || outcome
                .places
                .get(&ino)
                .is_some_and(|it| it.iter().any(place));
        let Some(mut inode) = self.remove(ino) else {
            return Ok(());
        };
        inode.in_place = in_place;
        inode.base_names = base_names;
        inode.base = Some(base);
        if let (Node::File(file), Some(before)) = (&mut inode.node, then.file()) {
            file.rebase(before.size(), sealed.generation, self.seals);
        }
        self.insert(ino, inode);
        self.dirty.insert_mut(ino);
        Ok(())
    }
}

/// Returns what a directory says above its committed self.
fn settle_entries(
    id: DirId,
    then: &DirectoryData,
    now: &DirectoryData,
    outcome: &mut Outcome,
) -> Entries {
    let mut entries = now.entries.clone();
    for (name, slot) in then.entries.iter() {
        let current = now.entries.get(name).copied();
        match *slot {
            Slot::Removed => match current {
                Some(Slot::Inode { ino, .. }) => {
                    entries.insert_mut(
                        name.clone(),
                        Slot::Inode {
                            ino,
                            covers_base: false,
                        },
                    );
                }
                _ => {
                    entries.remove_mut(name);
                }
            },
            Slot::Inode { ino, .. } => {
                if matches!(current, Some(Slot::Inode { ino: it, .. }) if it == ino) {
                    entries.remove_mut(name);
                    outcome
                        .places
                        .entry(ino)
                        .or_default()
                        .push((id, name.clone()));
                    continue;
                }
                *outcome.lost.entry(ino).or_default() += 1;
                let slot = match current {
                    Some(Slot::Inode { ino, .. }) => Slot::Inode {
                        ino,
                        covers_base: true,
                    },
                    _ => Slot::Removed,
                };
                entries.insert_mut(name.clone(), slot);
            }
        }
    }
    entries
}
