//! Which replica a reader asks first.
//!
//! Of two replicas at random the one that is expected to answer first: with the full order, all readers
//! would go to the same best one. Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load
//! Balancing", 2001.

use std::time::Duration;

/// What a reader knows of a datanode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// How long its answers took lately; zero if it was not asked yet.
    pub latency: Duration,
    /// How many of the reader's requests it is working on.
    pub in_flight: u32,
    /// Whether it failed, or was much slower than another one, a moment ago.
    pub has_failed: bool,
}

impl Load {
    fn expected(&self) -> Duration {
        self.latency
            .saturating_mul(self.in_flight.saturating_add(1))
    }
}

/// Returns the order in which replicas are asked: the better of two at random, the others in the order in
/// which they came, and last those that have failed. `random` is any number.
pub fn order(loads: &[Load], random: u64) -> Vec<usize> {
    let (mut order, failed): (Vec<_>, Vec<_>) =
        (0..loads.len()).partition(|at| !loads[*at].has_failed);
    if order.len() > 1 {
        let count = order.len() as u64;
        let first = random % count;
        // Any other one.
        let second = (first + 1 + (random >> 32) % (count - 1)) % count;
        let [first, second] = [first, second].map(|at| usize::try_from(at).unwrap_or(0));
        let is_better = loads[order[first]].expected() <= loads[order[second]].expected();
        let best = order.remove(if is_better { first } else { second });
        order.insert(0, best);
    }
    order.extend(failed);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(millis: u64, in_flight: u32) -> Load {
        Load {
            latency: Duration::from_millis(millis),
            in_flight,
            has_failed: false,
        }
    }

    /// Numbers that are as good as random.
    fn numbers() -> impl Iterator<Item = u64> {
        (0..3000_u64).map(|number| (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn each_replica_is_in_the_order_once() {
        for count in 0..5 {
            for random in numbers() {
                let mut order = order(&vec![load(1, 0); count], random);
                order.sort_unstable();
                assert_eq!(order, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_slowest_of_three_is_never_first_and_the_fastest_most_often() {
        let loads = [load(100, 0), load(10, 0), load(20, 0)];
        let mut firsts = [0; 3];
        for random in numbers() {
            firsts[order(&loads, random)[0]] += 1;
        }
        assert!(
            firsts[0] == 0 && firsts[1] > firsts[2] && firsts[2] > 300,
            "{firsts:?}"
        );
    }

    #[test]
    fn a_busy_replica_and_one_that_failed_give_way() {
        let failed = Load {
            has_failed: true,
            ..load(1, 0)
        };
        for random in numbers() {
            assert_eq!(order(&[load(10, 5), load(20, 0)], random)[0], 1);
            assert_eq!(order(&[failed, load(500, 9)], random), [1, 0]);
            assert_eq!(order(&[failed], random), [0], "there is no other one");
        }
    }
}
