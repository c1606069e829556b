//! Names of what is kept beside another.

use jiff::Zoned;
use lfsfs_types::{Name, ObjectPath};

/// Most bytes of a name.
const NAME_LEN_MAX: usize = 255;
/// How many names are tried.
const NUMBERS: std::ops::Range<u32> = 1..1000;

/// Returns the first name that is free: `report (conflict HOST 2026-12-01 13-45-01).txt`, and with a number.
pub(crate) fn conflict_name(
    path: &ObjectPath,
    host: &str,
    now: &Zoned,
    is_taken: impl Fn(&ObjectPath) -> bool,
) -> Option<ObjectPath> {
    let (dir, name) = path.split_last()?;
    let time = now.strftime("%Y-%m-%d %H-%M-%S");
    NUMBERS
        .filter_map(|number| {
            let counted = match number {
                1 => String::new(),
                number => format!(" {number}"),
            };
            let mark = format!(" (conflict {host} {time}{counted})");
            dir.join(&marked(&name, &mark)?).ok()
        })
        .find(|path| !is_taken(path))
}

/// Puts a mark before the last dot of a name, which is shortened if that is too long.
fn marked(name: &Name, mark: &str) -> Option<Name> {
    let bytes = name.as_bytes();
    // A name that begins with its only dot has no ending, nor has one with a long rest.
    let dot = bytes.iter().rposition(|byte| *byte == b'.');
    let dot = dot
        .filter(|at| *at > 0 && bytes.len() - at <= 20)
        .unwrap_or(bytes.len());
    let (stem, ending) = bytes.split_at(dot);
    let room = NAME_LEN_MAX.checked_sub(mark.len() + ending.len())?;
    let mut len = stem.len().min(room);
    // No character is cut in two.
    while len < stem.len() && len > 0 && stem[len] & 0xc0 == 0x80 {
        len -= 1;
    }
    Name::new(&[&stem[..len], mark.as_bytes(), ending].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, taken: &[&str]) -> String {
        let path = ObjectPath::new(text.as_bytes()).expect("a path");
        let now: Zoned = "2026-12-01T13:45:01[UTC]".parse().expect("a time");
        let is_taken = |path: &ObjectPath| taken.iter().any(|it| it.as_bytes() == path.as_bytes());
        let name = conflict_name(&path, "host", &now, is_taken).expect("a name");
        String::from_utf8(name.as_bytes().to_vec()).expect("text")
    }

    #[test]
    fn the_mark_comes_before_the_ending() {
        let mark = "(conflict host 2026-12-01 13-45-01)";
        assert_eq!(found("d/report.txt", &[]), format!("d/report {mark}.txt"));
        assert_eq!(found(".profile", &[]), format!(".profile {mark}"));
        assert_eq!(found("Makefile", &[]), format!("Makefile {mark}"));
        let first = format!("a {mark}");
        let second = "a (conflict host 2026-12-01 13-45-01 2)";
        assert_eq!(found("a", &[&first]), second);
    }

    #[test]
    fn a_long_name_is_shortened_between_characters() {
        let long = format!("{}.txt", "ä".repeat(120));
        let name = found(&long, &[]);
        assert!(name.len() <= 255 && name.ends_with(").txt"), "{name}");
    }
}
