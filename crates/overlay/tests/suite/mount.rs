//! A tiny file system on top of an overlay and a base, as a mount has it: it copies up what it changes
//! and walks through both.

use std::collections::BTreeMap;

use lfsfs_overlay::{
    Base, Change, ExtentSource, FileRange, Inode, Lookup, NewAttributes, NewNode, Node, Operation,
    Overlay, OverlayError, SharedContent, State, View,
};
use lfsfs_types::{DirId, Kind, Name, VersionId};

use crate::base::{self, BaseTree, Outcome};
use crate::common::{ROOT, copy_up_root, create, place, time};
use crate::model::{Shown, Tree};

/// An entry found on the way.
#[derive(Debug, Clone, PartialEq)]
enum Found {
    Upper(u64),
    Base(Box<lfsfs_overlay::BaseObject>),
}

#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) overlay: Overlay,
    pub(crate) base: BaseTree,
    pub(crate) next_ino: u64,
    /// The version that a commit under way will make, and what became of its inodes.
    pub(crate) pending: Option<(VersionId, BaseTree, Outcome)>,
    pub(crate) clock: i64,
}

impl Mount {
    pub(crate) fn new(overlay: Overlay, base: BaseTree) -> Self {
        overlay.apply(&[copy_up_root().into()]).unwrap();
        Self {
            overlay,
            base,
            next_ino: 1000,
            pending: None,
            clock: 100,
        }
    }

    pub(crate) fn now(&mut self) -> lfsfs_types::Timestamp {
        self.clock += 1;
        time(self.clock)
    }

    fn fresh_ino(&mut self) -> u64 {
        self.next_ino += 1;
        self.next_ino
    }

    /// Returns the inode at a path, which is copied up if it is the base's.
    pub(crate) fn ino(&mut self, path: &[&str]) -> u64 {
        let state = self.overlay.state();
        if state.inode(ROOT).is_none() {
            self.apply(copy_up_root());
        }
        let mut ino = ROOT;
        for part in path {
            let found = find_in_upper(&self.overlay.view(), &self.base, ino, &name(part));
            ino = match found.unwrap_or_else(|| panic!("{path:?} is missing")) {
                Found::Upper(ino) => ino,
                Found::Base(object) => {
                    let ino = self.fresh_ino();
                    self.apply(Operation::CopyUp {
                        ino,
                        base: (*object).into(),
                    });
                    ino
                }
            };
        }
        ino
    }

    pub(crate) fn apply(&self, operation: Operation) {
        self.overlay.apply(&[operation.into()]).unwrap();
    }

    fn parent(&mut self, path: &[&str]) -> lfsfs_overlay::EntryName {
        let (last, parents) = path.split_last().unwrap();
        place(self.ino(parents), last)
    }

    pub(crate) fn create(&mut self, path: &[&str], node: NewNode) {
        let (at, ino, time) = (self.parent(path), self.fresh_ino(), self.now());
        let Operation::Create { mut creation, .. } = create(ROOT, "x", ino, node.clone()) else {
            unreachable!()
        };
        creation.time = time;
        self.apply(Operation::Create {
            place: at,
            ino,
            node,
            creation,
        });
    }

    pub(crate) fn write(&mut self, path: &[&str], offset: u64, data: &[u8]) {
        let (ino, time) = (self.ino(path), self.now());
        let operation = Operation::Write {
            ino,
            offset,
            time,
            mode: None,
        };
        self.overlay.apply(&[Change { operation, data }]).unwrap();
    }

    pub(crate) fn truncate(&mut self, path: &[&str], size: u64) {
        let (ino, time) = (self.ino(path), self.now());
        self.apply(Operation::Truncate {
            ino,
            size,
            time,
            mode: None,
        });
    }

    pub(crate) fn punch(&mut self, path: &[&str], offset: u64, len: u64, size: u64) {
        let (ino, time) = (self.ino(path), self.now());
        self.apply(Operation::Fallocate {
            ino,
            offset,
            len,
            size,
            time,
            mode: None,
        });
    }

