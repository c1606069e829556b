//! Random operations against maps of whole files, with replay, seals and compaction in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use lfsfs_overlay::{FileData, NewNode, Operation, Overlay, OverlayOptions, View};
use lfsfs_types::content::small_content_id;
use lfsfs_types::{ContentId, DirId, Kind, Link, LinkId, Timestamp};
use proptest::prelude::*;

use crate::base::BaseTree;
use crate::common::{name, options, record, source};
use crate::mount::{Mount, tree};

/// What a path shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shown {
    Directory {
        mode: u32,
    },
    File {
        mode: u32,
        nlink: u32,
        mtime: Timestamp,
        bytes: Vec<u8>,
    },
}

pub(crate) type Tree = BTreeMap<String, Shown>;

#[derive(Debug, Clone)]
enum Node {
    Directory,
    File { bytes: Vec<u8>, mtime: Timestamp },
}

/// Whole files by number, and paths that lead to them.
#[derive(Debug, Clone, Default)]
struct Model {
    paths: BTreeMap<String, usize>,
    nodes: Vec<(u32, Node)>,
}

impl Model {
    fn add(&mut self, path: &str, mode: u32, node: Node) {
        self.nodes.push((mode, node));
        self.paths.insert(path.into(), self.nodes.len() - 1);
    }

    fn is_directory(&self, path: &str) -> bool {
        path.is_empty()
            || self
                .paths
                .get(path)
                .is_some_and(|it| matches!(self.nodes[*it].1, Node::Directory))
    }

    fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        self.paths
            .keys()
            .filter(|it| it.starts_with(&prefix))
            .cloned()
            .collect()
    }

    fn can_make(&self, path: &str) -> bool {
        let parent = path.rsplit_once('/').map_or("", |it| it.0);
        !self.paths.contains_key(path) && self.is_directory(parent)
    }

    fn file(&mut self, path: &str) -> Option<(&mut Vec<u8>, &mut Timestamp)> {
        let node = *self.paths.get(path)?;
        match &mut self.nodes[node].1 {
            Node::File { bytes, mtime } => Some((bytes, mtime)),
            Node::Directory => None,
        }
    }

    /// Takes a path and all below it out, as pairs of what follows the path and the node.
    fn take(&mut self, path: &str) -> Vec<(String, usize)> {
        let mut all = self.below(path);
        all.push(path.into());
        let take = |it: String| {
            let node = self.paths.remove(&it).unwrap();
            (it[path.len()..].to_owned(), node)
        };
        all.into_iter().map(take).collect()
    }

    fn put(&mut self, path: &str, taken: Vec<(String, usize)>) {
        self.paths.extend(
            taken
                .into_iter()
                .map(|(rest, node)| (format!("{path}{rest}"), node)),
        );
    }

    fn tree(&self) -> Tree {
        let nlink = |node: usize| {
            u32::try_from(self.paths.values().filter(|it| **it == node).count()).unwrap()
        };
        let show = |(path, index): (&String, &usize)| {
            let (mode, node) = self.nodes[*index].clone();
            let shown = match node {
                Node::Directory => Shown::Directory { mode },
                Node::File { bytes, mtime } => Shown::File {
                    mode,
                    nlink: nlink(*index),
                    mtime,
                    bytes,
                },
            };
            (path.clone(), shown)
        };
        self.paths.iter().map(show).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Create(String),
    Mkdir(String),
    Write(String, u64, Vec<u8>),
    Truncate(String, u64),
    Copy((String, u64), (String, u64), u64),
    /// Files get bytes of their own, so many at once.
    Own(u64),
    Punch(String, u64, u64, bool),
    Chmod(String, u32),
    Link(String, String),
    Remove(String),
    Rename(String, String),
    Exchange(String, String),
    Forget,
    Seal,
    Committed,
    Aborted,
    Discard,
    Replay,
    Compact,
    Sync,
    /// An upload begins: it reads the local files.
    Look,
    /// It ends: what it read is marked.
    Mark,
}

fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop::collection::vec(any::<u8>(), 1..300);
    prop_oneof![
        3 => path().prop_map(Step::Create),
        3 => path().prop_map(Step::Mkdir),
        6 => (path(), 0..500_u64, bytes).prop_map(|(path, at, data)| Step::Write(path, at, data)),
        2 => (path(), 0..600_u64).prop_map(|(path, size)| Step::Truncate(path, size)),
        4 => ((path(), 0..400_u64), (path(), 0..500_u64), 1..400_u64)
            .prop_map(|(from, to, len)| Step::Copy(from, to, len)),
        1 => (1..100_u64).prop_map(Step::Own),
        2 => (path(), 0..500_u64, 0..300_u64, any::<bool>())
            .prop_map(|(path, at, len, grow)| Step::Punch(path, at, len, grow)),
        1 => (path(), 0..0o1000_u32).prop_map(|(path, mode)| Step::Chmod(path, mode)),
        2 => (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
        4 => path().prop_map(Step::Remove),
        5 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Step::Exchange(from, to)),
        1 => Just(Step::Forget),
        2 => Just(Step::Seal),
        2 => Just(Step::Committed),
        1 => Just(Step::Aborted),
        1 => Just(Step::Discard),
        1 => Just(Step::Replay),
        1 => Just(Step::Compact),
        1 => Just(Step::Sync),
        2 => Just(Step::Look),
        2 => Just(Step::Mark),
    ]
}

