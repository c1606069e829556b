//! What a discard drops: the slots and objects at and below its paths, and what must go with them.
//!
//! What goes back to its place in the base leaves the one that it has, with everything that was
//! changed in it; and where a slot goes, what the base has there comes back, wherever it is now. So
//! one drop brings others, until nothing is missing.

use std::collections::{BTreeSet, HashMap};

use lfsfs_overlay::{BaseKey, BaseObject, EntryName, Inode, Operation, Slot, State};
use lfsfs_types::{DirId, Name, ObjectPath, Record};

use crate::changes::{Dir, Paths, join};
use crate::error::Interrupted;
use crate::merged::Fetched;
use crate::verb_error::{ChangesError, DiscardError};

/// What a discard drops, and whom to tell.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// Nothing if there is nothing to drop.
    pub(super) operation: Option<Operation>,
    /// How many objects fewer differ from the base.
    pub(super) count: u64,
    /// Names that stand for something else now, by the directory's inode.
    pub(super) entries: Vec<(u64, Name)>,
    /// Inodes whose attributes, content or entries are others now.
    pub(super) stale: BTreeSet<u64>,
    /// Inodes that may have lost their last name.
    pub(super) nameless: Vec<u64>,
    /// Inodes of the base that do not differ from it any more.
    pub(super) clean: Vec<u64>,
    /// Directories that went back, and where they are.
    pub(super) home: Vec<(u64, EntryName)>,
}

/// Plans the drop of what is at and below `wanted`, or of everything; `None` if `places` lacks some.
pub(super) fn plan(
    state: &State,
    fetched: &Fetched,
    places: &HashMap<DirId, (DirId, Name)>,
    wanted: &[ObjectPath],
) -> Result<Option<Dropped>, Interrupted<DiscardError>> {
    let paths = Paths::new(state, places);
    let mut drops = Drops {
        state,
        fetched,
        homes: homes(state, &paths),
        has_lost_links: has_lost_links(state),
        paths,
        slots: BTreeSet::new(),
        objects: BTreeSet::new(),
        revealed: BTreeSet::new(),
        open: Vec::new(),
        wanted,
    };
    if wanted.is_empty() || wanted.iter().any(ObjectPath::is_root) {
        drops.take_all();
        let has_changes = state.changed().next().is_some();
        let operation = has_changes.then_some(Operation::DiscardAll {});
        return Ok(Some(drops.dropped(operation)));
    }
    if drops.paths.is_incomplete() {
        return Ok(None);
    }
    drops.take_wanted()?;
    drops.close()?;
    drops.check_homes()?;
    drops.check_wanted()?;
    let operation = drops.operation();
    Ok(Some(drops.dropped(operation)))
}

/// Returns what of the base is not where the base has it, by its place there.
fn homes(state: &State, paths: &Paths<'_>) -> HashMap<(DirId, Name), u64> {
    let moved = state.changed().filter_map(|(ino, inode)| {
        let base = inode
            .base
            .as_deref()
            .filter(|it| it.record.link.is_none())?;
        let is_home = inode.in_place || paths.names(ino).is_empty();
        (!is_home).then_some(((base.directory, base.name.clone()?), ino))
    });
    moved.collect()
}

fn has_lost_links(state: &State) -> bool {
    state.changed().any(|(_, inode)| {
        let link = inode.base.as_ref().and_then(|base| base.record.link);
        link.is_some_and(|link| inode.base_names < link.nlink)
    })
}

/// What is to be dropped so far.
struct Drops<'a> {
    state: &'a State,
    fetched: &'a Fetched,
    paths: Paths<'a>,
    homes: HashMap<(DirId, Name), u64>,
    /// True if any hard-linked file lacks a name that it has in the base: only then is it worth a look
    /// at what shows again.
    has_lost_links: bool,
    /// Slots about which the overlay will say nothing any more.
    slots: BTreeSet<(u64, Name)>,
    /// Objects of the base that become what they are there.
    objects: BTreeSet<u64>,
    /// Names of hard-linked files that show again.
    revealed: BTreeSet<(u64, (DirId, Name))>,
    /// Slots that are still to be looked at.
    open: Vec<(u64, Name)>,
    wanted: &'a [ObjectPath],
}

