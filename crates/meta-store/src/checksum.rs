//! The checksum of each row.
//!
//! A stored value is the CRC-32C of key and value (4 bytes, little endian) and the value.

use crate::MetaError;

/// Returns the checksum of a row and the value as it is stored.
pub(crate) fn stamp(key: &[u8], value: &[u8]) -> (u32, Vec<u8>) {
    let sum = checksum(key, value);
    (sum, [&sum.to_le_bytes(), value].concat())
}

/// Returns the checksum and the value of a stored row, if they belong together and to the key.
pub(crate) fn check<'a>(key: &[u8], stored: &'a [u8]) -> Result<(u32, &'a [u8]), MetaError> {
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
}
