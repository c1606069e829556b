//! A server, a mount and a kernel, and a user who works through that kernel.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_overlay::{CommitIds, OverlayOptions};
use lfsfs_remote::memory::MemoryTree;
use lfsfs_remote::{MemoryRemote, RemoteRead as _, Snapshot};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::{DirId, Kind, Link, LinkId, Record, Source, VersionId, nodeid};

use super::kernel::{Kernel, Told};
use crate::attr::{Attr, FileKind};
use crate::base::BaseVersion;
use crate::config::VfsConfig;
use crate::error::VfsError;
use crate::kernel::KernelCache;
use crate::verb_error::SwitchError;
use crate::writable::Vfs;
use crate::writable::request::{Existing, OverlayPlace, Owner, Privileges, RenameMode};
use crate::writable::switch::{PublishedCommit, SwitchReport};

pub(crate) const ROOT: u64 = nodeid::ROOT;
const OWNER: Owner = Owner { uid: 0, gid: 0 };
const CHUNK_LEN: u64 = 1 << 16;
const SEED: u8 = 9;

/// What a user sees of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) ino: u64,
    pub(crate) attr: Attr,
    /// Of a file its content, of a link its target.
    pub(crate) bytes: Vec<u8>,
}

pub(crate) type Tree = BTreeMap<String, Seen>;

/// A commit that began.
pub(crate) struct Sealing {
    pub(crate) commit: VersionId,
    /// Where the directories of the version before are now, if they moved.
    pub(crate) moved: BTreeMap<String, String>,
    pub(crate) tree: Tree,
    pub(crate) root: Attr,
}

pub(crate) struct World {
    pub(crate) remote: Arc<MemoryRemote>,
    pub(crate) dir: Arc<ThreadDir>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) snapshots: Arc<std::sync::Mutex<Vec<Snapshot>>>,
    /// Where directories were in the version, by where they are; `None` for new ones. What is not
    /// here moved with the directory above.
    pub(crate) moved: BTreeMap<String, Option<String>>,
}

impl World {
    pub(crate) async fn new(tree: &MemoryTree) -> Self {
        let remote = MemoryRemote::new();
        remote.serve("app", SEED, tree, CHUNK_LEN);
        let dir = Arc::new(ThreadDir::in_memory().unwrap());
        let clock = Arc::new(TestClock::new(WallTime::from_seconds(2_000_000_000)));
        let vfs = mount(&remote, &dir, &clock, "app").await.unwrap();
        let first = vfs.base().snapshot().clone();
        Self {
            remote,
            dir,
            clock,
            vfs: Arc::new(vfs),
            kernel: Kernel::new(),
            snapshots: Arc::new(std::sync::Mutex::new(vec![first])),
            moved: BTreeMap::new(),
        }
    }

    /// Publishes a tree as the next version.
    pub(crate) fn serve(&self, tree: &MemoryTree) -> Snapshot {
        let snapshot = self.remote.serve_next("app", tree, CHUNK_LEN);
        self.snapshots.lock().unwrap().push(snapshot.clone());
        snapshot
    }

    pub(crate) fn snapshot(&self, number: usize) -> Snapshot {
        self.snapshots.lock().unwrap()[number - 1].clone()
    }

    pub(crate) fn versions(&self) -> usize {
        self.snapshots.lock().unwrap().len()
    }

    pub(crate) async fn switch(&self, to: &Snapshot) -> Result<SwitchReport, SwitchError> {
        let exclusive = self.vfs.exclusive().await;
        let switch = exclusive.prepare_switch(to.clone()).await?;
        switch.run(&self.cache()).await
    }

    fn cache(&self) -> Arc<dyn KernelCache> {
        self.kernel.clone()
    }

    /// Ends the mount and makes it anew, with an empty kernel.
    pub(crate) async fn remount(self) -> Self {
        let number = self.vfs.base().snapshot().version.number;
        let Self {
            vfs,
            remote,
            dir,
            clock,
            snapshots,
            moved,
            ..
        } = self;
        vfs.syncfs().await.unwrap();
        drop(vfs);
        let source = format!("app@v{}", number.0);
        let vfs = mount(&remote, &dir, &clock, &source).await.unwrap();
        Self {
            remote,
            dir,
            clock,
            vfs: Arc::new(vfs),
            kernel: Kernel::new(),
            snapshots,
            moved,
        }
    }

