//! Commits of what no version can hold: they are refused, with an error that says why, and change
//! nothing.

use lfsfs_metadata::{CommitParams, MetadataError, Refusal};
use lfsfs_types::limits::{FILE_SIZE_MAX, XATTRS_MAX};
use lfsfs_types::{Kind, Record, RecordFault, Timestamp, VersionId};

use super::History;
use crate::merge::merge;
use crate::support::Random;
use crate::tree::{Tree, Work, many_xattrs};

/// What a record is that no version can have.
#[derive(Debug, Clone, Copy)]
enum Beyond {
    Time,
    Owner,
    Size,
    Xattrs,
}

const ALL: [Beyond; 4] = [Beyond::Time, Beyond::Owner, Beyond::Size, Beyond::Xattrs];

impl Beyond {
    /// Gives a record a value that is not possible; none if such a record has no such value.
    fn of(self, mut record: Record, random: &mut Random) -> Option<Record> {
        match self {
            Self::Time => {
                let secs = [Timestamp::SECS_MIN - 1, Timestamp::SECS_MAX + 1];
                let time = Timestamp {
                    secs: random.pick(&secs)?,
                    nanos: 999_999_999,
                };
                if random.chance(50) {
                    record.mtime = time;
                } else {
                    record.ctime = time;
                }
            }
            Self::Owner => record.gid = u32::MAX,
            Self::Size => match &mut record.kind {
                Kind::File { size, .. } => {
                    *size = match random.below(3) {
                        0 => FILE_SIZE_MAX + 1,
                        1 => u64::MAX,
                        _ => *size + 1,
                    }
                }
                _ => return None,
            },
            Self::Xattrs => record.xattrs = many_xattrs(XATTRS_MAX + 1),
        }
        Some(record)
    }

    fn is_told_by(self, refusal: &Refusal) -> bool {
        match self {
            Self::Time => matches!(refusal, Refusal::InvalidField(RecordFault::Time { .. })),
            Self::Owner => matches!(refusal, Refusal::InvalidField(RecordFault::Owner { .. })),
            Self::Size => matches!(refusal, Refusal::WrongLength { .. }),
            Self::Xattrs => matches!(refusal, Refusal::InvalidRecord(_)),
        }
    }
}

impl History {
    /// Commits what a step made that the model took back because a path got too long.
    pub(super) fn refuse_too_long(&mut self, params: &CommitParams, base: &Tree, tree: Tree) {
        let head = self.trees.last().unwrap().clone();
        let may_conflict = merge(base, &tree, &head).is_none();
        match self.commit_tree(params, base, tree.clone()) {
            MetadataError::Refused {
                reason: Refusal::PathTooLong { len },
                ..
            } => assert!(len <= tree.path_len_max(), "{len} of {tree:?}"),
            // Of a directory that moves, what is below it is measured when the rest is known to fit.
            MetadataError::Conflicts { .. } if may_conflict => {}
            error => panic!("{error:?} on {base:?} of {tree:?}, theirs {head:?}"),
        }
    }

    /// Commits the tree with one record that no version can have.
    pub(super) fn refuse_beyond(&mut self, params: &CommitParams, base: &Tree, mine: &Tree) {
        let beyond = self.random.pick(&ALL).unwrap();
        let mut random = self.random.clone();
        let tree =
            Work::on(mine, &mut random).with_one_record(|record, random| beyond.of(record, random));
        self.random = random;
        let Some(tree) = tree else { return };
        match self.commit_tree(params, base, tree) {
            MetadataError::Refused { reason, .. } if beyond.is_told_by(&reason) => {}
            error => panic!("{beyond:?}: {error:?}"),
        }
    }

    /// Returns why a tree is no version.
    fn commit_tree(&mut self, params: &CommitParams, base: &Tree, tree: Tree) -> MetadataError {
        let mut random = self.random.clone();
        let mut work = Work::on(&tree, &mut random);
        let changes = work.changes(base);
        self.random = random;
        let params = CommitParams {
            version: VersionId(self.random.id()),
            ..params.clone()
        };
        let error = match self.publish(params, changes) {
            Err(error) => error,
            Ok(published) => panic!("{published:?} of {tree:?} on {base:?}"),
        };
        let project = self.metadata.project_by_id(self.project.id).unwrap();
        assert_eq!(project.head.number, self.head());
        error
    }
}
