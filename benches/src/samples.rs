//! What several rounds gave: median and range.

use serde::Serialize;

/// The figures of several rounds, in their order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// Adds those of `others` behind its own.
    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Returns the middle one, or the mean of the middle two.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => sorted[len / 2],
            len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
        }
    }

    /// Returns the one that 99 of 100 do not exceed.
    pub(crate) fn percentile_99(&self) -> f64 {
        let sorted = self.sorted();
        let rank = (sorted.len() * 99).div_ceil(100);
        let index = rank.saturating_sub(1);
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn min(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// Returns this divided by `other`, round by round: both sides of a round ran one after the
    /// other, so what disturbs the machine for longer than that does not show in the ratio.
    pub(crate) fn ratio_to(&self, other: &Self) -> Self {
        self.0
            .iter()
            .zip(&other.0)
            .map(|(ours, theirs)| ours / theirs)
            .collect()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        values.iter().copied().collect()
    }

    #[test]
    fn median_and_range_do_not_depend_on_the_order() {
        let odd = samples(&[5.0, 1.0, 3.0]);
        assert_eq!((odd.min(), odd.median(), odd.max()), (1.0, 3.0, 5.0));
        assert!((samples(&[4.0, 1.0, 2.0, 100.0]).median() - 3.0).abs() < f64::EPSILON);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn one_of_a_hundred_may_exceed_the_percentile() {
        let hundred: Samples = (1..=100).map(f64::from).collect();
        assert!((hundred.percentile_99() - 99.0).abs() < f64::EPSILON);
        assert!((samples(&[3.0, 1.0]).percentile_99() - 3.0).abs() < f64::EPSILON);
        assert!(Samples::default().percentile_99().is_nan());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratios = samples(&[2.0, 30.0]).ratio_to(&samples(&[1.0, 10.0]));
        assert_eq!(ratios, samples(&[2.0, 3.0]));
    }
}
