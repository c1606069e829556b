//! Three-way merging of whole trees: what a rebase and a forced commit must give.
//!
//! Written from the rules in docs/semantics.md, on plain maps, knowing nothing of how it is done.

use std::collections::{BTreeMap, BTreeSet};

use lfsfs_types::{DirId, Kind, LinkId, Name, ObjectPath, Record, Timestamp};

use crate::tree::Tree;

/// A name, or the root's own record.
type Key = (DirId, Option<Name>);
type Entries = BTreeMap<Key, Record>;

/// All of a record but its times.
fn state(record: &Record) -> Record {
    Record {
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
        ..record.clone()
    }
}

fn entries(tree: &Tree) -> Entries {
    let mut all = Entries::from([((DirId::ABOVE_ROOT, None), tree.root.clone())]);
    for (dir, entries) in &tree.dirs {
        for (name, record) in entries {
            all.insert((*dir, Some(name.clone())), record.clone());
        }
    }
    all
}

fn tree_of(all: Entries) -> Tree {
    let mut tree = Tree::empty();
    for ((dir, name), record) in all {
        if let Some(below) = record.dir() {
            tree.dirs.entry(below).or_default();
        }
        match name {
            Some(name) => {
                tree.dirs.entry(dir).or_default().insert(name, record);
            }
            None => tree.root = record,
        }
    }
    tree
}

/// Returns the tree with directories called by other ids.
fn rename(tree: &Tree, ids: &BTreeMap<DirId, DirId>) -> Tree {
    let real = |dir: DirId| ids.get(&dir).copied().unwrap_or(dir);
    let all = entries(tree).into_iter().map(|((dir, name), mut record)| {
        if let Some(below) = record.dir() {
            record.kind = Kind::Directory { dir: real(below) };
        }
        ((real(dir), name), record)
    });
    tree_of(all.collect())
}

/// Gives directories that were removed and made again their old ids.
pub(crate) fn with_old_ids(base: &Tree, mine: &Tree) -> Tree {
    let mut ids = BTreeMap::new();
    let mut rest = vec![(DirId::ROOT, Some(DirId::ROOT))];
    while let Some((dir, before)) = rest.pop() {
        for (name, record) in &mine.dirs[&dir] {
            let Some(below) = record.dir() else { continue };
            let old = before.and_then(|before| base.dirs[&before].get(name)?.dir());
            let again = old.filter(|old| below.is_session() && !mine.dirs.contains_key(old));
            if let Some(old) = again {
                ids.insert(below, old);
            }
            let real = again.unwrap_or(below);
            rest.push((below, base.dirs.contains_key(&real).then_some(real)));
        }
    }
    rename(mine, &ids)
}

/// Finds directories that are new on both sides at one place and look alike.
fn unite(base: &Tree, mine: &Tree, theirs: &Tree) -> Tree {
    let mut mine = mine.clone();
    loop {
        let mut found = BTreeMap::new();
        for ((dir, name), record) in entries(&mine) {
            let other = name.and_then(|name| theirs.dirs.get(&dir)?.get(&name).cloned());
            let (Some(my_dir), Some(other)) = (record.dir(), other) else {
                continue;
            };
            let Some(their_dir) = other.dir() else {
                continue;
            };
            let new = |dir: DirId| !base.dirs.contains_key(&dir);
            let looks = |record: &Record| {
                let Record {
                    mode,
                    uid,
                    gid,
                    xattrs,
                    ..
                } = record.clone();
                (mode, uid, gid, xattrs)
            };
            if my_dir != their_dir
                && new(my_dir)
                && new(their_dir)
                && looks(&record) == looks(&other)
            {
                found.insert(my_dir, their_dir);
            }
        }
        if found.is_empty() {
            return mine;
        }
        mine = rename(&mine, &found);
    }
}

struct Side<'t> {
    tree: &'t Tree,
    entries: Entries,
    places: BTreeMap<DirId, (DirId, Name)>,
}

impl<'t> Side<'t> {
    fn new(tree: &'t Tree) -> Self {
        Self {
            tree,
            entries: entries(tree),
            places: tree.places(),
        }
    }

    fn state(&self, key: &Key) -> Option<Record> {
        self.entries.get(key).map(state)
    }

