//! Random changes, commits, rebases and switches against a plain tree, with a kernel that keeps all
//! that it may keep. Whatever it keeps must be what the mount says, and what the tree says.

use std::collections::{BTreeMap, HashSet};

use lfsfs_remote::memory::MemoryTree;

use super::kernel::Told;
use super::world::{ROOT, Sealing, Seen, Tree, World};
use crate::attr::{Attr, FileKind};

/// A directory that only others change.
const THEIRS: &str = "theirs";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Plain {
    Directory,
    File(Vec<u8>),
    Link(String),
}

type Plains = BTreeMap<String, Plain>;

/// A published version.
#[derive(Clone)]
struct Version {
    seen: Tree,
    root: Attr,
    plain: Plains,
}

struct Model {
    world: World,
    plain: Plains,
    versions: Vec<Version>,
    /// Files that are open, with what they had when they were opened.
    open: Vec<(u64, Vec<u8>)>,
    random: u64,
    fresh: u32,
}

fn first() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for dir in ["d", "d/e", "g", THEIRS] {
        tree.directory(dir);
        for file in 0..4u8 {
            tree.file(
                &format!("{dir}/f{file}"),
                &vec![file + 1; 100 * usize::from(file)],
            );
        }
    }
    tree.symlink("d/link", "target");
    tree
}

