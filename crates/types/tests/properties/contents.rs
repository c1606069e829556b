//! Contents and their pieces.

use std::io::{self, Read};

use lfsfs_types::content::{
    Content, Layout, Piece, PieceList, ZERO_PIECE, ZERO_PIECE_BYTES, cut, describe, first_piece,
    small_content_id,
};
use lfsfs_types::limits::{
    PIECE_LEN_AVERAGE, PIECE_LEN_MAX, PIECE_LEN_MIN, PIECES_INLINE_MAX, SMALL_CONTENT_LEN_MAX,
};
use lfsfs_types::{ContentId, DecodeError};
use proptest::prelude::*;

use crate::random::random_bytes;
use crate::values::content_id;
use crate::{check_canonical, check_format, mutations};

const MIB: usize = 1024 * 1024;

/// Gives few bytes at a time, and now and then a signal.
struct Hesitant<'a> {
    bytes: &'a [u8],
    turn: usize,
}

impl Read for Hesitant<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = buffer.len().min(70_001);
        self.bytes.read(&mut buffer[..len])
    }
}

fn piece_list() -> impl Strategy<Value = PieceList> {
    let piece = (content_id(), PIECE_LEN_MIN..=PIECE_LEN_MAX);
    let last = (content_id(), 1..=PIECE_LEN_MAX);
    (prop::collection::vec(piece, 4..40), last).prop_map(|(mut pieces, last)| {
        pieces.push(last);
        let pieces = pieces.into_iter().map(|(hash, len)| Piece { hash, len });
        PieceList::new(pieces.collect()).expect("pieces within the limits")
    })
}

fn pieces_of(bytes: &[u8]) -> Vec<Piece> {
    let pieces = cut(bytes).map(|cut| cut.map(|(piece, _)| piece));
    pieces.collect::<Result<_, _>>().expect("bytes can be read")
}

