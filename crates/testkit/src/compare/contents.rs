//! Where two streams of bytes differ first.

use std::io::{self, Read};

const BLOCK_BYTES: u64 = 256 * 1024;

/// The first place where two streams differ; `None` is the end of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FirstDifference {
    pub(super) offset: u64,
    pub(super) left: Option<u8>,
    pub(super) right: Option<u8>,
}

/// Reads both streams to where they differ, or to the end.
pub(super) fn first_difference(
    left: &mut impl Read,
    right: &mut impl Read,
) -> io::Result<Option<FirstDifference>> {
    let (mut left_block, mut right_block) = (Vec::new(), Vec::new());
    let mut offset = 0_u64;
    loop {
        left_block.clear();
        right_block.clear();
        left.by_ref()
            .take(BLOCK_BYTES)
            .read_to_end(&mut left_block)?;
        right
            .by_ref()
            .take(BLOCK_BYTES)
            .read_to_end(&mut right_block)?;
        if left_block != right_block {
            let same = left_block
                .iter()
                .zip(&right_block)
                .take_while(|(left, right)| left == right);
            let same = same.count();
            let (left, right) = (
                left_block.get(same).copied(),
                right_block.get(same).copied(),
            );
            return Ok(Some(FirstDifference {
                offset: offset + same as u64,
                left,
                right,
            }));
        }
        if left_block.is_empty() {
            return Ok(None);
        }
        offset += left_block.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_byte_beyond_the_first_block_and_the_end() {
        let long = vec![7; 300_000];
        let mut other = long.clone();
        assert_eq!(
            first_difference(&mut &long[..], &mut &other[..]).unwrap(),
            None
        );
        other[290_000] = 8;
        let found = first_difference(&mut &long[..], &mut &other[..])
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.offset, found.left, found.right),
            (290_000, Some(7), Some(8))
        );
        let found = first_difference(&mut &long[..], &mut &long[..5])
            .unwrap()
            .unwrap();
        assert_eq!((found.offset, found.left, found.right), (5, Some(7), None));
    }
}
