//! Pack listings: rows of the metadata.

#![no_main]

use lfsfs_types::pack::PackListing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = PackListing::decode(bytes) {
        assert_eq!(value.encode(), bytes, "two encodings of one value");
    }
});
