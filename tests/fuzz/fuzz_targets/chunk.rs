//! Chunks: what a client uploads to a datanode, and what a client gets from one.
//!
//! No fuzzer guesses a SHA-256, so the input is tried as a whole chunk and as the footer of one
//! whose hashes fit.

#![no_main]

use std::io::Cursor;

use lfsfs_types::{ContentId, Sha256};
use lfsfs_types::chunk::{Footer, Trailer, verify};
use libfuzzer_sys::fuzz_target;
use sha2::Digest;

fn check_footer(footer: &Footer) {
    for entry in footer.contents() {
        let mut id = [0; ContentId::LEN];
        id[..entry.prefix.as_bytes().len()].copy_from_slice(entry.prefix.as_bytes());
        assert!(footer.find(&ContentId(id)) == Some(entry));
        let spans = footer.spans(entry);
        let len: usize = spans
            .map(|span| {
                assert!(footer.block_range(span.block).is_some());
                span.range.len()
            })
            .sum();
        assert_eq!(len, entry.len as usize);
    }
}

fn chunk_with_footer(footer: &[u8]) -> Option<Vec<u8>> {
    let trailer = Trailer {
        footer_len: u32::try_from(footer.len()).ok()?,
        footer_sha256: Sha256(sha2::Sha256::digest(footer).into()),
    };
    let header = [&b"LFSC"[..], &footer[..footer.len().min(1)], &[0; 3]].concat();
    Some([&header, footer, &trailer.encode()[..]].concat())
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(footer) = Footer::decode(bytes) {
        assert_eq!(footer.encode(), bytes, "two encodings of one value");
        check_footer(&footer);
    }
    let _ = verify(Cursor::new(bytes), bytes.len() as u64);
    if let Some(chunk) = chunk_with_footer(bytes) {
        let _ = verify(Cursor::new(&chunk), chunk.len() as u64);
    }
});
