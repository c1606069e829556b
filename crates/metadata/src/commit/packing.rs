//! Which directories of a version are in packs, decided before a row is written.
//!
//! - A directory that the commit makes is in the pack of the directory above it; if that is in none and its own path
//!   matches a pattern of the project, it is the root of a new one.
//! - A directory that was there stays where it was, whatever its path is by now.
//! - A directory that moves out of its place in a pack, or gets what no pack can hold, takes along what is below it, as
//!   the root of a pack of its own.
//!
//! A pack has bounds. One that would be too large when it is made is none; into one that is full no further names come,
//! they are rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lfsfs_types::limits::PACK_ENTRIES_MAX;
use lfsfs_types::{DirId, Name, Record};

use super::Change;
use super::plan::Plan;
use super::repack::Repacked;
use crate::error::Result;
use crate::pack::patterns::PackPatterns;
use crate::pack::{Pack, is_packable};
use crate::view::View;

/// Where a commit places a directory.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) above: DirId,
    pub(super) name: Option<Name>,
    is_packable: bool,
}

/// What a commit changes of one pack.
#[derive(Debug, Default)]
pub(super) struct PackChange {
    /// The directories whose staged changes lie in it, by the ids that they are staged under.
    pub(super) staged: Vec<DirId>,
    /// Where the commit places its root, if it does.
    pub(super) place: Option<Placed>,
    /// The pack that its root and all below it leave.
    pub(super) source: Option<DirId>,
    /// Whether names that are not in it yet become rows.
    pub(super) is_full: bool,
    /// How many names are put into it.
    put: usize,
}

/// The packs of a version that its commit changes.
#[derive(Debug, Default)]
pub(super) struct Packing {
    pub(super) packs: BTreeMap<DirId, PackChange>,
    /// The roots of packs that are none any more, though their directories are there.
    pub(super) dissolved: BTreeSet<DirId>,
    /// The root of the pack of each directory that the commit touches, makes or moves, if one has it.
    roots: HashMap<DirId, DirId>,
    /// Directories that the commit makes or moves, or makes rows.
    placed: HashSet<DirId>,
    /// Directories that leave their pack, with the root of the one that they are in afterwards, if they are in one.
    left: HashMap<DirId, Option<DirId>>,
}

impl Packing {
    /// Returns the packs of a version in which only where things are kept changes; `changes` are in the order of their
    /// directories.
    pub(super) fn of_repacked(
        repacked: &Repacked,
        base: View<'_>,
        changes: impl Iterator<Item = Result<Change>>,
    ) -> Result<Self> {
        let mut packing = Self::default();
        for (dir, root) in repacked.dirs() {
            packing.roots.extend(root.map(|root| (dir, root)));
            packing.placed.insert(dir);
            let before = base.pack_root(dir)?;
            if before == root {
                continue;
            }
            if root == Some(dir) {
                packing.packs.entry(dir).or_default();
            }
            if let Some(before) = before {
                packing.left.insert(dir, root);
                if repacked.root_of(before) == Some(before) {
                    packing.packs.entry(before).or_default();
                } else {
                    packing.dissolved.insert(before);
                }
            }
        }
        let mut last = None;
        for change in changes {
            let dir = change?.dir;
            if last.replace(dir) == Some(dir) {
                continue;
            }
            if let Some(root) = repacked.root_of(dir) {
                packing.packs.entry(root).or_default().staged.push(dir);
            }
        }
        Ok(packing)
    }

    /// Returns the root of the pack in which a directory is that the commit touches.
    pub(super) fn root_of(&self, dir: DirId) -> Option<DirId> {
        self.roots.get(&dir).copied()
    }

    /// Returns true if a directory that was in a pack is in another one afterwards.
    pub(super) fn has_left(&self, dir: DirId, root: DirId) -> bool {
        self.left.get(&dir).is_some_and(|new| *new != Some(root))
    }

    /// Returns true if an object is part of a pack, where the pack has `before` under its name.
    pub(super) fn takes(&self, pack: &Pack, record: &Record, before: Option<&Record>) -> bool {
        let change = self.packs.get(&pack.root());
        let has_room = before.is_some() || change.is_some_and(|change| !change.is_full);
        let is_in = |dir| match self.placed.contains(&dir) {
            true => self.root_of(dir) == Some(pack.root()),
            false => pack.has(dir) && !self.has_left(dir, pack.root()),
        };
        has_room && is_packable(record) && record.dir().is_none_or(is_in)
    }
}

