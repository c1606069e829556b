//! Chunks: building, verifying, reading parts, and everything that can be wrong with one.

use std::io::Cursor;

use lfsfs_types::chunk::{
    BuiltChunk, ChunkBuilder, ChunkError, FOOTER_LEN_MAX, Footer, HEADER_LEN, HashOf, TRAILER_LEN,
    Trailer, decode_block, verify,
};
use lfsfs_types::codec::Writer;
use lfsfs_types::content::small_content_id;
use lfsfs_types::limits::{
    BLOCK_RAW_LEN_MAX, CHUNK_LEN_DEFAULT, CHUNK_LEN_MAX, PIECE_LEN_MAX, SHARED_BLOCK_RAW_LEN_MAX,
};
use lfsfs_types::{ChunkId, ContentId, Sha256};
use proptest::prelude::*;

use crate::random::random_bytes;
use crate::{check_canonical, mutate, mutations};

const BLOCK: usize = BLOCK_RAW_LEN_MAX as usize;
const SHARED_BLOCK: usize = SHARED_BLOCK_RAW_LEN_MAX as usize;
/// Bytes of an id in a footer of format 2.
const PREFIX_LEN: usize = 20;

fn content() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        1usize..2000,
        1usize..400_000,
        Just(SHARED_BLOCK),
        Just(SHARED_BLOCK + 1),
        Just(2 * BLOCK)
    ];
    (any::<u64>(), len, any::<bool>()).prop_map(|(seed, len, repeats)| {
        if repeats {
            random_bytes(seed, 50)
                .into_iter()
                .cycle()
                .take(len)
                .collect()
        } else {
            random_bytes(seed, len)
        }
    })
}

fn contents() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(content(), 0..12)
}

fn build(contents: &[Vec<u8>]) -> BuiltChunk {
    let mut builder = ChunkBuilder::new(CHUNK_LEN_DEFAULT);
    for content in contents {
        builder
            .add(small_content_id(content), content)
            .expect("the chunk is not full");
    }
    builder.finish()
}

fn verify_bytes(bytes: &[u8]) -> Result<ChunkId, ChunkError> {
    verify(Cursor::new(bytes), bytes.len() as u64).map(|chunk| chunk.id)
}

/// Reads a content as a client does: from single blocks.
fn read_content(chunk: &BuiltChunk, id: &ContentId) -> Vec<u8> {
    let entry = chunk.footer.find(id).expect("the content is in the chunk");
    let mut content = Vec::new();
    for span in chunk.footer.spans(entry) {
        let range = chunk.footer.block_range(span.block).expect("a block");
        let range = usize::try_from(range.start).expect("small")
            ..usize::try_from(range.end).expect("small");
        let block = &chunk.footer.blocks()[span.block as usize];
        let raw = decode_block(block, &chunk.bytes[range]).expect("an intact block");
        content.extend_from_slice(&raw[span.range]);
    }
    content
}

