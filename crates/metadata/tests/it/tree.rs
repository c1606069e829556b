//! Whole trees as plain maps: what a version must be, and how two of them differ.
//!
//! Nothing here knows a row. A tree maps each directory to its entries; a commit is made by changing
//! a copy as a mounted file system would, and the changes are what differs afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lfsfs_metadata::{Change, DiffLine, Metadata, Project};
use lfsfs_types::{
    DirId, Kind, LinkId, Name, ObjectPath, Record, Timestamp, VersionNumber, XattrValue,
};

use crate::support::{CONTENTS, Random, directory, file, made, record};

#[path = "tree/edges.rs"]
mod edges;
#[path = "tree/told.rs"]
mod told;

pub(crate) use self::edges::{in_memory_at_the_edges, many_xattrs};

pub(crate) type Line = (DiffLine, ObjectPath, Option<ObjectPath>);

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) root: Record,
    pub(crate) dirs: BTreeMap<DirId, BTreeMap<Name, Record>>,
}

/// One line for each name: trees of long names are to be read by people when a history fails.
impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{{\n  root {}", Brief(&self.root))?;
        for (dir, entries) in &self.dirs {
            writeln!(f, "  {dir}: {} entries", entries.len())?;
            for (name, record) in entries {
                writeln!(f, "    {} {}", brief(name.as_bytes()), Brief(record))?;
            }
        }
        f.write_str("}")
    }
}

/// A record on one line.
struct Brief<'r>(&'r Record);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0;
        match &record.kind {
            Kind::File { size, content } => write!(f, "file {size} {content:?}")?,
            Kind::Directory { dir } => write!(f, "-> {dir}")?,
            Kind::Symlink { target } => write!(f, "symlink {}", brief(target))?,
            kind => write!(f, "{kind:?}")?,
        }
        let times = [record.mtime, record.ctime].map(|time| (time.secs, time.nanos));
        let owner = (record.uid, record.gid);
        write!(f, " {:o} {owner:?} {times:?}", record.mode)?;
        if let Some(link) = record.link {
            write!(f, " link {} of {}", link.id, link.nlink)?;
        }
        for xattr in record.xattrs.iter().take(10) {
            let value = match &xattr.value {
                XattrValue::Inline(bytes) => brief(bytes),
                XattrValue::Content { content, .. } => format!("{content:?}"),
            };
            write!(f, " {}={value}", brief(xattr.name.as_bytes()))?;
        }
        match record.xattrs.len() {
            0..=10 => Ok(()),
            more => write!(f, " ...{more}"),
        }
    }
}

/// Returns bytes as text, long ones by their beginning and their length.
fn brief(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=40 => format!("\"{}\"", bytes.escape_ascii()),
        len => format!("\"{}\"...{len}", bytes[..12].escape_ascii()),
    }
}

impl Tree {
    pub(crate) fn empty() -> Self {
        let mut root = directory(DirId::ROOT);
        root.mode = 0o755;
        root.mtime = Timestamp::default();
        root.ctime = Timestamp::default();
        Self {
            root,
            dirs: BTreeMap::from([(DirId::ROOT, BTreeMap::new())]),
        }
    }

    /// Reads a version by listing every directory, some entries at a time.
    pub(crate) fn read(
        metadata: &Metadata,
        project: &Project,
        version: VersionNumber,
        page: usize,
    ) -> Self {
        let root = metadata
            .state(project.id, version, DirId::ABOVE_ROOT, None)
            .unwrap()
            .unwrap();
        let mut dirs = BTreeMap::new();
        let mut found = vec![DirId::ROOT];
        while let Some(dir) = found.pop() {
            let mut entries = BTreeMap::new();
            let mut after = None;
            loop {
                let listing = metadata
                    .list(project.id, version, dir, after.as_ref(), page)
                    .unwrap();
                assert!(listing.entries.len() <= page);
                assert!(listing.entries.is_sorted_by(|a, b| a.0 < b.0));
                assert!(
                    listing.entries.first().map(|entry| &entry.0) > after.as_ref()
                        || listing.entries.is_empty()
                );
                after = listing.entries.last().map(|(name, _)| name.clone());
                entries.extend(listing.entries);
                if !listing.more {
                    break;
                }
            }
            found.extend(entries.values().filter_map(Record::dir));
            assert!(dirs.insert(dir, entries).is_none(), "{dir} has two places");
        }
        let tree = Self { root, dirs };
        tree.assert_told(metadata, project, version);
        tree
    }