    /// Returns a directory and all those it lies in.
    fn with_above(&self, dir: DirId) -> BTreeSet<DirId> {
        let mut found = BTreeSet::from([dir]);
        let mut at = dir;
        while let Some((above, _)) = self.places.get(&at) {
            found.insert(*above);
            at = *above;
        }
        found
    }

    /// Directories that this side moved, removed or gave another mode or owner.
    fn changed_dirs(&self, base: &Side<'_>) -> BTreeSet<DirId> {
        let owner = |side: &Side<'_>, dir: DirId| {
            let place = side.places.get(&dir).cloned();
            let key = match place.clone() {
                Some((above, name)) => (above, Some(name)),
                None => (DirId::ABOVE_ROOT, None),
            };
            let record = side.entries.get(&key).cloned();
            (
                place,
                record.map(|record| (record.mode, record.uid, record.gid)),
            )
        };
        let dirs = base.tree.dirs.keys().copied();
        dirs.filter(|dir| owner(self, *dir) != owner(base, *dir))
            .collect()
    }
}

/// Merges what two sides made of a base, by directory and name; none if that conflicts.
pub(crate) fn merge(base: &Tree, mine: &Tree, theirs: &Tree) -> Option<Tree> {
    let mine = unite(base, &with_old_ids(base, mine), theirs);
    let (base, mine, theirs) = (Side::new(base), Side::new(&mine), Side::new(theirs));
    let keys: BTreeSet<Key> = [&base, &mine, &theirs]
        .into_iter()
        .flat_map(|side| side.entries.keys().cloned())
        .collect();
    let changed = |side: &Side<'_>, key: &Key| side.state(key) != base.state(key);
    let alike = |key: &Key| mine.state(key) == theirs.state(key);
    let rest = |side: &Side<'_>, key: &Key| changed(side, key) && !alike(key);
    // (a)
    let mut conflict = keys
        .iter()
        .any(|key| rest(&mine, key) && rest(&theirs, key));
    // (b)
    conflict |= base.tree.dirs.keys().any(|dir| {
        let place = |side: &Side<'_>| side.places.get(dir).cloned();
        let (before, my_end, their_end) = (place(&base), place(&mine), place(&theirs));
        my_end != before && their_end != before && my_end != their_end
    });
    // (c)
    for (one, other) in [(&mine, &theirs), (&theirs, &mine)] {
        let moved = other.changed_dirs(&base);
        conflict |= keys.iter().filter(|key| rest(one, key)).any(|(dir, _)| {
            let mut above = one.with_above(*dir);
            if base.tree.dirs.contains_key(dir) {
                above.extend(base.with_above(*dir));
            }
            !above.is_disjoint(&moved)
        });
    }
    // (d)
    let links_at = |key: &Key, side: &Side<'_>| -> BTreeSet<LinkId> {
        let records = [base.entries.get(key), side.entries.get(key)];
        let links = records
            .into_iter()
            .flatten()
            .filter_map(|record| record.link);
        links.map(|link| link.id).collect()
    };
    let links_of = |side: &Side<'_>, wanted: &dyn Fn(&Key) -> bool| -> BTreeSet<LinkId> {
        let keys = keys.iter().filter(|key| wanted(key));
        keys.flat_map(|key| links_at(key, side)).collect()
    };
    let my_links = links_of(&mine, &|key| changed(&mine, key));
    let their_links = links_of(&theirs, &|key| changed(&theirs, key));
    let not_alike: BTreeSet<_> = links_of(&mine, &|key| rest(&mine, key))
        .union(&links_of(&theirs, &|key| rest(&theirs, key)))
        .copied()
        .collect();
    conflict |= my_links
        .intersection(&their_links)
        .any(|link| not_alike.contains(link));
    if conflict {
        return None;
    }
    let mut all = Entries::new();
    for key in &keys {
        let merged = merged_entry(key, &base, &mine, &theirs);
        all.extend(merged.map(|record| (key.clone(), record)));
    }
    unite_links(&mut all, [&base, &mine, &theirs], (&my_links, &their_links));
    Some(tree_of(all))
}