    pub(crate) fn clock_tick(&self) {
        self.clock.advance(Duration::from_millis(1));
    }

    pub(crate) fn is_unchanged(&self) -> bool {
        let overlay = self.vfs.overlay();
        overlay.is_none_or(|overlay| overlay.state().is_unchanged())
    }

    // What a user does, by way of the kernel.

    /// Looks a name up, in the kernel or in the mount.
    pub(crate) async fn lookup(&self, parent: u64, name: &str) -> Option<u64> {
        let key = (parent, name.as_bytes().to_vec());
        if let Some(known) = self.kernel.kept().entries.get(&key) {
            return *known;
        }
        let may_keep = self.vfs.may_keep(parent);
        let found = match self.vfs.lookup(parent, name.as_bytes()).await {
            Ok(found) => Some(found.attr),
            Err(VfsError::NotFound) => None,
            Err(error) => panic!("{parent} {name}: {error:?}"),
        };
        let mut kept = self.kernel.kept();
        if let Some(attr) = found {
            *kept.lookups.entry(attr.ino).or_default() += 1;
        }
        if may_keep {
            kept.entries.insert(key, found.map(|attr| attr.ino));
            kept.attributes.extend(found.map(|attr| (attr.ino, attr)));
        }
        found.map(|attr| attr.ino)
    }

    pub(crate) async fn find(&self, path: &str) -> u64 {
        let mut ino = ROOT;
        for name in path.split('/').filter(|it| !it.is_empty()) {
            let found = self.lookup(ino, name).await;
            ino = found.unwrap_or_else(|| panic!("{path}: no {name}"));
        }
        ino
    }

    pub(crate) async fn attr(&self, ino: u64) -> Attr {
        if let Some(attr) = self.kernel.kept().attributes.get(&ino) {
            return *attr;
        }
        let attr = self.vfs.getattr(ino).await.unwrap();
        self.kernel.kept().attributes.insert(ino, attr);
        attr
    }

    pub(crate) async fn read(&self, ino: u64) -> Vec<u8> {
        if let Some(pages) = self.kernel.kept().pages.get(&ino) {
            return pages.clone();
        }
        let bytes = self.fresh_bytes(ino).await;
        self.kernel.kept().pages.insert(ino, bytes.clone());
        bytes
    }

    async fn fresh_bytes(&self, ino: u64) -> Vec<u8> {
        match self.vfs.getattr(ino).await.unwrap().kind {
            FileKind::Symlink => self.vfs.readlink(ino).await.unwrap().to_vec(),
            FileKind::File => self.vfs.read(ino, 0, 1 << 24).await.unwrap().to_vec(),
            _ => Vec::new(),
        }
    }

    /// Lists a directory, from the kernel or from the mount.
    pub(crate) async fn list(&self, ino: u64) -> BTreeMap<String, u64> {
        if let Some(listing) = self.kernel.kept().listings.get(&ino) {
            return listing.clone();
        }
        let listing = self.fresh_list(ino).await;
        self.kernel.kept().listings.insert(ino, listing.clone());
        listing
    }