    /// Returns the path of every directory.
    pub(crate) fn paths(&self) -> BTreeMap<DirId, ObjectPath> {
        let mut paths = BTreeMap::from([(DirId::ROOT, ObjectPath::ROOT)]);
        let mut found = vec![DirId::ROOT];
        while let Some(dir) = found.pop() {
            for (name, record) in &self.dirs[&dir] {
                if let Some(below) = record.dir() {
                    paths.insert(below, paths[&dir].join(name).unwrap());
                    found.push(below);
                }
            }
        }
        paths
    }

    /// Returns the length of the longest path, also of one that is too long for an [`ObjectPath`].
    pub(crate) fn path_len_max(&self) -> usize {
        let mut longest = 0;
        let mut found = vec![(DirId::ROOT, 0)];
        while let Some((dir, above)) = found.pop() {
            for (name, record) in &self.dirs[&dir] {
                let len = join_len(above, name.as_bytes().len());
                longest = longest.max(len);
                found.extend(record.dir().map(|below| (below, len)));
            }
        }
        longest
    }

    /// Returns the length of the path of a directory.
    fn path_len(&self, dir: DirId) -> usize {
        self.paths()[&dir].as_bytes().len()
    }

    /// Returns where every directory but the root is.
    pub(crate) fn places(&self) -> BTreeMap<DirId, (DirId, Name)> {
        let mut places = BTreeMap::new();
        for (dir, entries) in &self.dirs {
            for (name, record) in entries {
                if let Some(below) = record.dir() {
                    places.insert(below, (*dir, name.clone()));
                }
            }
        }
        places
    }

    /// Returns the path and the record of every name, the root included.
    pub(crate) fn names(&self) -> BTreeMap<(DirId, Option<Name>), (ObjectPath, Record)> {
        let paths = self.paths();
        let root = (ObjectPath::ROOT, self.root.clone());
        let mut names = BTreeMap::from([((DirId::ABOVE_ROOT, None), root)]);
        for (dir, name, record) in self.entries() {
            let path = paths[&dir].join(&name).unwrap();
            names.insert((dir, Some(name)), (path, record));
        }
        names
    }

    fn entries(&self) -> Vec<(DirId, Name, Record)> {
        let all = self.dirs.iter().flat_map(|(dir, entries)| {
            entries
                .iter()
                .map(|(name, record)| (*dir, name.clone(), record.clone()))
        });
        all.collect()
    }

    pub(crate) fn remove(&mut self, dir: DirId, name: &Name) {
        let Some(record) = self.dirs.get_mut(&dir).unwrap().remove(name) else {
            return;
        };
        if let Some(below) = record.dir() {
            let names: Vec<_> = self.dirs[&below].keys().cloned().collect();
            for name in names {
                self.remove(below, &name);
            }
            self.dirs.remove(&below);
        }
        if let Some(link) = record.link {
            self.for_link(link.id, |other| {
                other.link.as_mut().unwrap().nlink -= 1;
            });
        }
    }

    fn for_link(&mut self, link: LinkId, change: impl Fn(&mut Record)) {
        for record in self.dirs.values_mut().flat_map(BTreeMap::values_mut) {
            if record.link.is_some_and(|found| found.id == link) {
                change(record);
            }
        }
    }