    /// Copies a range that the file has: as that of a content of the base, where it is that as a whole.
    pub(crate) fn copy(
        &mut self,
        (from, offset): (&[&str], u64),
        (to, at): (&[&str], u64),
        len: u64,
    ) {
        let (from, to, time) = (self.ino(from), self.ino(to), self.now());
        let state = self.overlay.state();
        let source = state.inode(from).unwrap();
        let below = source.base.as_ref().map(|it| it.record.kind.clone());
        let range = |ino| FileRange { ino, offset, len };
        self.apply(match below {
            Some(Kind::File { size, content }) if source.file().unwrap().is_base() => {
                let base = state.base();
                Operation::ShareContent {
                    content: SharedContent {
                        content,
                        size,
                        base,
                    },
                    from: range(to),
                    at,
                    time,
                    mode: None,
                }
            }
            _ => Operation::Share {
                from: range(from),
                ino: to,
                at,
                time,
                mode: None,
            },
        });
    }

    /// Gives files bytes of their own for those of contents, as far as `part` of each.
    pub(crate) fn own(&mut self, part: u64) {
        let state = self.overlay.state();
        for (ino, inode) in state.inodes() {
            for (offset, extent) in inode.file().into_iter().flat_map(|it| it.shared()) {
                let ExtentSource::Content(shared, from) = &extent.source else {
                    panic!("{extent:?} is shared");
                };
                let len = extent.len.min(part);
                let range = usize::try_from(*from).unwrap()..usize::try_from(from + len).unwrap();
                let bytes = &self.base.contents[&shared.content][range];
                self.overlay.own(ino, offset, extent, bytes).unwrap();
            }
        }
    }

    pub(crate) fn chmod(&mut self, path: &[&str], mode: u32) {
        let (ino, time) = (self.ino(path), self.now());
        let attributes = NewAttributes {
            mode: Some(mode),
            ..NewAttributes::default()
        };
        self.apply(Operation::SetAttributes {
            ino,
            attributes,
            time,
        });
    }

    pub(crate) fn link(&mut self, from: &[&str], to: &[&str]) {
        let (ino, place, time) = (self.ino(from), self.parent(to), self.now());
        self.apply(Operation::Link { ino, place, time });
    }

    /// Removes a file or an empty directory and returns its inode, which may be open.
    pub(crate) fn remove(&mut self, path: &[&str]) -> u64 {
        let (ino, place, time) = (self.ino(path), self.parent(path), self.now());
        let directory = self
            .overlay
            .state()
            .inode(ino)
            .unwrap()
            .directory()
            .is_some();
        self.apply(if directory {
            Operation::Rmdir { place, ino, time }
        } else {
            Operation::Unlink { place, ino, time }
        });
        ino
    }

    pub(crate) fn rename(&mut self, from: &[&str], to: &[&str], replaces: bool) {
        let ino = self.ino(from);
        let replaced = replaces.then(|| self.ino(to));
        let (from, to, time) = (self.parent(from), self.parent(to), self.now());
        self.apply(Operation::Rename {
            from,
            to,
            ino,
            replaced,
            time,
        });
    }

    pub(crate) fn exchange(&mut self, first: &[&str], second: &[&str]) {
        let (first_ino, second_ino) = (self.ino(first), self.ino(second));
        let (first, second, time) = (self.parent(first), self.parent(second), self.now());
        self.apply(Operation::Exchange {
            first,
            first_ino,
            second,
            second_ino,
            time,
        });
    }

    /// Seals and lets the server make the version, without ending the commit here.
    pub(crate) fn seal(&mut self) -> lfsfs_overlay::Sealed {
        let mut next = self.base.clone();
        let commit = VersionId([next.next_id().to_be_bytes()[7]; 16]);
        let sealed = self.overlay.seal(commit).unwrap();
        let outcome = next.commit(&sealed);
        self.pending = Some((commit, next, outcome));
        sealed
    }

    pub(crate) fn committed(&mut self) {
        let (commit, base, outcome) = self.pending.take().unwrap();
        let mapped = |state: &State| {
            let changed = state.changed_since_seal().into_iter();
            let mapped = changed.map(|ino| (ino, base.mapped(&outcome, ino).unwrap()));
            Ok::<_, OverlayError>(mapped.collect())
        };
        let version = Base {
            number: base.version(),
            id: commit,
        };
        let directories = &outcome.ids.directories[..];
        let accept = |_: &State, _: &State| Ok(());
        self.overlay
            .committed(commit, version, directories, mapped, accept)
            .unwrap();
        self.overlay.sync().unwrap();
        self.base = base;
    }

