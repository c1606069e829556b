//! What a record must differ in to make a version.

use lfsfs_types::{Aspect, Record};

/// How a new record differs from the one in the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Not at all, or in the ctime alone.
    None,
    /// Only in the times of a directory.
    DirectoryTimes,
    /// In something that makes a version.
    Real,
}

/// Compares a record with the one that the base has at its place.
#[must_use]
pub fn difference(new: &Record, base: Option<&Record>) -> Difference {
    let Some(base) = base else {
        return Difference::Real;
    };
    let differences = new.differences(base);
    if differences.has_any(&Aspect::STATE) || differences.has_any(&Aspect::LINK) {
        return Difference::Real;
    }
    // Another ctime alone says that something was set to what it was, and a hash says nothing that the
    // content id does not say: neither makes a version.
    match (differences.has(Aspect::Mtime), new.kind.is_directory()) {
        (false, _) => Difference::None,
        (true, true) => Difference::DirectoryTimes,
        (true, false) => Difference::Real,
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::{DirId, Kind, Timestamp};

    use super::*;

    fn record(kind: Kind) -> Record {
        let time = Timestamp::default();
        let (mode, uid, gid) = (0o644, 0, 0);
        Record {
            kind,
            mode,
            uid,
            gid,
            mtime: time,
            ctime: time,
            sha256: None,
            link: None,
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn times_alone_differ_by_kind() {
        let later = Timestamp { secs: 1, nanos: 0 };
        let file = record(Kind::Fifo);
        let dir = record(Kind::Directory { dir: DirId(3) });
        assert_eq!(
            difference(
                &Record {
                    ctime: later,
                    ..file.clone()
                },
                Some(&file)
            ),
            Difference::None
        );
        assert_eq!(
            difference(
                &Record {
                    mtime: later,
                    ..file.clone()
                },
                Some(&file)
            ),
            Difference::Real
        );
        assert_eq!(
            difference(
                &Record {
                    mtime: later,
                    ..dir.clone()
                },
                Some(&dir)
            ),
            Difference::DirectoryTimes
        );
        assert_eq!(
            difference(
                &Record {
                    mode: 0,
                    ..dir.clone()
                },
                Some(&dir)
            ),
            Difference::Real
        );
        assert_eq!(difference(&file, None), Difference::Real);
    }
}
