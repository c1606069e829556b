//! Paths for people: what an error says of an entry, however long its path is.

/// A longer path is told by its beginning, its end and its length.
const SHOWN_MAX: usize = 512;

/// Returns the path that names from the root down make, for a message: quoted bytes, and no more than
/// some hundred of them.
#[must_use]
pub fn path_text<'n>(names: impl Iterator<Item = &'n [u8]>) -> String {
    let path = names.collect::<Vec<_>>().join(&b'/');
    let len = path.len();
    if len <= SHOWN_MAX {
        return path.escape_ascii().to_string();
    }
    let (start, end) = (&path[..SHOWN_MAX / 2], &path[len - SHOWN_MAX / 2..]);
    format!(
        "{} ... {} ({len} bytes)",
        start.escape_ascii(),
        end.escape_ascii()
    )
}

#[cfg(test)]
mod tests {
    use super::path_text;

    #[test]
    fn a_long_path_is_told_by_both_ends() {
        let names: [&[u8]; 3] = [b"a", b"b\n", b"c"];
        assert_eq!(path_text(names.into_iter()), "a/b\\n/c");
        let long = [b'x'; 255];
        let names = [&b"first"[..], &long, &long, &long, b"last"];
        let text = path_text(names.into_iter());
        assert!(
            text.starts_with("first/xx") && text.ends_with("xx/last (778 bytes)"),
            "{text}"
        );
        assert!(text.len() < 600);
    }
}
