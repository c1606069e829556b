//! Names of users and groups in the database of this machine.

use std::collections::HashMap;

use nix::unistd::{Gid, Group, Uid, User};

/// Looks up each id once. An id without a name, or every id if that was asked for, is a number.
#[derive(Debug)]
pub(crate) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    is_numeric: bool,
}

impl Owners {
    pub(crate) fn new(is_numeric: bool) -> Self {
        Self {
            users: HashMap::new(),
            groups: HashMap::new(),
            is_numeric,
        }
    }

    pub(crate) fn user(&mut self, id: u32) -> String {
        let find = || User::from_uid(Uid::from_raw(id)).ok().flatten();
        name(&mut self.users, id, self.is_numeric, || {
            find().map(|user| user.name)
        })
    }

    pub(crate) fn group(&mut self, id: u32) -> String {
        let find = || Group::from_gid(Gid::from_raw(id)).ok().flatten();
        name(&mut self.groups, id, self.is_numeric, || {
            find().map(|group| group.name)
        })
    }
}

fn name(
    known: &mut HashMap<u32, String>,
    id: u32,
    is_numeric: bool,
    find: impl FnOnce() -> Option<String>,
) -> String {
    let name = known.entry(id).or_insert_with(|| {
        let found = if is_numeric { None } else { find() };
        found.unwrap_or_else(|| id.to_string())
    });
    name.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_shown_by_its_name_where_it_has_one() {
        let mut owners = Owners::new(false);
        assert_eq!(owners.user(0), "root");
        assert_eq!(owners.group(0), "root");
        assert_eq!(owners.user(4_000_000_001), "4000000001");
        assert_eq!(Owners::new(true).user(0), "0");
    }
}
