//! What is done on either side, decided from three trees: what was agreed, and what each side has now.
//!
//! Pure. The caller tells only where a side differs from what was agreed; docs/sync.md has the rules.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use lfsfs_types::ObjectPath;

use super::item::{Differences, Item, Seen};

/// Which way changes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the root to the far side alone.
    Push,
    /// From the far side to the root alone.
    Pull,
    /// Both ways.
    Both,
}

/// What becomes of a path that both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictRule {
    /// Both are kept, one under a conflict name.
    Both,
    /// The root's is taken.
    Ours,
    /// The far side's is taken.
    Theirs,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Root = 0,
    Far = 1,
}

/// What is decided from.
pub(crate) struct Given<'a> {
    /// What was agreed at a path.
    pub(crate) agreed: &'a dyn Fn(&ObjectPath) -> Option<Item>,
    /// Where the root differs from that, and where the far side does.
    pub(crate) differences: [&'a Differences; 2],
    pub(crate) direction: Direction,
    pub(crate) rule: ConflictRule,
    /// Returns a name that no side has, for what is kept beside a path.
    pub(crate) conflict_name: &'a dyn Fn(&ObjectPath) -> Option<ObjectPath>,
}

/// A path that one side gets another thing at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// What is there now.
    pub(crate) from: Option<Item>,
    pub(crate) to: Option<Item>,
}

/// Changes of one side, a directory before what is in it.
pub(crate) type Changes = BTreeMap<ObjectPath, Change>;

/// What is moved out of the way, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) path: ObjectPath,
    pub(crate) copy: ObjectPath,
    pub(crate) item: Item,
}

/// What is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Of each side: done before anything else.
    pub(crate) aside: [Vec<Aside>; 2],
    pub(crate) changes: [Changes; 2],
    /// What both sides have already.
    pub(crate) agreed: BTreeMap<ObjectPath, Option<Item>>,
    /// Paths at which nothing is done though a side differs.
    pub(crate) held: BTreeSet<ObjectPath>,
    /// Paths that both sides changed.
    pub(crate) conflicts: Vec<ObjectPath>,
}

/// Decides.
pub(crate) fn reconcile(given: &Given<'_>) -> Plan {
    let mut work = Work {
        given,
        places: BTreeMap::new(),
        plan: Plan::default(),
    };
    work.look();
    work.keep_directories();
    work.hold();
    work.finish()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    To(Option<Item>),
    Held,
}

/// A path at which a side differs.
#[derive(Debug, Clone)]
struct Place {
    agreed: Option<Item>,
    /// What each side has, once what is moved aside is away.
    now: [Option<Item>; 2],
    target: Target,
}

struct Work<'a> {
    given: &'a Given<'a>,
    places: BTreeMap<ObjectPath, Place>,
    plan: Plan,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Root, Self::Far];

    const fn index(self) -> usize {
        self as usize
    }

    const fn other(self) -> Self {
        match self {
            Self::Root => Self::Far,
            Self::Far => Self::Root,
        }
    }
}

impl Direction {
    /// Returns true if a side may be changed.
    const fn changes(self, side: Side) -> bool {
        !matches!(
            (self, side),
            (Self::Push, Side::Root) | (Self::Pull, Side::Far)
        )
    }

    /// Returns the side that is taken where both changed the same, and the other may be changed.
    const fn source(self) -> Side {
        match self {
            Self::Push => Side::Root,
            Self::Pull | Self::Both => Side::Far,
        }
    }
}

/// Returns the directories above a path, the next one first. The root is not among them.
pub(crate) fn above(path: &ObjectPath) -> impl Iterator<Item = ObjectPath> {
    let next = |path: &ObjectPath| Some(path.split_last()?.0).filter(|path| !path.is_root());
    std::iter::successors(next(path), next)
}