impl Drops<'_> {
    fn take_all(&mut self) {
        for (ino, inode) in self.state.changed() {
            if inode.base.is_some() {
                self.objects.insert(ino);
            }
            let names = inode
                .directory()
                .into_iter()
                .flat_map(|it| it.entries.keys());
            self.slots.extend(names.map(|name| (ino, name.clone())));
        }
    }

    /// Takes what is at or below a wanted path, in the mount or in the base.
    fn take_wanted(&mut self) -> Result<(), ChangesError> {
        for (ino, inode) in self.state.changed() {
            if let Some(dir) = Dir::of(ino, inode) {
                self.take_slots_of(ino, inode, dir)?;
            }
            let Some((base, name)) = place_in_base(inode) else {
                continue;
            };
            let now = join(&self.paths.now(Dir::Base(base.directory))?, name)?;
            let before = join(&self.paths.before(base.directory)?, name)?;
            if self.is_wanted(&now) || self.is_wanted(&before) {
                self.reset(ino);
            }
        }
        Ok(())
    }

    fn take_slots_of(&mut self, ino: u64, inode: &Inode, dir: Dir) -> Result<(), ChangesError> {
        let now = self.paths.now(dir)?;
        let before = match dir {
            Dir::Base(dir) => Some(self.paths.before(dir)?),
            Dir::New(_) => None,
        };
        for name in inode
            .directory()
            .into_iter()
            .flat_map(|it| it.entries.keys())
        {
            let before = before.as_ref().map(|it| join(it, name)).transpose()?;
            if self.is_wanted(&join(&now, name)?) || before.is_some_and(|it| self.is_wanted(&it)) {
                self.open.push((ino, name.clone()));
            }
        }
        Ok(())
    }

    fn is_wanted(&self, path: &ObjectPath) -> bool {
        let bytes = path.as_bytes();
        self.wanted.iter().any(|wanted| {
            let rest = bytes.strip_prefix(wanted.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    }

    /// Adds what must go with what is dropped, until nothing is missing.
    fn close(&mut self) -> Result<(), Interrupted> {
        loop {
            while let Some((directory, name)) = self.open.pop() {
                self.drop_slot(directory, name)?;
            }
            let changed = self.state.changed();
            let others = changed.filter(|(ino, _)| !self.objects.contains(ino));
            let more = others
                .filter(|(_, inode)| self.is_below_dropped(inode) || self.is_home_back(inode));
            let more: Vec<_> = more.map(|(ino, _)| ino).collect();
            if more.is_empty() {
                return Ok(());
            }
            more.into_iter().for_each(|ino| self.reset(ino));
        }
    }

    /// Returns true for what was moved out of a directory that was removed and comes back.
    fn is_home_back(&self, inode: &Inode) -> bool {
        let base = inode.base.as_deref().filter(|_| !inode.in_place);
        base.is_some_and(|base| {
            base.record.link.is_none()
                && self.paths.copy_of(base.directory).is_none()
                && !self.is_gone(base.directory)
        })
    }

    fn drop_slot(&mut self, directory: u64, name: Name) -> Result<(), Interrupted> {
        let data = self.state.inode(directory).and_then(Inode::directory);
        let Some((data, slot)) = data.and_then(|it| Some((it, *it.entries.get(&name)?))) else {
            return Ok(());
        };
        if !self.slots.insert((directory, name.clone())) {
            return Ok(());
        }
        if let Slot::Inode { ino, .. } = slot {
            self.drop_named(ino);
        }
        let covers_base = !matches!(
            slot,
            Slot::Inode {
                covers_base: false,
                ..
            }
        );
        if let Some(base) = data.base.filter(|_| covers_base) {
            match self.homes.get(&(base, name.clone())) {
                Some(ino) => self.reset(*ino),
                None if self.has_lost_links => self.reveal(base, name)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Drops what has a name that goes: a file of the base that has others loses that one only.
    fn drop_named(&mut self, ino: u64) {
        let Some(inode) = self.state.inode(ino) else {
            return;
        };
        let Some(base) = &inode.base else {
            return self.open_slots(ino, inode);
        };
        let mut names = self.paths.names(ino).iter();
        let loses_all = names.all(|(at, name)| self.slots.contains(&(*at, (*name).clone())));
        if base.record.link.is_none() && !inode.in_place && loses_all {
            self.reset(ino);
        }
    }

    /// Makes an object what it is in the base, and where it is there.
    fn reset(&mut self, ino: u64) {
        let Some(inode) = self.state.inode(ino) else {
            return;
        };
        if !self.objects.insert(ino) {
            return;
        }
        self.open_slots(ino, inode);
        let base = inode.base.as_deref().filter(|it| it.record.link.is_none());
        let Some(base) = base.filter(|_| !inode.in_place) else {
            return;
        };
        for (directory, name) in self.paths.names(ino) {
            self.open.push((*directory, (*name).clone()));
        }
        // The mark that it was taken away. What else stands there must go for its own sake.
        if let Some((home, name)) = self.home(base)
            && self.slot(home, name) == Some(Slot::Removed)
        {
            self.open.push((home, name.clone()));
        }
    }

    fn open_slots(&mut self, ino: u64, inode: &Inode) {
        let names = inode
            .directory()
            .into_iter()
            .flat_map(|it| it.entries.keys());
        self.open.extend(names.map(|name| (ino, name.clone())));
    }

    /// Returns true for what is in its place in the base, somewhere below a directory that goes back.
    fn is_below_dropped(&self, inode: &Inode) -> bool {
        let Some((base, _)) = place_in_base(inode) else {
            return false;
        };
        let mut at = Some(Dir::Base(base.directory));
        while let Some(dir) = at {
            let ino = match dir {
                Dir::Base(dir) => self.paths.copy_of(dir),
                Dir::New(ino) => Some(ino),
            };
            if ino.is_some_and(|ino| self.objects.contains(&ino)) {
                return true;
            }
            at = self.paths.above(dir).ok().flatten().map(|it| it.0);
        }
        false
    }

    /// Fails if the place of something that goes back is taken, or is not there.
    fn check_homes(&self) -> Result<(), DiscardError> {
        for ino in &self.objects {
            let Some(inode) = self.state.inode(*ino).filter(|it| !it.in_place) else {
                continue;
            };
            let base = inode.base.as_deref().filter(|it| it.record.link.is_none());
            let Some((base, name)) = base.and_then(|it| Some((it, it.name.as_ref()?))) else {
                continue;
            };
            let home = self.paths.copy_of(base.directory);
            let taken = home.is_some_and(|home| self.stays(home, name));
            if taken || home.is_none() && self.is_gone(base.directory) {
                let path = self.paths.before(base.directory)?;
                let path = if taken { join(&path, name)? } else { path };
                return Err(DiscardError::Blocked { path });
            }
        }
        Ok(())
    }

    /// Fails if the base has a wanted path in a directory that was removed and stays so.
    fn check_wanted(&self) -> Result<(), Interrupted<DiscardError>> {
        for wanted in self.wanted {
            let (mut dir, mut path) = (DirId::ROOT, ObjectPath::ROOT);
            let mut is_gone = false;
            for name in wanted.names() {
                if is_gone {
                    return Err(DiscardError::Blocked { path }.into());
                }
                let listing = self.fetched.listing(dir)?;
                let record = listing.record_of(&name)?;
                let Some(below) = record.as_ref().and_then(Record::dir) else {
                    break;
                };
                path = join(&path, &name)?;
                let stays = self
                    .paths
                    .copy_of(dir)
                    .is_some_and(|ino| self.stays(ino, &name));
                is_gone = stays && self.paths.copy_of(below).is_none();
                dir = below;
            }
        }
        Ok(())
    }

    /// Returns true if the overlay will go on to say something about a name.
    fn stays(&self, directory: u64, name: &Name) -> bool {
        self.slot(directory, name).is_some() && !self.slots.contains(&(directory, name.clone()))
    }

    /// Returns true if a directory of the base was removed with one above it, and stays so.
    fn is_gone(&self, dir: DirId) -> bool {
        let mut at = dir;
        while let Some((above, name)) = self.paths.place(at) {
            if let Some(ino) = self.paths.copy_of(above) {
                return self.stays(ino, name);
            }
            at = above;
        }
        false
    }

    fn home<'b>(&self, base: &'b BaseObject) -> Option<(u64, &'b Name)> {
        Some((self.paths.copy_of(base.directory)?, base.name.as_ref()?))
    }

    fn slot(&self, directory: u64, name: &Name) -> Option<Slot> {
        let data = self.state.inode(directory)?.directory()?;
        data.entries.get(name).copied()
    }

    /// Notes the names of hard-linked files of the overlay that show again with a name of the base,
    /// and drops their other changes.
    fn reveal(&mut self, dir: DirId, name: Name) -> Result<(), Interrupted> {
        let mut open = vec![(dir, name)];
        while let Some((dir, name)) = open.pop() {
            let listing = self.fetched.listing(dir)?;
            let Some(record) = listing.record_of(&name)? else {
                continue;
            };
            let link = record.link.map(|link| BaseKey::Link(link.id));
            if let Some(ino) = link.and_then(|link| self.state.copy_of(&link)) {
                self.revealed.insert((ino, (dir, name)));
                self.reset(ino);
            } else if let Some(below) = record.dir()
                && self.paths.copy_of(below).is_none()
            {
                let listing = self.fetched.listing(below)?;
                for index in 0..listing.len() {
                    let name = listing.entry_name(index)?;
                    open.push((below, name));
                }
            }
        }
        Ok(())
    }

    fn operation(&self) -> Option<Operation> {
        if self.slots.is_empty() && self.objects.is_empty() {
            return None;
        }
        let places = self.slots.iter().map(|(directory, name)| EntryName {
            directory: *directory,
            name: name.clone(),
        });
        Some(Operation::Discard {
            entries: places.collect(),
            revealed: self.revealed.iter().cloned().collect(),
            inodes: self.objects.iter().copied().collect(),
        })
    }

    fn dropped(self, operation: Option<Operation>) -> Dropped {
        let mut dropped = Dropped {
            operation,
            ..Dropped::default()
        };
        for ino in &self.objects {
            let Some(inode) = self.state.inode(*ino) else {
                continue;
            };
            let base = inode
                .base
                .as_deref()
                .filter(|_| inode.directory().is_some());
            if let Some((home, name)) = base.and_then(|base| self.home(base)) {
                let home = EntryName {
                    directory: home,
                    name: name.clone(),
                };
                dropped.home.push((*ino, home));
            }
        }
        for (directory, name) in &self.slots {
            if let Some(Slot::Inode { ino, .. }) = self.slot(*directory, name)
                && !self.objects.contains(&ino)
            {
                dropped.nameless.push(ino);
            }
            dropped.stale.insert(*directory);
        }
        dropped.stale.extend(&self.objects);
        dropped.entries = self.slots.into_iter().collect();
        dropped
    }
}

/// Returns where an object is in the base, if it is there and not the root.
fn place_in_base(inode: &Inode) -> Option<(&BaseObject, &Name)> {
    let base = inode.base.as_deref().filter(|_| inode.in_place)?;
    Some((base, base.name.as_ref()?))
}