/// Puts a footer behind the blocks of a chunk, with a trailer that fits it.
fn with_footer(chunk: &BuiltChunk, footer: &[u8]) -> Vec<u8> {
    let blocks = chunk.bytes.len() - TRAILER_LEN - chunk.footer.encode().len();
    let trailer = Trailer {
        footer_len: u32::try_from(footer.len()).expect("small"),
        footer_sha256: Sha256(small_content_id(footer).0),
    };
    [&chunk.bytes[..blocks], footer, &trailer.encode()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_content_is_found_again(contents in contents()) {
        let chunk = build(&contents);
        let verified = verify(Cursor::new(&chunk.bytes), chunk.bytes.len() as u64)
            .expect("a chunk as it was built");
        prop_assert_eq!(verified.id, chunk.id);
        prop_assert_eq!(&verified.footer, &chunk.footer);
        prop_assert_eq!(verified.footer_sha256, chunk.footer_sha256);
        prop_assert_eq!(chunk.footer.chunk_len(), chunk.bytes.len() as u64);
        for content in &contents {
            prop_assert!(&read_content(&chunk, &small_content_id(content)) == content);
        }
        prop_assert_eq!(build(&contents).bytes, chunk.bytes, "not deterministic");
    }

    #[test]
    fn ranges_of_contents_are_found(contents in contents(), ends in any::<[u32; 2]>()) {
        let chunk = build(&contents);
        for entry in chunk.footer.contents() {
            let [a, b] = ends.map(|end| end % (entry.len + 2));
            let all: usize = chunk.footer.spans(entry).map(|it| it.range.len()).sum();
            prop_assert_eq!(all, entry.len as usize);
            let within: usize =
                chunk.footer.spans_within(entry, a..b).map(|it| it.range.len()).sum();
            prop_assert_eq!(within, b.min(entry.len).saturating_sub(a) as usize);
        }
    }

    #[test]
    fn a_changed_chunk_is_noticed(contents in contents(), mutations in mutations()) {
        let chunk = build(&contents);
        let mut bytes = chunk.bytes.clone();
        mutate(&mut bytes, &mutations);
        if bytes != chunk.bytes {
            prop_assert!(verify_bytes(&bytes).is_err());
        }
    }

    #[test]
    fn a_footer_is_canonical_or_refused(contents in contents(), mutations in mutations()) {
        let chunk = build(&contents);
        let mut bytes = chunk.footer.encode();
        mutate(&mut bytes, &mutations);
        let decode = |bytes: &[u8]| match Footer::decode(bytes) {
            Err(ChunkError::BadIndex(error)) => Err(error),
            other => Ok(other.expect("only an index can be bad")),
        };
        check_canonical(&bytes, Footer::encode, decode);
        let sha256 = chunk.footer_sha256;
        let is_same = Footer::decode_verified(&bytes, &sha256).is_ok();
        prop_assert_eq!(is_same, bytes == chunk.footer.encode());
        // Whatever the index claims, verifying it ends.
        let _ = verify_bytes(&with_footer(&chunk, &bytes));
    }

    #[test]
    fn arbitrary_bytes_are_no_trap(mut bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(verify_bytes(&bytes).is_err());
        let _ = Footer::decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 1 + *first % 2;
        }
        let _ = Footer::decode(&bytes);
    }
}

#[test]
fn every_cut_is_noticed() {
    let chunk = build(&[random_bytes(1, 5000), random_bytes(2, 300)]);
    for len in 0..chunk.bytes.len() {
        assert!(verify_bytes(&chunk.bytes[..len]).is_err(), "{len} bytes");
    }
    // The reader ends before the length that was promised.
    let len = chunk.bytes.len() as u64;
    let error = verify(Cursor::new(&chunk.bytes[..100]), len).expect_err("cut short");
    assert!(matches!(error, ChunkError::ReadEnded), "{error}");
}

#[test]
fn errors_say_what_is_wrong() {
    let chunk = build(&[random_bytes(1, 5000), random_bytes(2, 300)]);
    let flip = |at: usize| {
        let mut bytes = chunk.bytes.clone();
        bytes[at] ^= 1;
        verify_bytes(&bytes).expect_err("a flipped bit")
    };
    let footer_at = chunk.bytes.len() - TRAILER_LEN - 1;
    assert!(matches!(flip(0), ChunkError::NotAChunk));
    assert!(matches!(flip(4), ChunkError::UnknownFormat { format: 3 }));
    let of_block = HashOf::Block(HEADER_LEN as u64);
    assert!(matches!(flip(HEADER_LEN), ChunkError::BadHash { of } if of == of_block));
    let is_footer = |error| matches!(error, ChunkError::BadHash { of: HashOf::Footer });
    assert!(is_footer(flip(footer_at)));
    assert!(matches!(flip(chunk.bytes.len() - 1), ChunkError::NotAChunk));
    let too_long = verify(Cursor::new(b""), CHUNK_LEN_MAX + 1).expect_err("too long");
    assert!(matches!(too_long, ChunkError::TooLong { .. }));
    let trailer = Trailer {
        footer_len: FOOTER_LEN_MAX + 1,
        footer_sha256: chunk.footer_sha256,
    };
    let error = Trailer::decode(&trailer.encode()).expect_err("too long");
    assert!(matches!(error, ChunkError::FooterTooLong { .. }));
}

