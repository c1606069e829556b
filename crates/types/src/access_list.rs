//! POSIX access lists, as far as permission bits can stand for them.
//!
//! A file system that enforces a list shows in the mode what the list gives to the owner, to its mask
//! and to others. Where nothing enforces it, the mode alone must not grant what the list denies: what is
//! denied to one user or group is denied to the whole class that they would fall into without the list.
//!
//! The form is that of the kernel's `linux/posix_acl_xattr.h`.

/// The extended attribute that is the access list.
pub const ACCESS_LIST: &[u8] = b"system.posix_acl_access";
/// The extended attribute of a directory that is the access list of what is made in it.
pub const DEFAULT_LIST: &[u8] = b"system.posix_acl_default";

const VERSION: [u8; 4] = [2, 0, 0, 0];
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const ALL: u16 = 0o7;

/// The rights in an access list that a mode depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessList {
    owner: u16,
    group: u16,
    /// Every list that names users or groups has one.
    mask: Option<u16>,
    other: u16,
    /// What all of the named users have, what all of the named groups have.
    users: u16,
    groups: u16,
    has_names: bool,
}

impl AccessList {
    /// Reads a list; `None` for what is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let entries = entries(bytes)?;
        let rights = |wanted: u16| {
            let found = entries.iter().map(Entry::parse);
            found
                .filter(move |entry| entry.tag == wanted)
                .map(|entry| entry.rights)
        };
        let all_of = |wanted| rights(wanted).fold(ALL, |all, rights| all & rights);
        let list = Self {
            owner: rights(USER_OBJ).next()?,
            group: rights(GROUP_OBJ).next()?,
            mask: rights(MASK).next(),
            other: rights(OTHER).next()?,
            users: all_of(USER),
            groups: all_of(GROUP),
            has_names: rights(USER).chain(rights(GROUP)).next().is_some(),
        };
        (list.mask.is_some() || !list.has_names).then_some(list)
    }

    /// Returns the tag of the entry whose rights are the group bits of a mode.
    const fn class_tag(&self) -> u16 {
        match self.mask {
            Some(_) => MASK,
            None => GROUP_OBJ,
        }
    }

    /// Returns the permission bits of a file that has this list.
    #[must_use]
    pub const fn mode_bits(&self) -> u16 {
        let group = match self.mask {
            Some(mask) => mask,
            None => self.group,
        };
        self.owner << 6 | group << 3 | self.other
    }

    /// Returns true if the list says no more than a mode.
    #[must_use]
    pub const fn is_minimal(&self) -> bool {
        self.mask.is_none() && !self.has_names
    }

    /// Returns the bits of group and others that a mode may keep where nothing enforces the list.
    #[must_use]
    pub fn class_bits(&self) -> u16 {
        // A list without a mask names no user and no group, and says no more than a mode.
        let Some(mask) = self.mask else {
            return ALL << 3 | ALL;
        };
        // The mask limits what is named, and others only as far as they may be one of those.
        let mask_of_named = if self.has_names { mask } else { ALL };
        // A member of the file's group has what the group has, whatever other groups he is in.
        (self.group & self.users & mask) << 3 | self.users & self.groups & mask_of_named
    }
}

/// Returns a list after the mode of its file was set, as local file systems do it: the group bits are
/// the mask, or the group's where there is none. `None` if it is the same, or is no list.
#[must_use]
pub fn access_list_with_mode(bytes: &[u8], mode: u16) -> Option<Vec<u8>> {
    let class = AccessList::parse(bytes)?.class_tag();
    let changed = with_rights(bytes, |tag, rights| match tag {
        USER_OBJ => mode >> 6,
        OTHER => mode,
        _ if tag == class => mode >> 3,
        _ => rights,
    });
    (changed != bytes).then_some(changed)
}

/// What an object has that is made in a directory with a default list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritedList {
    /// Its permission bits.
    pub mode_bits: u16,
    /// Its access list, if that says more than the bits.
    pub access: Option<Vec<u8>>,
}

/// Returns what an object has that is made with `mode` in a directory with this default list, as Linux decides it
/// (`posix_acl_create_masq`): no more than the list and the mode both give. `None` for what is no list.
#[must_use]
pub fn inherited_list(default: &[u8], mode: u16) -> Option<InheritedList> {
    let list = AccessList::parse(default)?;
    let class = list.class_tag();
    let access = with_rights(default, |tag, rights| match tag {
        USER_OBJ => rights & mode >> 6,
        OTHER => rights & mode,
        _ if tag == class => rights & mode >> 3,
        _ => rights,
    });
    Some(InheritedList {
        mode_bits: AccessList::parse(&access)?.mode_bits(),
        access: (!list.is_minimal()).then_some(access),
    })
}

/// Returns a list with other rights, which follow from the tag of an entry and the rights that it has.
fn with_rights(bytes: &[u8], rights: impl Fn(u16, u16) -> u16) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let (entries, _) = changed[VERSION.len()..].as_chunks_mut();
    for entry in entries {
        let Entry { tag, rights: old } = Entry::parse(entry);
        let new = rights(tag, old) & ALL;
        entry[2..4].copy_from_slice(&new.to_le_bytes());
    }
    changed
}

