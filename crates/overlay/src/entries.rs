//! What a directory says about names.

use std::sync::Arc;

use lfsfs_types::{DecodeError, Name, Reader, Writer};

use crate::Map;
use crate::field::Field;

/// Up to so many names are one sorted list, which most directories are: a fifth of the memory of a tree, and one
/// place of it to look at.
const FEW_MAX: usize = 64;

/// What a directory of the overlay says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// An object of the overlay has it.
    Inode {
        /// Which.
        ino: u64,
        /// True if the base's directory has the name too.
        covers_base: bool,
    },
    /// The base's directory has it, but it was taken away.
    Removed,
}

/// Names with what is said about them, in the order of the names. A clone is O(1).
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// All of them, sorted, as long as there are few.
    few: Option<Arc<Vec<(Name, Slot)>>>,
    /// All of them once there were many.
    many: Map<Name, Slot>,
}

impl Entries {
    /// Returns true if nothing is said about any name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.few().is_empty() && self.many.is_empty()
    }

    /// Returns what is said about a name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Slot> {
        match position(self.few(), name) {
            Ok(at) => self.few().get(at).map(|(_, slot)| slot),
            Err(_) => self.many.get(name),
        }
    }

    /// Returns true if anything is said about a name.
    #[must_use]
    pub fn contains_key(&self, name: &Name) -> bool {
        self.get(name).is_some()
    }

    /// Returns all names with what is said about them.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Slot)> + '_ {
        let few = self.few().iter().map(|(name, slot)| (name, slot));
        few.chain(self.many.iter())
    }

    /// Returns all names.
    pub fn keys(&self) -> impl Iterator<Item = &Name> + '_ {
        self.iter().map(|(name, _)| name)
    }

    /// Returns what is said about all names.
    pub fn values(&self) -> impl Iterator<Item = &Slot> + '_ {
        self.iter().map(|(_, slot)| slot)
    }

    pub(crate) fn insert_mut(&mut self, name: Name, slot: Slot) {
        if !self.many.is_empty() {
            self.many.insert_mut(name, slot);
            return;
        }
        let few = Arc::make_mut(self.few.get_or_insert_default());
        match position(few, &name) {
            Ok(at) => few[at].1 = slot,
            Err(at) => few.insert(at, (name, slot)),
        }
        if few.len() > FEW_MAX {
            self.many = few.drain(..).collect();
            self.few = None;
        }
    }

    pub(crate) fn remove_mut(&mut self, name: &Name) {
        let Ok(at) = position(self.few(), name) else {
            self.many.remove_mut(name);
            return;
        };
        if let Some(few) = &mut self.few {
            Arc::make_mut(few).remove(at);
        }
        if self.few().is_empty() {
            self.few = None;
        }
    }

    fn few(&self) -> &[(Name, Slot)] {
        self.few.as_deref().map_or(&[], |few| few)
    }
}

fn position(few: &[(Name, Slot)], name: &Name) -> Result<usize, usize> {
    few.binary_search_by(|(it, _)| it.cmp(name))
}

impl PartialEq for Entries {
    /// How they are kept depends on how many there once were, and does not count.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Entries {}

impl FromIterator<(Name, Slot)> for Entries {
    fn from_iter<I: IntoIterator<Item = (Name, Slot)>>(entries: I) -> Self {
        let mut all = Self::default();
        for (name, slot) in entries {
            all.insert_mut(name, slot);
        }
        all
    }
}

impl Field for Slot {
    fn put(&self, writer: &mut Writer) {
        match self {
            Self::Removed => writer.u8(0),
            Self::Inode { ino, covers_base } => writer.u8(1 + u8::from(*covers_base)).varint(*ino),
        };
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            0 => Ok(Self::Removed),
            form @ (1 | 2) => Ok(Self::Inode {
                ino: reader.varint()?,
                covers_base: form == 2,
            }),
            _ => Err(reader.error("unknown form of an entry")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn name(number: u64) -> Name {
        Name::new(format!("name-{number}").as_bytes()).unwrap()
    }

    fn slot(ino: u64) -> Slot {
        Slot::Inode {
            ino,
            covers_base: false,
        }
    }

    #[test]
    fn they_are_those_of_a_plain_map_through_few_and_many() {
        let (mut entries, mut plain) = (Entries::default(), BTreeMap::new());
        // Up to many, down to none, and up again, in an order that is not that of the names.
        let numbers = (0..400_u64).map(|step| (step * 7919 % 211, step % 400 < 230));
        for (step, (number, adds)) in (0..).zip(numbers) {
            let before = entries.clone();
            let expected = plain.clone();
            if adds {
                entries.insert_mut(name(number), slot(step));
                plain.insert(name(number), slot(step));
            } else {
                entries.remove_mut(&name(number));
                plain.remove(&name(number));
            }
            assert!(entries.iter().eq(&plain), "step {step}");
            assert!(before.iter().eq(&expected), "a clone stays");
            assert_eq!(entries.get(&name(number)), plain.get(&name(number)));
            assert_eq!(entries.is_empty(), plain.is_empty());
            assert_eq!(entries, plain.clone().into_iter().collect());
        }
    }
}
