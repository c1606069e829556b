//! The versions of a project in memory, held whole.

use std::collections::{BTreeSet, HashMap, HashSet};

use lfsfs_types::limits::CHUNK_LEN_DEFAULT;
use lfsfs_types::{
    ClusterId, DirId, Kind, Name, ObjectPath, Origin, ProjectId, ProjectName, Record, Timestamp,
    VersionCounts, VersionId, VersionNumber, VersionRecord, VersionRef,
};

use super::{MemoryTree, plain};
use crate::{
    ChangedName, DirectoryListing, DirectoryPlace, Project, RemoteError, Snapshot, TreeParams,
    VersionRange,
};

/// A project and all its versions.
#[derive(Debug)]
pub(super) struct MemoryProject {
    pub(super) id: ProjectId,
    name: ProjectName,
    seed: u8,
    /// By their numbers; version 0 is empty.
    pub(super) versions: Vec<MemoryVersion>,
    pub(super) next_dir: u64,
}

/// One version.
#[derive(Debug, Clone)]
pub(super) struct MemoryVersion {
    pub(super) record: VersionRecord,
    pub(super) root: Record,
    pub(super) listings: HashMap<DirId, DirectoryListing>,
    /// Where every directory but the root is.
    pub(super) places: HashMap<DirId, (DirId, Name)>,
}

impl MemoryProject {
    /// Returns a project with nothing but its empty version 0.
    pub(super) fn new(name: &str, seed: u8) -> Self {
        let mut project = Self {
            id: ProjectId([seed; 16]),
            name: ProjectName::new(name).expect("a name of a project"),
            seed,
            versions: Vec::new(),
            next_dir: DirId::ROOT.0 + 1,
        };
        project.publish(&MemoryTree::new());
        project
    }

    /// Returns the names that any version between two changed, as a server does: what came and went, or
    /// was changed back, is among them.
    pub(super) fn changed_names(
        &self,
        VersionRange { from, to }: VersionRange,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        let (old, new) = (self.version(from)?, self.version(to)?);
        let between = from.0.min(to.0)..from.0.max(to.0);
        let mut names = BTreeSet::new();
        for number in between {
            let version = self.version(VersionNumber(number))?;
            names.extend(version.differing(self.version(VersionNumber(number + 1))?));
        }
        let changed = names.into_iter().map(|(dir, name)| ChangedName {
            dir,
            old: old.path(dir, name.as_ref()),
            new: new.path(dir, name.as_ref()),
            name,
        });
        Ok(changed.collect())
    }

    /// Returns listings as a server does.
    pub(super) fn tree(
        &self,
        params: &TreeParams,
    ) -> Result<Vec<(DirId, DirectoryListing)>, RemoteError> {
        let version = self.version(params.version)?;
        let mut dirs = version.below(params.top)?;
        match params.since {
            Some((since, _)) => {
                let before = self.version(since)?;
                let known = |dir: &DirId| Some(before.listings.get(dir)?.listing_version);
                dirs.retain(|dir| known(dir) != Some(version.listings[dir].listing_version));
                dirs.sort_unstable();
                dirs.retain(|dir| params.after.is_none_or(|after| *dir > after));
            }
            None => {
                if let Some(after) = params.after {
                    let at = dirs.iter().position(|dir| *dir == after);
                    let wrong = || RemoteError::Invalid(format!("after is wrong: {after}"));
                    dirs.drain(..=at.ok_or_else(wrong)?);
                }
            }
        }
        let listings = dirs.into_iter();
        Ok(listings
            .map(|dir| (dir, version.listings[&dir].clone()))
            .collect())
    }

    /// Makes a tree the next version.
    pub(super) fn publish(&mut self, tree: &MemoryTree) -> Snapshot {
        let number = VersionNumber(self.versions.len() as u64);
        let record = record(number, version_id(self.seed, number), tree);
        let mut version = MemoryVersion::empty(record, tree);
        self.fill(&mut version, tree);
        if let Some(before) = self.versions.last() {
            version.keep_listing_versions(before);
        }
        self.versions.push(version);
        self.snapshot(self.head())
    }

