//! Entries of a directory while others come and go.
//!
//! The order of the entries, and their offsets, are those of [`order`](super::order).

use std::sync::Arc;

use lfsfs_overlay::State;
use lfsfs_types::{Name, nodeid};

use crate::attr::{Attr, FileKind};
use crate::directory::{DirEntry, EntrySink};
use crate::error::{Interrupted, VfsError};
use crate::merged::{BaseFound, Fetched, MergedDir, MergedView, NamedObject, Object};
use crate::writable::Vfs;
use crate::writable::order::{DOTS, EntrySource};

impl Vfs {
    /// Gives the entries of a directory from `offset` on to `sink` until it is full.
    ///
    /// With `plus` entries have attributes, and each that `sink` takes, except `.` and `..`, counts
    /// one lookup.
    pub async fn readdir(
        &self,
        ino: u64,
        offset: u64,
        plus: bool,
        sink: &mut EntrySink<'_>,
    ) -> Result<(), VfsError> {
        loop {
            let fetched = self
                .with_listings(|fetched| self.hold(fetched, ino))
                .await?;
            let Ok(view) = self.stack.view_above(&fetched.pinned) else {
                continue;
            };
            let reader = Reader {
                vfs: self,
                merged: MergedView::new(view.state(), &fetched),
                plus,
            };
            match reader.read(ino, offset, sink) {
                Ok(()) => return Ok(()),
                Err(Interrupted::Failed(error)) => return Err(error),
                Err(Interrupted::BaseReplaced | Interrupted::NeedsListing(_)) => {}
            }
        }
    }

    /// Returns what is needed to read a directory.
    fn hold(&self, fetched: &Fetched, ino: u64) -> Result<Fetched, Interrupted> {
        let view = self.stack.view_above(&fetched.pinned)?;
        let merged = MergedView::new(view.state(), fetched);
        let mut needed = Fetched::new(Arc::clone(&fetched.pinned));
        if let Some(base) = merged.directory(ino)?.base {
            needed.listings.insert(base, merged.listing(base)?);
        }
        Ok(needed)
    }
}

/// A directory that is being read.
struct Reader<'a> {
    vfs: &'a Vfs,
    merged: MergedView<'a>,
    plus: bool,
}

impl Reader<'_> {
    fn read(&self, ino: u64, offset: u64, sink: &mut EntrySink<'_>) -> Result<(), Interrupted> {
        let dir = self.merged.directory(ino)?;
        let shows_dots = !dir.is_removed() && offset < DOTS;
        if shows_dots && !self.show_dots(ino, offset, sink) {
            return Ok(());
        }
        let order = self.vfs.orders.of(&self.merged, &dir)?;
        let first = order.partition_point(|entry| entry.offset <= offset);
        for (position, entry) in order[first..].iter().enumerate() {
            let (name, object) = match self.entry(&dir, &entry.source) {
                // What was shown is true; the caller comes back for the rest.
                Err(Interrupted::BaseReplaced) if position > 0 || shows_dots => break,
                found => found?,
            };
            if !self.show(ino, entry.offset, &name, &object, sink) {
                break;
            }
        }
        Ok(())
    }

    /// Shows `.` and `..`; returns false if the sink is full.
    fn show_dots(&self, ino: u64, offset: u64, sink: &mut EntrySink<'_>) -> bool {
        let parent = self.vfs.lock_known().parent(&self.vfs.inodes, ino);
        let dots: [(&[u8], u64); 2] = [(b".", ino), (b"..", parent.unwrap_or(nodeid::ROOT))];
        (0..DOTS).zip(dots).all(|(position, (name, ino))| {
            position < offset
                || sink(DirEntry {
                    ino,
                    offset: position + 1,
                    kind: FileKind::Directory,
                    name,
                    attr: None,
                })
        })
    }

    fn entry<'a>(
        &'a self,
        dir: &MergedDir<'_>,
        source: &EntrySource,
    ) -> Result<(Name, Object<'a>), Interrupted> {
        match source {
            EntrySource::Slot(name) => {
                let object = self.merged.find_known(dir, name)?;
                Ok((name.clone(), object))
            }
            EntrySource::Base(place) => {
                let listing = self.merged.listing(place.dir)?;
                let name = listing.entry_name(place.index)?;
                Ok((name, self.merged.entry(dir.ino, *place, &listing)?))
            }
        }
    }

    /// Shows an entry; returns false if the sink is full. It counts a lookup before it is shown, so
    /// that no inode is freed in between.
    fn show(
        &self,
        parent: u64,
        offset: u64,
        name: &Name,
        object: &Object<'_>,
        sink: &mut EntrySink<'_>,
    ) -> bool {
        let attr = if self.plus {
            self.count_shown(NamedObject {
                parent,
                name,
                object,
            })
        } else {
            None
        };
        let is_taken = sink(DirEntry {
            ino: attr.map_or(object.ino(), |attr| attr.ino),
            offset,
            kind: object.attr().kind,
            name: name.as_bytes(),
            attr,
        });
        if let Some(attr) = attr.filter(|_| !is_taken) {
            self.vfs.forget(attr.ino, 1);
        }
        is_taken
    }

    /// Counts a lookup, unless the object was dropped or changed its place since it was found.
    fn count_shown(&self, named: NamedObject<'_>) -> Option<Attr> {
        let mut known = self.vfs.lock_known();
        let pinned = &self.merged.fetched.pinned;
        self.vfs.stack.expect_current(pinned).ok()?;
        let view = self.vfs.stack.view_above(pinned).ok()?;
        let state = view.state();
        let is_current = match named.object {
            Object::Upper { ino, .. } => state.inode(*ino).is_some_and(|it| !it.is_orphan()),
            Object::Base(found) => {
                state.copy_of(&found.object.key()).is_none()
                    && !state_removed(state, named.parent, found)
            }
        };
        let merged = MergedView::new(state, self.merged.fetched);
        let counted = is_current.then(|| self.vfs.count(&mut known, merged, named));
        counted?.ok()
    }
}

/// Returns true if the name of an object of the base was taken away from its directory.
fn state_removed(state: &State, parent: u64, found: &BaseFound) -> bool {
    let slot = found.object.name.as_ref().and_then(|name| {
        let data = state.inode(parent)?.directory()?;
        data.entries.get(name).copied()
    });
    slot.is_some()
}
