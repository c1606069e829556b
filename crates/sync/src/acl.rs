//! What a POSIX access list and the mode of a file have to do with each other.
//!
//! A file system that enforces lists shows in the mode what the list says of the owner, of its mask and
//! of others. Where the list cannot be had, the mode alone must not grant what the list denied: what it
//! denies to one user or group is denied to the whole class that they would fall into without it. A
//! mount shows modes by the same rule.

/// The extended attribute that is the access list.
pub(crate) const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const ALL: u32 = 0o7;

/// The rights in an access list that the mode depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccessList {
    /// Of owner, mask and others, as a mode has them.
    beside: u32,
    /// What is left to group and others without the list.
    instead: u32,
}

impl AccessList {
    /// Reads an access list as the kernel gives it. Returns `None` if it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (version, entries) = bytes.split_first_chunk()?;
        let (entries, []) = entries.as_chunks::<8>() else {
            return None;
        };
        if u32::from_le_bytes(*version) != VERSION {
            return None;
        }
        let rights = |wanted: &'static [u16]| {
            entries
                .iter()
                .filter_map(move |[tag0, tag1, right0, right1, ..]| {
                    let right = u32::from(u16::from_le_bytes([*right0, *right1])) & ALL;
                    let tag = u16::from_le_bytes([*tag0, *tag1]);
                    wanted.contains(&tag).then_some(right)
                })
        };
        let all_of = |wanted| rights(wanted).fold(ALL, |all, right| all & right);
        let (owner, group) = (rights(&[USER_OBJ]).next()?, rights(&[GROUP_OBJ]).next()?);
        let (mask, other) = (rights(&[MASK]).next(), rights(&[OTHER]).next()?);
        let is_named = rights(&[USER, GROUP]).next().is_some();
        let named_mask = mask.filter(|_| is_named).unwrap_or(ALL);
        Some(Self {
            beside: owner << 6 | mask.unwrap_or(group) << 3 | other,
            instead: (all_of(&[GROUP_OBJ, USER]) & mask.unwrap_or(ALL)) << 3
                | all_of(&[USER, GROUP]) & named_mask,
        })
    }

    /// Returns the mode of a file that has this list.
    pub(crate) const fn mode_beside(self, mode: u32) -> u32 {
        mode & !0o777 | self.beside
    }

    /// Returns the mode of a file that has to do without this list.
    pub(crate) const fn mode_instead(self, mode: u32) -> u32 {
        self.mode_beside(mode) & (0o7700 | self.instead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, right) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(right.to_le_bytes());
            bytes.extend(u32::MAX.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_group_gets_no_more_than_its_own_entry() {
        // u::rw, u:1234:rw, g::---, m::rw, o::---
        let denied = list(&[(1, 6), (2, 6), (4, 0), (0x10, 6), (0x20, 0)]);
        let denied = AccessList::parse(&denied).expect("a list");
        assert_eq!(denied.mode_beside(0o600), 0o660);
        assert_eq!(denied.mode_instead(0o660), 0o600);
        let masked = list(&[(1, 6), (4, 7), (0x10, 4), (0x20, 0)]);
        let masked = AccessList::parse(&masked).expect("a list");
        assert_eq!(masked.mode_instead(0o640), 0o640);
        let plain = AccessList::parse(&list(&[(1, 6), (4, 4), (0x20, 4)])).expect("a list");
        assert_eq!(
            (plain.mode_beside(0o604), plain.mode_instead(0o604)),
            (0o644, 0o644)
        );
    }

    #[test]
    fn what_is_no_list_says_nothing() {
        for bytes in [
            &b""[..],
            b"\x02\0\0\0",
            b"\x02\0\0\0\x04\0",
            b"\x01\0\0\0\x04\0\x07\0\0\0\0\0",
        ] {
            assert_eq!(AccessList::parse(bytes), None, "{bytes:?}");
        }
    }
}
