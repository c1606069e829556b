//! The frame around an operation: length, checksum, sequence number, operation, data.
//!
//! The checksum is CRC32C: it finds every torn write and every burst of 32 flipped bits, and costs
//! next to nothing beside the write. It need not resist an attacker, who could write the log anyway;
//! what a commit sends is named by SHA-256. It begins from the identity of the overlay and the number
//! of the segment, so that no copy of another log's record (as the content of a file, say) counts.

/// The bytes before the operation.
pub(crate) const HEADER_LEN: usize = 28;
/// The longest record.
pub(crate) const RECORD_LEN_MAX: usize = 16 * 1024 * 1024;
/// Most data of one record. A read fetches and verifies a whole record, so it is not much.
pub(crate) const DATA_LEN_MAX: usize = 128 * 1024;

/// A record that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) sequence: u64,
    /// All records up to this one were durable when this one was written.
    pub(crate) synced: u64,
    pub(crate) operation: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl Record<'_> {
    /// Returns the length of the whole record.
    pub(crate) fn len(&self) -> usize {
        HEADER_LEN + self.operation.len() + self.data.len()
    }

    /// Returns where in the record the data begins.
    pub(crate) fn data_at(&self) -> usize {
        HEADER_LEN + self.operation.len()
    }

    /// Appends the bytes; the record is at most [`RECORD_LEN_MAX`] long.
    pub(crate) fn put(&self, seed: u32, into: &mut Vec<u8>) {
        let start = into.len();
        let length = |len: usize| u32::try_from(len).expect("a record is below 16 MiB");
        into.extend_from_slice(&length(self.len()).to_be_bytes());
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(&self.sequence.to_be_bytes());
        into.extend_from_slice(&self.synced.to_be_bytes());
        into.extend_from_slice(&length(self.operation.len()).to_be_bytes());
        into.extend_from_slice(self.operation);
        into.extend_from_slice(self.data);
        let checksum = checksum(seed, &into[start..]);
        into[start + 4..start + 8].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Returns the record at the beginning of `bytes`, or `None` if no whole one is there.
pub(crate) fn parse(seed: u32, bytes: &[u8]) -> Option<Record<'_>> {
    let len = number32(bytes, 0)? as usize;
    let operation_len = number32(bytes, 24)? as usize;
    let data_at = HEADER_LEN.checked_add(operation_len)?;
    if len > RECORD_LEN_MAX || data_at > len || len > bytes.len() {
        return None;
    }
    let bytes = &bytes[..len];
    if checksum(seed, bytes) != number32(bytes, 4)? {
        return None;
    }
    Some(Record {
        sequence: number64(bytes, 8)?,
        synced: number64(bytes, 16)?,
        operation: &bytes[HEADER_LEN..data_at],
        data: &bytes[data_at..],
    })
}

/// Returns the checksum of a record, which leaves out its own place.
fn checksum(seed: u32, record: &[u8]) -> u32 {
    let length = crc32c::crc32c_append(seed, &record[..4]);
    crc32c::crc32c_append(length, &record[8..])
}

pub(crate) fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

pub(crate) fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    bytes.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        let record = Record {
            sequence: 7,
            synced: 3,
            operation: b"operation",
            data: b"data",
        };
        record.put(99, &mut bytes);
        bytes
    }

    #[test]
    fn a_record_comes_back_whatever_follows() {
        let mut bytes = bytes();
        let len = bytes.len();
        bytes.extend_from_slice(b"more");
        let record = parse(99, &bytes).unwrap();
        assert_eq!((record.sequence, record.synced, record.len()), (7, 3, len));
        assert_eq!(
            (record.operation, record.data),
            (&b"operation"[..], &b"data"[..])
        );
        assert_eq!(&bytes[record.data_at()..len], b"data");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let good = bytes();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(99, &bad), None, "bit {bit}");
        }
        for len in 0..good.len() {
            assert_eq!(parse(99, &good[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_record_of_another_log_does_not_count() {
        assert_eq!(parse(98, &bytes()), None);
    }
}
