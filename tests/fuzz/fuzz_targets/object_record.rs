//! Object records: what a directory's rows hold.

#![no_main]

use lfsfs_types::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = Record::decode(bytes) {
        assert_eq!(value.encode(), bytes, "two encodings of one value");
    }
});
