//! The inode remap: what becomes of each inode that the kernel knows when another version takes the place
//! of the base.
//!
//! Pure: it looks at the table, both versions' listings and the overlay's state before and after,
//! and says what to change and what to tell the kernel. An object that is the same in both versions
//! keeps its number, wherever it is; what this mount committed keeps the number that it had in the
//! overlay; anything else is detached, and what stands in its place gets a number of its own. What
//! is detached and there again gets out of that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lfsfs_overlay::{BaseKey, BaseObject, Inode, NumberRow, State};
use lfsfs_types::{DirId, Name, ProjectId, Record, nodeid};

use super::commit_mapping::CommitMapping;
use super::delta::{Needs, VersionDelta};
use super::object_tracker::{ObjectTracker, Tracked};
use crate::attr::Attr;
use crate::directory::{candidate, directory_candidate};
use crate::error::VfsError;
use crate::inode::{Candidate, Change, Detached, Former, Identity, InodeTable, Place, Remap};
use crate::verb_error::SwitchError;
use crate::writable::known::Known;

/// Why a step could not be taken.
#[derive(Debug)]
pub(in crate::writable) enum NotReady {
    /// This must be loaded first.
    Needs(Needs),
    Failed(SwitchError),
}

/// What to change and whom to tell.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) changes: Vec<Change>,
    /// Numbers that objects had before they were committed.
    pub(super) former: Former,
    /// Those of them that are news, once the table has them.
    pub(super) numbers: Vec<NumberRow>,
    /// Inodes that the overlay gave to the table, with their lookups.
    pub(super) released: Vec<u64>,
    /// Inodes that kept their number but not their attributes.
    pub(super) attributes: HashSet<u64>,
    /// Names that stand for something else, which was found only now.
    pub(super) entries: Vec<(u64, Name)>,
    /// Directories with other entries than before, each with one of the names.
    pub(super) directories: Vec<(u64, Name)>,
    /// The number that each object gets, so that no other number gets it too.
    claims: HashMap<Identity, u64>,
}

/// Decides what becomes of each inode.
pub(super) struct Remapper<'a> {
    pub(super) delta: &'a VersionDelta,
    pub(super) table: &'a InodeTable,
    pub(super) known: &'a Known,
    /// The overlay's state as it is.
    pub(super) before: &'a State,
    /// The overlay's state above the version that comes.
    pub(super) after: &'a State,
    pub(super) mapping: &'a CommitMapping,
    pub(super) tracker: ObjectTracker<'a>,
}

/// A known inode that is being decided on.
struct Subject {
    ino: u64,
    /// What the kernel was shown of it.
    shown: Attr,
    /// Lookups that were counted outside of the table until now.
    lookups: u64,
}

/// An entry of the version that comes.
struct FoundEntry {
    candidate: Candidate,
    record: Record,
}

