//! A small version, random changes of a mount of it, and whole trees by path: what local changes and
//! discards are compared with.

use std::collections::{BTreeMap, HashMap};

use lfsfs_remote::memory::{MemoryTree, plain};
use lfsfs_types::{DirId, Kind, Timestamp};
use lfsfs_vfs::{
    Existing, FileKind, Privileges, RenameMode, SetAttr, SetTime, Vfs, VfsError, XattrMode,
};
use proptest::prelude::*;

use crate::writable_support::{Machine, OWNER, ROOT, find, ino, list, read_all, split};

const TIME: Timestamp = Timestamp {
    secs: 1000,
    nanos: 7,
};
const MODES: [u16; 2] = [0o644, 0o600];

/// What is seen at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) ino: u64,
    pub(crate) is_directory: bool,
    pub(crate) mtime: Timestamp,
    /// Kind, mode and owner.
    pub(crate) state: (FileKind, u16, u32, u32),
    /// Bytes of a file, target of a link.
    pub(crate) bytes: Vec<u8>,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

/// Everything by path; the root is the empty one.
pub(crate) type Tree = BTreeMap<String, Node>;

/// The base: three levels of directories with files, a link and an attribute.
pub(crate) fn base() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for path in ["a", "a/a", "a/a/b", "a/b", "b", "b/a", "c"] {
        let mut record = plain(Kind::Directory { dir: DirId::ROOT }, 0o755);
        record.mtime = TIME;
        tree.add(path, record);
    }
    for path in [
        "a/c", "a/a/a", "a/a/c", "a/a/b/a", "b/b", "b/a/a", "c/c", "d",
    ] {
        let content = content_of(path);
        let (size, content) = (content.len() as u64, tree.content(&content));
        let mut record = plain(Kind::File { size, content }, 0o644);
        (record.uid, record.gid, record.mtime) = (0, 0, TIME);
        tree.add(path, record);
    }
    let target = b"nowhere".as_slice().into();
    tree.add("b/c", plain(Kind::Symlink { target }, 0o777));
    tree
}

/// What the base has in the file of a path.
fn content_of(path: &str) -> Vec<u8> {
    format!("the content of {path}").into_bytes()
}

pub(crate) async fn walk(vfs: &Vfs) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![(String::new(), ROOT)];
    while let Some((path, ino)) = open.pop() {
        let node = node(vfs, ino).await;
        if node.is_directory {
            for name in list(vfs, ino).await {
                let attr = vfs.lookup(ino, name.as_bytes()).await.unwrap().attr;
                let slash = if path.is_empty() { "" } else { "/" };
                open.push((format!("{path}{slash}{name}"), attr.ino));
            }
        }
        tree.insert(path, node);
    }
    tree
}

async fn node(vfs: &Vfs, ino: u64) -> Node {
    let attr = vfs.getattr(ino).await.unwrap();
    let bytes = match attr.kind {
        FileKind::File => read_all(vfs, ino).await,
        FileKind::Symlink => vfs.readlink(ino).await.unwrap().to_vec(),
        _ => Vec::new(),
    };
    let mut xattrs = Vec::new();
    for name in split(&vfs.listxattr(ino).await.unwrap()) {
        let value = vfs.getxattr(ino, name.as_bytes()).await.unwrap();
        xattrs.push((name, value.to_vec()));
    }
    Node {
        ino,
        is_directory: attr.kind == FileKind::Directory,
        mtime: attr.mtime,
        state: (attr.kind, attr.mode, attr.uid, attr.gid),
        bytes,
        xattrs,
    }
}

/// Returns the letters and paths of the difference between two trees in which a directory is the
/// same one if it has the same number.
pub(crate) fn difference(before: &Tree, after: &Tree) -> Vec<String> {
    let numbers = |tree: &Tree| -> HashMap<u64, String> {
        let directories = tree.iter().filter(|(_, node)| node.is_directory);
        directories
            .map(|(path, node)| (node.ino, path.clone()))
            .collect()
    };
    let (old, new) = (numbers(before), numbers(after));
    let kept = |node: &Node| old.contains_key(&node.ino) && new.contains_key(&node.ino);
    let keyed = |tree: &Tree| -> BTreeMap<(u64, String), String> {
        let keys = tree
            .keys()
            .map(|path| (key(tree, path, &kept), path.clone()));
        keys.collect()
    };
    let (old_keys, new_keys) = (keyed(before), keyed(after));
    let mut lines = Vec::new();
    for (key, path) in &old_keys {
        match new_keys.get(key) {
            None => lines.push(format!("D {path}")),
            Some(now) => lines.extend(line(&before[path], &after[now], now)),
        }
    }
    for (key, path) in &new_keys {
        if !old_keys.contains_key(key) {
            lines.push(format!("A {path}"));
        }
    }
    for (ino, path) in &old {
        let Some(now) = new.get(ino).filter(|_| *ino != ROOT) else {
            continue;
        };
        let place = |tree: &Tree, path: &str| {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            (key(tree, above, &kept), name.to_owned())
        };
        if place(before, path) != place(after, now) {
            lines.push(format!("R {path} {now}"));
        }
    }
    lines.sort();
    lines
}

