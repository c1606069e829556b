//! Blocks: compressed bytes whose hash is right because an enemy computed it.

#![no_main]

use lfsfs_types::Sha256;
use lfsfs_types::chunk::{BlockCodec, BlockEntry, decode_block};
use libfuzzer_sys::fuzz_target;
use sha2::Digest;

fuzz_target!(|input: (u32, Vec<u8>)| {
    let (raw_len, stored) = input;
    let Ok(stored_len) = u32::try_from(stored.len()) else {
        return;
    };
    let block = BlockEntry {
        offset: 0,
        stored_len,
        raw_len,
        codec: BlockCodec::Zstd,
        sha256: Sha256(sha2::Sha256::digest(&stored).into()),
    };
    if let Ok(raw) = decode_block(&block, &stored) {
        assert_eq!(raw.len(), raw_len as usize);
    }
});