/// What a step saw: the view, and the files that it marks as uploaded by it.
type Looked = (Arc<View>, Vec<(u64, ContentId)>);

/// The mount, the model, and what both must keep.
struct World {
    dir: tempfile::TempDir,
    mount: Option<Mount>,
    model: Model,
    /// What the base shows.
    base_model: Model,
    /// What the seal must show for ever, with the base that it lies above.
    sealed: Option<(lfsfs_overlay::Sealed, BaseTree, Tree)>,
    sealed_model: Model,
    /// Removed files that are open.
    open: Vec<(u64, Vec<u8>)>,
    /// What an upload has read, and from what.
    looked: Option<Looked>,
}

fn split(path: &str) -> Vec<&str> {
    path.split('/').collect()
}

fn world_options() -> OverlayOptions {
    OverlayOptions {
        segment_len_max: 4096,
        ..options()
    }
}

/// A base with a directory, files in it, and a file with two names.
fn base() -> (BaseTree, Model) {
    let (mut base, mut model) = (BaseTree::new(), Model::default());
    let dir = DirId(2);
    let file = |base: &mut BaseTree, bytes: &[u8]| {
        let content = base.store(bytes);
        record(Kind::File {
            size: bytes.len() as u64,
            content,
        })
    };
    let data = |bytes: &[u8]| Node::File {
        bytes: bytes.to_vec(),
        mtime: record(Kind::Fifo).mtime,
    };
    let (first, shared) = ([7; 400], [9; 50]);
    let mut linked = file(&mut base, &shared);
    linked.link = Some(Link {
        id: LinkId(5),
        nlink: 2,
    });
    let below = [
        (name("b"), file(&mut base, &first)),
        (name("c"), linked.clone()),
    ];
    base.directories.insert(dir, below.into());
    let root = [
        (name("a"), record(Kind::Directory { dir })),
        (name("c"), linked),
    ];
    base.directories.insert(DirId::ROOT, root.into());
    base.number = source().base.number.0;
    model.add("a", 0o644, Node::Directory);
    model.add("a/b", 0o644, data(&first));
    model.add("c", 0o644, data(&shared));
    let shared = model.paths["c"];
    model.paths.insert("a/c".into(), shared);
    (base, model)
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (base, model) = base();
        let overlay = Overlay::open(dir.path(), &source(), &world_options()).unwrap();
        let mount = Mount::new(overlay, base);
        Self {
            dir,
            mount: Some(mount),
            base_model: model.clone(),
            sealed_model: Model::default(),
            model,
            sealed: None,
            open: Vec::new(),
            looked: None,
        }
    }

    fn mount(&mut self) -> &mut Mount {
        self.mount.as_mut().unwrap()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Create(path) => self.make(path, NewNode::File),
            Step::Mkdir(path) => self.make(path, NewNode::Directory),
            Step::Write(path, at, data) => {
                if self.model.file(path).is_some() {
                    self.mount().write(&split(path), *at, data);
                    let end = usize::try_from(*at).unwrap() + data.len();
                    self.change(path, |bytes| {
                        bytes.resize(bytes.len().max(end), 0);
                        bytes[end - data.len()..end].copy_from_slice(data);
                    });
                }
            }
            Step::Truncate(path, size) => {
                if self.model.file(path).is_some() {
                    self.mount().truncate(&split(path), *size);
                    self.change(path, |bytes| {
                        bytes.resize(usize::try_from(*size).unwrap(), 0);
                    });
                }
            }
            Step::Copy(from, to, len) => self.copy(from, to, *len),
            Step::Own(part) => self.mount().own(*part),
            Step::Punch(path, at, len, grow) => self.punch(path, *at, *len, *grow),
            Step::Chmod(path, mode) => {
                if let Some(node) = self.model.paths.get(path).copied() {
                    self.model.nodes[node].0 = *mode;
                    self.mount().chmod(&split(path), *mode);
                }
            }
            Step::Link(from, to) => {
                if self.model.file(from).is_some() && self.model.can_make(to) {
                    self.mount().link(&split(from), &split(to));
                    let node = self.model.paths[from];
                    self.model.paths.insert(to.clone(), node);
                }
            }
            Step::Remove(path) => self.remove(path),
            Step::Rename(from, to) => self.rename(from, to),
            Step::Exchange(first, second) => self.exchange(first, second),
            step => self.whole(step),
        }
    }

    fn copy(&mut self, from: &(String, u64), to: &(String, u64), len: u64) {
        let Some(source) = self.model.file(&from.0).map(|it| it.0.clone()) else {
            return;
        };
        let len = len.min((source.len() as u64).saturating_sub(from.1));
        let same = self.model.paths.get(&from.0) == self.model.paths.get(&to.0);
        let overlaps = same && from.1 < to.1 + len && to.1 < from.1 + len;
        if self.model.file(&to.0).is_none() || len == 0 || overlaps {
            return;
        }
        self.mount()
            .copy((&split(&from.0), from.1), (&split(&to.0), to.1), len);
        let (start, at) = (
            usize::try_from(from.1).unwrap(),
            usize::try_from(to.1).unwrap(),
        );
        let len = usize::try_from(len).unwrap();
        self.change(&to.0, |bytes| {
            bytes.resize(bytes.len().max(at + len), 0);
            bytes[at..at + len].copy_from_slice(&source[start..start + len]);
        });
    }

    fn whole(&mut self, step: &Step) {
        let sealed = self.mount().pending.is_some();
        match step {
            Step::Forget => {
                for (ino, _) in self.open.drain(..) {
                    self.mount
                        .as_ref()
                        .unwrap()
                        .apply(Operation::Forget { ino });
                }
            }
            Step::Seal if !sealed => {
                let base = self.mount().base.clone();
                let seal = self.mount().seal();
                self.sealed = Some((seal, base, self.model.tree()));
                self.sealed_model = self.model.clone();
            }
            Step::Committed if sealed => {
                self.mount().committed();
                self.base_model = self.sealed_model.clone();
            }
            Step::Discard if !sealed => self.discard(),
            Step::Aborted if sealed => self.mount().aborted(),
            Step::Replay => self.replay(),
            Step::Compact => {
                self.mount().overlay.compact().unwrap();
            }
            Step::Sync => self.mount().overlay.sync().unwrap(),
            Step::Look => self.look(),
            Step::Mark => self.mark(),
            _ => {}
        }
    }

    fn look(&mut self) {
        let mount = self.mount();
        let view = mount.overlay.view();
        let read = |ino: u64| (ino, small_content_id(&mount.read(ino)));
        let files = view.state().local_files().map(read).collect();
        self.looked = Some((view, files));
    }

    /// What was not written to since the look is marked, and nothing else.
    fn mark(&mut self) {
        let Some((view, files)) = self.looked.take() else {
            return;
        };
        let marked = self.mount().overlay.mark_uploaded(&view, &files).unwrap();
        let state = self.mount().overlay.state();
        assert!(
            marked
                .iter()
                .all(|ino| state.inode(*ino).unwrap().local_len().is_none())
        );
    }

    /// A file that is marked has the bytes that the mark names.
    fn check_marks(&self) {
        let mount = self.mount.as_ref().unwrap();
        for (ino, inode) in mount.overlay.state().changed() {
            if let Some(content) = inode.file().and_then(FileData::uploaded) {
                assert_eq!(small_content_id(&mount.read(ino)), content, "a wrong mark");
            }
        }
    }

    /// Drops all changes; files that only the overlay had live on as long as they are open.
    fn discard(&mut self) {
        let mut model = std::mem::replace(&mut self.model, self.base_model.clone());
        let paths: Vec<String> = model.paths.keys().cloned().collect();
        for path in paths {
            let Some((bytes, _)) = model.file(&path) else {
                continue;
            };
            let ino = self.mount().ino(&split(&path));
            let state = self.mount().overlay.state();
            let is_new = state.inode(ino).unwrap().base.is_none();
            if is_new && !self.open.iter().any(|it| it.0 == ino) {
                self.open.push((ino, bytes.clone()));
            }
        }
        self.mount().apply(Operation::DiscardAll {});
        assert!(self.mount().overlay.state().is_unchanged());
    }

    fn make(&mut self, path: &str, node: NewNode) {
        if !self.model.can_make(path) {
            return;
        }
        self.mount().create(&split(path), node.clone());
        let mtime = crate::common::time(self.mount().clock);
        let node = match node {
            NewNode::Directory => Node::Directory,
            _ => Node::File {
                bytes: Vec::new(),
                mtime,
            },
        };
        self.model.add(path, 0o644, node);
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let now = crate::common::time(self.mount().clock);
        let (bytes, mtime) = self.model.file(path).unwrap();
        change(bytes);
        *mtime = now;
    }

    fn punch(&mut self, path: &str, at: u64, len: u64, grow: bool) {
        let Some((bytes, _)) = self.model.file(path) else {
            return;
        };
        let before = bytes.len() as u64;
        let size = if grow { before.max(at + len) } else { before };
        self.mount().punch(&split(path), at, len, size);
        self.change(path, |bytes| {
            bytes.resize(usize::try_from(size).unwrap(), 0);
            let end = (at + len).min(size);
            for byte in at.min(end)..end {
                bytes[usize::try_from(byte).unwrap()] = 0;
            }
        });
    }

    fn remove(&mut self, path: &str) {
        let Some(node) = self.model.paths.get(path).copied() else {
            return;
        };
        if !self.model.below(path).is_empty() {
            return;
        }
        let ino = self.mount().remove(&split(path));
        self.model.paths.remove(path);
        self.keep_open(node, ino);
    }

    /// Remembers a file that lost its last name.
    fn keep_open(&mut self, node: usize, ino: u64) {
        if !self.model.paths.values().any(|it| *it == node)
            && let Node::File { bytes, .. } = &self.model.nodes[node].1
        {
            self.open.push((ino, bytes.clone()));
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let Some(node) = self.model.paths.get(from).copied() else {
            return;
        };
        let replaced = self.model.paths.get(to).copied();
        let parent = to.rsplit_once('/').map_or("", |it| it.0);
        let into_itself = to == from || to.starts_with(&format!("{from}/"));
        let same_kind = self.model.is_directory(from) == self.model.is_directory(to);
        let fits = replaced.is_none() || same_kind && self.model.below(to).is_empty();
        if into_itself || !self.model.is_directory(parent) || !fits || replaced == Some(node) {
            return;
        }
        let old = replaced.map(|_| self.mount().ino(&split(to)));
        self.mount()
            .rename(&split(from), &split(to), replaced.is_some());
        let taken = self.model.take(from);
        self.model.paths.remove(to);
        self.model.put(to, taken);
        if let (Some(node), Some(ino)) = (replaced, old) {
            self.keep_open(node, ino);
        }
    }

    fn exchange(&mut self, first: &str, second: &str) {
        let nodes = (self.model.paths.get(first), self.model.paths.get(second));
        let (Some(one), Some(other)) = nodes else {
            return;
        };
        let nested = |a: &str, b: &str| b.starts_with(&format!("{a}/"));
        if one == other || nested(first, second) || nested(second, first) {
            return;
        }
        self.mount().exchange(&split(first), &split(second));
        let (one, other) = (self.model.take(first), self.model.take(second));
        self.model.put(second, one);
        self.model.put(first, other);
    }

    /// Ends the process and starts another one.
    fn replay(&mut self) {
        self.whole(&Step::Forget);
        let mount = self.mount.take().unwrap();
        // Removed directories are orphans too.
        let orphans: Vec<_> = mount.overlay.state().orphans().collect();
        orphans
            .iter()
            .for_each(|ino| mount.apply(Operation::Forget { ino: *ino }));
        let (before, base) = (mount.overlay.state(), mount.overlay.state().base());
        let Mount {
            overlay,
            base: tree,
            next_ino,
            pending,
            clock,
        } = mount;
        drop(overlay);
        let source = lfsfs_overlay::ProjectBase { base, ..source() };
        let overlay = Overlay::open(self.dir.path(), &source, &world_options()).unwrap();
        assert!(
            overlay.state() == before,
            "{:#?}\n{before:#?}",
            overlay.state()
        );
        self.mount = Some(Mount {
            overlay,
            base: tree,
            next_ino,
            pending,
            clock,
        });
    }

    fn check(&self) {
        let mount = self.mount.as_ref().unwrap();
        assert_eq!(mount.tree(), self.model.tree());
        if let Some((sealed, base, expected)) = &self.sealed {
            assert_eq!(
                tree(sealed.view(), base),
                *expected,
                "the sealed view changed"
            );
        }
        if let (Some((.., next, _)), Some((.., expected))) = (&mount.pending, &self.sealed) {
            let empty = tempfile::tempdir().unwrap();
            let none = Overlay::open(empty.path(), &source(), &options()).unwrap();
            assert_eq!(
                tree(&none.view(), next),
                *expected,
                "the commit made another tree"
            );
        }
        for (ino, bytes) in &self.open {
            assert_eq!(mount.read(*ino), *bytes, "an open file lost its content");
        }
        self.check_marks();
    }
}

fn run(steps: &[Step]) {
    let mut world = World::new();
    world.check();
    for step in steps {
        world.step(step);
        world.check();
    }
    world.replay();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_overlay_shows_what_plain_maps_show(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}

#[test]
#[ignore = "soak: thousands of long histories"]
fn an_overlay_shows_what_plain_maps_show_for_long() {
    let config = ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = prop::collection::vec(step(), 1..150);
    proptest!(config, |(steps in steps)| run(&steps));
}
