//! Whether names that seem to be one file are one, decided when the walk has ended.
//!
//! Two names are one file if device, inode number and all attributes that stat shows are equal to
//! what the first name had when it was read. A file that was changed since is looked at and read
//! again, all of its names with it. Where numbers of inodes cannot be trusted, the bytes and the
//! time of birth have to be equal too, and never are more names one file than it counts itself.

use std::sync::PoisonError;

use lfsfs_types::Record;

use crate::entry::Entry;
use crate::error::ImportError;
use crate::failure::Failure;
use crate::links::{Group, LinkIds, LinkedName, ReadState};
use crate::local;
use crate::problems::Reason;
use crate::worker::{ATTEMPTS_MAX, Workshop};

/// Names of one file, and what was read of it.
type United = (Vec<LinkedName>, ReadState);

impl Workshop {
    /// Sends every name of every hard-linked file. Call it when no worker is busy any more.
    pub(crate) fn settle_links(&self) -> Result<(), ImportError> {
        let links = std::mem::take(&mut *self.links.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ids = LinkIds::new(self.names_seen);
        for group in links.into_groups() {
            let mut waiting = vec![group];
            while let Some(group) = waiting.pop() {
                waiting.extend(self.settle(group, &mut ids)?);
            }
        }
        Ok(())
    }

    /// Sends the names of a group that are one file. Returns the others, which are not.
    fn settle(&self, group: Group, ids: &mut LinkIds) -> Result<Option<Group>, ImportError> {
        let (united, mut others) = self.unite(group)?;
        if let Some((names, ReadState { record, stat })) = united {
            let (same, strangers) = self.confirm(names, &record)?;
            others.extend(strangers);
            for name in &same {
                self.note(&name.entry, &stat, &record);
            }
            if same.len() as u64 > stat.nlink.max(1) {
                // The file system contradicts itself, so each name is a file of its own.
                for name in same {
                    ids.send(vec![name], (&record, 1), &self.changes)?;
                }
            } else {
                ids.send(same, (&record, stat.nlink), &self.changes)?;
            }
        }
        Ok((!others.is_empty()).then_some(Group {
            names: others,
            read: None,
        }))
    }

    /// Returns the names that agree with what was read, and those that turned out to be other files.
    fn unite(&self, group: Group) -> Result<(Option<United>, Vec<LinkedName>), ImportError> {
        let Group {
            mut names,
            mut read,
        } = group;
        let mut others = Vec::new();
        let mut reason = Reason::Changing;
        for _ in 0..ATTEMPTS_MAX {
            if let Some(read) = read.take()
                && names.iter().all(|name| name.stat == read.stat)
            {
                return Ok((Some((names, read)), others));
            }
            let (same, different) = divide(self.look_again(names)?);
            others.extend(different);
            names = same;
            let Some(first) = names.first() else {
                return Ok((None, others));
            };
            match self.read(&first.entry) {
                Ok(file) => {
                    self.send(&file.offer)?;
                    read = Some(file.state);
                }
                Err(failure) => reason = failure.of_entry(&first.entry.path())?,
            }
        }
        for name in names {
            self.problems.report(&name.entry.path(), reason.clone());
        }
        Ok((None, others))
    }

    /// Takes what each name is now. Those that are gone, or no files any more, are taken out.
    fn look_again(&self, names: Vec<LinkedName>) -> Result<Vec<LinkedName>, ImportError> {
        let mut present = Vec::with_capacity(names.len());
        for LinkedName { entry, .. } in names {
            match self.look_at(&entry) {
                Ok(Some(stat)) => present.push(LinkedName { entry, stat }),
                Ok(None) => self.remove(&entry)?,
                Err(failure) => self.report(&entry, failure)?,
            }
        }
        Ok(present)
    }

    fn look_at(&self, entry: &Entry) -> Result<Option<local::LocalStat>, Failure> {
        let parent = self.directories.open(&entry.parent)?;
        match local::stat_entry(&parent, &entry.name)? {
            Some(stat) if stat.kind != rustix::fs::FileType::RegularFile => {
                Err(Reason::Changing.into())
            }
            found => Ok(found),
        }
    }

    /// Divides names that agree in what stat shows into those that are one file with the first, and
    /// others.
    fn confirm(
        &self,
        names: Vec<LinkedName>,
        record: &Record,
    ) -> Result<(Vec<LinkedName>, Vec<LinkedName>), ImportError> {
        if self.directories.has_true_numbers() || names.len() < 2 {
            return Ok((names, Vec::new()));
        }
        let mut names = names.into_iter();
        let mut same: Vec<LinkedName> = names.next().into_iter().collect();
        let born = same.first().and_then(|first| self.birth(&first.entry));
        let mut others = Vec::new();
        for name in names {
            match self.read(&name.entry) {
                Ok(file) if file.state.record == *record && self.birth(&name.entry) == born => {
                    same.push(name);
                }
                Ok(_) => others.push(name),
                Err(failure) => self.report(&name.entry, failure)?,
            }
        }
        Ok((same, others))
    }

    fn birth(&self, entry: &Entry) -> Option<lfsfs_types::Timestamp> {
        let parent = self.directories.open(&entry.parent).ok()?;
        local::birth(&parent, &entry.name)
    }
}

/// Divides names by whether they seem to be one file with the first.
fn divide(names: Vec<LinkedName>) -> (Vec<LinkedName>, Vec<LinkedName>) {
    let Some(first) = names.first().map(|name| name.stat.identity()) else {
        return (names, Vec::new());
    };
    let mut is_first = true;
    names.into_iter().partition(|name| {
        // A file with one name is no other's.
        std::mem::take(&mut is_first) || (name.stat.nlink > 1 && name.stat.identity() == first)
    })
}
