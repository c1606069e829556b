//! Versions that sessions make of a project in memory, and what differs between versions.
//!
//! Simpler than a server: a base that is not the newest version is a conflict, whatever changed.

use std::collections::{BTreeMap, HashMap};

use lfsfs_types::{
    DirId, Kind, LinkId, Name, ObjectPath, Record, Timestamp, VersionCounts, VersionNumber,
    VersionRecord,
};

use super::project::{MemoryProject, MemoryVersion};
use crate::{
    Change, DiffEntry, DirectoryListing, Published, RemoteError, Renames, SessionParams,
    VersionRange,
};

impl MemoryProject {
    /// Makes the changes of a session the next version.
    pub(super) fn commit(
        &mut self,
        params: &SessionParams,
        changes: Vec<Change>,
    ) -> Result<Published, RemoteError> {
        let head = self.head();
        if params.base != (head.record.number, head.record.id) {
            return Err(RemoteError::Conflict {
                message: "another version came first".to_owned(),
                paths: Vec::new(),
                count: 1,
            });
        }
        let head = head.clone();
        let mut draft = Draft {
            version: head.clone(),
            next_dir: self.next_dir,
            dirs: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        changes.into_iter().for_each(|change| draft.apply(change));
        draft.finish();
        if params.ignore_times {
            draft.version.keep_times_of(&head);
        }
        self.next_dir = draft.next_dir;
        let version = if draft.version.has_same_state(&head) {
            head.record.clone()
        } else {
            draft.version.record = next_record(&head.record, params, &draft.version);
            draft.version.keep_listing_versions(&head);
            let record = draft.version.record.clone();
            self.versions.push(draft.version);
            record
        };
        Ok(Published {
            version,
            rows: 0,
            rebased: false,
            dirs: draft.dirs,
            links: draft.links,
        })
    }

    /// Returns the differences between two versions.
    pub(super) fn diff(
        &self,
        VersionRange { from, to }: VersionRange,
        renames: Renames,
    ) -> Result<Vec<DiffEntry>, RemoteError> {
        let (old, new) = (self.version(from)?, self.version(to)?);
        let (old_paths, new_paths) = (old.by_path(), new.by_path());
        if renames == Renames::Expanded {
            return Ok(differences(&old_paths, &new_paths));
        }
        // With the directories carried first, what moved with them is in its place.
        let moves = moves(old, new);
        let carried = old_paths.into_iter().map(|(path, record)| {
            let inner = moves.iter().rev();
            let mut inner = inner.filter_map(|(from, to)| moved(&path, from, to));
            (inner.next().unwrap_or(path.clone()), record)
        });
        let mut entries = differences(&carried.collect(), &new_paths);
        let renamed = moves.into_iter();
        entries.extend(renamed.map(|(old, new)| DiffEntry::Renamed { old, new }));
        Ok(entries)
    }
}

/// The next version while it is made.
struct Draft {
    version: MemoryVersion,
    next_dir: u64,
    /// Real ids by those of the session.
    dirs: BTreeMap<DirId, DirId>,
    links: BTreeMap<LinkId, LinkId>,
}

impl Draft {
    fn apply(&mut self, change: Change) {
        let dir = self.real(change.dir);
        let state = change.state.map(|record| self.with_real_ids(record));
        match (change.name, state) {
            (None, Some(record)) if record.link.is_some() => self.set_link(&record),
            (None, Some(record)) => self.version.root = record,
            (None, None) => {}
            (Some(name), Some(record)) => {
                if record.link.is_some() {
                    self.set_link(&record);
                }
                if let Some(below) = record.dir() {
                    self.version.places.insert(below, (dir, name.clone()));
                }
                self.put(dir, name, Some(record));
            }
            (Some(name), None) => self.put(dir, name, None),
        }
    }

    fn put(&mut self, dir: DirId, name: Name, record: Option<Record>) {
        let empty = DirectoryListing {
            entries: Vec::new(),
            listing_version: self.version.record.id,
        };
        let entries = &mut self.version.listings.entry(dir).or_insert(empty).entries;
        entries.retain(|entry| entry.0 != name);
        if let Some(record) = record {
            let at = entries.partition_point(|entry| entry.0 < name);
            entries.insert(at, (name, record));
        }
    }