    pub(crate) fn put(&mut self, dir: DirId, name: Name, record: Record) {
        self.remove(dir, &name);
        if let Some(below) = record.dir() {
            self.dirs.entry(below).or_default();
        }
        self.dirs.get_mut(&dir).unwrap().insert(name, record);
    }

    fn is_below(&self, dir: DirId, above: DirId) -> bool {
        let places = self.places();
        let mut at = dir;
        loop {
            if at == above {
                return true;
            }
            let Some((parent, _)) = places.get(&at) else {
                return false;
            };
            at = *parent;
        }
    }
}

/// Returns the length of a path of a directory's path and a name.
fn join_len(above: usize, name: usize) -> usize {
    above + usize::from(above > 0) + name
}

/// A working copy that random operations change.
pub(crate) struct Work<'r> {
    pub(crate) tree: Tree,
    pub(crate) random: &'r mut Random,
    /// Whether operations go to the edges of what a version can hold.
    pub(crate) edges: bool,
    /// What the last operation made that was taken back, because a path got too long.
    pub(crate) too_long: Option<Tree>,
    next_dir: u64,
    next_link: u64,
}

impl<'r> Work<'r> {
    pub(crate) fn on(base: &Tree, random: &'r mut Random) -> Self {
        Self {
            tree: base.clone(),
            random,
            edges: false,
            too_long: None,
            next_dir: 0,
            next_link: 0,
        }
    }

    fn fresh_dir(&mut self) -> DirId {
        self.next_dir += 1;
        made(self.next_dir * 3)
    }

    fn name(&mut self) -> Name {
        if self.edges
            && let Some(name) = self.name_at_an_edge()
        {
            return name;
        }
        let names = ["a", "b", "c", "d", "\u{ff}e", "f.txt", "g"];
        Name::new(names[self.random.below(names.len())].as_bytes()).unwrap()
    }

    fn leaf(&mut self) -> Record {
        if self.edges && self.random.chance(40) {
            return self.leaf_at_an_edge();
        }
        let kind = match self.random.below(6) {
            0 => Kind::Symlink {
                target: Box::from(&b"over/there"[..]),
            },
            1 => Kind::Fifo,
            _ => return file(self.random.below(usize::from(CONTENTS)) as u8 + 1),
        };
        record(kind)
    }

    fn time(&mut self) -> Timestamp {
        if self.edges && self.random.chance(70) {
            return self.time_at_an_edge();
        }
        Timestamp {
            secs: self.random.below(4) as i64,
            nanos: 5,
        }
    }

    fn some_dir(&mut self) -> DirId {
        let dirs: Vec<_> = self.tree.dirs.keys().copied().collect();
        self.random.pick(&dirs).unwrap()
    }

    fn some_entry(&mut self, wanted: fn(&Record) -> bool) -> Option<(DirId, Name, Record)> {
        let mut entries = self.tree.entries();
        entries.retain(|(_, _, record)| wanted(record));
        self.random.pick(&entries)
    }

    pub(crate) fn step(&mut self) {
        if self.edges {
            self.step_at_an_edge();
        } else {
            self.step_anywhere();
        }
    }

    fn step_anywhere(&mut self) {
        match self.random.below(16) {
            0..=2 => {
                let (dir, name, record) = (self.some_dir(), self.name(), self.leaf());
                self.tree.put(dir, name, record);
            }
            3 | 4 => {
                let (dir, name, below) = (self.some_dir(), self.name(), self.fresh_dir());
                self.tree.put(dir, name, directory(below));
            }
            5 | 6 => self.edit(),
            7 | 8 => {
                if let Some((dir, name, _)) = self.some_entry(|_| true) {
                    self.tree.remove(dir, &name);
                }
            }
            9 | 10 => self.rename_directory(),
            11 => self.rename_file(),
            12 | 13 => self.link(),
            14 => self.make_again(),
            _ => self.touch_root(),
        }
    }

