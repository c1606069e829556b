//! In what two records differ, aspect by aspect.
//!
//! This is the only comparison of two records. Which aspects count is decided by each caller, who names
//! them: a diff leaves out what a reader does not see, a commit what makes no version.

use super::{Kind, Link, Record};

/// A part of a record that can differ while the others are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Aspect {
    /// The id of a directory or a pack. It differs too where only one of the two has such an id.
    Directory = 1 << 0,
    /// The kind, and what an object of that kind holds, except the id of a directory: size and content
    /// id of a file, target of a link, number of a device, contents and root of a pack.
    Content = 1 << 1,
    /// The permission bits.
    Mode = 1 << 2,
    /// The owner or the group.
    Owner = 1 << 3,
    /// The extended attributes.
    Xattrs = 1 << 4,
    /// The time of the last change of the content.
    Mtime = 1 << 5,
    /// The time of the last change of the attributes.
    Ctime = 1 << 6,
    /// Which hard-linked file it is a name of.
    Link = 1 << 7,
    /// How many names that file has.
    LinkCount = 1 << 8,
    /// The SHA-256 of the flat bytes. It differs too where only one of the two has it.
    Sha256 = 1 << 9,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Directory,
        Self::Content,
        Self::Mode,
        Self::Owner,
        Self::Xattrs,
        Self::Mtime,
        Self::Ctime,
        Self::Link,
        Self::LinkCount,
        Self::Sha256,
    ];

    /// What a user sees who does not look at the clock: all but times, link and hash.
    pub const STATE: [Self; 5] = [
        Self::Directory,
        Self::Content,
        Self::Mode,
        Self::Owner,
        Self::Xattrs,
    ];

    /// What the names of one hard-linked file share.
    pub const LINK: [Self; 2] = [Self::Link, Self::LinkCount];
}

/// The aspects in which two records differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differences(u16);

impl Differences {
    /// Returns true if the records are equal.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if the records differ in this aspect.
    #[must_use]
    pub const fn has(self, aspect: Aspect) -> bool {
        self.0 & aspect as u16 != 0
    }

    /// Returns true if the records differ in at least one of these aspects.
    #[must_use]
    pub fn has_any(self, aspects: &[Aspect]) -> bool {
        aspects.iter().any(|aspect| self.has(*aspect))
    }

    const fn with(self, aspect: Aspect, differs: bool) -> Self {
        if differs {
            Self(self.0 | aspect as u16)
        } else {
            self
        }
    }
}

impl Record {
    /// Returns the aspects in which two records differ. Nothing is allocated.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Differences {
        // A new field must find its aspect.
        let Self {
            kind,
            mode,
            uid,
            gid,
            mtime,
            ctime,
            sha256,
            link,
            xattrs,
        } = self;
        let id = |link: Option<Link>| link.map(|link| link.id);
        let count = |link: Option<Link>| link.map(|link| link.nlink);
        Differences(0)
            .with(Aspect::Directory, self.dir() != other.dir())
            .with(Aspect::Content, !holds_the_same(kind, &other.kind))
            .with(Aspect::Mode, *mode != other.mode)
            .with(Aspect::Owner, (*uid, *gid) != (other.uid, other.gid))
            .with(Aspect::Xattrs, *xattrs != other.xattrs)
            .with(Aspect::Mtime, *mtime != other.mtime)
            .with(Aspect::Ctime, *ctime != other.ctime)
            .with(Aspect::Link, id(*link) != id(other.link))
            .with(Aspect::LinkCount, count(*link) != count(other.link))
            .with(Aspect::Sha256, *sha256 != other.sha256)
    }

    /// Returns true if both look the same to a user who does not look at the clock: they differ in
    /// no aspect of [`Aspect::STATE`]. Such a pair makes no `M` line in a diff and no conflict.
    #[must_use]
    pub fn same_state(&self, other: &Self) -> bool {
        !self.differences(other).has_any(&Aspect::STATE)
    }
}

/// Returns true if two kinds are equal, the ids of directories left aside.
fn holds_the_same(one: &Kind, other: &Kind) -> bool {
    match one {
        Kind::Directory { dir: _ } => other.is_directory(),
        Kind::File { .. }
        | Kind::Symlink { .. }
        | Kind::Fifo
        | Kind::Socket
        | Kind::BlockDevice { .. }
        | Kind::CharDevice { .. } => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ContentId, DirId, LinkId, Sha256};
    use crate::object::{Xattr, XattrValue};
    use crate::timestamp::Timestamp;
    use crate::xattr_name::XattrName;

    fn record(kind: Kind) -> Record {
        Record {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            sha256: None,
            link: None,
            xattrs: Vec::new(),
        }
    }

    fn file(size: u64) -> Kind {
        Kind::File {
            size,
            content: ContentId::EMPTY,
        }
    }

    fn directory(dir: u64) -> Kind {
        Kind::Directory { dir: DirId(dir) }
    }

    fn aspects(one: &Record, other: &Record) -> Vec<Aspect> {
        let differences = one.differences(other);
        assert_eq!(differences, other.differences(one), "from both sides");
        let all = Aspect::ALL.into_iter();
        all.filter(|aspect| differences.has(*aspect)).collect()
    }

    #[test]
    fn each_field_is_one_aspect() {
        let old = record(file(1));
        let later = Timestamp { secs: 1, nanos: 0 };
        let link = |id, nlink| {
            Some(Link {
                id: LinkId(id),
                nlink,
            })
        };
        let xattr = Xattr {
            name: XattrName::new(b"user.a").expect("a name"),
            value: XattrValue::Inline(b"1".as_slice().into()),
        };
        type Change<'a> = &'a dyn Fn(&mut Record);
        let cases: [(Change<'_>, &[Aspect]); 10] = [
            (&|_| {}, &[]),
            (&|it| it.kind = file(2), &[Aspect::Content]),
            (&|it| it.mode = 0o600, &[Aspect::Mode]),
            (&|it| it.uid = 1, &[Aspect::Owner]),
            (&|it| it.gid = 1, &[Aspect::Owner]),
            (&|it| it.mtime = later, &[Aspect::Mtime]),
            (&|it| it.ctime = later, &[Aspect::Ctime]),
            (&|it| it.sha256 = Some(Sha256([0; 32])), &[Aspect::Sha256]),
            (&|it| it.link = link(1, 2), &Aspect::LINK),
            (&|it| it.xattrs.push(xattr.clone()), &[Aspect::Xattrs]),
        ];
        for (change, expected) in cases {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(aspects(&old, &new), expected, "{new:?}");
        }
        let linked = |link| Record {
            link,
            ..old.clone()
        };
        let (one, other) = (linked(link(1, 2)), linked(link(1, 3)));
        assert_eq!(aspects(&one, &other), [Aspect::LinkCount]);
    }

    #[test]
    fn kinds_differ_in_what_they_hold_and_in_the_id_of_a_directory() {
        let both = [Aspect::Directory, Aspect::Content];
        let cases: [(Kind, Kind, &[Aspect]); 4] = [
            (directory(1), directory(2), &[Aspect::Directory]),
            (directory(1), file(1), &both),
            (Kind::Fifo, Kind::Socket, &[Aspect::Content]),
            (
                Kind::BlockDevice { rdev: 1 },
                Kind::CharDevice { rdev: 1 },
                &[Aspect::Content],
            ),
        ];
        for (one, other, expected) in cases {
            assert_eq!(aspects(&record(one), &record(other)), expected);
        }
    }
}
