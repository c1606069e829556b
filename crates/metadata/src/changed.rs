//! The names that versions changed, read from their change rows.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::ControlFlow;
use std::sync::Arc;

use lfsfs_meta_store::{KeyRange, MetaError, MetaStore, MetaStoreExt as _, ScanAll};
use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{DirId, Name, ObjectPath, ProjectId, VersionNumber};

use crate::error::Result;
use crate::keys::{self, ChangeKey};
use crate::metadata::Metadata;
use crate::pack::Pack;
use crate::side::Side;
use crate::view::View;

/// How many change rows of all versions together are held at once.
const CHANGES_HELD: usize = 16_384;

/// A name whose object, or whose times, may differ between two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedName {
    /// The directory.
    pub dir: DirId,
    /// The name in it; none, in [`DirId::ABOVE_ROOT`], for the root's own record.
    pub name: Option<Name>,
    /// Its path in the first version, if that has something there.
    pub old: Option<ObjectPath>,
    /// Its path in the second version, if that has something there.
    pub new: Option<ObjectPath>,
}

impl Metadata {
    /// Tells `sink` each name that may differ between two versions once, until it breaks. Either
    /// version may be the older one.
    ///
    /// It costs what changed between them. What lies below a directory that moved is not told,
    /// unless it changed itself.
    pub fn changed_names(
        &self,
        project: ProjectId,
        from: VersionNumber,
        to: VersionNumber,
        sink: &mut dyn FnMut(ChangedName) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let _reading = self.reading();
        let (from, to) = (self.view(project, from)?, self.view(project, to)?);
        let (low, high) = if from.version <= to.version {
            (from, to)
        } else {
            (to, from)
        };
        let (mut from, mut to) = (Side::new(from), Side::new(to));
        try_each_changed(low, high, |dir, name| {
            Ok(sink(ChangedName {
                dir,
                old: from.path_if_there(dir, name.as_ref())?,
                new: to.path_if_there(dir, name.as_ref())?,
                name,
            }))
        })
    }
}

/// Calls `each` for every name that may differ between two versions of one project, `old` being the
/// older one. It costs what was changed between them; from version 0 on that is all there is.
pub(crate) fn for_each_changed(
    old: View<'_>,
    new: View<'_>,
    mut each: impl FnMut(DirId, Option<Name>) -> Result<()>,
) -> Result<()> {
    let each = |dir, name| each(dir, name).map(ControlFlow::Continue);
    try_each_changed(old, new, each).map(drop)
}