/// Decides the packs of a version.
pub(super) struct PackPlanner<'a> {
    plan: &'a Plan,
    base: View<'a>,
    patterns: &'a PackPatterns,
    placed: HashMap<DirId, Placed>,
    /// Directories with changes: the id that they are staged under, the real one, and how many names are put there.
    touched: Vec<(DirId, DirId, usize)>,
    left: HashMap<DirId, Option<DirId>>,
    sources: HashMap<DirId, DirId>,
    roots: HashMap<DirId, Option<DirId>>,
    paths: HashMap<DirId, Vec<u8>>,
}

impl<'a> PackPlanner<'a> {
    pub(super) fn new(plan: &'a Plan, base: View<'a>, patterns: &'a PackPatterns) -> Self {
        Self {
            plan,
            base,
            patterns,
            placed: HashMap::new(),
            touched: Vec::new(),
            left: HashMap::new(),
            sources: HashMap::new(),
            roots: HashMap::new(),
            paths: HashMap::from([(DirId::ROOT, Vec::new())]),
        }
    }

    /// Looks at all changes, those of one directory one behind the other.
    pub(super) fn plan(mut self, changes: impl Iterator<Item = Result<Change>>) -> Result<Packing> {
        if self.patterns.is_empty() && !self.touches_packs()? {
            return Ok(Packing::default());
        }
        for change in changes {
            self.collect(change?);
        }
        self.find_what_leaves()?;
        let touched = self.touched.iter().map(|(_, dir, _)| *dir);
        let dirs: Vec<_> = touched.chain(self.placed.keys().copied()).collect();
        for dir in dirs {
            self.root(dir)?;
        }
        self.finish()
    }