impl Work<'_> {
    /// Decides path by path.
    fn look(&mut self) {
        let [root, far] = self.given.differences;
        let paths: BTreeSet<&ObjectPath> = root.keys().chain(far.keys()).collect();
        for path in paths {
            let agreed = (self.given.agreed)(path);
            let now = [root, far].map(|side| match side.get(path) {
                None => Some(agreed.clone()),
                Some(Seen::Nothing) => Some(None),
                Some(Seen::Is(item)) => Some(Some(item.clone())),
                Some(Seen::Unknown) => None,
            });
            let is_unknown = now.iter().any(Option::is_none) || self.is_below_unknown(path);
            let place = Place {
                agreed,
                now: now.map(Option::flatten),
                target: Target::Held,
            };
            self.places.insert(path.clone(), place);
            if !is_unknown {
                self.decide(path);
            }
        }
    }

    fn is_below_unknown(&self, path: &ObjectPath) -> bool {
        above(path).any(|above| {
            let sides = self.given.differences;
            sides
                .iter()
                .any(|side| side.get(&above) == Some(&Seen::Unknown))
        })
    }

    fn decide(&mut self, path: &ObjectPath) {
        let place = &self.places[path];
        let [root, far] = &place.now;
        let (agreed, direction) = (&place.agreed, self.given.direction);
        if root == far {
            return self.aim(path, root.clone());
        }
        for side in Side::BOTH {
            let is_changed_here = &place.now[side.index()] != agreed;
            let is_changed_there = &place.now[side.other().index()] != agreed;
            if is_changed_here && !is_changed_there {
                let to = place.now[side.index()].clone();
                return self.take(path, side, to);
            }
        }
        match (root.clone(), far.clone()) {
            (None, far) => self.take(path, Side::Far, far),
            (root, None) => self.take(path, Side::Root, root),
            (Some(root), Some(far)) if root.has_bytes_of(&far) => {
                let merged = match direction {
                    Direction::Push => root,
                    Direction::Pull => far,
                    Direction::Both => merged(agreed.as_ref(), root, far),
                };
                self.aim(path, Some(merged));
            }
            (Some(root), Some(far)) => self.conflict(path, root, far),
        }
    }

    fn aim(&mut self, path: &ObjectPath, to: Option<Item>) {
        if let Some(place) = self.places.get_mut(path) {
            place.target = Target::To(to);
        }
    }

    /// The other side gets what this one has, if it may be changed.
    fn take(&mut self, path: &ObjectPath, side: Side, to: Option<Item>) {
        if self.given.direction.changes(side.other()) {
            self.aim(path, to);
        }
    }

    fn conflict(&mut self, path: &ObjectPath, root: Item, far: Item) {
        self.plan.conflicts.push(path.clone());
        let items = [root, far];
        let direction = self.given.direction;
        let kept = match self.given.rule {
            // A directory keeps its name: what is in it need not move.
            _ if items[0].is_directory() => Side::Root,
            _ if items[1].is_directory() => Side::Far,
            ConflictRule::Both => direction.source(),
            ConflictRule::Ours => Side::Root,
            ConflictRule::Theirs => Side::Far,
        };
        if !direction.changes(kept.other()) {
            return;
        }
        let is_lost =
            self.given.rule != ConflictRule::Both && !items.iter().any(Item::is_directory);
        if is_lost || self.set_aside(path, kept.other()) {
            self.aim(path, Some(items[kept.index()].clone()));
        }
    }

    /// Moves what a side has at a path to a conflict name. Returns false if it has to stay.
    fn set_aside(&mut self, path: &ObjectPath, side: Side) -> bool {
        let direction = self.given.direction;
        let item = self.places[path].now[side.index()].clone();
        let item = item.filter(|item| !item.is_directory() && direction.changes(side));
        let (Some(item), Some(copy)) = (item, (self.given.conflict_name)(path)) else {
            return false;
        };
        if let Some(place) = self.places.get_mut(path) {
            place.now[side.index()] = None;
        }
        let mut now = [None, None];
        now[side.index()] = Some(item.clone());
        let is_sent = direction.changes(side.other());
        let target = match is_sent {
            true => Target::To(Some(item.clone())),
            false => Target::Held,
        };
        let agreed = None;
        let place = Place {
            agreed,
            now,
            target,
        };
        self.places.insert(copy.clone(), place);
        let path = path.clone();
        self.plan.aside[side.index()].push(Aside { path, copy, item });
        true
    }

    /// What stays or comes needs its directories.
    fn keep_directories(&mut self) {
        let paths: Vec<ObjectPath> = self.places.keys().cloned().collect();
        for path in paths {
            let Some(Target::To(Some(_))) = self.places.get(&path).map(|it| &it.target) else {
                continue;
            };
            for above in above(&path) {
                self.keep_directory(&above);
            }
        }
    }

    fn keep_directory(&mut self, path: &ObjectPath) {
        let Some(place) = self.places.get(path) else {
            return;
        };
        if matches!(&place.target, Target::To(Some(item)) if item.is_directory()) {
            return;
        }
        let [root, far] = &place.now;
        let items = [root, far, &place.agreed].map(|item| item.clone());
        let Some(directory) = items.into_iter().flatten().find(Item::is_directory) else {
            return;
        };
        if self.is_unknown(path) {
            return;
        }
        for side in Side::BOTH {
            let now = &self.places[path].now[side.index()];
            let is_other = now.as_ref().is_some_and(|item| !item.is_directory());
            if is_other {
                self.plan.conflicts.push(path.clone());
                if !self.set_aside(path, side) {
                    return;
                }
            }
        }
        self.aim(path, Some(directory));
    }

    fn is_unknown(&self, path: &ObjectPath) -> bool {
        let sides = self.given.differences;
        let mut sides = sides.iter();
        sides.any(|side| side.get(path) == Some(&Seen::Unknown)) || self.is_below_unknown(path)
    }

    /// Above what is held nothing is removed, and nothing comes below a directory that is held and not there.
    fn hold(&mut self) {
        loop {
            let mut more = BTreeSet::new();
            for (path, place) in &self.places {
                let is_held = place.target == Target::Held;
                for above in above(path) {
                    let Some(upper) = self.places.get(&above) else {
                        continue;
                    };
                    match &upper.target {
                        Target::To(Some(item)) if item.is_directory() => {}
                        Target::To(_) if is_held => {
                            let _ = more.insert(above);
                        }
                        Target::Held if !is_held && !is_there(upper) => {
                            let _ = more.insert(path.clone());
                        }
                        Target::To(_) | Target::Held => {}
                    }
                }
            }
            if more.is_empty() {
                return;
            }
            for path in more {
                self.release(&path);
            }
        }
    }

    /// Does nothing at a path, also not what was to be moved aside there.
    fn release(&mut self, path: &ObjectPath) {
        for side in Side::BOTH {
            let asides = &mut self.plan.aside[side.index()];
            while let Some(at) = asides
                .iter()
                .position(|it| it.path == *path || it.copy == *path)
            {
                let Aside { path, copy, item } = asides.remove(at);
                self.places.remove(&copy);
                if let Some(place) = self.places.get_mut(&path) {
                    place.now[side.index()] = Some(item);
                    place.target = Target::Held;
                }
            }
        }
        if let Some(place) = self.places.get_mut(path) {
            place.target = Target::Held;
        }
    }

    fn finish(mut self) -> Plan {
        let direction = self.given.direction;
        for (path, place) in self.places {
            let Target::To(to) = place.target else {
                self.plan.held.insert(path);
                continue;
            };
            let differs = |side: Side| place.now[side.index()] != to;
            let mut sides = Side::BOTH.into_iter();
            if sides.any(|side| differs(side) && !direction.changes(side)) {
                self.plan.held.insert(path);
                continue;
            }
            if !Side::BOTH.into_iter().any(differs) {
                self.plan.agreed.insert(path, to);
                continue;
            }
            for side in Side::BOTH.into_iter().filter(|side| differs(*side)) {
                let from = place.now[side.index()].clone();
                let change = Change {
                    from,
                    to: to.clone(),
                };
                self.plan.changes[side.index()].insert(path.clone(), change);
            }
        }
        self.plan.conflicts.sort();
        self.plan.conflicts.dedup();
        self.plan
    }
}

/// Returns true if both sides have a directory at a place.
fn is_there(place: &Place) -> bool {
    let is_directory = |item: &Option<Item>| item.as_ref().is_some_and(Item::is_directory);
    place.now.iter().all(is_directory)
}

/// Returns what both sides get that have the same bytes: of mode and time what one side changed, and the far side's
/// where both did.
fn merged(agreed: Option<&Item>, root: Item, far: Item) -> Item {
    let agreed = agreed.cloned();
    match (root, far) {
        (Item::Directory { mode: root }, Item::Directory { mode: far }) => {
            let before = match agreed {
                Some(Item::Directory { mode }) => Some(mode),
                _ => None,
            };
            let mode = if before == Some(far) { root } else { far };
            Item::Directory { mode }
        }
        (Item::File(root), Item::File(far)) => {
            let before = agreed.as_ref().and_then(Item::file);
            let is_old_mode = before.is_some_and(|it| it.mode == far.mode);
            let is_old_time = before.is_some_and(|it| it.mtime == far.mtime);
            let mut file = far;
            if is_old_mode {
                file.mode = root.mode;
            }
            if is_old_time {
                file.mtime = root.mtime;
            }
            Item::File(file)
        }
        (_, far) => far,
    }
}