impl From<VfsError> for NotReady {
    fn from(error: VfsError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SwitchError> for NotReady {
    fn from(error: SwitchError) -> Self {
        Self::Failed(error)
    }
}

impl From<lfsfs_overlay::OverlayError> for NotReady {
    fn from(error: lfsfs_overlay::OverlayError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Needs> for NotReady {
    fn from(needs: Needs) -> Self {
        Self::Needs(needs)
    }
}

impl Remapper<'_> {
    pub(super) fn decide(&self) -> Result<Outcome, NotReady> {
        let mut needs = Needs::default();
        let mut outcome = Outcome::default();
        self.settle_root(&mut outcome);
        self.settle_kept(&mut outcome);
        for ino in self.mapping.inodes() {
            self.settle_committed(ino, &mut outcome, &mut needs)?;
        }
        for (ino, place) in self.table.within(&self.delta.dirs()) {
            self.settle_slot(ino, place, &mut outcome, &mut needs)?;
        }
        let touched = self.before.touched();
        let touched = touched.filter(|ino| !self.mapping.has(*ino));
        for ino in self.before.unchanged().chain(touched) {
            self.settle_unchanged(ino, &mut outcome, &mut needs)?;
        }
        for (ino, detached) in self.table.detached() {
            self.settle_detached(ino, &detached.object, &mut outcome, &mut needs)?;
        }
        self.settle_directories(&mut outcome, &mut needs)?;
        self.settle_former(&mut outcome)?;
        if needs.is_empty() {
            Ok(outcome)
        } else {
            Err(needs.into())
        }
    }

    fn project(&self) -> &ProjectId {
        &self.delta.pinned.base.snapshot().project.id
    }

    /// Returns true if the overlay gives the inode back to the base.
    fn returns(&self, ino: u64) -> bool {
        self.before.inode(ino).is_some() && self.after.inode(ino).is_none()
    }

    fn settle_root(&self, outcome: &mut Outcome) {
        let (before, after) = (self.before, self.after);
        let old = match before.inode(nodeid::ROOT) {
            Some(inode) => Attr::of_inode(nodeid::ROOT, inode),
            None => Attr::of(nodeid::ROOT, &self.delta.pinned.base.snapshot().root),
        };
        let new = match after.inode(nodeid::ROOT) {
            Some(inode) => Attr::of_inode(nodeid::ROOT, inode),
            None => Attr::of(nodeid::ROOT, &self.delta.next.base.snapshot().root),
        };
        if old != new {
            outcome.attributes.insert(nodeid::ROOT);
        }
        if self.returns(nodeid::ROOT) {
            outcome.released.push(nodeid::ROOT);
        }
    }

    /// Settles the directories that keep ignored names through a switch: they are what the version that comes has
    /// there.
    fn settle_kept(&self, outcome: &mut Outcome) {
        if self.delta.is_commit() {
            return;
        }
        for (ino, after) in self.after.changed() {
            let before = self.before.inode(ino);
            let attr = |inode: &Inode| Attr::of_inode(ino, inode);
            if before.is_some_and(|before| attr(before) != attr(after)) {
                outcome.attributes.insert(ino);
            }
        }
    }

    fn settle_slot(
        &self,
        ino: u64,
        place: Place,
        outcome: &mut Outcome,
        needs: &mut Needs,
    ) -> Result<(), VfsError> {
        if self.after.inode(ino).is_some() {
            outcome.change(ino, Remap::Covered, 0);
            return Ok(());
        }
        if self.returns(ino) {
            return Ok(());
        }
        let dir = place.dir;
        let old = self.delta.old(dir, needs);
        let new = self.delta.new_listing(dir, needs);
        let (Some(old), Some(new)) = (old, new) else {
            return Ok(());
        };
        let (name, before) = old.encoded_entry(place.index)?;
        if let Some(index) = new.find(name)
            && new.encoded_entry(index)?.1 == before
        {
            let place = Place { dir, index };
            outcome.change(ino, Remap::Shifts(place), 0);
            return Ok(());
        }
        let object = old.object(place)?;
        let subject = Subject {
            ino,
            shown: Attr::of(ino, &object.record),
            lookups: 0,
        };
        self.follow(subject, object, outcome, needs)
    }

    /// Settles an inode that the overlay had although it did not differ.
    fn settle_unchanged(
        &self,
        ino: u64,
        outcome: &mut Outcome,
        needs: &mut Needs,
    ) -> Result<(), VfsError> {
        let inode = self.before.inode(ino).filter(|_| self.returns(ino));
        let Some((inode, base)) = inode.and_then(|it| Some((it, it.base.as_deref()?))) else {
            return Ok(());
        };
        let Some(lookups) = self.release(ino, outcome) else {
            return Ok(());
        };
        let subject = Subject {
            ino,
            shown: Attr::of_inode(ino, inode),
            lookups,
        };
        self.follow(subject, base.clone(), outcome, needs)
    }

    /// Takes over what the kernel knows of an inode that the overlay gives back; `None` if that is
    /// nothing, or the root, which is in no listing.
    fn release(&self, ino: u64, outcome: &mut Outcome) -> Option<u64> {
        if ino == nodeid::ROOT || !self.known.is_known(self.table, ino) {
            return None;
        }
        outcome.released.push(ino);
        Some(self.known.lookups(ino))
    }

    /// Finds out what became of an object that this mount did not change.
    fn follow(
        &self,
        subject: Subject,
        object: BaseObject,
        outcome: &mut Outcome,
        needs: &mut Needs,
    ) -> Result<(), VfsError> {
        match self.tracker.of(&object, needs)? {
            Tracked::Needed => return Ok(()),
            Tracked::Gone => {}
            Tracked::At(dir, name) => {
                let Some(found) = self.find(dir, &name, needs)? else {
                    return Ok(());
                };
                if !self.is_anothers(subject.ino, &found.candidate, outcome) {
                    self.becomes(&subject, &found, outcome);
                    return Ok(());
                }
                outcome.entries.push((self.number(dir), name));
            }
        }
        self.detach(&subject, object, outcome);
        Ok(())
    }

    /// Gives an object that no version had any more its place again, so that it can be changed. A
    /// directory does not get one: the kernel may keep that names are not in it.
    fn settle_detached(
        &self,
        ino: u64,
        object: &BaseObject,
        outcome: &mut Outcome,
        needs: &mut Needs,
    ) -> Result<(), VfsError> {
        let is_touched = self.delta.has_dir(object.directory);
        if object.record.dir().is_some() || !(is_touched || object.record.link.is_some()) {
            return Ok(());
        }
        let Tracked::At(dir, name) = self.tracker.of(object, needs)? else {
            return Ok(());
        };
        let Some(found) = self.find(dir, &name, needs)? else {
            return Ok(());
        };
        // What was there before has a number already.
        let is_back =
            self.delta.is_changed(dir, &name) && !self.is_covered(dir, &name, &found.record);
        if is_back && !self.is_anothers(ino, &found.candidate, outcome) {
            let subject = Subject {
                ino,
                shown: Attr::of(ino, &object.record),
                lookups: 0,
            };
            self.becomes(&subject, &found, outcome);
        }
        Ok(())
    }

    /// Returns true if the overlay has something above an entry.
    fn is_covered(&self, dir: DirId, name: &Name, record: &Record) -> bool {
        let object = BaseObject {
            directory: dir,
            name: Some(name.clone()),
            record: record.clone(),
        };
        let after = self.after;
        after.copy_of(&object.key()).is_some() || slots(after, self.number(dir))(name)
    }

    /// Returns true if another inode is, or becomes, this entry.
    fn is_anothers(&self, ino: u64, candidate: &Candidate, outcome: &Outcome) -> bool {
        let claimed = outcome.claims.get(&candidate.identity).copied();
        let holder = claimed.or_else(|| match candidate.identity {
            Identity::Link(..) => self.table.known(candidate, &|_| false),
            // Its place is of the version that comes, so no number stands for it yet.
            Identity::Directory(_) | Identity::Entry(_) => None,
        });
        holder.is_some_and(|holder| holder != ino)
    }

    /// Returns an entry of the version that comes; `None` if its listing is missing.
    fn find(
        &self,
        dir: DirId,
        name: &Name,
        needs: &mut Needs,
    ) -> Result<Option<FoundEntry>, VfsError> {
        let Some(listing) = self.delta.new_listing(dir, needs) else {
            return Ok(None);
        };
        let index = listing.find(name.as_bytes()).ok_or_else(|| {
            let problem = format!("directory {dir} lacks what the version has in it");
            VfsError::corrupt("compare two versions", problem)
        })?;
        let record = listing.entry_record(index)?;
        let place = Place { dir, index };
        let parent = match record.dir() {
            Some(_) => self.number(dir),
            None => nodeid::ROOT,
        };
        let candidate = candidate(self.project(), parent, place, name, &record);
        Ok(Some(FoundEntry { candidate, record }))
    }

    /// Makes a number stand for an entry of the version that comes.
    fn becomes(&self, subject: &Subject, found: &FoundEntry, outcome: &mut Outcome) {
        let (ino, candidate) = (subject.ino, found.candidate);
        outcome.claims.insert(candidate.identity, ino);
        outcome.change(ino, Remap::Becomes(candidate), subject.lookups);
        // No version has a last access, so the kernel may go on showing that. Nor are blocks a reason to
        // ask again: of a large file of the version they may be an estimate.
        let found = Attr {
            atime: subject.shown.atime,
            blocks: subject.shown.blocks,
            ..Attr::of(ino, &found.record)
        };
        if subject.shown != found {
            outcome.attributes.insert(ino);
        }
    }

    fn detach(&self, subject: &Subject, object: BaseObject, outcome: &mut Outcome) {
        let name = object.name.as_ref();
        let nodeid = name
            .map(|name| nodeid::of_entry(self.project(), object.directory, name, &object.record));
        let nodeid = nodeid.unwrap_or(subject.ino);
        let detached = Arc::new(Detached { nodeid, object });
        outcome.change(subject.ino, Remap::Detaches(detached), subject.lookups);
    }

    /// Settles an inode that this mount committed.
    fn settle_committed(
        &self,
        ino: u64,
        outcome: &mut Outcome,
        needs: &mut Needs,
    ) -> Result<(), VfsError> {
        let inode = self.before.inode(ino).filter(|_| self.returns(ino));
        let Some(inode) = inode.filter(|_| ino != nodeid::ROOT) else {
            return Ok(());
        };
        let place = self.mapping.place(ino, inode, self.delta, needs)?;
        let Some((dir, name)) = place.and_then(|it| Some((it.dir, it.name?))) else {
            return Ok(());
        };
        let Some(listing) = self.delta.new_listing(dir, needs) else {
            return Ok(());
        };
        let record = listing.record_of(&name)?;
        let is_mine = record.is_some_and(|record| self.is_mine(dir, &name, inode, &record));
        let found = if is_mine {
            self.find(dir, &name, needs)?
        } else {
            None
        };
        if let Some(found) = &found {
            outcome.former.made.push((found.candidate.nodeid, ino));
            outcome.former.gone.extend(self.nodeid_before(inode));
        }
        let Some(lookups) = self.release(ino, outcome) else {
            return Ok(());
        };
        let subject = Subject {
            ino,
            shown: Attr::of_inode(ino, inode),
            lookups,
        };
        if let Some(found) = found {
            self.becomes(&subject, &found, outcome);
            return Ok(());
        }
        // Nothing was sent of it, because it did not differ from the base, and others changed it.
        outcome.entries.push((self.number(dir), name));
        match inode.base.as_deref() {
            Some(base) => self.follow(subject, base.clone(), outcome, needs),
            // Force put it into another directory of this path; the kernel looks it up again.
            None => Ok(()),
        }
    }

    /// Returns the number that followed from what an inode was in the version that is left.
    fn nodeid_before(&self, inode: &Inode) -> Option<u64> {
        let base = inode.base.as_deref()?;
        let name = base.name.as_ref()?;
        Some(nodeid::of_entry(
            self.project(),
            base.directory,
            name,
            &base.record,
        ))
    }

    /// Finds the objects that a commit or others took away, as far as it is at hand what they were.
    /// A switch takes nothing away: one may come back.
    fn settle_former(&self, outcome: &mut Outcome) -> Result<(), VfsError> {
        if !self.delta.is_commit() || self.table.former().is_empty() {
            return Ok(());
        }
        for it in self.delta.replaced_at_hand()? {
            let of = |record: &Record| nodeid::of_entry(self.project(), it.dir, it.name, record);
            let before = of(&it.before);
            if it.after.as_ref().map(of) != Some(before) {
                outcome.former.gone.push(before);
            }
        }
        Ok(())
    }

    /// Returns true if a record is what the mount showed of an inode that it committed.
    fn is_mine(&self, dir: DirId, name: &Name, inode: &Inode, record: &Record) -> bool {
        // What is new here and there is one object: both made it alike.
        if !self.delta.is_others(dir, name) || inode.base.is_none() {
            return true;
        }
        let (shown, found) = (Attr::of_inode(0, inode), Attr::of(0, record));
        let looks = |it: &Attr| (it.kind, it.size, it.mtime, it.mode);
        looks(&shown) == looks(&found)
    }

    /// Finds the directories that the kernel knows and whose entries others changed.
    fn settle_directories(&self, outcome: &mut Outcome, needs: &mut Needs) -> Result<(), VfsError> {
        for dir in self.delta.drained() {
            let Some(ino) = known_directory(self.project(), dir, self.before, self.table) else {
                continue;
            };
            let covered = slots(self.before, ino);
            let visible = self.delta.visible(dir, needs)?;
            if let Some(name) = visible.into_iter().find(|name| !covered(name)) {
                outcome.directories.push((ino, name.clone()));
            }
        }
        Ok(())
    }

    /// Returns the number that a directory has or would have.
    fn number(&self, dir: DirId) -> u64 {
        let key = BaseKey::Directory(dir);
        let (before, after) = (self.before, self.after);
        let made = || self.mapping.directory(dir);
        let upper = after.copy_of(&key).or_else(|| before.copy_of(&key));
        upper.or_else(made).unwrap_or_else(|| {
            let candidate = directory_candidate(self.project(), dir);
            self.table
                .number(&candidate, &|ino| after.inode(ino).is_some())
        })
    }
}

impl Outcome {
    fn change(&mut self, ino: u64, remap: Remap, lookups: u64) {
        self.changes.push(Change {
            ino,
            remap,
            lookups,
        });
    }
}

/// Returns the number of a directory that the kernel knows.
pub(super) fn known_directory(
    project: &ProjectId,
    dir: DirId,
    state: &State,
    table: &InodeTable,
) -> Option<u64> {
    let upper = state.copy_of(&BaseKey::Directory(dir));
    // A directory that was removed and is open still has its number.
    let taken = |ino| state.inode(ino).is_some();
    upper.or_else(|| table.known(&directory_candidate(project, dir), &taken))
}

/// Returns whether the overlay has something to say about a name in a directory.
pub(super) fn slots(state: &State, ino: u64) -> impl Fn(&Name) -> bool + '_ {
    let data = state.inode(ino).and_then(Inode::directory);
    move |name| data.is_some_and(|data| data.entries.contains_key(name))
}
