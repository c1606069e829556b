//! The witness of all rows together. Its value is three numbers (8 bytes each, little endian), stamped
//! like a row's.

use crate::MetaError;
use crate::checksum::{check, stamp};

/// What the tree must hold: no row more, no row less, and none of another state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    /// How many batches were made.
    pub(super) sequence: u64,
    /// How many rows there are.
    rows: u64,
    /// The sum of the checksums of all rows, modulo 2^64.
    sum: u64,
}

impl Witness {
    /// Counts a row that is now there.
    pub(super) fn add(&mut self, checksum: u32) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(u64::from(checksum));
    }

    /// Counts a row that is no longer there.
    pub(super) fn remove(&mut self, checksum: u32) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(u64::from(checksum));
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let numbers = [self.sequence, self.rows, self.sum].map(u64::to_le_bytes);
        stamp(&[], numbers.as_flattened()).1
    }

    pub(super) fn decode(stored: &[u8]) -> Result<Self, MetaError> {
        let (_, value) = check(&[], stored)?;
        let (numbers, []) = value.as_chunks() else {
            return Err(MetaError::corrupt("witness of a wrong length", &[]));
        };
        let [sequence, rows, sum] = *numbers else {
            return Err(MetaError::corrupt("witness of a wrong length", &[]));
        };
        let [sequence, rows, sum] = [sequence, rows, sum].map(u64::from_le_bytes);
        Ok(Self {
            sequence,
            rows,
            sum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witness_round_trips_and_forgets_removed_rows() {
        let mut witness = Witness {
            sequence: 3,
            ..Witness::default()
        };
        witness.add(u32::MAX);
        witness.add(7);
        assert_eq!(Witness::decode(&witness.encode()).unwrap(), witness);
        witness.remove(u32::MAX);
        witness.remove(7);
        assert_eq!(
            witness,
            Witness {
                sequence: 3,
                ..Witness::default()
            }
        );
        assert!(Witness::decode(&stamp(&[], &[0; 23]).1).is_err());
        assert!(Witness::decode(&stamp(&[], &[0; 16]).1).is_err());
    }
}
