//! Sources, names and paths: what users type and what comes over the wire.

#![no_main]

use lfsfs_types::{Name, ObjectPath, Source};
use libfuzzer_sys::fuzz_target;

fn check_path(bytes: &[u8]) {
    let Ok(path) = ObjectPath::new(bytes) else {
        return;
    };
    assert_eq!(ObjectPath::new(path.as_bytes()).as_ref(), Ok(&path));
    for name in path.names() {
        assert_eq!(Name::new(name.as_bytes()), Ok(name));
    }
    if let Some((parent, name)) = path.split_last() {
        assert_eq!(parent.join(&name), Ok(path));
    }
}

fuzz_target!(|bytes: &[u8]| {
    check_path(bytes);
    let source = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse::<Source>().ok());
    if let Some(source) = source {
        assert_eq!(source.to_string().parse(), Ok(source));
    }
});