proptest! {
    #[test]
    fn piece_lists_keep_their_format(list in piece_list(), mutations in mutations()) {
        check_format(&list, PieceList::encode, PieceList::decode, &mutations);
    }

    #[test]
    fn arbitrary_bytes_are_no_trap(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_canonical(&bytes, PieceList::encode, PieceList::decode);
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        check_canonical(&bytes, PieceList::encode, PieceList::decode);
    }

    #[test]
    fn another_list_is_another_content(list in piece_list(), at in any::<prop::sample::Index>()) {
        let mut pieces = list.pieces().to_vec();
        pieces[at.index(list.pieces().len())].hash.0[31] ^= 1;
        let other = PieceList::new(pieces).expect("the lengths are the same");
        prop_assert_ne!(other.content_id(), list.content_id());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn pieces_concatenate_to_the_input(
        seed in any::<u64>(),
        len in 0usize..14 * MIB,
        zeros in 0usize..6 * MIB,
    ) {
        let mut bytes = random_bytes(seed, len);
        bytes.resize(len + zeros, 0);
        let mut joined = Vec::new();
        let mut pieces = Vec::new();
        for cut in cut(Hesitant { bytes: &bytes, turn: 0 }) {
            let (piece, part) = cut.expect("only signals");
            prop_assert_eq!(piece.len as usize, part.len());
            prop_assert_eq!(piece.hash, small_content_id(&part));
            joined.extend_from_slice(&part);
            pieces.push(piece);
        }
        prop_assert!(joined == bytes, "the bytes came out otherwise");
        let described = describe(Hesitant { bytes: &bytes, turn: 0 }).expect("only signals");
        prop_assert_eq!(&described, &Content::of_bytes(&bytes));
        prop_assert_eq!(described.len, bytes.len() as u64);
        match described.pieces {
            Some(list) => prop_assert_eq!(list.pieces(), &pieces[..]),
            None => prop_assert!(bytes.len() as u64 <= SMALL_CONTENT_LEN_MAX),
        }
    }
}

#[test]
fn one_changed_byte_changes_its_neighbourhood() {
    let mut bytes = random_bytes(64, 64 * MIB);
    let before = pieces_of(&bytes);
    let average = bytes.len() / before.len();
    assert!(
        average < 2 * PIECE_LEN_AVERAGE as usize,
        "average piece {average}"
    );
    for at in [0, 31 * MIB, 64 * MIB - 1] {
        bytes[at] ^= 0x55;
        let after = pieces_of(&bytes);
        bytes[at] ^= 0x55;
        let new = after.iter().filter(|it| !before.contains(it)).count();
        assert!((1..=3).contains(&new), "{new} new pieces for byte {at}");
    }
    bytes.insert(20 * MIB, 0x55);
    let after = pieces_of(&bytes);
    let new = after.iter().filter(|it| !before.contains(it)).count();
    assert!(
        (1..=3).contains(&new),
        "{new} new pieces for an inserted byte"
    );
}

#[test]
fn cutting_may_start_at_any_cut() {
    let bytes = random_bytes(7, 12 * MIB);
    let all = pieces_of(&bytes);
    let start = (all[0].len + all[1].len) as usize;
    assert_eq!(pieces_of(&bytes[start..]), all[2..]);
}

#[test]
fn zeros_are_cut_into_one_piece_again_and_again() {
    let mut bytes = ZERO_PIECE_BYTES.repeat(3);
    assert_eq!(first_piece(&ZERO_PIECE_BYTES), Some(ZERO_PIECE));
    assert_eq!(pieces_of(&bytes), [ZERO_PIECE; 3]);
    // Whatever follows: the end of the longest piece depends on nothing behind it.
    for byte in [1, 0x55, 0xff] {
        bytes.truncate(2 * ZERO_PIECE_BYTES.len());
        bytes.resize(2 * ZERO_PIECE_BYTES.len() + MIB, byte);
        assert_eq!(pieces_of(&bytes)[..2], [ZERO_PIECE; 2]);
    }
}

#[test]
fn the_limit_of_small_contents_is_sharp() {
    let bytes = random_bytes(1, MIB + 1);
    let small = describe(&bytes[..MIB]).expect("bytes can be read");
    assert_eq!((small.pieces.as_ref(), small.len), (None, MIB as u64));
    assert_eq!(small.layout(), Layout::Small);
    let large = describe(&bytes[..]).expect("bytes can be read");
    let list = large.pieces.clone().expect("above the limit");
    assert_eq!(list.total_len(), MIB as u64 + 1);
    assert_eq!(large.layout(), Layout::Pieces(list));
    let empty = describe(&b""[..]).expect("bytes can be read");
    assert_eq!((empty.id, empty.len), (ContentId::EMPTY, 0));
}

#[test]
fn a_long_list_is_a_content_of_its_own() {
    let piece = |hash: u8| Piece {
        hash: ContentId([hash; 32]),
        len: PIECE_LEN_MIN,
    };
    let list = |count| PieceList::new(vec![piece(1); count]).expect("within the limits");
    let inline = Content::large(list(PIECES_INLINE_MAX));
    assert!(matches!(inline.layout(), Layout::Pieces(_)));
    let long = list(PIECES_INLINE_MAX + 1);
    let expected = Layout::List {
        list: describe(&long.encode()[..]).expect("bytes").id,
        count: long.count(),
    };
    assert_eq!(Content::large(long).layout(), expected);
}

#[test]
fn no_small_content_can_take_the_name_of_a_large_one() {
    let pieces = pieces_of(&random_bytes(3, 3 * MIB));
    let mut hashed = b"lfsfs content of pieces, format 1\n".to_vec();
    for piece in &pieces {
        hashed.extend_from_slice(piece.hash.as_bytes());
        hashed.extend_from_slice(&piece.len.to_be_bytes());
    }
    let large = PieceList::new(pieces)
        .expect("cut by the cutter")
        .content_id();
    let inverted = ContentId(small_content_id(&hashed).0.map(|byte| !byte));
    assert_eq!(large, inverted, "the test does not know what is hashed");
    assert_ne!(large, small_content_id(&hashed));
}

#[test]
fn lists_out_of_range_are_refused() {
    let piece = |len| Piece {
        hash: ContentId::EMPTY,
        len,
    };
    let lists = [
        vec![],
        vec![piece(PIECE_LEN_AVERAGE)],
        vec![piece(PIECE_LEN_MAX + 1)],
        vec![piece(PIECE_LEN_MAX), piece(0)],
        vec![piece(PIECE_LEN_MIN - 1), piece(PIECE_LEN_MAX)],
    ];
    for list in lists {
        assert!(PieceList::new(list.clone()).is_err(), "{list:?}");
    }
    assert!(PieceList::new(vec![piece(PIECE_LEN_MAX), piece(1)]).is_ok());
}

#[test]
fn an_error_of_the_reader_ends_the_cutting() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let mut cuts = cut(Broken);
    let error = cuts.next().expect("an error").expect_err("an error");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(cuts.next().is_none());
    let error = describe(Broken).expect_err("an error");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn decoding_names_the_place() {
    let error = PieceList::decode(&[2]).expect_err("format 2");
    assert!(
        matches!(
            error,
            DecodeError {
                what: "piece list",
                ..
            }
        ),
        "{error}"
    );
}
