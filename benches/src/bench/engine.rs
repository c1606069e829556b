//! What the engine under the server's metadata did: for each commit, what it cost there.

use anyhow::Context;
use serde::Deserialize;

use crate::instance::Instance;
use crate::sizes::to_float;

/// Figures of the engine since the server started.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Figures {
    batches: u64,
    flushes: u64,
    rows_read: u64,
    device_syncs: u64,
    device_bytes: u64,
}

/// What one commit cost, on an average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    pub(super) batches: f64,
    pub(super) flushes: f64,
    pub(super) rows_read: f64,
    pub(super) syncs: f64,
    pub(super) bytes: f64,
}

#[derive(Debug, Deserialize)]
struct Stats {
    engine: Figures,
}

impl Figures {
    /// Asks the server, as an operator does.
    pub(super) fn of(instance: &Instance) -> anyhow::Result<Self> {
        Self::parse(&instance.stats()?)
    }

    fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let stats: Stats = serde_json::from_slice(json).context("understand the figures")?;
        Ok(stats.engine)
    }

    /// Returns what each of `commits` cost between `before` and now.
    pub(super) fn since(&self, before: &Self, commits: f64) -> Cost {
        let each = |now: u64, before: u64| to_float(now - before) / commits;
        Cost {
            batches: each(self.batches, before.batches),
            flushes: each(self.flushes, before.flushes),
            rows_read: each(self.rows_read, before.rows_read),
            syncs: each(self.device_syncs, before.device_syncs),
            bytes: each(self.device_bytes, before.device_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(json: &str) -> anyhow::Result<Figures> {
        Figures::parse(json.as_bytes())
    }

    #[test]
    fn a_cost_is_the_difference_for_each_commit() {
        let before = r#"{"engine":{"batches":1,"flushes":2,"rows_read":7,
            "device_syncs":3,"device_bytes":4,"x":0}}"#;
        let after = r#"{"engine":{"batches":5,"flushes":4,"rows_read":7,
            "device_syncs":4,"device_bytes":8196}}"#;
        let cost = figures(after)
            .unwrap()
            .since(&figures(before).unwrap(), 2.0);
        let expected = Cost {
            batches: 2.0,
            flushes: 1.0,
            rows_read: 0.0,
            syncs: 0.5,
            bytes: 4096.0,
        };
        assert_eq!(cost, expected);
    }

    #[test]
    fn an_engine_that_does_not_tell_is_no_engine_to_measure() {
        let json = r#"{"engine":{"batches":1,"flushes":2,"rows_read":7,
            "device_syncs":null,"device_bytes":null}}"#;
        assert!(figures(json).is_err());
    }
}