impl Model {
    async fn new(seed: u64) -> Self {
        let world = World::new(&first()).await;
        let (seen, root) = (world.walk().await, world.attr(ROOT).await);
        let plain = plain_of(&seen);
        let version = Version {
            seen,
            root,
            plain: plain.clone(),
        };
        Self {
            world,
            plain,
            versions: vec![version],
            open: Vec::new(),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            fresh: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap() % bound
    }

    fn fresh(&mut self) -> String {
        self.fresh += 1;
        format!("n{}", self.fresh)
    }

    fn pick(&mut self, is_it: impl Fn(&Plain) -> bool) -> Option<String> {
        let found = self
            .plain
            .iter()
            .filter(|(path, plain)| !path.starts_with(THEIRS) && is_it(plain));
        let found: Vec<_> = found.map(|(path, _)| path.clone()).collect();
        match found.len() {
            0 => None,
            len => Some(found[self.below(len)].clone()),
        }
    }

    /// Returns a name in a random directory; one that is new, mostly.
    fn place(&mut self) -> String {
        let dir = self.pick(|it| *it == Plain::Directory);
        let name = match self.below(3) {
            0 => format!("f{}", self.below(4)),
            _ => self.fresh(),
        };
        match dir {
            Some(dir) if self.below(5) > 0 => format!("{dir}/{name}"),
            _ => name,
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let (byte, len) = (self.below(250), self.below(3000));
        vec![u8::try_from(byte).unwrap(); len]
    }

    async fn change(&mut self) {
        self.world.clock_tick();
        match self.below(9) {
            0 | 1 => self.create().await,
            2 | 3 => {
                if let Some(path) = self.pick(|it| matches!(it, Plain::File(_))) {
                    let bytes = self.bytes();
                    let ino = self.world.find(&path).await;
                    self.open.retain(|it| it.0 != ino);
                    self.world.write(&path, &bytes).await;
                    self.plain.insert(path, Plain::File(bytes));
                }
            }
            4 => self.remove().await,
            5 => self.move_file().await,
            6 => self.move_directory().await,
            7 => {
                if let Some(path) = self.pick(|_| true) {
                    let mode = 0o600 + u16::try_from(self.below(8)).unwrap();
                    if self.plain[&path] != Plain::Directory {
                        self.world.chmod(&path, mode).await;
                    }
                }
            }
            _ => self.make_directory().await,
        }
    }

    async fn create(&mut self) {
        let path = self.place();
        if self.plain.contains_key(&path) {
            return;
        }
        if self.below(4) == 0 {
            let target = self.fresh();
            self.world.symlink(&path, &target).await;
            self.plain.insert(path, Plain::Link(target));
            return;
        }
        let bytes = self.bytes();
        self.world.create(&path, &bytes).await;
        self.plain.insert(path, Plain::File(bytes));
    }

    async fn make_directory(&mut self) {
        let path = self.place();
        let was_moved = self
            .world
            .moved
            .values()
            .any(|origin| origin.as_ref() == Some(&path));
        if !was_moved && !self.plain.contains_key(&path) {
            self.world.mkdir(&path).await;
            self.plain.insert(path, Plain::Directory);
        }
    }

    async fn remove(&mut self) {
        let Some(path) = self.pick(|_| true) else {
            return;
        };
        let below = format!("{path}/");
        if !self.plain.keys().any(|it| it.starts_with(&below)) {
            self.world.remove(&path).await;
            self.plain.remove(&path);
        }
    }

    async fn move_file(&mut self) {
        let Some(from) = self.pick(|it| matches!(it, Plain::File(_))) else {
            return;
        };
        let to = self.place();
        let is_free = !matches!(self.plain.get(&to), Some(Plain::Directory));
        if from != to && is_free {
            self.world.rename(&from, &to).await;
            let moved = self.plain.remove(&from).unwrap();
            self.plain.insert(to, moved);
        }
    }

    async fn move_directory(&mut self) {
        let Some(from) = self.pick(|it| *it == Plain::Directory) else {
            return;
        };
        let (to, below) = (self.place(), format!("{from}/"));
        let is_origin = self
            .world
            .moved
            .values()
            .any(|origin| origin.as_ref() == Some(&to));
        if self.plain.contains_key(&to) || to.starts_with(&below) || is_origin {
            return;
        }
        self.world.rename(&from, &to).await;
        let is_moved = |path: &String| *path == from || path.starts_with(&below);
        let moved: Vec<_> = self
            .plain
            .extract_if(.., |path, _| is_moved(path))
            .collect();
        for (path, plain) in moved {
            self.plain
                .insert(format!("{to}{}", &path[from.len()..]), plain);
        }
    }

    async fn open(&mut self) {
        let found = self.plain.iter().filter_map(|(path, plain)| match plain {
            Plain::File(bytes) => Some((path.clone(), bytes.clone())),
            _ => None,
        });
        let found: Vec<_> = found.collect();
        if !found.is_empty() {
            let (path, bytes) = found[self.below(found.len())].clone();
            self.open.push((self.world.find(&path).await, bytes));
        }
    }

    /// Makes a version of the changes; others may have made one meanwhile.
    async fn commit(&mut self) {
        if self.world.is_unchanged() {
            return;
        }
        let rebased = self.below(3) == 0;
        let number = self.versions.len() + 1 + usize::from(rebased);
        let mut sealing = self.world.seal_for(number).await;
        let mut plain = self.plain.clone();
        for _ in 0..self.below(4) {
            self.change().await;
        }
        if rebased {
            self.others(&mut sealing, &mut plain);
        }
        self.world.kernel.take_told();
        let about_theirs = self.inodes_of_theirs().await;
        let version = Version {
            seen: sealing.tree.clone(),
            root: sealing.root,
            plain,
        };
        self.versions.push(version);
        self.world.end_commit(sealing).await;
        for told in self.world.kernel.take_told() {
            assert!(rebased && about_theirs.contains(&told.ino()), "{told:?}");
        }
    }

    /// Publishes what others did, and makes it a part of what is being committed.
    fn others(&mut self, sealing: &mut Sealing, plain: &mut Plains) {
        let mut version = self.versions.last().unwrap().clone();
        for _ in 0..=self.below(3) {
            let path = format!("{THEIRS}/f{}", self.below(6));
            let bytes = self.bytes();
            let mut seen = version.seen[THEIRS].clone();
            seen.attr.kind = FileKind::File;
            seen.attr.mtime.secs += 1;
            seen.bytes.clone_from(&bytes);
            match self.below(4) {
                0 => {
                    version.seen.remove(&path);
                    version.plain.remove(&path);
                }
                _ => {
                    version.seen.insert(path.clone(), seen);
                    version.plain.insert(path, Plain::File(bytes));
                }
            }
        }
        let others = Sealing {
            commit: sealing.commit,
            moved: BTreeMap::new(),
            tree: version.seen.clone(),
            root: version.root,
        };
        self.world.serve(&others.memory_tree());
        replace_theirs(&mut sealing.tree, &version.seen);
        replace_theirs(plain, &version.plain);
        replace_theirs(&mut self.plain, &version.plain);
        self.versions.push(version);
    }

    async fn inodes_of_theirs(&self) -> HashSet<u64> {
        let theirs = self.world.find(THEIRS).await;
        let listing = self.world.list(theirs).await;
        listing.into_values().chain([theirs]).collect()
    }

    /// Visits other versions and comes back.
    async fn travel(&mut self) {
        if !self.world.is_unchanged() {
            return;
        }
        for _ in 0..=self.below(2) {
            let number = self.below(self.versions.len()) + 1;
            self.switch(number).await;
        }
        self.switch(self.versions.len()).await;
    }

    async fn switch(&mut self, version: usize) {
        let (entries, listings, attributes) = {
            let kept = self.world.kernel.kept();
            (
                kept.entries.clone(),
                kept.listings.clone(),
                kept.attributes.clone(),
            )
        };
        self.world.kernel.take_told();
        let snapshot = self.world.snapshot(version);
        self.world.switch(&snapshot).await.unwrap();
        for told in self.world.kernel.take_told() {
            match told {
                Told::Entry(parent, name) => {
                    let name = String::from_utf8(name).unwrap();
                    let now = self.world.lookup(parent, &name).await;
                    let key = (parent, name.into_bytes());
                    assert_ne!(entries.get(&key), Some(&now), "{key:?}");
                }
                Told::Data(ino) => {
                    let now = self.world.list(ino).await;
                    assert_ne!(listings.get(&ino), Some(&now), "{ino}");
                }
                Told::Attributes(ino) => {
                    let now = self.world.attr(ino).await;
                    assert_ne!(attributes.get(&ino), Some(&now), "{ino}");
                }
            }
        }
        self.plain = self.versions[version - 1].plain.clone();
        self.verify().await;
    }

    async fn verify(&self) {
        self.world.check().await;
        assert_eq!(plain_of(&self.world.walk().await), self.plain);
        for (ino, bytes) in &self.open {
            self.world.kernel.kept().pages.remove(ino);
            assert!(self.world.read(*ino).await == *bytes, "what is open, {ino}");
        }
    }

    async fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.below(20) {
                0 | 1 => self.commit().await,
                2 => self.travel().await,
                3 => self.open().await,
                4 => {
                    self.open.truncate(3);
                    let open = self.open.iter().map(|it| it.0).collect();
                    self.world.prune(&open);
                }
                5 => self.verify().await,
                _ => self.change().await,
            }
        }
        self.commit().await;
        self.verify().await;
        self.travel().await;
    }
}