    /// All names of a hard link have one record.
    fn set_link(&mut self, record: &Record) {
        let id = record.link.map(|link| link.id);
        let listings = self.version.listings.values_mut();
        let entries = listings.flat_map(|listing| &mut listing.entries);
        entries
            .filter(|(_, known)| known.link.map(|link| link.id) == id)
            .for_each(|(_, known)| *known = record.clone());
    }

    fn with_real_ids(&mut self, mut record: Record) -> Record {
        if let Kind::Directory { dir } = &mut record.kind {
            *dir = self.real(*dir);
        }
        if let Some(link) = &mut record.link
            && link.id.is_session()
        {
            let fresh = LinkId(self.next_dir);
            let real = *self.links.entry(link.id).or_insert(fresh);
            self.next_dir += u64::from(real == fresh);
            link.id = real;
        }
        record
    }

    fn real(&mut self, dir: DirId) -> DirId {
        if !dir.is_session() {
            return dir;
        }
        let fresh = DirId(self.next_dir);
        let real = *self.dirs.entry(dir).or_insert(fresh);
        if real == fresh {
            self.next_dir += 1;
            let listing_version = self.version.record.id;
            let empty = || DirectoryListing {
                entries: Vec::new(),
                listing_version,
            };
            self.version.listings.entry(real).or_insert_with(empty);
        }
        real
    }

    /// Forgets what no directory leads to any more, and counts names of hard links.
    fn finish(&mut self) {
        let mut known = HashMap::from([(DirId::ROOT, None)]);
        let mut rest = vec![DirId::ROOT];
        while let Some(dir) = rest.pop() {
            let listing = self.version.listings.get(&dir);
            for (name, record) in listing.iter().flat_map(|listing| &listing.entries) {
                if let Some(below) = record.dir() {
                    known.insert(below, Some((dir, name.clone())));
                    rest.push(below);
                }
            }
        }
        self.version
            .listings
            .retain(|dir, _| known.contains_key(dir));
        let places = known.into_iter();
        self.version.places = places
            .filter_map(|(dir, place)| Some((dir, place?)))
            .collect();
        let mut counts: HashMap<LinkId, u32> = HashMap::new();
        let entries = |listings: &HashMap<_, DirectoryListing>| -> Vec<LinkId> {
            let entries = listings.values().flat_map(|listing| &listing.entries);
            entries
                .filter_map(|(_, record)| Some(record.link?.id))
                .collect()
        };
        for link in entries(&self.version.listings) {
            *counts.entry(link).or_default() += 1;
        }
        let listings = self.version.listings.values_mut();
        for (_, record) in listings.flat_map(|listing| &mut listing.entries) {
            if let Some(link) = &mut record.link {
                link.nlink = counts[&link.id];
            }
        }
    }
}

impl MemoryVersion {
    fn by_path(&self) -> BTreeMap<ObjectPath, Record> {
        let listings = self.listings.iter();
        let names = listings.flat_map(|(dir, listing)| {
            let entries = listing.entries.iter();
            entries.map(|(name, record)| (*dir, name, record))
        });
        let pairs = names
            .filter_map(|(dir, name, record)| Some((self.path(dir, Some(name))?, record.clone())));
        pairs.collect()
    }

    /// Gives what differs from the version before in its times alone those that it has there.
    fn keep_times_of(&mut self, before: &Self) {
        for (dir, listing) in &mut self.listings {
            let known = before.listings.get(dir).map(|listing| &listing.entries);
            for (name, record) in &mut listing.entries {
                let mut found = known.into_iter().flatten();
                let found = found.find(|entry| entry.0 == *name).map(|entry| &entry.1);
                let is_file = record.dir().is_none();
                if let Some(found) =
                    found.filter(|it| is_file && it.link == record.link && it.same_state(record))
                {
                    record.clone_from(found);
                }
            }
        }
    }