/// Returns the lowest directory on the way to a path that both trees have, and the way from there.
fn key(tree: &Tree, path: &str, kept: &dyn Fn(&Node) -> bool) -> (u64, String) {
    let mut found = (ROOT, path);
    for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
        let node = &tree[&path[..at]];
        if node.is_directory && kept(node) {
            found = (node.ino, &path[at..]);
        }
    }
    (found.0, found.1.trim_start_matches('/').to_owned())
}

fn line(before: &Node, after: &Node, path: &str) -> Option<String> {
    let same =
        before.state == after.state && before.bytes == after.bytes && before.xattrs == after.xattrs;
    match (same, before.mtime == after.mtime || after.is_directory) {
        (true, true) => None,
        (true, false) => Some(format!("T {path}")),
        (false, _) => Some(format!("M {path}")),
    }
}

/// One change. What cannot be done is not done.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create(String),
    Mkdir(String),
    Symlink(String),
    /// Writes what was there before, if the file is one of the base.
    Rewrite(String),
    Write(String, u64, u8),
    Truncate(String, u64),
    Chmod(String, usize),
    /// Sets the time of the base, or another one.
    Utimes(String, bool),
    Xattr(String, u8),
    Link(String, String),
    Remove(String),
    RemoveAll(String),
    Rename(String, String),
    Exchange(String, String),
    /// Makes a file of the base anew, as it was.
    Remake(String),
    Remount,
}

pub(crate) fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => path().prop_map(Step::Create),
        4 => path().prop_map(Step::Mkdir),
        1 => path().prop_map(Step::Symlink),
        2 => path().prop_map(Step::Rewrite),
        3 => (path(), 0..30_u64, any::<u8>()).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        1 => (path(), 0..30_u64).prop_map(|(a, b)| Step::Truncate(a, b)),
        2 => (path(), 0..2_usize).prop_map(|(a, b)| Step::Chmod(a, b)),
        2 => (path(), any::<bool>()).prop_map(|(a, b)| Step::Utimes(a, b)),
        1 => (path(), 0..3_u8).prop_map(|(a, b)| Step::Xattr(a, b)),
        2 => (path(), path()).prop_map(|(a, b)| Step::Link(a, b)),
        4 => path().prop_map(Step::Remove),
        3 => path().prop_map(Step::RemoveAll),
        8 => (path(), path()).prop_map(|(a, b)| Step::Rename(a, b)),
        2 => (path(), path()).prop_map(|(a, b)| Step::Exchange(a, b)),
        3 => path().prop_map(Step::Remake),
        1 => Just(Step::Remount),
    ]
}

/// A mount that can be made anew.
pub(crate) struct Mounted {
    pub(crate) machine: Machine,
    pub(crate) vfs: Vfs,
}

impl Mounted {
    pub(crate) async fn new() -> Self {
        let machine = Machine::with(&base());
        let vfs = machine.mount().await;
        Self { machine, vfs }
    }

    pub(crate) async fn remount(self) -> Self {
        let Self { machine, vfs } = self;
        drop(vfs);
        let vfs = machine.mount().await;
        Self { machine, vfs }
    }

    pub(crate) async fn step(self, step: &Step) -> Self {
        self.machine.tick();
        if matches!(step, Step::Remount) {
            return self.remount().await;
        }
        // Most random steps cannot be done.
        let _ = self.try_step(step).await;
        self
    }

    /// Does what must work.
    pub(crate) async fn must(&self, step: &Step) {
        self.machine.tick();
        self.try_step(step).await.unwrap();
    }