    fn touch_root(&mut self) {
        if self.random.chance(30) {
            self.tree.root.mode = 0o700 + self.random.below(8) as u32;
        }
        self.tree.root.mtime = self.time();
    }

    fn edit(&mut self) {
        let Some((dir, name, mut record)) = self.some_entry(|_| true) else {
            return;
        };
        if self.edges && self.random.chance(50) {
            self.edit_at_an_edge(&mut record);
            return self.set(dir, name, record);
        }
        match self.random.below(5) {
            0 => record.mode = 0o600 + self.random.below(8) as u32,
            1 => record.mtime = self.time(),
            2 => record.ctime = self.time(),
            3 => record.uid = self.random.below(2) as u32,
            _ => {
                if matches!(record.kind, Kind::File { .. }) {
                    let number = self.random.below(usize::from(CONTENTS)) as u8 + 1;
                    record.kind = file(number).kind;
                }
            }
        }
        self.set(dir, name, record);
    }

    /// Gives a name another record, and with it all names of its link.
    fn set(&mut self, dir: DirId, name: Name, record: Record) {
        if let Some(link) = record.link {
            self.tree
                .for_link(link.id, |other| other.clone_from(&record));
        }
        self.tree.dirs.get_mut(&dir).unwrap().insert(name, record);
    }

    fn rename_directory(&mut self) {
        let Some((dir, name, record)) = self.some_entry(|record| record.dir().is_some()) else {
            return;
        };
        let (to, to_name) = (self.some_dir(), self.name());
        let moved = record.dir().unwrap();
        // Neither into itself nor over what it lies in.
        let over = self.tree.dirs[&to].get(&to_name).and_then(Record::dir);
        let covers = over.is_some_and(|over| self.tree.is_below(moved, over));
        if self.tree.is_below(to, moved) || covers {
            return;
        }
        let over = self.tree.dirs[&to].contains_key(&to_name);
        if over {
            self.tree.remove(to, &to_name);
        }
        self.tree.dirs.get_mut(&dir).unwrap().remove(&name);
        self.tree.dirs.get_mut(&to).unwrap().insert(to_name, record);
    }

    fn rename_file(&mut self) {
        if let Some((dir, name, record)) = self.some_entry(|record| record.dir().is_none()) {
            self.rename_to_somewhere(dir, name, record);
        }
    }

    fn rename_to_somewhere(&mut self, dir: DirId, name: Name, record: Record) {
        let (to, to_name) = (self.some_dir(), self.name());
        let over = self.tree.dirs[&to].get(&to_name).and_then(Record::dir);
        if over.is_some_and(|over| self.tree.is_below(dir, over)) || (dir, &name) == (to, &to_name)
        {
            return;
        }
        self.tree.remove(to, &to_name);
        let record = self
            .tree
            .dirs
            .get_mut(&dir)
            .unwrap()
            .remove(&name)
            .unwrap_or(record);
        self.tree.dirs.get_mut(&to).unwrap().insert(to_name, record);
    }

    fn link(&mut self) {
        let file = |record: &Record| matches!(record.kind, Kind::File { .. });
        if let Some((dir, name, record)) = self.some_entry(file) {
            self.link_to_somewhere(dir, name, record);
        }
    }

    fn link_to_somewhere(&mut self, dir: DirId, name: Name, mut record: Record) {
        let (to, to_name) = (self.some_dir(), self.name());
        if self.tree.dirs[&to].contains_key(&to_name) {
            return;
        }
        if record.link.is_none() {
            self.next_link += 1;
            record.link = Some(lfsfs_types::Link {
                id: LinkId(LinkId::SESSION_FIRST.0 + self.next_link),
                nlink: 1,
            });
            self.tree
                .dirs
                .get_mut(&dir)
                .unwrap()
                .insert(name, record.clone());
        }
        let link = record.link.unwrap().id;
        self.tree.dirs.get_mut(&to).unwrap().insert(to_name, record);
        self.tree
            .for_link(link, |other| other.link.as_mut().unwrap().nlink += 1);
    }

