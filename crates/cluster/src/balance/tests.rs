use lfsfs_types::ChunkId;

use super::*;
use crate::testing::{MIB, table};

const TOLERANCE: Tolerance = Tolerance::percent(10);

fn chunk(holders: &[u8]) -> ChunkCopies {
    ChunkCopies {
        chunk: ChunkId([1; 32]),
        len: MIB,
        wanted: 3,
        holders: holders.iter().map(|id| NodeId([*id; 16])).collect(),
    }
}

fn better_place(table: &Membership, holders: &[u8]) -> Option<u8> {
    let found = table.better_place(&chunk(holders), TOLERANCE, Instant::now());
    found.map(|found| found.to.0[0])
}

#[test]
fn a_copy_moves_to_the_emptiest_node_that_has_none() {
    let table = table(&[("", 500), ("", 500), ("", 600), ("", 300), ("", 0)]);
    assert!(table.is_uneven(TOLERANCE, Instant::now()));
    assert_eq!(better_place(&table, &[1, 2, 3]), Some(5));
    assert_eq!(better_place(&table, &[2, 3, 5]), Some(4), "5 has one");
    let found = table.better_place(&chunk(&[1, 2, 3]), TOLERANCE, Instant::now());
    assert_eq!(found.map(|found| found.from), Some(NodeId([3; 16])));
}

#[test]
fn nothing_moves_for_a_small_difference() {
    let table = table(&[("", 500), ("", 500), ("", 550), ("", 450)]);
    assert!(!table.is_uneven(TOLERANCE, Instant::now()));
    assert_eq!(better_place(&table, &[1, 2, 3]), None);
}

#[test]
fn nothing_moves_out_of_its_zone_to_one_that_has_a_copy() {
    let nodes = [("a", 600), ("b", 600), ("c", 600), ("a", 0)];
    assert_eq!(better_place(&table(&nodes), &[1, 2, 3]), Some(4));
    // Node 1 alone could give up its copy, and it is as empty as node 4.
    let nodes = [("a", 50), ("b", 600), ("c", 600), ("a", 0)];
    assert_eq!(better_place(&table(&nodes), &[1, 2, 3]), None);
}

#[test]
fn a_chunk_that_lacks_a_copy_has_other_worries() {
    let mut table = table(&[("", 500), ("", 500), ("", 500), ("", 0)]);
    assert_eq!(better_place(&table, &[1, 2]), None);
    assert_eq!(better_place(&table, &[1, 2, 3]), Some(4));
    table.set_draining(NodeId([3; 16]), true);
    assert_eq!(better_place(&table, &[1, 2, 3]), None);
}

#[test]
fn what_is_promised_to_a_node_counts() {
    let mut table = table(&[("", 500), ("", 500), ("", 500), ("", 0)]);
    table.promise(NodeId([4; 16]), 450 * MIB);
    assert_eq!(better_place(&table, &[1, 2, 3]), None);
}

#[test]
fn with_any_difference_allowed_nothing_moves() {
    let table = table(&[("", 1000), ("", 1000), ("", 1000), ("", 0)]);
    assert!(!table.is_uneven(Tolerance::ANY, Instant::now()));
}
