//! What a commit has to tell the server: the entries that differ from the base.

use lfsfs_types::{DirId, LinkId, Name};

use crate::inode::{BaseKey, Inode, Slot};
use crate::state::State;

/// The directory of a changed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryRef {
    /// One that the base has; [`DirId::ABOVE_ROOT`] for the root's own record.
    Base(DirId),
    /// A new one, by its inode. The entry that makes it came before.
    New(u64),
    /// Wherever the base has names of this link; their own place was taken away.
    NamesOf(LinkId),
}

/// What stands at a changed entry now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Nothing any more.
    Removed,
    /// This. What it is in the base, if anything, is in the inode.
    Present {
        /// Its inode number.
        ino: u64,
        /// Its attributes and the layout of its content.
        inode: &'a Inode,
    },
}

/// An entry that differs from the base, or may: an object that was changed and changed back is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedEntry<'a> {
    /// The directory.
    pub directory: DirectoryRef,
    /// The name in it; `None` for the root and for [`DirectoryRef::NamesOf`].
    pub name: Option<&'a Name>,
    /// True if the base has an entry there.
    pub covers_base: bool,
    /// What is there.
    pub entry: Entry<'a>,
}

/// The slots of one directory that are still to be told.
type Slots<'a> = (
    DirectoryRef,
    Box<dyn Iterator<Item = (&'a Name, &'a Slot)> + Send + 'a>,
);

/// Iterates over the changed entries of a state, new directories before what is in them.
///
/// It costs what changed: it starts from the inodes that differ and follows new directories only.
pub struct Changes<'a> {
    state: &'a State,
    dirty: Box<dyn Iterator<Item = u64> + Send + 'a>,
    open: Vec<Slots<'a>>,
}

impl std::fmt::Debug for Changes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Returns what differs from the base.
    #[must_use]
    pub fn changes(&self) -> Changes<'_> {
        Changes {
            state: self,
            dirty: Box::new(self.dirty.iter()),
            open: Vec::new(),
        }
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = ChangedEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.next_slot() {
                return Some(entry);
            }
            // New objects are reached by the names that they have.
            let ino = self.dirty.next()?;
            let Some(inode) = self.state.inode(ino).filter(|it| it.base.is_some()) else {
                continue;
            };
            self.open_base_directory(inode);
            if let Some(entry) = in_place(ino, inode) {
                return Some(entry);
            }
        }
    }
}

impl<'a> Changes<'a> {
    fn next_slot(&mut self) -> Option<ChangedEntry<'a>> {
        loop {
            let (directory, slots) = self.open.last_mut()?;
            let directory = *directory;
            let Some((name, slot)) = slots.next() else {
                self.open.pop();
                continue;
            };
            let (covers_base, entry) = match *slot {
                Slot::Removed => (true, Entry::Removed),
                Slot::Inode { ino, covers_base } => {
                    let Some(inode) = self.state.inode(ino) else {
                        continue;
                    };
                    self.open_new_directory(ino, inode);
                    (covers_base, Entry::Present { ino, inode })
                }
            };
            return Some(ChangedEntry {
                directory,
                name: Some(name),
                covers_base,
                entry,
            });
        }
    }

    fn open_base_directory(&mut self, inode: &'a Inode) {
        if let Some(directory) = inode.directory()
            && let Some(base) = directory.base
        {
            self.open
                .push((DirectoryRef::Base(base), Box::new(directory.entries.iter())));
        }
    }

    fn open_new_directory(&mut self, ino: u64, inode: &'a Inode) {
        if let Some(directory) = inode.directory()
            && inode.base.is_none()
        {
            self.open
                .push((DirectoryRef::New(ino), Box::new(directory.entries.iter())));
        }
    }
}

/// Returns the entry of an object at its own place in the base.
fn in_place(ino: u64, inode: &Inode) -> Option<ChangedEntry<'_>> {
    let base = inode.base.as_ref().filter(|_| inode.base_names > 0)?;
    let (directory, name) = match base.key() {
        _ if inode.in_place => (DirectoryRef::Base(base.directory), base.name.as_ref()),
        BaseKey::Link(link) => (DirectoryRef::NamesOf(link), None),
        _ => return None,
    };
    let entry = Entry::Present { ino, inode };
    Some(ChangedEntry {
        directory,
        name,
        covers_base: true,
        entry,
    })
}
