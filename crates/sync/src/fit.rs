//! What a rebuild could not give to entries, because its user is not root, is no change of them.
//!
//! Everything here is pure.

use std::mem::discriminant;

use lfsfs_types::{Kind, Record, Xattr};

/// Mode bits that an entry has only with the owner of the version.
const MODE_SET_ID: u32 = 0o6000;

/// How entries of a directory are compared with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// As they are.
    Exact,
    /// As a rebuild by a user leaves them.
    OwnedBy {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

impl Fit {
    /// Returns how what this process rebuilds is compared.
    pub(crate) fn of_this_process() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if uid.is_root() {
            return Self::Exact;
        }
        Self::OwnedBy {
            uid: uid.as_raw(),
            gid: gid.as_raw(),
        }
    }

    /// Returns the record of an entry that the base has, too, with what the entry could not be given.
    pub(crate) fn record(self, new: Record, base: Option<&Record>) -> Record {
        let (Self::OwnedBy { uid, gid }, Some(base)) = (self, base) else {
            return new;
        };
        let is_own = (new.uid, new.gid) == (uid, gid);
        if !is_own || discriminant(&new.kind) != discriminant(&base.kind) {
            return new;
        }
        let had_owner = (base.uid, base.gid) == (uid, gid);
        let is_stripped = !had_owner && new.mode == base.mode & !MODE_SET_ID;
        let lost = base.xattrs.iter().filter(|xattr| is_lost(xattr, &new));
        let mut xattrs = new.xattrs.clone();
        xattrs.extend(lost.cloned());
        xattrs.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        Record {
            uid: base.uid,
            gid: base.gid,
            mode: if is_stripped { base.mode } else { new.mode },
            xattrs,
            ..new
        }
    }

    /// Returns true if a rebuild leaves such an object out: that it is not there says nothing.
    pub(crate) const fn leaves_out(self, base: &Record) -> bool {
        let is_device = matches!(
            base.kind,
            Kind::BlockDevice { .. } | Kind::CharDevice { .. }
        );
        is_device && !matches!(self, Self::Exact)
    }
}

/// Returns true for an attribute that only root can set, and the entry lacks.
fn is_lost(xattr: &Xattr, new: &Record) -> bool {
    let name = xattr.name.as_bytes();
    let is_of_root = [&b"security."[..], b"trusted."]
        .iter()
        .any(|start| name.starts_with(start));
    is_of_root && new.xattrs.iter().all(|it| it.name != xattr.name)
}

#[cfg(test)]
mod tests {
    use lfsfs_types::{Timestamp, XattrName, XattrValue};

    use super::*;

    fn record(kind: Kind, owner: u32, mode: u32) -> Record {
        let time = Timestamp::default();
        Record {
            kind,
            mode,
            uid: owner,
            gid: owner,
            mtime: time,
            ctime: time,
            sha256: None,
            link: None,
            xattrs: Vec::new(),
        }
    }

    fn xattr(name: &str) -> Xattr {
        Xattr {
            name: XattrName::new(name.as_bytes()).expect("a name"),
            value: XattrValue::of(b"value"),
        }
    }

    const USER: Fit = Fit::OwnedBy { uid: 7, gid: 7 };

    #[test]
    fn what_a_user_cannot_set_is_what_the_base_has() {
        let base = Record {
            xattrs: vec![xattr("security.capability"), xattr("user.a")],
            ..record(Kind::Fifo, 0, 0o4755)
        };
        let new = Record {
            xattrs: vec![xattr("user.b")],
            ..record(Kind::Fifo, 7, 0o755)
        };
        let fitted = USER.record(new.clone(), Some(&base));
        assert_eq!((fitted.uid, fitted.gid, fitted.mode), (0, 0, 0o4755));
        let names: Vec<_> = fitted.xattrs.iter().map(|it| it.name.as_bytes()).collect();
        assert_eq!(names, [&b"security.capability"[..], b"user.b"]);
        assert_eq!(Fit::Exact.record(new.clone(), Some(&base)), new);
        assert_eq!(USER.record(new.clone(), None), new);
    }

    #[test]
    fn what_the_user_changed_is_a_change() {
        let base = record(Kind::Fifo, 0, 0o4755);
        let new = record(Kind::Fifo, 7, 0o700);
        assert_eq!(USER.record(new, Some(&base)).mode, 0o700);
        let other_kind = record(Kind::Socket, 7, 0o755);
        assert_eq!(USER.record(other_kind.clone(), Some(&base)), other_kind);
        let other_owner = record(Kind::Fifo, 8, 0o755);
        assert_eq!(USER.record(other_owner.clone(), Some(&base)), other_owner);
        let own = record(Kind::Fifo, 7, 0o4755);
        let plain = record(Kind::Fifo, 7, 0o755);
        assert_eq!(USER.record(plain.clone(), Some(&own)), plain);
    }

    #[test]
    fn devices_are_missed_by_root_alone() {
        let device = record(Kind::CharDevice { rdev: 1 }, 0, 0o600);
        assert!(USER.leaves_out(&device) && !Fit::Exact.leaves_out(&device));
        assert!(!USER.leaves_out(&record(Kind::Fifo, 0, 0o600)));
    }
}
