//! One version takes the place of another below the inodes that the kernel knows.
//!
//! While that happens the table is closed: a request that asks it is told to begin anew, so none sees
//! some inodes as the old version has them and others as the new one does. What becomes of each is
//! decided elsewhere, by both versions' listings.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard};

use lfsfs_overlay::{NUMBERS_MAX, NumberRow};
use lfsfs_types::DirId;

use super::{Candidate, Detached, Identity, InodeTable, Inodes, Place, Slot, TableState};

/// The epoch of a closed table.
pub(super) const CLOSED: u64 = u64::MAX;

/// What becomes of a known inode.
#[derive(Debug)]
pub(crate) enum Remap {
    /// It is the same entry at another position.
    Shifts(Place),
    /// It is this entry now.
    Becomes(Candidate),
    /// The new version does not have it.
    Detaches(Arc<Detached>),
    /// The overlay has it; its place in the base means nothing until it gives it back.
    Covered,
}

/// The place of what is in no listing. Only the root is looked for there, and by its number.
const NOWHERE: Place = Place {
    dir: DirId::ABOVE_ROOT,
    index: 0,
};

/// A change of one inode.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) ino: u64,
    pub(crate) remap: Remap,
    /// Lookups that were counted elsewhere until now.
    pub(crate) lookups: u64,
}

/// Numbers that objects had before they were committed, by the numbers that follow from what they are.
#[derive(Debug, Default)]
pub(crate) struct Former {
    /// Objects that are no more.
    pub(crate) gone: Vec<u64>,
    pub(crate) made: Vec<(u64, u64)>,
}

/// A closed table; it opens as it was unless it is replaced.
#[derive(Debug)]
pub(crate) struct Closed<'a> {
    inodes: &'a Inodes,
}

impl Inodes {
    /// Closes the table of the version that is to be replaced; one such at a time.
    pub(crate) fn close(&self) -> Closed<'_> {
        self.table.lock().epoch = CLOSED;
        Closed { inodes: self }
    }
}

impl InodeTable {
    /// Returns the inodes whose place is in one of these directories. Looks at every known inode,
    /// which takes some nanoseconds for each.
    pub(crate) fn within(&self, dirs: &HashSet<DirId>) -> Vec<(u64, Place)> {
        // Most inodes are in none: a bit for each possible remainder spares most of the searches.
        let bit = |dir: DirId| 1_u64 << (dir.0 % 64);
        let bits = dirs.iter().fold(0, |bits, dir| bits | bit(*dir));
        let is_within = |dir: DirId| bits & bit(dir) != 0 && dirs.contains(&dir);
        let state = self.lock();
        let within = state.slots.iter().filter(|it| is_within(it.1.place.dir));
        let attached = within.filter(|it| !state.detached.contains_key(it.0));
        attached.map(|(ino, slot)| (*ino, slot.place)).collect()
    }

    /// Returns what the kernel knows and the version does not have.
    pub(crate) fn detached(&self) -> Vec<(u64, Arc<Detached>)> {
        let state = self.lock();
        let detached = state.detached.iter();
        let mut detached: Vec<_> = detached.map(|it| (*it.0, Arc::clone(it.1))).collect();
        // Of two that were the same object always the same one gets it back.
        detached.sort_unstable_by_key(|it| it.0);
        detached
    }

    /// Returns the number of an entry if the kernel knows it.
    pub(crate) fn known(&self, candidate: &Candidate, taken: &dyn Fn(u64) -> bool) -> Option<u64> {
        let state = self.lock();
        let ino = state.choose(candidate, taken);
        let known = state.slots.contains_key(&ino) && !state.detached.contains_key(&ino);
        known.then_some(ino)
    }

    /// Returns the number that an entry has or would have.
    pub(crate) fn number(&self, candidate: &Candidate, taken: &dyn Fn(u64) -> bool) -> u64 {
        self.lock().choose(candidate, taken)
    }
}