struct Entry {
    tag: u16,
    rights: u16,
}

impl Entry {
    fn parse([tag_low, tag_high, rights_low, rights_high, ..]: &[u8; 8]) -> Self {
        Self {
            tag: u16::from_le_bytes([*tag_low, *tag_high]),
            rights: u16::from_le_bytes([*rights_low, *rights_high]) & ALL,
        }
    }
}

fn entries(bytes: &[u8]) -> Option<&[[u8; 8]]> {
    match bytes.strip_prefix(&VERSION)?.as_chunks() {
        (entries, []) => Some(entries),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for (tag, rights) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(u32::MAX.to_le_bytes());
        }
        bytes
    }

    /// Returns the mode that a list shows, and what is left of it without the list.
    fn modes(entries: &[(u16, u16)]) -> (u16, u16) {
        let list = AccessList::parse(&list(entries)).expect("a list");
        let mode = list.mode_bits();
        (mode, mode & (0o700 | list.class_bits()))
    }

    #[test]
    fn what_a_list_denies_is_not_left_in_the_mode() {
        let named = |user, group, mask, other| {
            modes(&[
                (USER_OBJ, 6),
                (USER, user),
                (GROUP_OBJ, group),
                (MASK, mask),
                (OTHER, other),
            ])
        };
        // The group has nothing, although the mask has.
        assert_eq!(named(6, 0, 6, 0), (0o660, 0o600));
        assert_eq!(named(6, 4, 6, 4), (0o664, 0o644));
        assert_eq!(named(7, 7, 4, 4), (0o644, 0o644));
        // The list denies one user, so the mode denies all users that could be that one.
        assert_eq!(named(0, 4, 4, 4), (0o644, 0o600));
        assert_eq!(named(4, 6, 6, 6), (0o666, 0o644));
        // Another group with less than others have.
        let group = [
            (USER_OBJ, 6),
            (GROUP_OBJ, 4),
            (GROUP, 0),
            (MASK, 4),
            (OTHER, 4),
        ];
        assert_eq!(modes(&group), (0o644, 0o640));
    }

    #[test]
    fn a_list_without_names_leaves_the_mode_as_it_is() {
        let minimal = [(USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 4)];
        assert_eq!(modes(&minimal), (0o644, 0o644));
        let masked = [(USER_OBJ, 7), (GROUP_OBJ, 5), (MASK, 4), (OTHER, 7)];
        assert_eq!(modes(&masked), (0o747, 0o747));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bytes in [
            &b""[..],
            b"\x01\0\0\0",
            b"\x02\0\0\0",
            b"\x02\0\0\0\x04\0",
            b"\x01\0\0\0\x04\0\x07\0\0\0\0\0",
        ] {
            assert_eq!(AccessList::parse(bytes), None, "{bytes:?}");
            assert_eq!(access_list_with_mode(bytes, 0o644), None);
        }
        let unmasked = [(USER_OBJ, 6), (USER, 6), (GROUP_OBJ, 4), (OTHER, 4)];
        assert_eq!(AccessList::parse(&list(&unmasked)), None);
    }

    #[test]
    fn what_is_made_has_what_the_default_list_and_the_mode_both_give() {
        let default = list(&[
            (USER_OBJ, 7),
            (USER, 6),
            (GROUP_OBJ, 5),
            (MASK, 7),
            (OTHER, 4),
        ]);
        let made = list(&[
            (USER_OBJ, 6),
            (USER, 6),
            (GROUP_OBJ, 5),
            (MASK, 6),
            (OTHER, 4),
        ]);
        let inherited = inherited_list(&default, 0o666).expect("a list");
        assert_eq!((inherited.mode_bits, inherited.access), (0o664, Some(made)));
        let minimal = list(&[(USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 0)]);
        let inherited = inherited_list(&minimal, 0o666).expect("a list");
        assert_eq!((inherited.mode_bits, inherited.access), (0o640, None));
        assert_eq!(inherited_list(b"", 0o666), None);
    }

    #[test]
    fn a_list_without_a_mask_follows_the_mode_by_its_group() {
        let minimal =
            |user, group, other| list(&[(USER_OBJ, user), (GROUP_OBJ, group), (OTHER, other)]);
        let changed = access_list_with_mode(&minimal(6, 4, 4), 0o750);
        assert_eq!(changed, Some(minimal(7, 5, 0)));
    }

    #[test]
    fn the_list_follows_the_mode() {
        let named = |mask, other| {
            list(&[
                (USER_OBJ, 6),
                (USER, 6),
                (GROUP_OBJ, 0),
                (MASK, mask),
                (OTHER, other),
            ])
        };
        let before = named(6, 0);
        assert_eq!(access_list_with_mode(&before, 0o660), None);
        assert_eq!(access_list_with_mode(&before, 0o644), Some(named(4, 4)));
    }
}
