//! The SHA-256 of all bytes of a file, beside the hashes that name its content.

use std::io::{self, Read};

use lfsfs_types::Sha256;
use sha2::{Digest as _, Sha256 as Hasher};

/// Bytes that are hashed as they come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checksum(Hasher);

impl Checksum {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

/// A reader whose bytes are hashed.
#[derive(Debug)]
pub(crate) struct Summed<R> {
    reader: R,
    pub(crate) checksum: Checksum,
}

impl<R> Summed<R> {
    pub(crate) fn new(reader: R) -> Self {
        let checksum = Checksum::default();
        Self { reader, checksum }
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buffer)?;
        self.checksum.update(buffer.get(..len).unwrap_or_default());
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_summed_however_it_is_read() {
        let bytes = b"some bytes";
        let mut whole = Checksum::default();
        whole.update(bytes);
        let mut reader = Summed::new(&bytes[..]);
        let mut part = [0; 3];
        while reader.read(&mut part).expect("bytes") > 0 {}
        assert_eq!(reader.checksum.finish(), whole.finish());
    }
}