impl Closed<'_> {
    /// Makes the table that of the next version and opens it. Returns which of the former numbers
    /// are news.
    pub(crate) fn replace(self, changes: &[Change], former: &Former) -> Vec<NumberRow> {
        let mut state = self.lock();
        state.change(changes);
        state.epoch = self.inodes.epoch + 1;
        state.note_former(former)
    }

    fn lock(&self) -> MutexGuard<'_, TableState> {
        self.inodes.table.lock()
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let mut state = self.lock();
        if state.epoch == CLOSED {
            state.epoch = self.inodes.epoch;
        }
    }
}

impl TableState {
    fn note_former(&mut self, news: &Former) -> Vec<NumberRow> {
        let is_own = |it: &&(u64, u64)| it.0 == it.1;
        let own = news.made.iter().filter(is_own).map(|it| it.0);
        let made: HashMap<u64, u64> = news.made.iter().filter(|it| !is_own(it)).copied().collect();
        let is_row = |nodeid: &u64| self.former.contains_key(nodeid) && !made.contains_key(nodeid);
        let gone = news.gone.iter().copied().chain(own).filter(is_row);
        let mut rows: Vec<NumberRow> = gone.map(|nodeid| (nodeid, None)).collect();
        let room = NUMBERS_MAX.saturating_sub(self.former.len());
        let changed = made.iter().filter(|it| self.former.get(it.0) != Some(it.1));
        rows.extend(changed.map(|it| (*it.0, Some(*it.1))).take(room));
        rows.sort_unstable();
        rows.dedup();
        if rows.is_empty() {
            return rows;
        }
        let former = Arc::make_mut(&mut self.former);
        for (nodeid, ino) in &rows {
            match ino {
                Some(ino) => former.insert(*nodeid, *ino),
                None => former.remove(nodeid),
            };
        }
        rows
    }

    /// Changes what numbers stand for. First all leave where they are, because one may come to where
    /// another was.
    fn change(&mut self, changes: &[Change]) {
        let mut displaced = Vec::new();
        for (position, change) in changes.iter().enumerate() {
            match change.remap {
                Remap::Shifts(_) => {
                    if self.leave_place(change.ino) {
                        displaced.push(position);
                    }
                }
                Remap::Covered => drop(self.leave_place(change.ino)),
                Remap::Becomes(_) | Remap::Detaches(_) => {
                    self.take_out(change.ino);
                    self.detached.remove(&change.ino);
                }
            }
        }
        for change in changes {
            self.settle(change);
        }
        for position in displaced {
            if let Remap::Shifts(place) = changes[position].remap {
                let ino = changes[position].ino;
                self.displaced.insert(Identity::Entry(place), ino);
            }
        }
    }

    /// Returns true if the entry has a number that is not its own by its place.
    fn leave_place(&mut self, ino: u64) -> bool {
        let identity = self.identity(ino).filter(|_| !self.displaced.is_empty());
        match identity {
            Some(identity @ Identity::Entry(_)) if self.displaced.get(&identity) == Some(&ino) => {
                self.displaced.remove(&identity).is_some()
            }
            _ => false,
        }
    }

    fn settle(&mut self, change: &Change) {
        let ino = change.ino;
        if let Some(slot) = self.slots.get_mut(&ino) {
            let more = u32::try_from(change.lookups).unwrap_or(u32::MAX);
            slot.lookups = slot.lookups.saturating_add(more);
        } else if change.lookups == 0 {
            return;
        }
        let lookups = u32::try_from(change.lookups).unwrap_or(u32::MAX);
        match &change.remap {
            Remap::Shifts(place) => self.place(ino, *place, lookups),
            Remap::Covered => self.place(ino, NOWHERE, lookups),
            Remap::Becomes(candidate) => self.put(ino, candidate, lookups),
            Remap::Detaches(detached) => {
                self.place(ino, NOWHERE, lookups);
                self.detached.insert(ino, Arc::clone(detached));
            }
        }
    }

    fn place(&mut self, ino: u64, place: Place, lookups: u32) {
        let slot = self.slots.entry(ino).or_insert(Slot { place, lookups });
        slot.place = place;
    }
}