    /// Removes a directory and makes it again with most of its entries, as `npm ci` does.
    fn make_again(&mut self) {
        let Some((dir, name, record)) = self.some_entry(|record| record.dir().is_some()) else {
            return;
        };
        let below = record.dir().unwrap();
        let entries = self.tree.dirs[&below].clone();
        self.tree.remove(dir, &name);
        let again = self.fresh_dir();
        let mut record = record;
        record.kind = Kind::Directory { dir: again };
        self.tree.put(dir, name, record);
        for (name, mut record) in entries {
            if record.link.is_some() || self.random.chance(20) {
                continue;
            }
            if record.dir().is_some() {
                record.kind = Kind::Directory {
                    dir: self.fresh_dir(),
                };
            }
            self.tree.put(again, name, record);
        }
    }

    /// Returns the tree with another record at one of its names, if there is one for it.
    pub(crate) fn with_one_record(
        mut self,
        other: impl Fn(Record, &mut Random) -> Option<Record>,
    ) -> Option<Tree> {
        let (dir, name, record) = self.some_entry(|_| true)?;
        let record = other(record, self.random)?;
        self.set(dir, name, record);
        Some(self.tree)
    }

    /// Returns what a mount would send.
    pub(crate) fn changes(&mut self, base: &Tree) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.tree.root != base.root {
            changes.push(Change {
                dir: DirId::ABOVE_ROOT,
                name: None,
                state: Some(self.tree.root.clone()),
            });
        }
        let nothing = BTreeMap::new();
        for (dir, entries) in &self.tree.dirs {
            let old = base.dirs.get(dir).unwrap_or(&nothing);
            let names: BTreeSet<_> = old.keys().chain(entries.keys()).collect();
            for name in names {
                let same = old.get(name) == entries.get(name);
                // Saying what is known already must be harmless.
                if !same || self.random.chance(5) {
                    changes.push(Change {
                        dir: *dir,
                        name: Some(name.clone()),
                        state: entries.get(name).cloned(),
                    });
                }
            }
        }
        self.forget_names(base, &mut changes);
        changes
    }

    /// Leaves out some names of links, as a mount does that never saw them: what is said of the
    /// other names, or of the link, is enough.
    fn forget_names(&self, base: &Tree, changes: &mut Vec<Change>) {
        // A source of its own, so that the history goes on as if nothing was left out.
        let mut random = Random(self.random.0 ^ 1);
        let stays = |change: &Change| {
            let link = change.state.as_ref()?.link?.id;
            let old = base.dirs.get(&change.dir)?.get(change.name.as_ref()?)?;
            (old.link?.id == link).then_some(link)
        };
        let links: BTreeSet<_> = changes.iter().filter_map(stays).collect();
        for link in links {
            let of_link = |change: &Change| {
                let found = change.state.as_ref().and_then(|record| record.link);
                found.is_some_and(|found| found.id == link)
            };
            let record = changes.iter().find(|change| of_link(change));
            let record = record.and_then(|change| change.state.clone()).unwrap();
            if random.chance(50) {
                changes.retain(|change| stays(change) != Some(link) || random.chance(50));
            }
            if !changes.iter().any(of_link) || random.chance(10) {
                changes.push(Change::of_all_names(record));
            }
        }
    }
}

/// Returns the lines by which two trees differ, worked out on the whole trees.
pub(crate) fn difference(a: &Tree, b: &Tree) -> BTreeSet<Line> {
    let mut difference = Difference {
        a,
        b,
        paths: (a.paths(), b.paths()),
        places: a.places(),
        lines: BTreeSet::new(),
    };
    difference.compare(Some(&a.root), Some(&b.root), ObjectPath::ROOT);
    let kept: Vec<_> = a
        .dirs
        .keys()
        .filter(|dir| b.dirs.contains_key(dir))
        .collect();
    for dir in kept {
        difference.pair(Some(*dir), Some(*dir));
    }
    difference.lines
}

