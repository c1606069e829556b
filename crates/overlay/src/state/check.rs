//! Which changes can be made, asked without making them.

use crate::operation::{Change, Operation};
use crate::state::State;
use crate::state::content::check_range;

impl State {
    /// Returns true if it is known that changes can be made one after the other; false says nothing.
    pub(crate) fn surely_takes(&self, changes: &[Change<'_>]) -> bool {
        match changes {
            [] => false,
            [change] => self.takes(change),
            changes => changes
                .iter()
                .all(|change| keeps_others_possible(&change.operation) && self.takes(change)),
        }
    }

    fn takes(&self, change: &Change<'_>) -> bool {
        use Operation as O;
        match &change.operation {
            O::Write { ino, offset, .. } => {
                let len = change.data.len() as u64;
                check_range(*ino, *offset, len).is_ok() && self.known_file(*ino).is_ok()
            }
            O::Truncate { ino, size, .. } => {
                check_range(*ino, *size, 0).is_ok() && self.known_file(*ino).is_ok()
            }
            O::Uploaded { ino, .. } => self.known_file(*ino).is_ok(),
            O::SetAttributes { ino, .. }
            | O::SetAccessTime { ino, .. }
            | O::SetXattr { ino, .. } => self.known(*ino).is_ok(),
            O::Create { place, ino, .. } => self.check_create(place, *ino).is_ok(),
            O::Unlink { place, ino, .. } => self.check_unlink(place, *ino).is_ok(),
            O::Rmdir { place, ino, .. } => self.check_rmdir(place, *ino).is_ok(),
            O::Rename {
                from,
                to,
                ino,
                replaced,
                ..
            } => self.check_rename(from, to, *ino, *replaced).is_ok(),
            O::Forget { ino } => self.check_forget(*ino).is_ok(),
            _ => false,
        }
    }
}

/// Returns true for what changes one object and no name: what was possible before is so afterwards.
fn keeps_others_possible(operation: &Operation) -> bool {
    use Operation as O;
    matches!(
        operation,
        O::Write { .. }
            | O::Truncate { .. }
            | O::Uploaded { .. }
            | O::SetAttributes { .. }
            | O::SetAccessTime { .. }
            | O::SetXattr { .. }
    )
}
