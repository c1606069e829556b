//! Recutting against cutting the whole file.

use std::convert::Infallible;

use lfsfs_types::content::{Content, PieceList, first_piece};
use proptest::prelude::*;

use super::*;

const MIB: usize = 1 << 20;

/// A file: bytes, and what they are made of.
struct Made {
    bytes: Vec<u8>,
    stretches: Vec<Stretch>,
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(byte).take(len).collect()
}

/// What is done to a file.
#[derive(Debug, Clone)]
enum Edit {
    Write { at: usize, len: usize },
    Resize { size: usize },
}

impl Made {
    /// Returns the base changed by the edits, as the overlay would have it.
    fn of(base: &[u8], edits: &[Edit]) -> Self {
        let mut bytes = base.to_vec();
        let mut origins = vec![StretchOrigin::Base; base.len()];
        for (seed, edit) in edits.iter().enumerate() {
            match *edit {
                Edit::Resize { size } => {
                    bytes.resize(size, 0);
                    origins.resize(size, StretchOrigin::Zeros);
                }
                Edit::Write { at, len } => {
                    let at = at.min(bytes.len());
                    let end = (at + len).min(bytes.len());
                    bytes[at..end].copy_from_slice(&noise(seed as u64 + 77, end - at));
                    origins[at..end].fill(StretchOrigin::Written);
                }
            }
        }
        let mut stretches: Vec<Stretch> = Vec::new();
        for (offset, origin) in origins.into_iter().enumerate() {
            match stretches.last_mut().filter(|it| it.origin == origin) {
                Some(stretch) => stretch.len += 1,
                None => stretches.push(Stretch {
                    offset: offset as u64,
                    len: 1,
                    origin,
                }),
            }
        }
        Self { bytes, stretches }
    }

    /// Recuts it. Returns the pieces and how many bytes were read.
    fn recut(&self, base: &[u8]) -> (Vec<Piece>, u64) {
        let old = old_pieces(base);
        let mut recut = Recut::new(ChangedFile {
            size: self.bytes.len() as u64,
            stretches: &self.stretches,
            base: &old,
        });
        let (mut pieces, mut bytes_read) = (Vec::new(), 0);
        loop {
            let read = |offset: u64, len: u64| {
                bytes_read += len;
                let start = usize::try_from(offset).unwrap();
                let end = start + usize::try_from(len).unwrap();
                Ok::<_, Infallible>(self.bytes[start..end].to_vec())
            };
            match recut.next(read) {
                Ok(None) => return (pieces, bytes_read),
                Ok(Some(Cut::Known(piece))) => pieces.push(piece),
                Ok(Some(Cut::Read(piece, bytes))) => {
                    assert_eq!(first_piece(&bytes), Some(piece), "the bytes of the piece");
                    pieces.push(piece);
                }
            }
        }
    }

    fn check(&self, base: &[u8]) -> u64 {
        let (pieces, bytes_read) = self.recut(base);
        let whole = Content::of_bytes(&self.bytes).pieces;
        assert_eq!(PieceList::new(pieces).ok(), whole, "as if cut whole");
        bytes_read
    }
}

fn old_pieces(base: &[u8]) -> Vec<PlacedPiece> {
    let list = Content::of_bytes(base).pieces;
    let ranges = list.iter().flat_map(PieceList::ranges);
    let old = ranges.map(|(range, piece)| PlacedPiece {
        start: range.start,
        piece,
    });
    old.collect()
}

#[test]
fn an_unchanged_file_is_not_read() {
    let base = noise(1, 9 * MIB);
    assert_eq!(Made::of(&base, &[]).check(&base), 0);
}

#[test]
fn one_byte_costs_its_neighbourhood() {
    let base = noise(2, 40 * MIB);
    for at in [0, 1, 5 * MIB, 20 * MIB + 7, 40 * MIB - 1] {
        let bytes_read = Made::of(&base, &[Edit::Write { at, len: 1 }]).check(&base);
        assert!(bytes_read <= 12 * MIB as u64, "{bytes_read} bytes at {at}");
    }
}

#[test]
fn every_byte_around_a_cut_counts() {
    let base = noise(3, 6 * MIB);
    for old in old_pieces(&base).iter().skip(1) {
        let cut = usize::try_from(old.start).unwrap();
        for at in cut - 3..cut + 4 {
            Made::of(&base, &[Edit::Write { at, len: 1 }]).check(&base);
        }
    }
}

#[test]
fn every_end_around_a_cut_counts() {
    let base = noise(4, 6 * MIB);
    for old in old_pieces(&base).iter().skip(2) {
        let cut = usize::try_from(old.start).unwrap();
        for size in cut - 3..cut + 4 {
            Made::of(&base, &[Edit::Resize { size }]).check(&base);
        }
    }
    for size in base.len() + 1..base.len() + 4 {
        Made::of(&base, &[Edit::Resize { size }]).check(&base);
    }
}

#[test]
fn a_hole_is_not_read() {
    let base = noise(5, 2 * MIB);
    let size = 64 * MIB;
    let bytes_read = Made::of(&base, &[Edit::Resize { size }]).check(&base);
    // The end of the data, and what is left behind the last whole piece of zeros.
    assert!(bytes_read <= 12 * MIB as u64, "{bytes_read}");
}

#[test]
fn a_file_that_was_small_or_nothing_is_cut_whole() {
    for len in [0, 1, MIB] {
        let base = noise(6, len);
        let grown = [
            Edit::Resize { size: 3 * MIB },
            Edit::Write {
                at: len,
                len: 3 * MIB,
            },
        ];
        Made::of(&base, &grown).check(&base);
    }
}

fn edit(len: usize) -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (0..len, 1..3 * MIB).prop_map(|(at, len)| Edit::Write { at, len }),
        3 => (0..len, 1..9_usize).prop_map(|(at, len)| Edit::Write { at, len }),
        2 => (MIB + 1..2 * len).prop_map(|size| Edit::Resize { size }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn recutting_gives_what_cutting_gives(
        seed in 0..1_000_u64,
        edits in prop::collection::vec(edit(8 * MIB), 1..5),
    ) {
        let base = noise(seed, 8 * MIB);
        Made::of(&base, &edits).check(&base);
    }
}