    fn fill(&mut self, version: &mut MemoryVersion, tree: &MemoryTree) {
        let before = self.versions.last();
        let moved: HashMap<_, _> = tree
            .moved
            .iter()
            .filter_map(|(to, from)| Some((to, before?.directory_at(from)?)))
            .collect();
        let taken: HashSet<_> = moved.values().copied().collect();
        let mut ids = HashMap::from([(&b""[..], DirId::ROOT)]);
        for (path, record) in tree.entries.iter().filter(|(path, _)| !path.is_empty()) {
            let slash = path.iter().rposition(|byte| *byte == b'/');
            let parent = ids[&path[..slash.unwrap_or(0)]];
            let name = Name::new(&path[slash.map_or(0, |at| at + 1)..]).expect("a name");
            let mut record = record.clone();
            if let Kind::Directory { dir } = &mut record.kind {
                let same = before.and_then(|before| before.child(parent, &name));
                let same = same.filter(|dir| !taken.contains(dir));
                *dir = moved.get(path).copied().or(same).unwrap_or_else(|| {
                    let fresh = DirId(self.next_dir);
                    self.next_dir += 1;
                    fresh
                });
                ids.insert(path, *dir);
                version.add_directory(*dir, (parent, name.clone()));
            }
            let listing = version.listings.get_mut(&parent);
            let listing = listing.expect("parents come first");
            listing.entries.push((name, record));
        }
        for listing in version.listings.values_mut() {
            listing.entries.sort_by(|a, b| a.0.cmp(&b.0));
        }
    }

    /// Returns the version that a user names; there are no tags.
    pub(super) fn resolve(&self, version: &VersionRef) -> Result<Snapshot, RemoteError> {
        match version {
            VersionRef::Latest => Ok(self.snapshot(self.head())),
            VersionRef::Number(number) => self.version(*number).map(|found| self.snapshot(found)),
            VersionRef::Tag(tag) => Err(RemoteError::NotFound(format!("there is no tag {tag}"))),
        }
    }

    /// Returns a version as a mount shows it.
    pub(super) fn snapshot_of(&self, number: VersionNumber) -> Result<Snapshot, RemoteError> {
        Ok(self.snapshot(self.version(number)?))
    }

    /// Returns the version that has a random id.
    pub(super) fn version_of_id(&self, id: VersionId) -> Option<VersionRecord> {
        let found = self.versions.iter().find(|version| version.record.id == id);
        found.map(|version| version.record.clone())
    }

    pub(super) fn version(&self, number: VersionNumber) -> Result<&MemoryVersion, RemoteError> {
        let index = usize::try_from(number.0).unwrap_or(usize::MAX);
        let found = self.versions.get(index);
        found.ok_or_else(|| RemoteError::NotFound(format!("there is no version {number}")))
    }

    pub(super) fn head(&self) -> &MemoryVersion {
        self.versions.last().expect("there is a version 0")
    }

    fn snapshot(&self, version: &MemoryVersion) -> Snapshot {
        let head = &self.head().record;
        Snapshot {
            cluster: ClusterId([1; 16]),
            project: Project {
                id: self.id,
                name: self.name.clone(),
                head: (head.number, head.id),
                created: Timestamp::default(),
                pack_patterns: Vec::new(),
                ignore_patterns: Vec::new(),
                ignore_times: false,
                repacking: false,
                replication: 1,
                chunk_len: CHUNK_LEN_DEFAULT,
            },
            version: version.record.clone(),
            root: version.root.clone(),
            root_dir: DirId::ROOT,
        }
    }
}