/// Gives all names of a link one record: that of the side that changed its state, or its names. Times
/// of the other side count as long as the state stayed as it was.
fn unite_links(
    all: &mut Entries,
    [base, mine, theirs]: [&Side<'_>; 3],
    (my_links, their_links): (&BTreeSet<LinkId>, &BTreeSet<LinkId>),
) {
    let record_of = |side: &Side<'_>, link: LinkId| {
        let mut records = side.entries.values();
        let found = records.find(|record| record.link.is_some_and(|found| found.id == link));
        found.cloned()
    };
    for record in all.values_mut() {
        let Some(link) = record.link.map(|link| link.id) else {
            continue;
        };
        let [Some(before), Some(my_record), Some(their_record)] =
            [base, mine, theirs].map(|side| record_of(side, link))
        else {
            continue;
        };
        let kept = match (my_links.contains(&link), their_links.contains(&link)) {
            (true, true) => continue,
            (true, false) => &my_record,
            (false, _) => &their_record,
        };
        *record = if without_link(kept) == without_link(&before) {
            with_later_times(kept, [&before, &my_record, &their_record])
        } else {
            kept.clone()
        };
    }
}

/// All of a record but its times and its link.
fn without_link(record: &Record) -> Record {
    Record {
        link: None,
        ..state(record)
    }
}

/// Returns a record with the times of the side that changed each, the later ones if both did.
fn with_later_times(record: &Record, [before, mine, theirs]: [&Record; 3]) -> Record {
    let later = |time: fn(&Record) -> Timestamp| {
        let (before, mine, theirs) = (time(before), time(mine), time(theirs));
        if mine == before {
            theirs
        } else if theirs == before {
            mine
        } else {
            mine.max(theirs)
        }
    };
    Record {
        mtime: later(|record| record.mtime),
        ctime: later(|record| record.ctime),
        ..record.clone()
    }
}

fn merged_entry(key: &Key, base: &Side<'_>, mine: &Side<'_>, theirs: &Side<'_>) -> Option<Record> {
    let (before, my_state, their_state) = (base.state(key), mine.state(key), theirs.state(key));
    let (my_record, their_record) = (mine.entries.get(key), theirs.entries.get(key));
    if my_state != before && their_state == before {
        return my_record.cloned();
    }
    if my_state != before || their_state != before {
        return their_record.cloned();
    }
    let (before, my_record, their_record) = (base.entries.get(key)?, my_record?, their_record?);
    Some(with_later_times(
        their_record,
        [before, my_record, their_record],
    ))
}

/// Returns what is at each path, none for a directory.
fn paths(tree: &Tree) -> BTreeMap<ObjectPath, Option<Record>> {
    let mut found = BTreeMap::from([(ObjectPath::ROOT, None)]);
    for (dir, path) in tree.paths() {
        for (name, record) in &tree.dirs[&dir] {
            let seen = record.dir().is_none().then(|| state(record));
            found.insert(path.join(name).unwrap(), seen);
        }
    }
    found
}

/// Checks what a forced commit made: my paths are as I made them, theirs are as they made them where
/// I did nothing.
pub(crate) fn check_forced(base: &Tree, mine: &Tree, theirs: &Tree, forced: &Tree) {
    let (my_tree, their_tree) = (&with_old_ids(base, mine), theirs);
    let dir_at = |tree: &Tree, path: &ObjectPath| {
        let dirs = tree.paths().into_iter();
        dirs.filter(|(_, at)| at == path).map(|(dir, _)| dir).next()
    };
    let same_dir = |tree: &Tree, path: &ObjectPath| dir_at(base, path) == dir_at(tree, path);
    let trees = [base, my_tree, their_tree, forced].map(paths);
    check_links(forced);
    let all: BTreeSet<_> = trees.iter().flat_map(BTreeMap::keys).cloned().collect();
    for path in &all {
        let [before, mine, theirs, found] = trees.each_ref().map(|tree| tree.get(path));
        // Links are given up where the other side changed them.
        let unlinked = |record: Option<&Option<Record>>| {
            record.map(|record| {
                record.clone().map(|record| Record {
                    link: None,
                    ..record
                })
            })
        };
        let found = unlinked(found);
        // How many other names there are is no change of this one.
        let link = |record: Option<&Option<Record>>| record?.as_ref()?.link.map(|link| link.id);
        let same = link(mine).is_some() && link(mine) == link(before);
        let mine = if same && unlinked(mine) == unlinked(before) {
            before
        } else {
            mine
        };
        let above = above(path);
        let in_file = above
            .iter()
            .any(|above| trees[1].get(above).is_some_and(Option::is_some));
        let parent = above.last().unwrap();
        let parent_stays = trees[1].get(parent) == Some(&None);
        let what = format!("{path:?}: {before:?}, mine {mine:?}, theirs {theirs:?}");
        if let Some(Some(_)) = mine.filter(|_| mine != before) {
            assert_eq!(found, unlinked(mine), "{what}: mine is lost");
        } else if mine == Some(&None) {
            // A directory of mine that I did not change may be removed or replaced by them.
        } else if mine != before
            && theirs == before
            && before.is_some_and(Option::is_some)
            // In a directory that they put in the place of the old one, it is theirs, equal or not.
            && same_dir(their_tree, parent)
        {
            assert_eq!(found, None, "{what}: what I removed is there");
        } else if mine != before && theirs.is_some_and(Option::is_some) {
            // What both did to a link alike is no change of theirs.
            if !in_file && !parent_stays && unlinked(theirs) != unlinked(before) {
                assert_eq!(found, unlinked(theirs), "{what}: theirs is lost below");
            }
        } else if mine == before && !in_file && theirs != Some(&None) && same_dir(my_tree, parent) {
            // A directory that both moved is where I moved it, with what they made in it.
            let moved = dir_at(their_tree, parent).filter(|dir| {
                forced.dirs.contains_key(dir) && dir_at(forced, parent) != Some(*dir)
            });
            match moved {
                None if is_moved_by_me(path, [base, my_tree, their_tree]) => {}
                None => assert_eq!(found, unlinked(theirs), "{what}: theirs is lost"),
                Some(dir) => check_entry(path, dir, [base, my_tree, their_tree, forced]),
            }
        }
    }
}

