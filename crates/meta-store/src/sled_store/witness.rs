//! The checksum of each row, and the witness of all rows together.
//!
//! A stored value is the CRC-32C of key and value (4 bytes, little endian) and the value. The value
//! of the witness is three numbers (8 bytes each, little endian), stamped in the same way.

use crate::MetaError;

/// Returns the checksum of a row and the value as it is stored.
pub(super) fn stamp(key: &[u8], value: &[u8]) -> (u32, Vec<u8>) {
    let sum = checksum(key, value);
    (sum, [&sum.to_le_bytes(), value].concat())
}

/// Returns the checksum and the value of a stored row, if they belong together and to the key.
pub(super) fn check<'a>(key: &[u8], stored: &'a [u8]) -> Result<(u32, &'a [u8]), MetaError> {
    let Some((sum, value)) = stored.split_first_chunk() else {
        return Err(MetaError::corrupt("value too short", key));
    };
    let sum = u32::from_le_bytes(*sum);
    if sum == checksum(key, value) {
        Ok((sum, value))
    } else {
        Err(MetaError::corrupt("value does not match its checksum", key))
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    // The length keeps a byte from moving between key and value.
    let sum = crc32c::crc32c(&(key.len() as u64).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, key), value)
}

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
    fn a_row_is_bound_to_its_key_and_its_bytes() {
        let (_, stored) = stamp(b"key", b"value");
        assert_eq!(check(b"key", &stored).unwrap().1, b"value");
        assert!(check(b"kez", &stored).is_err());
        assert!(check(b"ke", &stored).is_err());
        assert!(check(b"key", &stored[..3]).is_err());
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(b"key", &flipped).is_err(), "bit {bit}");
        }
    }

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