    async fn try_step(&self, step: &Step) -> Result<(), VfsError> {
        let vfs = &self.vfs;
        match step {
            Step::Create(path) => {
                let (above, name) = self.place(path).await?;
                vfs.create(above, name, MODES[0], OWNER, Existing::Refuse)
                    .await?;
            }
            Step::Mkdir(path) => {
                let (above, name) = self.place(path).await?;
                vfs.mkdir(above, name, 0o755, OWNER).await?;
            }
            Step::Symlink(path) => {
                let (above, name) = self.place(path).await?;
                vfs.symlink(above, name, b"nowhere", OWNER).await?;
            }
            Step::Rewrite(path) => {
                let file = find(vfs, path).await?.ino;
                vfs.write(file, 0, &content_of(path), Privileges::Keep)
                    .await?;
            }
            Step::Write(path, offset, byte) => {
                let file = find(vfs, path).await?.ino;
                vfs.write(file, *offset, &[*byte; 3], Privileges::Keep)
                    .await?;
            }
            Step::Link(from, to) => {
                let file = find(vfs, from).await?.ino;
                let (above, name) = self.place(to).await?;
                vfs.link(file, above, name).await?;
            }
            Step::Rename(from, to) => self.rename(from, to, RenameMode::Replace).await?,
            Step::Exchange(from, to) => self.rename(from, to, RenameMode::Exchange).await?,
            Step::Remove(path) => self.remove(path).await?,
            Step::RemoveAll(path) => self.remove_all(path).await?,
            Step::Remake(path) => self.remake(path).await?,
            step => self.set(step).await?,
        }
        Ok(())
    }

    async fn set(&self, step: &Step) -> Result<(), VfsError> {
        let (path, new) = match step {
            Step::Truncate(path, size) => (path, size_of(*size)),
            Step::Chmod(path, mode) => (path, mode_of(MODES[*mode])),
            Step::Utimes(path, base) => {
                let other = Timestamp { secs: 5, nanos: 5 };
                (path, time_of(if *base { TIME } else { other }))
            }
            Step::Xattr(path, value) => {
                let ino = find(&self.vfs, path).await?.ino;
                let value = [*value];
                let set = self.vfs.setxattr(ino, b"user.a", &value, XattrMode::Set);
                return set.await;
            }
            _ => return Ok(()),
        };
        let ino = find(&self.vfs, path).await?.ino;
        self.vfs.setattr(ino, new).await.map(drop)
    }

    async fn place<'p>(&self, path: &'p str) -> Result<(u64, &'p [u8]), VfsError> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((find(&self.vfs, above).await?.ino, name.as_bytes()))
    }

    async fn rename(&self, from: &str, to: &str, mode: RenameMode) -> Result<(), VfsError> {
        let ((above, name), (to_above, to_name)) = (self.place(from).await?, self.place(to).await?);
        self.vfs.rename(above, name, to_above, to_name, mode).await
    }

    async fn remove(&self, path: &str) -> Result<(), VfsError> {
        let (above, name) = self.place(path).await?;
        match find(&self.vfs, path).await?.kind {
            FileKind::Directory => self.vfs.rmdir(above, name).await,
            _ => self.vfs.unlink(above, name).await,
        }
    }

    async fn remove_all(&self, path: &str) -> Result<(), VfsError> {
        let mut found = vec![path.to_owned()];
        let mut at = 0;
        while let Some(path) = found.get(at).cloned() {
            let attr = find(&self.vfs, &path).await?;
            if attr.kind == FileKind::Directory {
                for name in list(&self.vfs, attr.ino).await {
                    found.push(format!("{path}/{name}"));
                }
            }
            at += 1;
        }
        for path in found.iter().rev() {
            self.remove(path).await?;
        }
        Ok(())
    }

    async fn remake(&self, path: &str) -> Result<(), VfsError> {
        self.try_create(path).await?;
        let file = ino(&self.vfs, path).await;
        self.vfs
            .write(file, 0, &content_of(path), Privileges::Keep)
            .await?;
        self.vfs.setattr(file, time_of(TIME)).await.map(drop)
    }

    async fn try_create(&self, path: &str) -> Result<(), VfsError> {
        let (above, name) = self.place(path).await?;
        let create = self
            .vfs
            .create(above, name, MODES[0], OWNER, Existing::Refuse);
        create.await.map(drop)
    }
}

fn size_of(size: u64) -> SetAttr {
    SetAttr {
        size: Some(size),
        ..SetAttr::default()
    }
}

fn mode_of(mode: u16) -> SetAttr {
    SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    }
}

fn time_of(time: Timestamp) -> SetAttr {
    SetAttr {
        mtime: Some(SetTime::At(time)),
        ..SetAttr::default()
    }
}
