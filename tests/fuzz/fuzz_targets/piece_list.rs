//! Piece lists: what a client says a large content is.

#![no_main]

use lfsfs_types::PieceList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = PieceList::decode(bytes) {
        assert_eq!(value.encode(), bytes, "two encodings of one value");
    }
});
