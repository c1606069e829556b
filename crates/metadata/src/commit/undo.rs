//! Undo: takes back what a publisher wrote above the head and did not finish.
//!
//! The change rows above the head name everything that may have been written. All rows of a name
//! went in one batch, so a name is either as before or wholly changed, and undoing it twice does
//! nothing more. The change rows go last, after a flush, so that an undo that dies is repeated.

use std::sync::PoisonError;

use lfsfs_meta_store::{KeyRange, MetaError, MetaStoreExt as _, Write};
use lfsfs_types::{DirId, Name, ProjectId, Record, VersionNumber};

use super::lease::{Lease, LeasedWrites};
use crate::error::Result;
use crate::keys::{self, ChangeKey, table};
use crate::metadata::{Metadata, SCAN_PAGE, get_row};
use crate::pack_row::{PackRow, PackedDirsRow};
use crate::rows::{HeadRow, Marker, ObjectRow, RowValue};

impl Metadata {
    /// Undoes what an earlier process left above the head of a project, unless it was deleted.
    pub(crate) fn recover_project(&self, project: ProjectId) -> Result<()> {
        match self.try_recover(project) {
            Err(error) if error.is_not_found() => Ok(()),
            recovered => recovered,
        }
    }

    fn try_recover(&self, project: ProjectId) -> Result<()> {
        let head = self.head(project)?;
        if self.store().first(above(project, head))?.is_none() {
            return Ok(());
        }
        let lock = self.publishing_lock(project);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A commit may have been published before the lock was free.
        let head = self.head(project)?;
        let lease = Lease::take(self, project)?;
        undo(&lease, head)?;
        lease.give_back()
    }
}

/// The change rows above the head.
fn above(project: ProjectId, head: HeadRow) -> KeyRange {
    KeyRange::at_or_after(
        &keys::changes_of(project, head.number.next()),
        &keys::project_rows(table::CHANGE, project),
    )
}

/// Undoes what change rows above the head name, then removes these.
pub(super) fn undo(lease: &Lease<'_>, head: HeadRow) -> Result<()> {
    let metadata = lease.metadata;
    let range = above(lease.project, head);
    let Some((first, _)) = metadata.store().first(range.clone())? else {
        return Ok(());
    };
    tracing::info!(project = %lease.project, head = %head.number, "undoing an unfinished version");
    match ChangeKey::decode(&first)? {
        ChangeKey::Everything(_) if head.number == VersionNumber::ZERO => undo_everything(lease)?,
        ChangeKey::Everything(_) => {
            let error = MetaError::corrupt("only version 1 can change everything", &first);
            return Err(error.into());
        }
        ChangeKey::Name(..) | ChangeKey::Pack(..) => undo_names(lease, range.clone())?,
    }
    remove(lease, range)
}

/// Removes all that a first version can have written.
fn undo_everything(lease: &Lease<'_>) -> Result<()> {
    let tables = [
        table::LIVE,
        table::CLOSED,
        table::CLOSED_NAME,
        table::DIRECTORY,
        table::LINK,
        table::PACK,
        table::PACKED_DIRS,
    ];
    for rows in tables {
        let prefix = keys::project_rows(rows, lease.project);
        remove(lease, KeyRange::prefix(&prefix))?;
    }
    Ok(())
}

fn remove(lease: &Lease<'_>, range: KeyRange) -> Result<()> {
    let store = lease.metadata.store();
    let mut writes = LeasedWrites::new(lease);
    for row in store.scan_all(range, SCAN_PAGE) {
        writes.add(vec![Write::Delete(row?.0)])?;
    }
    writes.finish()
}

fn undo_names(lease: &Lease<'_>, range: KeyRange) -> Result<()> {
    let metadata = lease.metadata;
    let project = lease.project;
    let mut writes = LeasedWrites::new(lease);
    for row in metadata.store().scan_all(range, SCAN_PAGE) {
        let (key, _) = row?;
        let (version, dir, name) = match ChangeKey::decode(&key)? {
            ChangeKey::Name(version, dir, name) => (version, dir, name),
            ChangeKey::Pack(version, root) => {
                let undone = undo_pack(metadata, project, version, root)?;
                undone
                    .into_iter()
                    .try_for_each(|write| writes.add(vec![write]))?;
                continue;
            }
            ChangeKey::Everything(_) => {
                let what = "only version 1 can change everything";
                return Err(MetaError::corrupt(what, &key).into());
            }
        };
        let place = Undone {
            metadata,
            project,
            version,
            dir,
            name,
        };
        writes.add(place.writes()?)?;
    }
    writes.finish()
}

/// Returns what removes the rows of a pack that a version above the head may have changed. The row of the pack goes last:
/// it names the directories whose rows were written behind it.
fn undo_pack(
    metadata: &Metadata,
    project: ProjectId,
    version: VersionNumber,
    root: DirId,
) -> Result<Vec<Write>> {
    let store = metadata.store();
    let key = keys::pack(project, root, version);
    let mut writes = vec![Write::Delete(keys::directory(project, root, version))];
    let Some(row) = get_row::<PackRow>(store, &key)? else {
        return Ok(writes);
    };
    for dir in row.dirs() {
        writes.push(Write::Delete(keys::directory(project, dir, version)));
        let made = keys::packed_dirs(project, dir);
        if get_row::<PackedDirsRow>(store, &made)?.is_some_and(|row| row.version == version) {
            writes.push(Write::Delete(made));
        }
    }
    writes.push(Write::Delete(key));
    Ok(writes)
}

/// One name that a version above the head may have changed.
struct Undone<'a> {
    metadata: &'a Metadata,
    project: ProjectId,
    version: VersionNumber,
    dir: DirId,
    name: Option<Name>,
}

impl Undone<'_> {
    fn writes(&self) -> Result<Vec<Write>> {
        let store = self.metadata.store();
        let name = keys::name_bytes(self.name.as_ref());
        let live = keys::live(self.project, self.dir, name);
        let closed = keys::closed(self.project, self.dir, self.version, name);
        let mut writes = vec![self.delete_directory(self.dir)];
        if let Some(row) = get_row::<ObjectRow>(store, &live)?
            && row.start == self.version
        {
            writes.push(Write::Delete(live.clone()));
            writes.extend(self.forget_child(&row.record));
            if let Some(link) = row.record.link {
                let key = keys::link(self.project, link.id, self.dir, name);
                writes.push(Write::Delete(key));
            }
        }
        if let Some(row) = get_row::<ObjectRow>(store, &closed)? {
            let closed_name = keys::closed_name(self.project, self.dir, name, self.version);
            writes.push(Write::Put(live, row.encode()));
            writes.push(Write::Delete(closed));
            writes.push(Write::Delete(closed_name));
            writes.extend(self.forget_child(&row.record));
            if let Some(link) = row.record.link {
                let key = keys::link(self.project, link.id, self.dir, name);
                writes.push(Write::Put(key, Marker.encode()));
            }
        }
        Ok(writes)
    }

    fn forget_child(&self, record: &Record) -> Option<Write> {
        record.dir().map(|dir| self.delete_directory(dir))
    }

    fn delete_directory(&self, dir: DirId) -> Write {
        Write::Delete(keys::directory(self.project, dir, self.version))
    }
}
