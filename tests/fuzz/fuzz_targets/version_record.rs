//! Version records: what a version's row holds.

#![no_main]

use lfsfs_types::VersionRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = VersionRecord::decode(bytes) {
        assert_eq!(value.encode(), bytes, "two encodings of one value");
    }
});
