//! What is kept of all rows together.

use redb::AccessGuard;

use crate::{MetaError, checksum};

/// What the row with the empty key says of all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The number of the last batch.
    pub(super) sequence: u64,
    /// The sum of the checksums of all rows of callers. A page that is whole and of an earlier moment changes
    /// it.
    pub(super) sum: u64,
}

impl Tally {
    /// Returns the value of the row.
    pub(super) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sum.to_le_bytes());
        bytes
    }

    /// Takes off what a row was before it was written.
    pub(super) fn take_off(
        &mut self,
        key: &[u8],
        before: Option<AccessGuard<'_, &'static [u8]>>,
    ) -> Result<Before, MetaError> {
        let Some(before) = before else {
            return Ok(Before::Absent);
        };
        let (sum, _) = checksum::check(key, before.value())?;
        self.sum = self.sum.wrapping_sub(u64::from(sum));
        Ok(Before::Present)
    }
}

/// Whether a row was there before it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Absent,
    Present,
}