/// Like [`for_each_changed`], until `each` breaks.
pub(crate) fn try_each_changed(
    old: View<'_>,
    new: View<'_>,
    mut each: impl FnMut(DirId, Option<Name>) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    if old.version == new.version {
        return Ok(ControlFlow::Continue(()));
    }
    if old.version == VersionNumber::ZERO {
        return try_each_object(new, each);
    }
    let mut names = ChangedNames::between(old, new)?;
    while let Some((dir, name)) = names.next()? {
        if each(dir, name)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Calls `each` for the root and every name of a version, until it breaks.
fn try_each_object(
    view: View<'_>,
    mut each: impl FnMut(DirId, Option<Name>) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    if each(DirId::ABOVE_ROOT, None)?.is_break() {
        return Ok(ControlFlow::Break(()));
    }
    let mut found = vec![DirId::ROOT];
    while let Some(dir) = found.pop() {
        let mut after = None;
        loop {
            let (entries, more) = view.entries(dir, after.as_ref(), PAGE_ENTRIES_MAX)?;
            after = entries.last().map(|(name, _)| name.clone());
            for (name, record) in entries {
                found.extend(record.dir());
                if each(dir, Some(name))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if !more {
                break;
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What a change row names, in the order of the rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    /// The root's own record.
    Root,
    /// Something in the pack with this root.
    Pack(DirId),
    Entry(DirId, Name),
}

/// The names that the versions of a range changed, each once: those in packs, and then the others, in the order of
/// directories.
pub(crate) struct ChangedNames<'a> {
    old: View<'a>,
    new: View<'a>,
    versions: Vec<ScanAll<'a, dyn MetaStore>>,
    /// The next thing that each version names that has one.
    heads: BinaryHeap<Reverse<(Named, usize)>>,
    last: Option<Named>,
    /// Roots of the packs that changed.
    packs: BTreeSet<DirId>,
    /// What changed in one of them.
    in_pack: std::vec::IntoIter<(DirId, Name)>,
    /// The packs that were not looked into yet.
    packs_left: BTreeSet<DirId>,
}

impl<'a> ChangedNames<'a> {
    /// Merges the change rows of the versions above the older one of two up to the newer one.
    pub(crate) fn between(a: View<'a>, b: View<'a>) -> Result<Self> {
        let (old, new) = if a.version <= b.version {
            (a, b)
        } else {
            (b, a)
        };
        let count = usize::try_from(new.version.0 - old.version.0).unwrap_or(usize::MAX);
        let page = (CHANGES_HELD / count.max(1)).clamp(16, 1000);
        let versions = (old.version.0 + 1..=new.version.0).map(|number| {
            let prefix = keys::changes_of(new.project, VersionNumber(number));
            new.store.scan_all(KeyRange::prefix(&prefix), page)
        });
        let mut names = Self {
            old,
            new,
            versions: versions.collect(),
            heads: BinaryHeap::new(),
            last: None,
            packs: BTreeSet::new(),
            in_pack: Vec::new().into_iter(),
            packs_left: BTreeSet::new(),
        };
        for index in 0..names.versions.len() {
            names.advance(index)?;
        }
        Ok(names)
    }

    fn advance(&mut self, index: usize) -> Result<()> {
        let Some(row) = self.versions[index].next() else {
            return Ok(());
        };
        let (key, _) = row?;
        let named = match ChangeKey::decode(&key)? {
            ChangeKey::Name(_, dir, Some(name)) => Named::Entry(dir, name),
            ChangeKey::Name(_, _, None) => Named::Root,
            ChangeKey::Pack(_, root) => Named::Pack(root),
            ChangeKey::Everything(_) => {
                let what = "only version 1 can change everything";
                return Err(MetaError::corrupt(what, &key).into());
            }
        };
        self.heads.push(Reverse((named, index)));
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Option<(DirId, Option<Name>)>> {
        loop {
            if let Some((dir, name)) = self.in_pack.next() {
                return Ok(Some((dir, Some(name))));
            }
            if self.next_is_entry()
                && let Some(root) = self.packs_left.pop_first()
            {
                self.in_pack = self.changed_in(root)?.into_iter();
                continue;
            }
            let named = match self.next_named()? {
                Some(named) => named,
                None if self.packs_left.is_empty() => return Ok(None),
                None => continue,
            };
            match named {
                Named::Root => return Ok(Some((DirId::ABOVE_ROOT, None))),
                Named::Pack(root) => {
                    self.packs.insert(root);
                    self.packs_left.insert(root);
                }
                Named::Entry(dir, name) if self.was_told(dir, &name)? => {}
                Named::Entry(dir, name) => return Ok(Some((dir, Some(name)))),
            }
        }
    }

    /// Returns true if all packs are known: those stand before the entries.
    fn next_is_entry(&self) -> bool {
        let next = self.heads.peek();
        next.is_none_or(|Reverse((named, _))| matches!(named, Named::Entry(..)))
    }

    /// Returns what the rows name next.
    fn next_named(&mut self) -> Result<Option<Named>> {
        while let Some(Reverse((named, index))) = self.heads.pop() {
            self.advance(index)?;
            if self.last.as_ref() != Some(&named) {
                self.last = Some(named.clone());
                return Ok(Some(named));
            }
        }
        Ok(None)
    }

    /// Returns what differs of what lies in a pack. What left it for another pack is told with that one.
    fn changed_in(&self, root: DirId) -> Result<Vec<(DirId, Name)>> {
        let (old, new) = (self.old.pack_at(root)?, self.new.pack_at(root)?);
        let mut changed = Vec::new();
        for (dir, found) in new.iter().flat_map(|pack| pack.dirs()) {
            let before = self.old.pack_of(dir)?;
            let differs = |name: &Name, record| {
                before.as_ref().and_then(|pack| pack.get(dir, name)) != Some(record)
            };
            let entries = found.entries.iter();
            let names = entries.filter(|(name, record)| differs(name, record));
            changed.extend(names.map(|(name, _)| (dir, name.clone())));
        }
        for (dir, found) in old.iter().flat_map(|pack| pack.dirs()) {
            let after = self.new.pack_of(dir)?;
            let stays = |name: &Name| {
                let pack = after.as_ref();
                pack.is_some_and(|pack| pack.get(dir, name).is_some())
            };
            let names = found.entries.keys().filter(|name| !stays(name));
            changed.extend(names.map(|name| (dir, name.clone())));
        }
        Ok(changed)
    }

    /// Returns true if an entry that has a change row was told because a pack has it, or had it.
    fn was_told(&self, dir: DirId, name: &Name) -> Result<bool> {
        if self.packs.is_empty() {
            return Ok(false);
        }
        let is_changed = |pack: &Arc<Pack>| self.packs.contains(&pack.root());
        let before = self.old.pack_of(dir)?.filter(is_changed);
        let after = self.new.pack_of(dir)?.filter(is_changed);
        let before = before.as_ref().and_then(|pack| pack.get(dir, name));
        let after = after.as_ref().and_then(|pack| pack.get(dir, name));
        Ok(before != after)
    }
}