#[test]
fn a_content_under_a_wrong_name_is_noticed() {
    let mut builder = ChunkBuilder::new(CHUNK_LEN_DEFAULT);
    let (right, wrong) = (
        random_bytes(1, 200_000),
        small_content_id(b"something else"),
    );
    builder.add(small_content_id(&right), &right).expect("room");
    builder.add(wrong, b"poison").expect("room");
    let error = verify_bytes(&builder.finish().bytes).expect_err("a wrong name");
    assert!(
        matches!(error, ChunkError::BadHash { of: HashOf::Content(prefix) } if prefix.is_of(&wrong))
    );
}

#[test]
fn bytes_that_no_content_claims_are_noticed() {
    let chunk = build(&[random_bytes(1, 5000)]);
    let mut bytes = chunk.bytes.clone();
    bytes.splice(HEADER_LEN..HEADER_LEN, [0; 3]);
    let error = verify_bytes(&bytes).expect_err("three bytes too many");
    assert!(matches!(error, ChunkError::LeftOver { .. }), "{error}");
}

/// Writes a footer of stored blocks of zeros and contents of the given lengths.
fn footer_of(blocks: &[u32], contents: &[(u8, u32)]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u8(2).varint(blocks.len() as u64);
    for &len in blocks {
        let sha256 = small_content_id(&vec![0; len as usize]);
        writer.u8(0).varint(u64::from(len)).varint(u64::from(len));
        writer.raw(sha256.as_bytes());
    }
    writer.varint(contents.len() as u64);
    for &(id, len) in contents {
        writer.raw(&[id; PREFIX_LEN]).varint(u64::from(len));
    }
    writer.finish()
}

