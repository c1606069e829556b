//! Hard links: names that share one file, known only when the whole tree has been seen.

use std::collections::{HashMap, HashSet};

use lfsfs_types::{DirId, Kind, Link, LinkId, Name, Record};
use lfsfs_upload::ChangeSink;

use crate::error::ImportError;

/// One name of a hard-linked file.
#[derive(Debug)]
struct LinkedName {
    dir: DirId,
    name: Name,
    base: Option<Record>,
}

/// All names seen of one file, and its record once it was read.
#[derive(Debug, Default)]
struct Group {
    names: Vec<LinkedName>,
    record: Option<Record>,
}

/// The hard-linked files of the tree, in the order of their first names.
#[derive(Debug, Default)]
pub(crate) struct LinkGroups {
    by_inode: HashMap<u64, usize>,
    groups: Vec<Group>,
}

impl LinkGroups {
    /// Adds a name. Returns the group's number if this is its first name: then the file is to be
    /// read.
    pub(crate) fn add(
        &mut self,
        inode: u64,
        dir: DirId,
        name: Name,
        base: Option<Record>,
    ) -> Option<usize> {
        let next = self.groups.len();
        let number = *self.by_inode.entry(inode).or_insert(next);
        if number == next {
            self.groups.push(Group::default());
        }
        self.groups[number]
            .names
            .push(LinkedName { dir, name, base });
        (number == next).then_some(number)
    }

    /// Notes the record of a group's file.
    pub(crate) fn set_record(&mut self, number: usize, record: Record) {
        self.groups[number].record = Some(record);
    }

    /// Sends every name with the identity of its group.
    ///
    /// A group keeps the link id that its first name had in the base, unless an earlier group took
    /// it. A file with one name in the tree, and none that was linked before, is no link at all.
    pub(crate) fn send(self, changes: &ChangeSink) -> Result<(), ImportError> {
        let mut taken = HashSet::new();
        let mut new_ids = (LinkId::SESSION_FIRST.0..).map(LinkId);
        for Group { names, record } in self.groups {
            // A file that could not be read is reported as a problem.
            let Some(record) = record else { continue };
            let old = names.iter().find_map(|name| base_link(name.base.as_ref()));
            let kept = old.filter(|id| taken.insert(*id));
            let is_link = names.len() > 1 || kept.is_some();
            let id = kept.or_else(|| if is_link { new_ids.next() } else { None });
            let nlink = u32::try_from(names.len()).unwrap_or(u32::MAX);
            let link = id.map(|id| Link { id, nlink });
            for name in names {
                let record = Record {
                    link,
                    ..record.clone()
                };
                changes.put(name.dir, Some(&name.name), record, name.base.as_ref())?;
            }
        }
        Ok(())
    }
}

fn base_link(base: Option<&Record>) -> Option<LinkId> {
    let record = base?;
    matches!(record.kind, Kind::File { .. }).then(|| record.link.map(|link| link.id))?
}
