//! Every limit of sizes and counts, with the relations between them checked by the compiler.

/// Longest name of an entry, in bytes.
pub const NAME_LEN_MAX: usize = 255;
/// Longest object path, in bytes.
pub const PATH_LEN_MAX: usize = 4095;
/// Longest symlink target, in bytes.
pub const TARGET_LEN_MAX: usize = 4095;
/// Longest project or tag name, in bytes.
pub const PROJECT_NAME_LEN_MAX: usize = 63;
/// Most names of one hard-linked file.
pub const LINKS_MAX: u32 = u32::MAX;
/// Longest file, in bytes: what a list of pieces can hold if all are as long as they can be, as those of
/// zeros are. ext4 has the same limit.
pub const FILE_SIZE_MAX: u64 = 16 * 1024 * 1024 * 1024 * 1024;
/// Most extended attributes of one object.
pub const XATTRS_MAX: usize = 1024;
/// Longest name of an extended attribute, in bytes.
pub const XATTR_NAME_LEN_MAX: usize = 255;
/// Most bytes of the names of all extended attributes of one object, each with a NUL: what
/// listxattr(2) can return.
pub const XATTR_NAMES_LEN_MAX: usize = 64 * 1024;
/// Longest value of an extended attribute (the kernel's limit).
pub const XATTR_LEN_MAX: usize = 64 * 1024;
/// Longest value of an extended attribute kept in the record; longer ones are contents.
pub const XATTR_INLINE_LEN_MAX: usize = 1024;
/// Longest commit message and author, in bytes.
pub const MESSAGE_LEN_MAX: usize = 64 * 1024;
/// Longest author, in bytes.
pub const AUTHOR_LEN_MAX: usize = 255;

/// Contents up to this size are named by the SHA-256 of their bytes and stored in one place.
pub const SMALL_CONTENT_LEN_MAX: u64 = 1024 * 1024;
/// Shortest, average and longest piece of a large content. Part of the format.
pub const PIECE_LEN_MIN: u32 = 256 * 1024;
/// See [`PIECE_LEN_MIN`].
pub const PIECE_LEN_AVERAGE: u32 = 1024 * 1024;
/// See [`PIECE_LEN_MIN`].
pub const PIECE_LEN_MAX: u32 = 4 * 1024 * 1024;
/// Most pieces that a content row lists itself; a longer list is a content of its own.
pub const PIECES_INLINE_MAX: usize = 8192;
/// Most pieces of one content: at least 1 TiB, about 5 TiB as pieces usually fall.
pub const PIECES_MAX: usize = 4 * 1024 * 1024;

/// Most raw bytes of one block. A reader that asks for bytes of a large content fetches about as many anyway.
pub const BLOCK_RAW_LEN_MAX: u32 = 512 * 1024;
/// Most raw bytes of a block that several contents share.
pub const SHARED_BLOCK_RAW_LEN_MAX: u32 = 128 * 1024;
/// Default length of a chunk; a builder stops adding when it is reached.
pub const CHUNK_LEN_DEFAULT: u64 = 8 * 1024 * 1024;
/// Shortest length that chunks can be told to have.
pub const CHUNK_LEN_MIN: u64 = 1024 * 1024;
/// Longest chunk.
pub const CHUNK_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Most blocks of one chunk.
pub const CHUNK_BLOCKS_MAX: u32 = 65_536;
/// Most contents of one chunk.
pub const CHUNK_CONTENTS_MAX: u32 = 65_536;

/// Most bytes of data in one frame of a chunk transfer.
pub const FRAME_LEN_MAX: usize = 1024 * 1024;
/// Default bytes of data in one frame.
pub const FRAME_LEN_DEFAULT: usize = 256 * 1024;
/// Most entries of one pack; larger directories are not packed. Each change writes the listing of all anew.
pub const PACK_ENTRIES_MAX: usize = 16_384;
/// Most entries of one page of a listing.
pub const PAGE_ENTRIES_MAX: usize = 4096;
/// Most contents of one message of Resolve or FindMissing.
pub const CONTENTS_PER_MESSAGE_MAX: usize = 4096;
/// Most paths that are told of one conflict.
pub const CONFLICTS_TOLD_MAX: usize = 10_000;
/// Most directories of one DirectoryPlaces.
pub const DIRS_PER_MESSAGE_MAX: usize = 4096;

const _: () = {
    assert!(PIECE_LEN_MIN < PIECE_LEN_AVERAGE && PIECE_LEN_AVERAGE < PIECE_LEN_MAX);
    assert!(PIECES_INLINE_MAX < PIECES_MAX);
    assert!((PIECE_LEN_MAX as u64) < CHUNK_LEN_DEFAULT);
    assert!(CHUNK_LEN_DEFAULT <= CHUNK_LEN_MAX);
    assert!(SHARED_BLOCK_RAW_LEN_MAX <= BLOCK_RAW_LEN_MAX);
    assert!(FRAME_LEN_DEFAULT <= FRAME_LEN_MAX);
    assert!(NAME_LEN_MAX < PATH_LEN_MAX);
    assert!(XATTR_INLINE_LEN_MAX < XATTR_LEN_MAX);
    assert!(FILE_SIZE_MAX == PIECES_MAX as u64 * PIECE_LEN_MAX as u64);
};
