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
            NamesSeen::Some => {
                let bases = names.iter().map(|name| name.entry.base.as_ref());
                let bases: Vec<_> = bases.collect();
                self.link_of_some(&bases, (record, on_disk))
            }
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

    /// Returns the link of names that may not be all of their file; `bases` are their records in the base.
    ///
    /// A file that changed and has fewer names than in the base is not the file of the base any more, as far as
    /// is known: with the link of the base, names that were not looked at would change with it.
    fn link_of_some(
        &mut self,
        bases: &[Option<&Record>],
        (record, on_disk): (&Record, u64),
    ) -> Option<Link> {
        let old = bases.iter().find_map(|base| link_in(*base));
        let kept = old.filter(|old| {
            let with_link = Record {
                link: Some(*old),
                ..record.clone()
            };
            let is_same =
                |base: &Option<&Record>| difference(&with_link, *base) == Difference::None;
            on_disk >= u64::from(old.nlink) || bases.iter().all(is_same)
        });
        if let Some(old) = kept.filter(|old| self.taken.insert(old.id)) {
            let is_added = |base: &&Option<&Record>| base_link(**base) != Some(old.id);
            let added = bases.iter().filter(is_added).count();
            let nlink = old.nlink.saturating_add(count(added));
            return Some(Link { nlink, ..old });
        }
        (bases.len() > 1).then(|| Link {
            id: self.new_id(),
            nlink: count(bases.len()),
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

#[cfg(test)]
mod tests {
    use lfsfs_types::{ContentId, Timestamp};

    use super::*;

    const OLD: LinkId = LinkId(7);
    const NEW: LinkId = LinkId::SESSION_FIRST;

    fn record(content: u8, link: Option<(LinkId, u32)>) -> Record {
        let time = Timestamp::default();
        Record {
            kind: Kind::File {
                size: 1,
                content: ContentId([content; 32]),
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: time,
            ctime: time,
            sha256: None,
            link: link.map(|(id, nlink)| Link { id, nlink }),
            xattrs: Vec::new(),
        }
    }

    /// Returns the link of a file that has `content`, and so many names on the disk.
    fn link(bases: &[Option<&Record>], content: u8, on_disk: u64) -> Option<(LinkId, u32)> {
        let found =
            LinkIds::new(NamesSeen::Some).link_of_some(bases, (&record(content, None), on_disk));
        found.map(|link| (link.id, link.nlink))
    }

    #[test]
    fn names_that_were_not_looked_at_stay_names_of_their_file() {
        let base = record(1, Some((OLD, 3)));
        assert_eq!(
            link(&[Some(&base)], 1, 1),
            Some((OLD, 3)),
            "nothing changed"
        );
        assert_eq!(link(&[Some(&base)], 2, 3), Some((OLD, 3)), "all changed");
        assert_eq!(link(&[Some(&base), None], 2, 4), Some((OLD, 4)), "one more");
    }

    #[test]
    fn a_file_that_lost_its_other_names_is_another() {
        let base = record(1, Some((OLD, 3)));
        assert_eq!(link(&[Some(&base)], 2, 1), None);
        assert_eq!(link(&[Some(&base), Some(&base)], 2, 2), Some((NEW, 2)));
        assert_eq!(link(&[None, None], 1, 2), Some((NEW, 2)));
    }

    #[test]
    fn two_files_do_not_get_one_link() {
        let base = record(1, Some((OLD, 2)));
        let mut ids = LinkIds::new(NamesSeen::Some);
        let file = record(1, None);
        let first = ids.link_of_some(&[Some(&base)], (&file, 2));
        assert_eq!(first.map(|link| link.id), Some(OLD));
        assert_eq!(ids.link_of_some(&[Some(&base)], (&file, 2)), None);
    }
}
