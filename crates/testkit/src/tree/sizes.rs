//! File sizes as a real `node_modules` has them.

use rand::RngExt;

use super::Random;

/// Share of files up to a size: median 1.1 KB, p90 12 KB, p99 171 KB, as measured on one of
/// 22,000 files.
const QUANTILES: &[(f64, f64)] = &[
    (0.0, 30.0),
    (0.1, 150.0),
    (0.5, 1_100.0),
    (0.9, 12_000.0),
    (0.99, 171_000.0),
    (1.0, 1_000_000.0),
];

/// Returns a file size.
pub(crate) fn sample(random: &mut Random) -> usize {
    let share: f64 = random.random_range(0.0..1.0);
    let upper = QUANTILES
        .iter()
        .position(|(at, _)| share < *at)
        .expect("the last share is 1");
    let (low_share, low) = QUANTILES[upper - 1];
    let (high_share, high) = QUANTILES[upper];
    // Between two known points sizes are spread evenly on a logarithmic scale.
    let position = (share - low_share) / (high_share - low_share);
    let bytes = low * (high / low).powf(position);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value lies between the first and the last quantile"
    )]
    let bytes = bytes as usize;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn sizes_follow_the_measured_quantiles() {
        let mut random = Random::seed_from_u64(7);
        let mut sizes: Vec<_> = (0..50_000).map(|_| sample(&mut random)).collect();
        sizes.sort_unstable();
        for (share, expected) in [(500, 1_100.0), (900, 12_000.0), (990, 171_000.0)] {
            #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
            let found = sizes[sizes.len() * share / 1_000] as f64;
            let ratio = found / expected;
            assert!(
                (0.9..1.1).contains(&ratio),
                "{share}: {found} instead of {expected}"
            );
        }
    }
}