/// Checks that all names of a link are one file, which counts them.
pub(crate) fn check_links(tree: &Tree) {
    let mut names = BTreeMap::new();
    for record in tree.dirs.values().flat_map(BTreeMap::values) {
        if let Some(link) = record.link {
            names.entry(link.id).or_insert_with(Vec::new).push(record);
        }
    }
    for (link, records) in names {
        let count = records.len();
        for record in &records {
            assert_eq!(record, &records[0], "two names of {link} differ");
            let nlink = record.link.unwrap().nlink;
            assert_eq!(nlink as usize, count, "{link} is counted wrong");
        }
    }
}

/// Returns true if they have an entry at a path only because both moved a directory above it alike, and
/// I moved or removed one below that. It is then where I left it.
fn is_moved_by_me(path: &ObjectPath, [base, mine, theirs]: [&Tree; 3]) -> bool {
    let Some((parent, name)) = path.split_last() else {
        return false;
    };
    let dirs = theirs.paths();
    let Some(mut dir) = dirs
        .iter()
        .find_map(|(dir, at)| (*at == parent).then_some(*dir))
    else {
        return false;
    };
    let entry = |tree: &Tree| tree.dirs.get(&dir)?.get(&name).map(state);
    if entry(base) != entry(theirs) {
        return false;
    }
    let [old_places, my_places, their_places] = [base, mine, theirs].map(Tree::places);
    let mut is_moved = false;
    while let Some(place) = their_places.get(&dir) {
        let is_mine = my_places.get(&dir) == Some(place);
        if !is_mine && old_places.get(&dir) != Some(place) {
            return false;
        }
        is_moved |= !is_mine;
        dir = place.0;
    }
    is_moved
}

/// Checks that what I left as it was in a directory is as they made it.
fn check_entry(path: &ObjectPath, dir: DirId, trees: [&Tree; 4]) {
    let name = path.names().last().unwrap();
    let [before, mine, theirs, found] = trees.map(|tree| {
        let record = tree.dirs.get(&dir)?.get(&name)?;
        Some(Record {
            link: None,
            ..state(record)
        })
    });
    if mine == before && theirs.as_ref().is_none_or(|theirs| theirs.dir().is_none()) {
        assert_eq!(found, theirs, "{path:?}: theirs is lost in {dir}");
    }
}

/// Returns the paths above a path, the root first.
fn above(path: &ObjectPath) -> Vec<ObjectPath> {
    let mut found = vec![ObjectPath::ROOT];
    let names: Vec<_> = path.names().collect();
    for name in names.iter().take(names.len().saturating_sub(1)) {
        let next = found.last().unwrap().join(name).unwrap();
        found.push(next);
    }
    found
}