impl MemoryVersion {
    fn empty(record: VersionRecord, tree: &MemoryTree) -> Self {
        let root = tree.entries.get(&b""[..]).cloned();
        let mut root = root.unwrap_or_else(|| plain(Kind::Fifo, 0o755));
        root.kind = Kind::Directory { dir: DirId::ROOT };
        let listing = DirectoryListing {
            entries: Vec::new(),
            listing_version: record.id,
        };
        Self {
            record,
            root,
            listings: HashMap::from([(DirId::ROOT, listing)]),
            places: HashMap::new(),
        }
    }

    /// Returns a directory and those below it, each before those in it.
    fn below(&self, top: DirId) -> Result<Vec<DirId>, RemoteError> {
        let mut dirs = Vec::new();
        let mut pending = vec![top];
        while let Some(dir) = pending.pop() {
            let listing = self.listings.get(&dir);
            let missing = || RemoteError::NotFound(format!("there is no directory {dir}"));
            let entries = &listing.ok_or_else(missing)?.entries;
            pending.extend(entries.iter().rev().filter_map(|(_, record)| record.dir()));
            dirs.push(dir);
        }
        Ok(dirs)
    }

    pub(super) fn add_directory(&mut self, dir: DirId, place: (DirId, Name)) {
        let empty = DirectoryListing {
            entries: Vec::new(),
            listing_version: self.record.id,
        };
        self.listings.insert(dir, empty);
        self.places.insert(dir, place);
    }

    /// A listing that is what it was is named as it was.
    pub(super) fn keep_listing_versions(&mut self, before: &Self) {
        for (dir, listing) in &mut self.listings {
            match before.listings.get(dir) {
                Some(old) if old.entries == listing.entries && before.record.number.0 > 0 => {
                    listing.listing_version = old.listing_version;
                }
                _ => {}
            }
        }
    }

    pub(super) fn entry(&self, dir: DirId, name: Option<&Name>) -> Option<&Record> {
        let Some(name) = name else {
            return Some(&self.root);
        };
        let entries = &self.listings.get(&dir)?.entries;
        let index = entries.binary_search_by(|entry| entry.0.cmp(name)).ok()?;
        Some(&entries[index].1)
    }

    /// Returns the directory that has a name.
    fn child(&self, dir: DirId, name: &Name) -> Option<DirId> {
        self.entry(dir, Some(name))?.dir()
    }

    /// Returns the object at a path.
    pub(super) fn lookup(&self, path: &ObjectPath) -> Option<Record> {
        let Some((above, name)) = path.split_last() else {
            return Some(self.root.clone());
        };
        let dir = self.directory_at(above.as_bytes())?;
        self.entry(dir, Some(&name)).cloned()
    }

    fn directory_at(&self, path: &[u8]) -> Option<DirId> {
        let path = ObjectPath::new(path).expect("a path");
        path.names()
            .try_fold(DirId::ROOT, |dir, name| self.child(dir, &name))
    }

    /// Returns the names whose entries another version has differently.
    pub(super) fn differing(&self, other: &Self) -> BTreeSet<(DirId, Option<Name>)> {
        let names = |version: &Self| -> Vec<_> {
            let listings = version.listings.iter();
            let names = listings.flat_map(|(dir, listing)| {
                let names = listing.entries.iter();
                names.map(|(name, _)| (*dir, Some(name.clone())))
            });
            names.collect()
        };
        let mut all = BTreeSet::from([(DirId::ABOVE_ROOT, None)]);
        all.extend(names(self));
        all.extend(names(other));
        all.retain(|(dir, name)| {
            self.entry(*dir, name.as_ref()) != other.entry(*dir, name.as_ref())
        });
        all
    }

    /// Returns the path of a name that the version has.
    pub(super) fn path(&self, dir: DirId, name: Option<&Name>) -> Option<ObjectPath> {
        self.entry(dir, name)?;
        let Some(name) = name else {
            return Some(ObjectPath::ROOT);
        };
        let above = self.places_of(&[dir]);
        let names = above.iter().map(|(_, _, name)| name).chain([name]);
        let mut path = ObjectPath::ROOT;
        for name in names {
            path = path.join(name).expect("a path");
        }
        Some(path)
    }