    async fn fresh_list(&self, ino: u64) -> BTreeMap<String, u64> {
        let mut listing = BTreeMap::new();
        let sink: &mut crate::directory::EntrySink<'_> = &mut |entry| {
            if entry.name != b"." && entry.name != b".." {
                let name = String::from_utf8(entry.name.to_vec()).unwrap();
                listing.insert(name, entry.ino);
            }
            true
        };
        self.vfs.readdir(ino, 0, false, sink).await.unwrap();
        listing
    }

    /// Looks at everything.
    pub(crate) async fn walk(&self) -> Tree {
        let mut tree = Tree::new();
        let mut open = vec![(String::new(), ROOT)];
        while let Some((path, dir)) = open.pop() {
            for name in self.list(dir).await.into_keys() {
                let path = format!("{path}{name}");
                let found = self.lookup(dir, &name).await;
                let ino = found.unwrap_or_else(|| panic!("{path} is listed and not there"));
                let (attr, bytes) = (self.attr(ino).await, self.read(ino).await);
                if attr.kind == FileKind::Directory {
                    open.push((format!("{path}/"), ino));
                }
                tree.insert(path, Seen { ino, attr, bytes });
            }
        }
        tree
    }

    /// Checks that nothing that the kernel keeps differs from what the mount says.
    pub(crate) async fn check(&self) {
        let (entries, attributes, pages, listings, lookups) = {
            let kept = self.kernel.kept();
            (
                kept.entries.clone(),
                kept.attributes.clone(),
                kept.pages.clone(),
                kept.listings.clone(),
                kept.lookups.clone(),
            )
        };
        for ((parent, name), known) in entries {
            let found = match self.vfs.lookup(parent, &name).await {
                Ok(found) => Some(found.attr.ino),
                Err(VfsError::NotFound) => None,
                Err(error) => panic!("{parent} {name:?}: {error:?}"),
            };
            found.inspect(|ino| self.vfs.forget(*ino, 1));
            assert_eq!(known, found, "{parent}/{}", String::from_utf8_lossy(&name));
        }
        for ino in lookups.into_keys() {
            let known = self.vfs.getattr(ino).await;
            assert!(known.is_ok(), "{ino} is lost");
        }
        for (ino, attr) in attributes {
            assert_eq!(attr, self.vfs.getattr(ino).await.unwrap());
        }
        for (ino, bytes) in pages {
            assert!(bytes == self.fresh_bytes(ino).await, "pages of {ino}");
        }
        for (ino, listing) in listings {
            assert_eq!(listing, self.fresh_list(ino).await, "listing of {ino}");
        }
    }

    /// Lets the kernel forget everything.
    pub(crate) fn forget_all(&self) {
        let mut kept = self.kernel.kept();
        let lookups = std::mem::take(&mut kept.lookups);
        kept.entries.clear();
        kept.attributes.clear();
        kept.pages.clear();
        kept.listings.clear();
        drop(kept);
        for (ino, count) in lookups {
            self.vfs.forget(ino, count);
        }
    }

    /// Lets the kernel forget inodes to which no name leads, but for these.
    pub(crate) fn prune(&self, open: &HashSet<u64>) {
        let mut kept = self.kernel.kept();
        let mut stays: HashSet<u64> = kept.entries.values().flatten().copied().collect();
        stays.extend(kept.entries.keys().map(|key| key.0));
        stays.extend(open);
        let gone: Vec<_> = kept
            .lookups
            .extract_if(|ino, _| !stays.contains(ino))
            .collect();
        for (ino, _) in &gone {
            kept.attributes.remove(ino);
            kept.pages.remove(ino);
            kept.listings.remove(ino);
        }
        drop(kept);
        for (ino, count) in gone {
            self.vfs.forget(ino, count);
        }
    }

    async fn place<'p>(&self, path: &'p str) -> (u64, &'p str) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(parent).await, name)
    }

    /// Does what a kernel does to its caches when a name comes or goes.
    fn changed(&self, parent: u64, name: &str, now: Option<Attr>) {
        let mut kept = self.kernel.kept();
        kept.attributes.remove(&parent);
        kept.listings.remove(&parent);
        let key = (parent, name.as_bytes().to_vec());
        let before = kept.entries.insert(key, now.map(|attr| attr.ino));
        if let Some(Some(before)) = before {
            kept.attributes.remove(&before);
        }
        kept.attributes.extend(now.map(|attr| (attr.ino, attr)));
    }

    fn made(&self, parent: u64, name: &str, attr: Attr) {
        *self.kernel.kept().lookups.entry(attr.ino).or_default() += 1;
        self.changed(parent, name, Some(attr));
    }

    pub(crate) async fn create(&self, path: &str, bytes: &[u8]) {
        let (parent, name) = self.place(path).await;
        let made = self
            .vfs
            .create(parent, name.as_bytes(), 0o644, OWNER, Existing::Refuse);
        let attr = made.await.unwrap().attr;
        self.made(parent, name, attr);
        self.write(path, bytes).await;
    }

    pub(crate) async fn mkdir(&mut self, path: &str) {
        let (parent, name) = self.place(path).await;
        let made = self.vfs.mkdir(parent, name.as_bytes(), 0o755, OWNER).await;
        self.made(parent, name, made.unwrap().attr);
        self.moved.insert(path.to_owned(), None);
    }

    pub(crate) async fn symlink(&self, path: &str, target: &str) {
        let (parent, name) = self.place(path).await;
        let made = self
            .vfs
            .symlink(parent, name.as_bytes(), target.as_bytes(), OWNER);
        let attr = made.await.unwrap().attr;
        self.made(parent, name, attr);
    }

    pub(crate) async fn link(&self, from: &str, to: &str) {
        let ino = self.find(from).await;
        let (parent, name) = self.place(to).await;
        let linked = self.vfs.link(ino, parent, name.as_bytes()).await;
        self.made(parent, name, linked.unwrap().attr);
    }

    /// Makes a file consist of these bytes.
    pub(crate) async fn write(&self, path: &str, bytes: &[u8]) {
        let ino = self.find(path).await;
        let size = crate::writable::request::SetAttr {
            size: Some(bytes.len() as u64),
            ..Default::default()
        };
        self.vfs.setattr(ino, size).await.unwrap();
        self.vfs
            .write(ino, 0, bytes, Privileges::Keep)
            .await
            .unwrap();
        let mut kept = self.kernel.kept();
        kept.attributes.remove(&ino);
        kept.pages.remove(&ino);
    }

    pub(crate) async fn chmod(&self, path: &str, mode: u16) {
        let ino = self.find(path).await;
        let mode = crate::writable::request::SetAttr {
            mode: Some(mode),
            ..Default::default()
        };
        self.vfs.setattr(ino, mode).await.unwrap();
        self.kernel.kept().attributes.remove(&ino);
    }

    pub(crate) async fn remove(&mut self, path: &str) {
        let (parent, name) = self.place(path).await;
        let ino = self.find(path).await;
        let removed = match self.attr(ino).await.kind {
            FileKind::Directory => self.vfs.rmdir(parent, name.as_bytes()).await,
            _ => self.vfs.unlink(parent, name.as_bytes()).await,
        };
        removed.unwrap();
        self.moved.remove(path);
        self.changed(parent, name, None);
    }

    /// Moves an object to a name that is free, or a file that is replaced.
    pub(crate) async fn rename(&mut self, from: &str, to: &str) {
        let (old_parent, old_name) = self.place(from).await;
        let (new_parent, new_name) = self.place(to).await;
        let ino = self.find(from).await;
        let (old, new) = (old_name.as_bytes(), new_name.as_bytes());
        let renamed = self
            .vfs
            .rename(old_parent, old, new_parent, new, RenameMode::Replace);
        renamed.await.unwrap();
        self.changed(old_parent, old_name, None);
        let attr = self.vfs.getattr(ino).await.unwrap();
        self.changed(new_parent, new_name, Some(attr));
        if attr.kind == FileKind::Directory {
            let origin = self.origin(from);
            self.moved.remove(from);
            let below = format!("{from}/");
            let inner = self.moved.extract_if(.., |it, _| it.starts_with(&below));
            for (path, origin) in inner.collect::<Vec<_>>() {
                self.moved
                    .insert(format!("{to}/{}", &path[below.len()..]), origin);
            }
            self.moved.insert(to.to_owned(), origin);
        }
    }

    /// Returns where a directory was in the version.
    fn origin(&self, path: &str) -> Option<String> {
        if let Some(origin) = self.moved.get(path) {
            return origin.clone();
        }
        match path.rsplit_once('/') {
            Some((above, name)) => Some(format!("{}/{name}", self.origin(above)?)),
            None => Some(path.to_owned()),
        }
    }

    // Commits, with the server played by hand.

    pub(crate) async fn seal(&mut self) -> Sealing {
        self.seal_for(self.versions() + 1).await
    }

    /// Seals what is to be the version of this number.
    pub(crate) async fn seal_for(&mut self, number: usize) -> Sealing {
        let mut commit = [SEED; 16];
        commit[8..].copy_from_slice(&(number as u64).to_be_bytes());
        let (tree, root) = (self.walk().await, self.attr(ROOT).await);
        let commit = VersionId(commit);
        self.vfs.overlay().unwrap().seal(commit).unwrap();
        Sealing {
            commit,
            moved: std::mem::take(&mut self.moved)
                .into_iter()
                .filter_map(|(now, origin)| Some((now, origin?)))
                .collect(),
            tree,
            root,
        }
    }

    /// Publishes what was sealed and ends the commit.
    pub(crate) async fn end_commit(&self, sealing: Sealing) {
        let tree = sealing.memory_tree();
        self.end_commit_as(sealing, &tree).await;
    }

    pub(crate) async fn end_commit_as(&self, sealing: Sealing, tree: &MemoryTree) {
        let snapshot = self.serve(tree);
        assert_eq!(snapshot.version.id, sealing.commit);
        let ids = self.ids(&snapshot).await;
        let published = PublishedCommit {
            commit: sealing.commit,
            snapshot,
            ids,
        };
        let exclusive = self.vfs.exclusive().await;
        exclusive
            .end_commit(&published, &self.cache())
            .await
            .unwrap();
    }

    pub(crate) async fn commit(&mut self) {
        let sealing = self.seal().await;
        self.end_commit(sealing).await;
    }

    /// Returns the ids that a version gave to what is new in the seal.
    pub(crate) async fn ids(&self, snapshot: &Snapshot) -> CommitIds {
        let sealed = self.vfs.overlay().unwrap().sealed().unwrap();
        let state = sealed.view().state();
        let mut ids = CommitIds::default();
        let mut made: std::collections::HashMap<u64, DirId> = std::collections::HashMap::new();
        for change in sealed.changes() {
            let lfsfs_overlay::Entry::Present { ino, inode } = change.entry else {
                continue;
            };
            let has_link = inode
                .base
                .as_ref()
                .is_some_and(|it| it.record.link.is_some());
            if inode.attributes.nlink > 1 && inode.directory().is_none() && !has_link {
                ids.links.push((ino, LinkId(ino)));
            }
            if inode.base.is_some() || inode.directory().is_none() {
                continue;
            }
            let above = match change.directory {
                lfsfs_overlay::DirectoryRef::Base(dir) => dir,
                lfsfs_overlay::DirectoryRef::New(ino) => made[&ino],
                lfsfs_overlay::DirectoryRef::NamesOf(_) => continue,
            };
            let (project, version) = (snapshot.project.id, snapshot.version.number);
            let listing = self.remote.list_directory(project, version, above).await;
            let entries = listing.unwrap().entries;
            let found = entries.iter().find(|entry| Some(&entry.0) == change.name);
            let dir = found.and_then(|entry| entry.1.dir()).unwrap();
            made.insert(ino, dir);
            ids.directories.push((ino, dir));
        }
        assert!(state.sealed_commit().is_none());
        ids
    }
}

