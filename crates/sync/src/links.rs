//! Hard links: names that share one file, known only when the whole tree has been seen.
//!
//! The first name of a file is read and the others are only noted: that they name the same file is
//! believed when the end of the walk has confirmed it, see [`crate::settle`].

use std::collections::{HashMap, HashSet};

use lfsfs_types::{Kind, Link, LinkId, Record};
use lfsfs_upload::{ChangeSink, Difference, difference};

use crate::entry::Entry;
use crate::error::ImportError;
use crate::local::{FileIdentity, LocalStat};

/// One name of a hard-linked file, and what it was when it was last looked at.
#[derive(Debug)]
pub(crate) struct LinkedName {
    pub(crate) entry: Entry,
    pub(crate) stat: LocalStat,
}

/// What was read of a file, and what it was when it was read.
#[derive(Debug, Clone)]
pub(crate) struct ReadState {
    pub(crate) record: Record,
    pub(crate) stat: LocalStat,
}

/// Names that seem to be one file. `read` is what the first of them had.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) names: Vec<LinkedName>,
    pub(crate) read: Option<ReadState>,
}

/// The hard-linked files of the tree, in the order of their first names.
#[derive(Debug, Default)]
pub(crate) struct LinkGroups {
    by_identity: HashMap<FileIdentity, usize>,
    groups: Vec<Group>,
}

impl LinkGroups {
    /// Adds a name. Returns the group's number if this is its first name: then the file is to be
    /// read.
    pub(crate) fn add(&mut self, entry: Entry, stat: LocalStat) -> Option<usize> {
        let next = self.groups.len();
        // A file with one name is no other's, whatever its number.
        let number = if stat.nlink > 1 {
            *self.by_identity.entry(stat.identity()).or_insert(next)
        } else {
            next
        };
        if number == next {
            self.groups.push(Group::default());
        }
        self.groups[number].names.push(LinkedName { entry, stat });
        (number == next).then_some(number)
    }

    /// Notes what a group's first name had.
    pub(crate) fn set_read(&mut self, number: usize, read: ReadState) {
        self.groups[number].read = Some(read);
    }

    /// Returns the groups.
    pub(crate) fn into_groups(self) -> Vec<Group> {
        self.groups
    }
}

/// Whether a walk meets all names of a file that the version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamesSeen {
    /// It does.
    All,
    /// Others may lie where it does not look.
    Some,
}

/// The link ids of one version.
#[derive(Debug)]
pub(crate) struct LinkIds {
    seen: NamesSeen,
    taken: HashSet<LinkId>,
    next: u64,
}

impl LinkIds {
    pub(crate) fn new(seen: NamesSeen) -> Self {
        Self {
            seen,
            taken: HashSet::new(),
            next: LinkId::SESSION_FIRST.0,
        }
    }

    /// Sends every name of a file with the identity of the file.
    ///
    /// It keeps the link id that its first name had in the base, unless an earlier file took it. A
    /// file with one name in the tree, and none that was linked before, is no link at all. `on_disk` is how
    /// many names the file system counts.
    pub(crate) fn send(
        &mut self,
        names: Vec<LinkedName>,
        (record, on_disk): (&Record, u64),
        changes: &ChangeSink,
    ) -> Result<(), ImportError> {
        let link = match self.seen {
            NamesSeen::All => self.id_of(&names).map(|id| Link {
                id,
                nlink: count(names.len()),
            }),
            NamesSeen::Some => self.link_of_some(&names, record, on_disk),
        };
        for LinkedName { entry, .. } in names {
            let record = Record {
                link,
                ..record.clone()
            };
            changes.put(entry.dir, Some(&entry.name), record, entry.base.as_ref())?;
        }
        Ok(())
    }

    /// Returns the link of names that may not be all of their file.
    ///
    /// A file that changed and has fewer names than in the base is not the file of the base any more, as far as
    /// is known: with the link of the base, names that were not looked at would change with it.
    fn link_of_some(
        &mut self,
        names: &[LinkedName],
        record: &Record,
        on_disk: u64,
    ) -> Option<Link> {
        let old = names.iter().find_map(|it| link_in(it.entry.base.as_ref()));
        let kept = old.filter(|old| {
            let with_link = Record {
                link: Some(*old),
                ..record.clone()
            };
            let is_same = |name: &LinkedName| {
                difference(&with_link, name.entry.base.as_ref()) == Difference::None
            };
            on_disk >= u64::from(old.nlink) || names.iter().all(is_same)
        });
        if let Some(old) = kept.filter(|old| self.taken.insert(old.id)) {
            let is_added = |it: &&LinkedName| base_link(it.entry.base.as_ref()) != Some(old.id);
            let added = names.iter().filter(is_added).count();
            let nlink = old.nlink.saturating_add(count(added));
            return Some(Link { nlink, ..old });
        }
        (names.len() > 1).then(|| Link {
            id: self.new_id(),
            nlink: count(names.len()),
        })
    }

    fn id_of(&mut self, names: &[LinkedName]) -> Option<LinkId> {
        let old = names
            .iter()
            .find_map(|name| base_link(name.entry.base.as_ref()));
        let kept = old.filter(|id| self.taken.insert(*id));
        if kept.is_some() || names.len() < 2 {
            return kept;
        }
        Some(self.new_id())
    }

    const fn new_id(&mut self) -> LinkId {
        let id = LinkId(self.next);
        self.next += 1;
        id
    }
}

fn base_link(base: Option<&Record>) -> Option<LinkId> {
    link_in(base).map(|link| link.id)
}

fn link_in(base: Option<&Record>) -> Option<Link> {
    let record = base?;
    matches!(record.kind, Kind::File { .. }).then_some(record.link)?
}

fn count(names: usize) -> u32 {
    u32::try_from(names).unwrap_or(u32::MAX)
}
