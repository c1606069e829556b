use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::member::Timing;
use crate::testing::{MIB, table};

fn choose(table: &Membership, placement: Placement, wanted: Wanted<'_>, seed: u64) -> Vec<u8> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let chosen = table.choose(placement, wanted, &mut random, Instant::now());
    chosen.iter().map(|member| member.id.0[0]).collect()
}

fn wanted(count: usize) -> Wanted<'static> {
    Wanted {
        count,
        len: MIB,
        holders: &[],
    }
}

#[test]
fn each_zone_gets_one_copy_while_there_are_enough() {
    let table = table(&[("a", 0), ("a", 0), ("a", 0), ("b", 900), ("c", 900)]);
    for seed in 0..50 {
        let chosen = choose(&table, Placement::ZoneAware, wanted(3), seed);
        let zone = |id: &u8| {
            if *id <= 3 {
                'a'
            } else {
                char::from(b'a' + id - 3)
            }
        };
        let zones: BTreeSet<_> = chosen.iter().map(zone).collect();
        assert_eq!(zones.len(), 3, "{chosen:?}");
        let all = choose(&table, Placement::ZoneAware, wanted(9), seed);
        assert_eq!(all.len(), 5, "all that there are");
        let holders = [NodeId([1; 16]), NodeId([4; 16])];
        let third = Wanted {
            count: 1,
            holders: &holders,
            ..wanted(1)
        };
        assert_eq!(choose(&table, Placement::ZoneAware, third, seed), [5]);
    }
}

#[test]
fn emptier_nodes_get_more() {
    let table = table(&[("", 0), ("", 500), ("", 950)]);
    let least = choose(&table, Placement::LeastUsed, wanted(3), 0);
    assert_eq!(least, [1, 2, 3]);
    let mut firsts = [0; 4];
    for seed in 0..3000 {
        let first = choose(&table, Placement::WeightedRandom, wanted(1), seed)[0];
        firsts[usize::from(first)] += 1;
    }
    assert!(
        firsts[1] > 1700 && firsts[2] > 700 && firsts[3] > 30,
        "{firsts:?}"
    );
}

#[test]
fn a_node_that_is_full_draining_or_silent_gets_nothing() {
    let mut table = table(&[("", 0), ("", 999), ("", 0), ("", 0)]);
    table.set_draining(NodeId([3; 16]), true);
    let len = 2 * MIB;
    let big = Wanted { len, ..wanted(9) };
    let chosen: BTreeSet<_> = choose(&table, Placement::ZoneAware, big, 1)
        .into_iter()
        .collect();
    assert_eq!(chosen, BTreeSet::from([1, 4]));
    table.promise(NodeId([1; 16]), 999 * MIB);
    assert_eq!(choose(&table, Placement::LeastUsed, big, 1), [4]);
    let later = Instant::now() + Timing::default().suspect_after;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let silent = table.choose(Placement::LeastUsed, big, &mut random, later);
    assert_eq!(silent, []);
}

#[test]
fn placements_have_names() {
    for (name, placement) in NAMES {
        assert_eq!(name.parse(), Ok(placement));
        assert_eq!(placement.to_string(), name);
    }
    assert!("random".parse::<Placement>().is_err());
}
