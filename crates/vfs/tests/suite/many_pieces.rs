//! Files of more pieces than are told in one message: gigabytes, made of the same few pieces.

use std::sync::Arc;

use lfsfs_remote::Call;
use lfsfs_remote::MemoryRemote;
use lfsfs_remote::memory::{MemoryTree, plain};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::content::{Piece, PieceList, small_content_id};
use lfsfs_types::limits::{PIECE_LEN_MIN, PIECES_INLINE_MAX};
use lfsfs_types::{ContentId, Kind};

use crate::support::{CHUNK_LEN, config, find, noise, open};

const LEN: u64 = PIECE_LEN_MIN as u64;

/// Returns a list of so many pieces, and what the pieces are. Which one stands where follows no
/// pattern that a mistake in the order would keep.
fn many(tree: &mut MemoryTree, count: usize) -> (PieceList, Vec<Vec<u8>>) {
    let bytes: Vec<Vec<u8>> = (0..7)
        .map(|seed| noise(seed, PIECE_LEN_MIN as usize))
        .collect();
    let pieces = bytes.iter().map(|bytes| Piece {
        hash: tree.content(bytes),
        len: PIECE_LEN_MIN,
    });
    let pieces: Vec<_> = pieces.collect();
    let list = (0..count).map(|at| pieces[which(at as u64)]).collect();
    (PieceList::new(list).unwrap(), bytes)
}

fn which(at: u64) -> usize {
    usize::try_from(at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).unwrap() % 7
}

fn expected(pieces: &[Vec<u8>], offset: u64, len: u64) -> Vec<u8> {
    let byte = |at| pieces[which(at / LEN)][usize::try_from(at % LEN).unwrap()];
    (offset..offset + len).map(byte).collect()
}

fn serve(tree: &MemoryTree) -> (Arc<MemoryRemote>, ThreadDir) {
    let remote = MemoryRemote::new();
    remote.serve("app", 9, tree, CHUNK_LEN);
    (remote, ThreadDir::new().unwrap())
}

fn file(size: u64, content: ContentId) -> lfsfs_types::Record {
    plain(Kind::File { size, content }, 0o644)
}

/// Reads a file of so many pieces here and there, then again from the cache.
async fn read_everywhere(count: usize) {
    let mut tree = MemoryTree::new();
    let (list, pieces) = many(&mut tree, count);
    let (content, size) = (list.content_id(), list.total_len());
    tree.pieces(content, list)
        .add("large", file(size, content))
        .file("small", b"beside it");
    let (remote, dir) = serve(&tree);

    for is_warm in [false, true] {
        let vfs = open(&remote, dir.path(), config()).await.unwrap();
        let ino = find(&vfs, "large").await.unwrap().ino;
        for offset in [0, LEN - 100, 4096 * LEN - 1, size / 2 + 77, size - 1000] {
            let len = (size - offset).min(1000);
            let bytes = vfs.read(ino, offset, 1000).await.unwrap();
            assert_eq!(bytes, expected(&pieces, offset, len), "{offset} of {size}");
        }
        let small = find(&vfs, "small").await.unwrap().ino;
        assert_eq!(vfs.read(small, 0, 100).await.unwrap(), "beside it");
        let groups = count.div_ceil(4096) as u64;
        let resolves = if is_warm { 0 } else { 2 + groups };
        assert_eq!(remote.take_calls().of(Call::Resolve), resolves);
        vfs.base().settle().await;
    }
}

#[tokio::test]
async fn a_file_with_a_list_of_pieces_is_read_anywhere() {
    read_everywhere(9000).await;
}

/// Above a mebibyte the list itself is cut into pieces.
#[tokio::test]
async fn the_list_may_be_a_large_content_itself() {
    read_everywhere(30_000).await;
}

#[tokio::test]
async fn a_list_of_another_content_or_with_a_piece_lost_is_refused() {
    let mut tree = MemoryTree::new();
    let (list, _) = many(&mut tree, PIECES_INLINE_MAX + 1);
    let (wrong, size) = (small_content_id(b"another"), list.total_len());
    tree.pieces(wrong, list.clone())
        .add("wrong", file(size, wrong));
    let mut pieces = list.pieces().to_vec();
    pieces[5000].hash = small_content_id(b"a piece that no datanode has");
    let lost = PieceList::new(pieces).unwrap();
    let content = lost.content_id();
    tree.pieces(content, lost)
        .add("lost", file(size, content))
        .file("small", b"beside them");
    let (remote, dir) = serve(&tree);

    let vfs = open(&remote, dir.path(), config()).await.unwrap();
    for name in ["wrong", "lost"] {
        let ino = find(&vfs, name).await.unwrap().ino;
        let error = vfs.read(ino, 0, 10).await.unwrap_err();
        assert!(error.is_not_found(), "{name}: {error:?}");
    }
    assert!(vfs.base().stats().remote_damaged > 0);
    let small = find(&vfs, "small").await.unwrap().ino;
    assert_eq!(vfs.read(small, 0, 100).await.unwrap(), "beside them");
}