impl Sealing {
    /// Returns the tree that the version is to be.
    pub(crate) fn memory_tree(&self) -> MemoryTree {
        let mut tree = MemoryTree::new();
        for (now, origin) in self.moved.iter().filter(|(now, origin)| now != origin) {
            tree.rename(origin, now);
        }
        let root = record(&mut tree, &self.root, &[]);
        tree.add("", root);
        for (path, seen) in &self.tree {
            let record = record(&mut tree, &seen.attr, &seen.bytes);
            tree.add(path, record);
        }
        tree
    }
}

/// Returns the record of what a user sees.
pub(crate) fn record(tree: &mut MemoryTree, attr: &Attr, bytes: &[u8]) -> Record {
    let kind = match attr.kind {
        FileKind::Directory => Kind::Directory { dir: DirId::ROOT },
        FileKind::Symlink => Kind::Symlink {
            target: bytes.into(),
        },
        _ => Kind::File {
            size: bytes.len() as u64,
            content: tree.content(bytes),
        },
    };
    Record {
        kind,
        mode: attr.mode.into(),
        uid: attr.uid,
        gid: attr.gid,
        mtime: attr.mtime,
        ctime: attr.ctime,
        sha256: None,
        link: (attr.kind != FileKind::Directory && attr.nlink > 1).then_some(Link {
            // Hard links keep their number, so it can be their id.
            id: LinkId(attr.ino),
            nlink: attr.nlink,
        }),
        xattrs: Vec::new(),
    }
}

impl Told {
    /// Returns the directory or object that it is about.
    pub(crate) fn ino(&self) -> u64 {
        match self {
            Self::Entry(ino, _) | Self::Attributes(ino) | Self::Data(ino) => *ino,
        }
    }
}

async fn mount(
    remote: &Arc<MemoryRemote>,
    dir: &ThreadDir,
    clock: &Arc<TestClock>,
    source: &str,
) -> Result<Vfs, VfsError> {
    let config = CacheConfig { size_max: 1 << 30 };
    let cache = DiskCache::open(&dir.path().join("cache"), config).unwrap();
    let source: Source = source.parse().unwrap();
    let base = BaseVersion::open(remote.clone(), cache, &source, VfsConfig::default()).await?;
    let place = OverlayPlace {
        dir: dir.path().join("overlay"),
        options: OverlayOptions {
            lock_wait: Duration::ZERO,
            ..OverlayOptions::default()
        },
    };
    Vfs::open(base, place, clock.clone()).await
}
