//! One line of the result: two sides, their ratio, and the bar.

use serde_json::{Value, json};

use super::Row;
use crate::samples::Samples;

/// What the samples of a line are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Bytes,
    /// How often something is done in a second: more is better, and so is a higher ratio.
    PerSecond,
    /// How many there are, on an average.
    Count,
}

/// What must be reached, and what would be better still.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bar {
    /// The ratio of lfsfs to the other side is at most this.
    Ratio { bar: f64, stretch: f64 },
    /// What lfsfs needs is at most this, whatever the other side needs.
    Amount { bar: f64, stretch: f64 },
    /// Shown beside the others, without a bar of its own.
    None,
}

/// How a line did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stretch,
    Pass,
    Miss,
    Unjudged,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Pass => "pass",
            Self::Miss => "MISS",
            Self::Unjudged => "",
        }
    }
}

/// One line of the result.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) row: Row,
    pub(super) what: String,
    pub(super) unit: Unit,
    /// What lfsfs is held against.
    pub(super) theirs: Samples,
    /// What lfsfs needed.
    pub(super) ours: Samples,
    pub(super) bar: Bar,
}

impl Line {
    pub(super) fn new(row: Row, what: impl Into<String>, unit: Unit, bar: Bar) -> Self {
        Self {
            row,
            what: what.into(),
            unit,
            theirs: Samples::default(),
            ours: Samples::default(),
            bar,
        }
    }

    /// Adds what one round gave.
    pub(super) fn push(&mut self, theirs: f64, ours: f64) {
        self.theirs.push(theirs);
        self.ours.push(ours);
    }

    /// Adds what one round gave where the other side has no such thing.
    pub(super) fn push_ours(&mut self, ours: f64) {
        self.ours.push(ours);
    }

    pub(super) fn ratios(&self) -> Samples {
        self.ours.ratio_to(&self.theirs)
    }

    pub(super) fn verdict(&self) -> Verdict {
        let (reached, bar, stretch) = match self.bar {
            Bar::Ratio { bar, stretch } => (self.ratios().median(), bar, stretch),
            Bar::Amount { bar, stretch } => (self.ours.median(), bar, stretch),
            Bar::None => return Verdict::Unjudged,
        };
        match reached {
            _ if reached <= stretch => Verdict::Stretch,
            _ if reached <= bar => Verdict::Pass,
            _ => Verdict::Miss,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let (kind, bar, stretch) = match self.bar {
            Bar::Ratio { bar, stretch } => ("ratio", Some(bar), Some(stretch)),
            Bar::Amount { bar, stretch } => ("amount", Some(bar), Some(stretch)),
            Bar::None => ("none", None, None),
        };
        let unit = match self.unit {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            Unit::PerSecond => "per_second",
            Unit::Count => "count",
        };
        json!({
            "row": self.row,
            "what": self.what,
            "unit": unit,
            "baseline": self.theirs,
            "lfsfs": self.ours,
            "ratio": self.ratios(),
            "ratio_median": self.ratios().median(),
            "bar_of": kind,
            "bar": bar,
            "stretch": stretch,
            "verdict": self.verdict().name().to_lowercase(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bar: Bar, rounds: &[(f64, f64)]) -> Line {
        let mut line = Line::new(Row::A, "x", Unit::Seconds, bar);
        for (theirs, ours) in rounds {
            line.push(*theirs, *ours);
        }
        line
    }

    #[test]
    fn the_median_of_the_ratios_is_what_a_bar_judges() {
        let bar = Bar::Ratio {
            bar: 1.1,
            stretch: 1.0,
        };
        // The medians of the sides would say 2.0.
        let rounds = [(1.0, 1.05), (10.0, 10.0), (2.0, 8.0)];
        assert_eq!(line(bar, &rounds).verdict(), Verdict::Pass);
        assert_eq!(line(bar, &[(1.0, 1.0)]).verdict(), Verdict::Stretch);
        assert_eq!(line(bar, &[(1.0, 1.11)]).verdict(), Verdict::Miss);
        assert_eq!(line(bar, &[]).verdict(), Verdict::Miss);
    }

    #[test]
    fn an_amount_is_judged_whatever_the_other_side_needs() {
        let bar = Bar::Amount {
            bar: 16.0,
            stretch: 4.0,
        };
        assert_eq!(line(bar, &[(1.0, 16.0)]).verdict(), Verdict::Pass);
        assert_eq!(line(bar, &[(1e9, 17.0)]).verdict(), Verdict::Miss);
        assert_eq!(line(Bar::None, &[(1.0, 9.0)]).verdict(), Verdict::Unjudged);
    }
}
