//! Names, paths and sources: what users type.

use lfsfs_types::{Name, ObjectPath, Source};
use proptest::prelude::*;

use crate::values::path;

proptest! {
    #[test]
    fn paths_are_their_names(path in path()) {
        let joined = path
            .names()
            .try_fold(ObjectPath::ROOT, |path, name| path.join(&name));
        prop_assert_eq!(joined.as_ref(), Ok(&path));
        prop_assert_eq!(ObjectPath::new(path.as_bytes()), Ok(path.clone()));
        if let Some((parent, name)) = path.split_last() {
            prop_assert_eq!(parent.join(&name), Ok(path));
        }
    }

    #[test]
    fn no_path_leads_out(bytes in "[ab./\0]{0,12}") {
        let Ok(path) = ObjectPath::new(bytes.as_bytes()) else { return Ok(()) };
        for part in path.as_bytes().split(|byte| *byte == b'/').filter(|_| !path.is_root()) {
            prop_assert!(Name::new(part).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_a_path_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        if let Ok(path) = ObjectPath::new(&bytes) {
            prop_assert_eq!(ObjectPath::new(path.as_bytes()), Ok(path));
        }
    }

    #[test]
    fn sources_go_both_ways(text in "[a-z0-9][a-z0-9._-]{0,20}(@(latest|v[0-9]{1,22}|[a-z0-9.-]{0,9}))?") {
        if let Ok(source) = text.parse::<Source>() {
            prop_assert_eq!(source.to_string().parse(), Ok(source));
        }
    }

    #[test]
    fn any_text_is_a_source_or_an_error(text in ".{0,100}") {
        if let Ok(source) = text.parse::<Source>() {
            prop_assert_eq!(source.to_string().parse(), Ok(source));
        }
    }
}