    pub(crate) fn aborted(&mut self) {
        let (commit, ..) = self.pending.take().unwrap();
        self.overlay.aborted(commit).unwrap();
    }

    pub(crate) fn tree(&self) -> Tree {
        tree(&self.overlay.view(), &self.base)
    }

    pub(crate) fn read(&self, ino: u64) -> Vec<u8> {
        // Contents are never collected here, as those of open files are not.
        let pending = self.pending.as_ref().map(|it| &it.1);
        base::read(&self.overlay.view(), ino, |content| {
            let known = self.base.contents.get(&content);
            known
                .or_else(|| pending?.contents.get(&content))
                .unwrap()
                .clone()
        })
        .unwrap()
    }
}

fn name(text: &str) -> Name {
    crate::common::name(text)
}

fn find_in_upper(view: &View, base: &BaseTree, directory: u64, name: &Name) -> Option<Found> {
    match view.state().lookup(directory, name).unwrap() {
        Lookup::Inode(ino) => Some(Found::Upper(ino)),
        Lookup::Absent => None,
        Lookup::Base(id) => find_in_base(view, base, id, name),
    }
}

fn find_in_base(view: &View, base: &BaseTree, directory: DirId, name: &Name) -> Option<Found> {
    let object = base.object(directory, name)?;
    Some(match view.state().copy_of(&base::key(&object)) {
        Some(ino) => Found::Upper(ino),
        None => Found::Base(object.into()),
    })
}

/// Returns everything that a view shows above a base.
pub(crate) fn tree(view: &View, base: &BaseTree) -> Tree {
    let mut tree = Tree::new();
    let state = view.state();
    let root = match state.inode(ROOT) {
        Some(_) => Found::Upper(ROOT),
        None => Found::Base(crate::common::root().into()),
    };
    let mut open: Vec<(String, Found)> = vec![(String::new(), root)];
    while let Some((path, found)) = open.pop() {
        let (shown, entries) = match &found {
            Found::Upper(ino) => show_upper(view, base, *ino),
            Found::Base(object) => show_base(view, base, object),
        };
        let slash = if path.is_empty() { "" } else { "/" };
        for (name, entry) in entries {
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            open.push((format!("{path}{slash}{name}"), entry));
        }
        tree.insert(path, shown);
    }
    tree.remove("");
    tree
}

type Entries = BTreeMap<Name, Found>;

fn show_upper(view: &View, base: &BaseTree, ino: u64) -> (Shown, Entries) {
    let inode: &Inode = view.state().inode(ino).unwrap();
    let attributes = &inode.attributes;
    match &inode.node {
        Node::Directory(directory) => {
            let mut names: Vec<Name> = directory.entries.keys().cloned().collect();
            if let Some(id) = directory.base {
                names.extend(base.directories[&id].keys().cloned());
            }
            let found = names.into_iter().filter_map(|name| {
                let found = find_in_upper(view, base, ino, &name)?;
                Some((name, found))
            });
            (
                Shown::Directory {
                    mode: attributes.mode,
                },
                found.collect(),
            )
        }
        Node::File(_) => {
            let bytes = base::read(view, ino, |content| base.contents[&content].clone()).unwrap();
            let nlink = attributes.nlink;
            let shown = Shown::File {
                mode: attributes.mode,
                nlink,
                mtime: attributes.mtime,
                bytes,
            };
            (shown, Entries::new())
        }
        node => panic!("{node:?}"),
    }
}

fn show_base(view: &View, base: &BaseTree, object: &lfsfs_overlay::BaseObject) -> (Shown, Entries) {
    let record = &object.record;
    match &record.kind {
        lfsfs_types::Kind::Directory { dir } => {
            let names = base.directories[dir].keys();
            let found = names
                .filter_map(|name| Some((name.clone(), find_in_base(view, base, *dir, name)?)));
            (Shown::Directory { mode: record.mode }, found.collect())
        }
        lfsfs_types::Kind::File { content, .. } => {
            let bytes = base.contents[content].clone();
            let nlink = record.link.map_or(1, |it| it.nlink);
            let shown = Shown::File {
                mode: record.mode,
                nlink,
                mtime: record.mtime,
                bytes,
            };
            (shown, Entries::new())
        }
        kind => panic!("{kind:?}"),
    }
}