fn replace_theirs<T: Clone>(tree: &mut BTreeMap<String, T>, theirs: &BTreeMap<String, T>) {
    let below = format!("{THEIRS}/");
    tree.retain(|path, _| !path.starts_with(&below));
    let theirs = theirs.iter().filter(|(path, _)| path.starts_with(&below));
    tree.extend(theirs.map(|(path, it)| (path.clone(), it.clone())));
}

fn plain_of(seen: &Tree) -> Plains {
    let plain = |seen: &Seen| match seen.attr.kind {
        FileKind::Directory => Plain::Directory,
        FileKind::Symlink => Plain::Link(String::from_utf8(seen.bytes.clone()).unwrap()),
        _ => Plain::File(seen.bytes.clone()),
    };
    seen.iter()
        .map(|(path, it)| (path.clone(), plain(it)))
        .collect()
}

#[tokio::test]
async fn random_changes_commits_and_switches_leave_nothing_stale() {
    let seeds = std::env::var("LFSFS_SWITCH_SEEDS").ok();
    let seeds = seeds.and_then(|it| it.parse().ok()).unwrap_or(12);
    for seed in 1..=seeds {
        println!("seed {seed}");
        let mut model = Model::new(seed).await;
        model.run(120).await;
        let Model { world, plain, .. } = model;
        if world.is_unchanged() {
            assert_eq!(plain_of(&world.remount().await.walk().await), plain);
        }
    }
}
