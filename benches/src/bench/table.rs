//! The result as text: one line each, in columns.

use super::line::{Bar, Line, Unit};
use crate::samples::Samples;
use crate::text;

/// Returns the heading of the columns.
pub(super) fn head() -> String {
    columns(["", "", "baseline", "lfsfs", "ratio", "bar", ""].map(str::to_owned))
}

/// Returns `line` in columns.
pub(super) fn line(line: &Line) -> String {
    let unit = |value| match line.unit {
        Unit::Seconds => text::seconds(value),
        Unit::Bytes => text::bytes(value),
        Unit::PerSecond => text::per_second(value),
        Unit::Count => text::average(value),
    };
    let bar = match line.bar {
        Bar::Ratio { bar, .. } => text::ratio(bar),
        Bar::Amount { bar, .. } => unit(bar),
        Bar::None => String::new(),
    };
    columns([
        line.row.to_string(),
        line.what.clone(),
        with_range(&line.theirs, unit),
        with_range(&line.ours, unit),
        with_range(&line.ratios(), text::ratio),
        bar,
        line.verdict().name().to_owned(),
    ])
}

fn with_range(samples: &Samples, show: impl Fn(f64) -> String) -> String {
    if samples.is_empty() {
        return "-".to_owned();
    }
    let (low, high) = (show(samples.min()), show(samples.max()));
    format!("{} ({low}-{high})", show(samples.median()))
}

fn columns([row, what, theirs, ours, ratio, bar, verdict]: [String; 7]) -> String {
    let line =
        format!("{row:<2} {what:<38} {theirs:>25} {ours:>25} {ratio:>22} {bar:>8}  {verdict}");
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;

    #[test]
    fn a_line_shows_both_sides_the_ratio_and_the_verdict() {
        let bar = Bar::Ratio {
            bar: 1.1,
            stretch: 1.0,
        };
        let mut measured = Line::new(Row::B, "read", Unit::Seconds, bar);
        measured.push(0.1, 0.105);
        measured.push(0.1, 0.12);
        measured.push(0.2, 0.2);
        let text = line(&measured);
        let words: Vec<_> = text.split_whitespace().collect();
        let expected = "b read 100 ms (100 ms-200 ms) 120 ms (105 ms-200 ms) \
                        1.05x (1.00x-1.20x) 1.10x pass";
        assert_eq!(words.join(" "), expected);
        assert!(head().ends_with("bar"));
    }

    #[test]
    fn a_side_that_has_no_such_thing_shows_nothing() {
        let mut measured = Line::new(Row::I, "flushes", Unit::Count, Bar::None);
        measured.push_ours(2.0);
        let text = line(&measured);
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(words.join(" "), "i flushes - 2.00 (2.00-2.00) -");
    }
}
