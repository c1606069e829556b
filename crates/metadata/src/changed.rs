//! The names that versions changed, read from their change rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lfsfs_meta_store::{KeyRange, MetaError, MetaStore, MetaStoreExt as _, ScanAll};
use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{DirId, Name, ProjectId, VersionNumber};

use crate::error::Result;
use crate::keys::{self, ChangeKey};
use crate::view::View;

/// How many change rows of all versions together are held at once.
const CHANGES_HELD: usize = 16_384;

/// Calls `each` for every name that may differ between two versions of one project, `old` being the
/// older one. It costs what was changed between them; from version 0 on that is all there is.
pub(crate) fn for_each_changed(
    old: View<'_>,
    new: View<'_>,
    mut each: impl FnMut(DirId, Option<Name>) -> Result<()>,
) -> Result<()> {
    if old.version == new.version {
        return Ok(());
    }
    if old.version == VersionNumber::ZERO {
        return for_each_object(new, each);
    }
    let mut names = ChangedNames::between(old.store, old.project, old.version, new.version)?;
    while let Some((dir, name)) = names.next()? {
        each(dir, name)?;
    }
    Ok(())
}

/// Calls `each` for the root and every name of a version.
fn for_each_object(
    view: View<'_>,
    mut each: impl FnMut(DirId, Option<Name>) -> Result<()>,
) -> Result<()> {
    each(DirId::ABOVE_ROOT, None)?;
    let mut found = vec![DirId::ROOT];
    while let Some(dir) = found.pop() {
        let mut after = None;
        loop {
            let (entries, more) = view.entries(dir, after.as_ref(), PAGE_ENTRIES_MAX)?;
            after = entries.last().map(|(name, _)| name.clone());
            for (name, record) in entries {
                found.extend(record.dir());
                each(dir, Some(name))?;
            }
            if !more {
                break;
            }
        }
    }
    Ok(())
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
