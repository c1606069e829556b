//! What a walk looks at: all of a version, or what may differ from what the directory has.

use lfsfs_types::{DirId, ObjectPath, Record, VersionNumber};

use crate::changes::{Changes, Mark};
use crate::listings::Coverage;
use crate::selection::Selection;

/// The part of a version that is written, and how it is compared with what is there.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub(crate) selection: Selection,
    pub(crate) reach: Reach,
}

/// How far a walk goes.
#[derive(Debug, Default)]
pub(crate) enum Reach {
    /// It looks at every entry, and removes what the version does not have.
    #[default]
    Everything,
    /// It looks at every entry. What the version does not have is removed if one of these versions has it.
    Repair(Vec<VersionNumber>),
    /// The directory has this version: it looks at what may differ from that.
    Since(VersionNumber, Changes),
}

/// A directory to fill.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) path: ObjectPath,
    pub(crate) dir: DirId,
    /// True if something may be in it already.
    pub(crate) is_present: bool,
    pub(crate) extent: Extent,
    /// What the directory is, where it may turn out that its times change.
    pub(crate) record: Option<Box<Record>>,
}

/// Which entries of a directory are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All; what the version does not have is removed.
    Whole,
    /// All; what the version does not have is removed if one of these directories of other versions has it.
    Repair(Vec<(VersionNumber, DirId)>),
    /// Those that changed, and those on the way to what changed.
    Changed,
    /// Further names of hard-linked files.
    OtherNames,
}

impl Scope {
    /// Returns which entries of the root are looked at.
    pub(crate) fn of_root(&self) -> Extent {
        match &self.reach {
            Reach::Everything => Extent::Whole,
            Reach::Repair(versions) => {
                Extent::Repair(versions.iter().map(|it| (*it, DirId::ROOT)).collect())
            }
            Reach::Since(..) => Extent::Changed,
        }
    }

    /// Returns how much of the version is looked at.
    pub(crate) fn coverage(&self) -> Coverage {
        match self.reach {
            Reach::Everything | Reach::Repair(_) if self.selection.takes_root() => Coverage::All,
            Reach::Everything | Reach::Repair(_) | Reach::Since(..) => Coverage::Some,
        }
    }

    /// Returns what changed, if that is all that is looked at.
    pub(crate) const fn changes(&self) -> Option<&Changes> {
        match &self.reach {
            Reach::Since(_, changes) => Some(changes),
            Reach::Everything | Reach::Repair(_) => None,
        }
    }

    /// Returns true if a directory that is there gets its attributes: not if nothing in it changed.
    pub(crate) fn applies_to(&self, path: &ObjectPath) -> bool {
        let Some(changes) = self.changes() else {
            return true;
        };
        let is_changed = match path.split_last() {
            None => changes.has_root(),
            Some((dir, name)) => changes.mark(&dir, &name) == Some(Mark::Changed),
        };
        is_changed || changes.touch(path)
    }
}
