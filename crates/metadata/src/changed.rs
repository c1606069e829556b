//! The names that versions changed, read from their change rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use lfsfs_meta_store::{KeyRange, MetaError, MetaStore, MetaStoreExt as _, ScanAll};
use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{DirId, Name, ObjectPath, ProjectId, VersionNumber};

use crate::error::Result;
use crate::keys::{self, ChangeKey};
use crate::metadata::Metadata;
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
fn try_each_changed(
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
    let mut names = ChangedNames::between(old.store, old.project, old.version, new.version)?;
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

/// The names that the versions of a range changed, each once, in the order of directories.
pub(crate) struct ChangedNames<'a> {
    versions: Vec<ScanAll<'a, dyn MetaStore>>,
    /// The next name of each version that has one.
    heads: BinaryHeap<Reverse<(DirId, Option<Name>, usize)>>,
    last: Option<(DirId, Option<Name>)>,
}

impl<'a> ChangedNames<'a> {
    /// Merges the change rows of the versions above `low` up to `high`.
    pub(crate) fn between(
        store: &'a dyn MetaStore,
        project: ProjectId,
        low: VersionNumber,
        high: VersionNumber,
    ) -> Result<Self> {
        let count = usize::try_from(high.0 - low.0).unwrap_or(usize::MAX);
        let page = (CHANGES_HELD / count).clamp(16, 1000);
        let versions = (low.0 + 1..=high.0).map(|number| {
            let prefix = keys::changes_of(project, VersionNumber(number));
            store.scan_all(KeyRange::prefix(&prefix), page)
        });
        let mut names = Self {
            versions: versions.collect(),
            heads: BinaryHeap::new(),
            last: None,
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
        match ChangeKey::decode(&key)? {
            ChangeKey::Name(_, dir, name) => self.heads.push(Reverse((dir, name, index))),
            ChangeKey::Everything(_) => {
                let what = "only version 1 can change everything";
                return Err(MetaError::corrupt(what, &key).into());
            }
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Option<(DirId, Option<Name>)>> {
        while let Some(Reverse((dir, name, index))) = self.heads.pop() {
            self.advance(index)?;
            let found = Some((dir, name));
            if found != self.last {
                self.last.clone_from(&found);
                return Ok(found);
            }
        }
        Ok(None)
    }
}