    /// Returns where directories and those above them are, the upper ones first.
    pub(super) fn places_of(&self, dirs: &[DirId]) -> Vec<DirectoryPlace> {
        let mut told = HashSet::new();
        let mut places = Vec::new();
        for dir in dirs {
            let mut chain = Vec::new();
            let mut dir = *dir;
            while let Some((parent, name)) = self.places.get(&dir).filter(|_| told.insert(dir)) {
                chain.push((dir, *parent, name.clone()));
                dir = *parent;
            }
            places.extend(chain.into_iter().rev());
        }
        places
    }
}

/// The id of version 1 is the seed alone; further ones end in their number.
fn version_id(seed: u8, number: VersionNumber) -> VersionId {
    let mut id = [seed; 16];
    match number.0 {
        0 => return VersionId::ZERO,
        1 => {}
        number => id[8..].copy_from_slice(&number.to_be_bytes()),
    }
    VersionId(id)
}

fn record(number: VersionNumber, id: VersionId, tree: &MemoryTree) -> VersionRecord {
    let parent = VersionNumber(number.0.saturating_sub(1));
    VersionRecord {
        number,
        id,
        parent,
        base: parent,
        origin: Origin::Import,
        time: Timestamp::default(),
        author: "tester".to_owned(),
        message: String::new(),
        counts: VersionCounts {
            objects: tree.entries.len() as u64,
            bytes: tree
                .entries
                .values()
                .fold(0, |sum: u64, record| sum.saturating_add(record.size())),
            path_len: longest(tree),
            ..VersionCounts::default()
        },
    }
}

fn longest(tree: &MemoryTree) -> Option<u32> {
    let lens = tree.entries.keys().map(Vec::len);
    lens.max().and_then(|len| u32::try_from(len).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(changed: &[ChangedName]) -> Vec<(Option<String>, Option<String>)> {
        let text = |path: &Option<ObjectPath>| path.as_ref().map(|path| format!("{path:?}"));
        let pair = |name: &ChangedName| (text(&name.old), text(&name.new));
        changed.iter().map(pair).collect()
    }

    #[test]
    fn versions_keep_what_they_were_and_directories_their_ids() {
        let mut tree = MemoryTree::new();
        tree.directory("a")
            .directory("a/below")
            .file("a/file", b"1");
        tree.directory("b");
        let mut project = MemoryProject::new("app", 3);
        assert_eq!(project.publish(&tree).version.id, VersionId([3; 16]));
        tree.rename("a", "b/a")
            .file("b/a/file", b"22")
            .directory("a");
        let second = project.publish(&tree);
        assert_eq!(second.version.number, VersionNumber(2));
        let [_, one, two] = &project.versions[..] else {
            panic!("three versions");
        };
        let moved = one.directory_at(b"a").unwrap();
        assert_eq!(two.directory_at(b"b/a"), Some(moved));
        assert_eq!(two.directory_at(b"b/a/below"), one.directory_at(b"a/below"));
        assert!(!one.listings.contains_key(&two.directory_at(b"a").unwrap()));
        let below = one.directory_at(b"a/below").unwrap();
        let listing_version = |version: &MemoryVersion, dir| version.listings[&dir].listing_version;
        assert_eq!(listing_version(one, below), listing_version(two, below));
        assert_ne!(listing_version(one, moved), listing_version(two, moved));
        let some = |path: &str| Some(format!("{:?}", ObjectPath::new(path.as_bytes()).unwrap()));
        let expected = [
            (some("a"), some("a")),
            (some("a/file"), some("b/a/file")),
            (None, some("b/a")),
        ];
        let changed = |from, to| {
            let (from, to) = (VersionNumber(from), VersionNumber(to));
            let changed = project.changed_names(VersionRange { from, to });
            names(&changed.unwrap())
        };
        assert_eq!(changed(1, 2), expected);
        let back = expected.map(|(old, new)| (new, old));
        assert_eq!(changed(2, 1), back);
    }
}