#[test]
fn an_index_that_cannot_be_is_refused() {
    type Case = (&'static str, &'static [u32], &'static [(u8, u32)]);
    let cases: &[Case] = &[
        ("contents beyond the blocks", &[10], &[(1, 11)]),
        ("blocks beyond the contents", &[10], &[(1, 9)]),
        ("blocks beyond the contents", &[10], &[]),
        ("a content twice", &[10, 10], &[(1, 10), (1, 10)]),
        ("length of a content out of range", &[10], &[(1, 0)]),
        ("length of a block out of range", &[0], &[]),
        (
            "length of a block out of range",
            &[BLOCK_RAW_LEN_MAX + 1],
            &[],
        ),
        (
            "length of a content out of range",
            &[BLOCK_RAW_LEN_MAX; 40],
            &[(1, PIECE_LEN_MAX + 1)],
        ),
    ];
    for &(problem, blocks, contents) in cases {
        match Footer::decode(&footer_of(blocks, contents)) {
            Err(ChunkError::BadIndex(error)) => assert_eq!(error.problem, problem),
            other => panic!("{problem}: {other:?}"),
        }
    }
    assert!(Footer::decode(&footer_of(&[10, 5], &[(1, 12), (2, 3)])).is_ok());
}

#[test]
fn a_count_that_is_a_lie_reserves_nothing() {
    let mut writer = Writer::new();
    writer.u8(2).varint(65_536);
    let error = Footer::decode(&writer.finish()).expect_err("65,536 blocks in no bytes");
    assert!(
        matches!(error, ChunkError::BadIndex(error) if error.problem == "more entries than can be")
    );
}

#[test]
fn decompression_is_bounded() {
    let bomb = zstd::bulk::compress(&vec![0; 50 * BLOCK], 3).expect("zeros compress");
    let mut block = build(&[vec![7; 1000]]).footer.blocks()[0].clone();
    block.stored_len = u32::try_from(bomb.len()).expect("small");
    block.sha256 = Sha256(small_content_id(&bomb).0);
    let error = decode_block(&block, &bomb).expect_err("more than its length");
    assert!(matches!(error, ChunkError::BadBlock { .. }), "{error}");
    block.raw_len = u32::MAX;
    assert!(decode_block(&block, &bomb).is_err());
}

#[test]
fn small_contents_share_blocks_and_lie_in_one() {
    let contents: Vec<_> = (0..20)
        .map(|seed| random_bytes(seed, SHARED_BLOCK * 2 / 5))
        .collect();
    let chunk = build(&contents);
    assert_eq!(chunk.footer.blocks().len(), 10);
    for entry in chunk.footer.contents() {
        assert_eq!(chunk.footer.spans(entry).count(), 1);
    }
}

#[test]
fn large_contents_have_large_blocks_of_their_own() {
    let small = |seed| random_bytes(seed, 100);
    let large = random_bytes(9, 2 * BLOCK + 1000);
    let chunk = build(&[
        small(1),
        large,
        small(2),
        random_bytes(8, SHARED_BLOCK + 1),
        small(3),
    ]);
    let lens: Vec<_> = chunk
        .footer
        .blocks()
        .iter()
        .map(|it| it.raw_len as usize)
        .collect();
    // What is left of the large one is short enough to share its block.
    assert_eq!(lens, [100, BLOCK, BLOCK, 1100, SHARED_BLOCK + 1, 100]);
}

#[test]
fn two_contents_of_one_prefix_are_not_taken() {
    let mut builder = ChunkBuilder::new(CHUNK_LEN_DEFAULT);
    let mut id = small_content_id(b"one");
    builder.add(id, b"one").expect("room");
    id.0[PREFIX_LEN] ^= 1;
    let error = builder.add(id, b"two").expect_err("the same prefix");
    assert!(matches!(error, ChunkError::SamePrefix { prefix } if prefix.is_of(&id)));
    assert_eq!(builder.finish().footer.contents().len(), 1);
}

/// A chunk of many tiny contents is the worst case for its footer.
#[test]
fn a_footer_takes_a_tenth_of_a_chunk_of_contents_of_1_kib() {
    let contents: Vec<_> = (0..2000).map(|seed| random_bytes(seed, 256)).collect();
    let chunk = build(&contents);
    let footer = chunk.footer.encode().len();
    assert!(
        footer * 10 <= chunk.bytes.len(),
        "{footer} of {}",
        chunk.bytes.len()
    );
}

#[test]
fn what_does_not_compress_is_stored() {
    let random = build(&[random_bytes(1, 100_000)]);
    assert!(random.bytes.len() < 100_300);
    let zeros = build(&[vec![0; 100_000]]);
    assert!(zeros.bytes.len() < 500, "{}", zeros.bytes.len());
}

#[test]
fn a_builder_fills_up() {
    let mut builder = ChunkBuilder::new(1_000_000);
    let mut added = 0;
    while !builder.is_full() {
        let content = random_bytes(added, 300_000);
        builder
            .add(small_content_id(&content), &content)
            .expect("not full");
        added += 1;
    }
    assert_eq!(added, 4);
    let full = builder.add(ContentId::EMPTY, b"x").expect_err("full");
    assert!(matches!(full, ChunkError::Full));
    let known = random_bytes(0, 300_000);
    builder
        .add(small_content_id(&known), &known)
        .expect("there already");
    assert_eq!(builder.finish().footer.contents().len(), 4);
}

#[test]
fn no_chunk_can_be_built_above_the_limit() {
    let mut builder = ChunkBuilder::new(u64::MAX);
    let mut seed = 0;
    while !builder.is_full() {
        let piece = random_bytes(seed, PIECE_LEN_MAX as usize);
        builder
            .add(small_content_id(&piece), &piece)
            .expect("not full");
        seed += 1;
    }
    let chunk = builder.finish();
    assert!(
        chunk.bytes.len() as u64 <= CHUNK_LEN_MAX,
        "{}",
        chunk.bytes.len()
    );
    let mut builder = ChunkBuilder::new(u64::MAX);
    for bytes in [vec![], vec![0; PIECE_LEN_MAX as usize + 1]] {
        let error = builder
            .add(small_content_id(&bytes), &bytes)
            .expect_err("no length for a chunk");
        assert!(matches!(error, ChunkError::ContentLen { .. }));
    }
    assert!(builder.is_empty());
}