    /// Times of directories alone make no version.
    fn has_same_state(&self, other: &Self) -> bool {
        let plain = |version: &Self| {
            let mut records = version.by_path();
            records.insert(ObjectPath::ROOT, version.root.clone());
            for record in records.values_mut() {
                record.ctime = Timestamp::default();
                if record.dir().is_some() {
                    record.mtime = Timestamp::default();
                }
            }
            records
        };
        plain(self) == plain(other)
    }
}

fn next_record(
    head: &VersionRecord,
    params: &SessionParams,
    version: &MemoryVersion,
) -> VersionRecord {
    let paths = version.by_path();
    let longest = paths.keys().map(|path| path.as_bytes().len()).max();
    VersionRecord {
        number: VersionNumber(head.number.0 + 1),
        id: params.version,
        parent: head.number,
        base: head.number,
        origin: params.origin,
        time: Timestamp::default(),
        author: params.author.clone(),
        message: params.message.clone(),
        counts: VersionCounts {
            objects: paths.len() as u64,
            bytes: paths.values().map(Record::size).sum(),
            path_len: longest.and_then(|len| u32::try_from(len).ok()),
            ..VersionCounts::default()
        },
    }
}

fn differences(
    old: &BTreeMap<ObjectPath, Record>,
    new: &BTreeMap<ObjectPath, Record>,
) -> Vec<DiffEntry> {
    let mut entries = Vec::new();
    for (path, record) in new {
        match old.get(path) {
            None => entries.push(DiffEntry::Added(path.clone())),
            Some(before) if !before.same_state(record) => {
                entries.push(DiffEntry::Modified(path.clone()));
            }
            Some(before) if before.mtime != record.mtime && record.dir().is_none() => {
                entries.push(DiffEntry::Touched(path.clone()));
            }
            Some(_) => {}
        }
    }
    let removed = old.keys().filter(|path| !new.contains_key(path));
    entries.extend(removed.cloned().map(DiffEntry::Removed));
    entries
}

/// Returns the directories that moved by themselves, the outer ones first.
fn moves(old: &MemoryVersion, new: &MemoryVersion) -> Vec<(ObjectPath, ObjectPath)> {
    let both = old.places.iter().filter_map(|(dir, place)| {
        let now = new.places.get(dir)?;
        let is_moved = now != place;
        let path =
            |version: &MemoryVersion, (dir, name): &(DirId, Name)| version.path(*dir, Some(name));
        is_moved.then(|| Some((path(old, place)?, path(new, now)?)))?
    });
    let mut moves: Vec<_> = both.collect();
    moves.sort();
    moves
}

/// Returns where a directory that moved has brought a path.
fn moved(path: &ObjectPath, from: &ObjectPath, to: &ObjectPath) -> Option<ObjectPath> {
    let rest = path.as_bytes().strip_prefix(from.as_bytes())?;
    let is_in = rest.is_empty() || rest.starts_with(b"/");
    let path = [to.as_bytes(), rest].concat();
    is_in.then(|| ObjectPath::new(&path).ok())?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::{StreamExt as _, TryStreamExt as _, stream};
    use lfsfs_types::chunk::ChunkBuilder;
    use lfsfs_types::content::small_content_id;
    use lfsfs_types::{Origin, ProjectId, Source, VersionId};

    use super::*;
    use crate::memory::{MemoryRemote, MemoryTree, plain};
    use crate::{Opened, RemoteRead as _, RemoteWrite as _, Snapshot};

    fn name(text: &str) -> Option<Name> {
        Some(Name::new(text.as_bytes()).expect("a name"))
    }

    fn put(dir: DirId, text: &str, kind: Kind) -> Change {
        Change {
            dir,
            name: name(text),
            state: Some(plain(kind, 0o644)),
        }
    }

    fn remove(dir: DirId, text: &str) -> Change {
        Change {
            dir,
            name: name(text),
            state: None,
        }
    }

    fn params(base: &Snapshot, id: u8) -> SessionParams {
        SessionParams {
            project: base.project.id,
            base: (base.version.number, base.version.id),
            version: VersionId([id; 16]),
            origin: Origin::Commit,
            author: "me".to_owned(),
            message: String::new(),
            force: false,
            ignore_times: false,
            want_ids: true,
        }
    }

    async fn latest(remote: &MemoryRemote) -> Snapshot {
        let source: Source = "app".parse().expect("a source");
        remote.resolve_source(&source).await.expect("a version")
    }

    async fn commit(
        remote: &MemoryRemote,
        params: &SessionParams,
        changes: Vec<Change>,
    ) -> Result<Published, RemoteError> {
        let Opened::Session(session) = remote.open_session(params).await? else {
            panic!("it was published before");
        };
        remote
            .commit(session, params, stream::iter(changes).boxed())
            .await
    }

    async fn differences(remote: &MemoryRemote, from: u64, renames: Renames) -> Vec<DiffEntry> {
        let project = latest(remote).await.project.id;
        let range = VersionRange {
            from: VersionNumber(from),
            to: VersionNumber(from + 1),
        };
        let entries = remote.diff(project, range, renames).await.expect("a diff");
        let mut entries: Vec<_> = entries.try_collect().await.expect("entries");
        entries.sort_by_key(|entry| format!("{entry:?}"));
        entries
    }

    fn served() -> Arc<MemoryRemote> {
        let mut tree = MemoryTree::new();
        tree.directory("dir")
            .file("dir/old", b"old")
            .file("gone", b"gone");
        let remote = MemoryRemote::new();
        remote.serve("app", 7, &tree, 1 << 20);
        remote
    }

    async fn store(remote: &MemoryRemote, project: ProjectId, bytes: &[u8]) -> Kind {
        let content = small_content_id(bytes);
        let missing = remote.find_missing(project, &[content]).await;
        assert_eq!(missing.expect("an answer"), [content]);
        let mut builder = ChunkBuilder::new(1 << 20);
        builder.add(content, bytes).expect("it fits");
        let chunk = builder.finish();
        let stored = remote.store_chunk(project, chunk.id, chunk.bytes.into());
        assert!(stored.await.expect("it is stored") > 0);
        let missing = remote.find_missing(project, &[content]).await;
        assert!(missing.expect("an answer").is_empty());
        let size = bytes.len() as u64;
        Kind::File { size, content }
    }

    #[tokio::test]
    async fn a_session_makes_a_version_once() {
        let remote = served();
        let base = latest(&remote).await;
        let file = store(&remote, base.project.id, b"new content").await;
        let session_dir = DirId::SESSION_FIRST;
        let changes = vec![
            put(DirId::ROOT, "made", Kind::Directory { dir: session_dir }),
            put(session_dir, "file", file),
            remove(DirId::ROOT, "gone"),
        ];
        let first = params(&base, 1);
        let published = commit(&remote, &first, changes).await.expect("a version");
        assert_eq!(published.version.number, VersionNumber(2));
        let made = published.dirs[&session_dir];
        let listing = remote
            .list_directory(base.project.id, VersionNumber(2), made)
            .await;
        assert_eq!(listing.expect("a listing").entries.len(), 1);
        let path = ObjectPath::new(b"made/file").expect("a path");
        let found = remote.lookup(base.project.id, VersionNumber(2), &path);
        assert_eq!(found.await.expect("a file").size(), 11);

        let again = remote.open_session(&first).await.expect("an answer");
        assert!(matches!(again, Opened::Published(version) if version == published.version));
        let late = commit(&remote, &params(&base, 2), Vec::new()).await;
        assert!(matches!(late, Err(RemoteError::Conflict { .. })));
        let same = commit(&remote, &params(&latest(&remote).await, 3), Vec::new()).await;
        assert_eq!(same.expect("the head").version.number, VersionNumber(2));
    }

    #[tokio::test]
    async fn a_directory_that_moves_is_one_difference_or_many() {
        let remote = served();
        let base = latest(&remote).await;
        let path = |text: &str| ObjectPath::new(text.as_bytes()).expect("a path");
        let dir = remote
            .lookup(base.project.id, base.version.number, &path("dir"))
            .await
            .expect("a directory");
        let moved = Change {
            dir: DirId::ROOT,
            name: name("moved"),
            state: Some(dir),
        };
        let changes = vec![remove(DirId::ROOT, "dir"), moved];
        let published = commit(&remote, &params(&base, 1), changes).await;
        assert_eq!(
            published.expect("a version").version.number,
            VersionNumber(2)
        );
        let renamed = DiffEntry::Renamed {
            old: path("dir"),
            new: path("moved"),
        };
        assert_eq!(differences(&remote, 1, Renames::Shown).await, [renamed]);
        let expanded = [
            DiffEntry::Added(path("moved")),
            DiffEntry::Added(path("moved/old")),
            DiffEntry::Removed(path("dir")),
            DiffEntry::Removed(path("dir/old")),
        ];
        assert_eq!(differences(&remote, 1, Renames::Expanded).await, expanded);
    }
}