/// Returns the lines by which two trees differ as plain paths.
pub(crate) fn difference_of_paths(a: &Tree, b: &Tree) -> BTreeSet<Line> {
    let by_path = |tree: &Tree| tree.names().into_values().collect::<BTreeMap<_, _>>();
    let (old, new) = (by_path(a), by_path(b));
    let paths: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let lines = paths.into_iter().filter_map(|path| {
        let line = line_of(old.get(path), new.get(path))?;
        Some((line, path.clone(), None))
    });
    lines.collect()
}

/// Returns the line of what stands for each other in two trees.
fn line_of(old: Option<&Record>, new: Option<&Record>) -> Option<DiffLine> {
    let (old, new) = match (old, new) {
        (None, None) => return None,
        (None, Some(_)) => return Some(DiffLine::Added),
        (Some(_), None) => return Some(DiffLine::Removed),
        (Some(old), Some(new)) => (old, new),
    };
    let directories = old.dir().is_some() && new.dir().is_some();
    let looks = |record: &Record| {
        let kind = (!directories).then(|| record.kind.clone());
        let owner = (record.mode, record.uid, record.gid);
        (kind, owner, record.xattrs.clone())
    };
    if looks(old) != looks(new) {
        return Some(DiffLine::Modified);
    }
    (!directories && old.mtime != new.mtime).then_some(DiffLine::Times)
}

struct Difference<'a> {
    a: &'a Tree,
    b: &'a Tree,
    paths: (BTreeMap<DirId, ObjectPath>, BTreeMap<DirId, ObjectPath>),
    places: BTreeMap<DirId, (DirId, Name)>,
    lines: BTreeSet<Line>,
}

impl Difference<'_> {
    /// Compares two directories that stand for each other, or one that stands alone.
    fn pair(&mut self, in_a: Option<DirId>, in_b: Option<DirId>) {
        let (a, b) = (self.a, self.b);
        let nothing = BTreeMap::new();
        let left = in_a.map_or(&nothing, |dir| &a.dirs[&dir]);
        let right = in_b.map_or(&nothing, |dir| &b.dirs[&dir]);
        let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
        for name in names {
            let mut old = left.get(name);
            let mut new = right.get(name);
            if old
                .and_then(Record::dir)
                .is_some_and(|dir| b.dirs.contains_key(&dir))
            {
                old = None;
            }
            let kept = new
                .and_then(Record::dir)
                .filter(|dir| a.dirs.contains_key(dir));
            if let Some(kept) = kept {
                self.renamed(kept, in_a, in_b.unwrap(), name);
                new = None;
            }
            let path = match new {
                Some(_) => self.paths.1[&in_b.unwrap()].join(name),
                None if old.is_some() => self.paths.0[&in_a.unwrap()].join(name),
                None => continue,
            };
            self.compare(old, new, path.unwrap());
            let below = (old.and_then(Record::dir), new.and_then(Record::dir));
            if below != (None, None) {
                self.pair(below.0, below.1);
            }
        }
    }

    fn renamed(&mut self, dir: DirId, in_a: Option<DirId>, in_b: DirId, name: &Name) {
        let (old_dir, old_name) = self.places[&dir].clone();
        let path = self.paths.1[&in_b].join(name).unwrap();
        if in_a != Some(old_dir) || old_name != *name {
            let old = self.paths.0[&old_dir].join(&old_name).unwrap();
            self.lines
                .insert((DiffLine::Renamed, path.clone(), Some(old)));
        }
        let (a, b) = (self.a, self.b);
        self.compare(
            a.dirs[&old_dir].get(&old_name),
            b.dirs[&in_b].get(name),
            path,
        );
    }

    fn compare(&mut self, old: Option<&Record>, new: Option<&Record>, path: ObjectPath) {
        let line = line_of(old, new);
        self.lines.extend(line.map(|line| (line, path, None)));
    }
}