    /// Returns true if something changes in a pack that is there.
    fn touches_packs(&self) -> Result<bool> {
        for dir in self.plan.touched.iter().chain(&self.plan.moved) {
            if !self.plan.is_fresh(*dir) && self.base.pack_root(*dir)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn collect(&mut self, change: Change) {
        let above = self.plan.dir(change.dir);
        let put = usize::from(change.state.is_some());
        match self.touched.last_mut() {
            Some((staged, _, count)) if *staged == change.dir => *count += put,
            _ => self.touched.push((change.dir, above, put)),
        }
        let Some(record) = change.state else {
            return;
        };
        let Some(dir) = record.dir().map(|dir| self.plan.dir(dir)) else {
            return;
        };
        let is_packable = is_packable(&record);
        if self.plan.is_fresh(dir) || self.plan.moved.contains(&dir) || !is_packable {
            let placed = Placed {
                above,
                name: change.name,
                is_packable,
            };
            self.placed.insert(dir, placed);
        }
    }

    /// Finds the directories that leave their pack because one at or above them moves or becomes a row.
    fn find_what_leaves(&mut self) -> Result<()> {
        let mut packs = BTreeSet::new();
        for dir in self.placed.keys() {
            if self.plan.is_fresh(*dir) {
                continue;
            }
            if let Some(root) = self.base.pack_root(*dir)?.filter(|root| root != dir) {
                self.sources.insert(*dir, root);
                packs.insert(root);
            }
        }
        for root in packs {
            if let Some(pack) = self.base.pack_at(root)? {
                self.find_what_leaves_from(&pack);
            }
        }
        Ok(())
    }

    fn find_what_leaves_from(&mut self, pack: &Pack) {
        let mut found = vec![(pack.root(), pack.root())];
        while let Some((dir, top)) = found.pop() {
            if top != pack.root() {
                self.left.insert(dir, Some(top));
            }
            let entries = pack.dir(dir).into_iter();
            let records = entries.flat_map(|dir| dir.entries.values());
            for below in records.filter_map(Record::dir) {
                let leaves = self.sources.contains_key(&below);
                found.push((below, if leaves { below } else { top }));
            }
        }
    }

    /// Returns the root of the pack of a directory in the version to be.
    fn root(&mut self, dir: DirId) -> Result<Option<DirId>> {
        let mut chain = Vec::new();
        let mut at = dir;
        let mut root = loop {
            if let Some(known) = self.roots.get(&at) {
                break *known;
            }
            if let Some(root) = self.left.get(&at) {
                break *root;
            }
            match self.placed.get(&at) {
                Some(placed) if self.plan.is_fresh(at) => {
                    chain.push(at);
                    at = placed.above;
                }
                _ if at <= DirId::ROOT => break None,
                _ => break self.base.pack_root(at)?,
            }
        };
        self.roots.insert(at, root);
        for dir in chain.into_iter().rev() {
            root = self.root_below(dir, root)?;
            self.roots.insert(dir, root);
        }
        Ok(root)
    }

    /// Returns the root of the pack of a directory that the commit makes, where the one above it has the root `above`.
    fn root_below(&mut self, dir: DirId, above: Option<DirId>) -> Result<Option<DirId>> {
        let is_packable = self
            .placed
            .get(&dir)
            .is_some_and(|placed| placed.is_packable);
        if above.is_some() {
            return Ok(above.filter(|_| is_packable));
        }
        let path = self.path(dir)?;
        Ok(self.patterns.matches(&path).then_some(dir))
    }

    /// Returns the path of a directory in the version to be, without slashes at its ends.
    fn path(&mut self, dir: DirId) -> Result<Vec<u8>> {
        let mut chain = Vec::new();
        let mut at = dir;
        while !self.paths.contains_key(&at) {
            let (above, name) = match self.placed.get(&at) {
                Some(placed) => (placed.above, placed.name.clone()),
                None => self
                    .base
                    .live_directory(at)?
                    .place
                    .unwrap_or((DirId::ROOT, None)),
            };
            chain.push((at, name));
            at = above;
        }
        let mut path = self.paths.get(&at).cloned().unwrap_or_default();
        for (dir, name) in chain.into_iter().rev() {
            if let Some(name) = name {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name.as_bytes());
            }
            self.paths.insert(dir, path.clone());
        }
        Ok(path)
    }

    fn finish(self) -> Result<Packing> {
        let mut packs = self.changed_packs();
        let mut refused = HashSet::new();
        for (root, change) in &mut packs {
            let before = self.pack_before(change.source.unwrap_or(*root))?;
            let entries = before.as_ref().map_or(0, |pack| pack.len());
            change.is_full = entries + change.put > PACK_ENTRIES_MAX;
            if change.is_full && before.is_none() {
                refused.insert(*root);
            }
        }
        packs.retain(|root, _| !refused.contains(root));
        let is_in_pack = |dir: &DirId, root: &DirId| {
            let is_full = packs.get(root).is_some_and(|change| change.is_full);
            let is_new = self.placed.contains_key(dir) && self.plan.is_fresh(*dir);
            !(refused.contains(root) || is_full && is_new)
        };
        let roots = self.roots.iter();
        let roots = roots.filter_map(|(dir, root)| Some((*dir, (*root)?)));
        let roots: HashMap<_, _> = roots.filter(|(dir, root)| is_in_pack(dir, root)).collect();
        for change in packs.values_mut() {
            let staged = &mut change.staged;
            staged.retain(|staged| roots.contains_key(&self.plan.dir(*staged)));
        }
        Ok(Packing {
            packs,
            dissolved: BTreeSet::new(),
            roots,
            placed: self.placed.into_keys().collect(),
            left: self.left,
        })
    }

    /// Returns what changes in each pack, before it is known which are too large.
    fn changed_packs(&self) -> BTreeMap<DirId, PackChange> {
        let mut packs = BTreeMap::<DirId, PackChange>::new();
        let root_of = |dir| self.roots.get(dir).copied().flatten();
        for (staged, dir, count) in &self.touched {
            if let Some(root) = root_of(dir) {
                let change = packs.entry(root).or_default();
                change.staged.push(*staged);
                change.put += count;
            }
        }
        for root in self.placed.keys().filter_map(root_of) {
            packs.entry(root).or_default();
        }
        for (root, change) in &mut packs {
            change.place = self.placed.get(root).cloned();
            change.source = self.sources.get(root).copied();
        }
        packs
    }

    /// Returns the pack of which a directory is the root in the newest version.
    fn pack_before(&self, root: DirId) -> Result<Option<Arc<Pack>>> {
        if self.plan.is_fresh(root) {
            return Ok(None);
        }
        self.base.pack_at(root)
    }
}
