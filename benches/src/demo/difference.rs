//! What `lfsfs diff` wrote, in a few lines.

use crate::text;

const LINES_SHOWN: usize = 8;
const KINDS: [(&str, &str); 5] = [
    ("A", "added"),
    ("D", "deleted"),
    ("M", "modified"),
    ("T", "with another time"),
    ("R", "moved"),
];

/// Returns the first lines of a difference, and how many there are of each kind.
pub(super) fn summary(diff: &str) -> Vec<String> {
    let mut lines: Vec<String> = diff
        .lines()
        .take(LINES_SHOWN)
        .map(|line| line.replace('\t', " -> "))
        .collect();
    let more = diff.lines().count() - lines.len();
    if more > 0 {
        lines.push(format!("... and {} more", text::count(more as u64)));
    }
    let counts: Vec<_> = KINDS
        .iter()
        .map(|(letter, word)| (count(diff, letter), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{} {word}", text::count(count)))
        .collect();
    lines.push(format!("in all: {}", counts.join(", ")));
    lines
}

fn count(diff: &str, letter: &str) -> u64 {
    let is_of_kind = |line: &&str| line.split_once(' ').is_some_and(|(kind, _)| kind == letter);
    diff.lines().filter(is_of_kind).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_and_the_counts_are_shown() {
        let diff = format!("R old\tnew\n{}M last\n", "A file\n".repeat(9));
        let lines = summary(&diff);
        assert_eq!(lines[0], "R old -> new");
        assert_eq!(lines[LINES_SHOWN], "... and 3 more");
        assert_eq!(
            lines.last().unwrap(),
            "in all: 9 added, 1 modified, 1 moved"
        );
    }
}
