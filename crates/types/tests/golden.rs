//! The bytes of every format, kept for ever in `golden/`.
//!
//! Every later version must read these files, and write the same bytes from the same values: a
//! change that breaks one of these tests breaks the disks of users. A new format number gets new
//! files beside the old ones. With `LFSFS_WRITE_GOLDEN=1` the files that are missing are written; a
//! file that is there is never changed.

use std::fmt::Debug;
use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use lfsfs_types::chunk::{BlockCodec, BuiltChunk, ChunkBuilder, decode_block, verify};
use lfsfs_types::content::{Content, small_content_id};
use lfsfs_types::pack::{EntryAttributes, Owner, PackAttributes, PackEntry, PackKind, PackListing};
use lfsfs_types::{
    ContentId, DirId, Kind, Link, LinkId, Name, ObjectPath, Origin, PieceList, ProjectId, Record,
    Sha256, Timestamp, VersionCounts, VersionId, VersionNumber, VersionRecord, Xattr, XattrName,
    XattrValue, nodeid,
};

#[path = "support/random.rs"]
mod random;

const MIB: usize = 1024 * 1024;

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.hex"))
}

fn read_golden(name: &str, today: &[u8]) -> Vec<u8> {
    let path = golden_path(name);
    if !path.exists() && std::env::var_os("LFSFS_WRITE_GOLDEN").is_some() {
        fs::write(&path, to_hex(today)).expect("the golden file can be written");
    }
    let text = fs::read_to_string(&path).expect("the golden file can be read");
    from_hex(&text)
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").expect("strings take everything");
        }
        text.push('\n');
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("two digits")
        })
        .collect()
}

/// Checks that the golden bytes are still read as `value`, and still what `value` is written as.
fn check<T: Debug + PartialEq, E: Debug>(
    name: &str,
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) {
    let golden = read_golden(name, &encode(value));
    assert_eq!(
        &decode(&golden).expect(name),
        value,
        "{name} is read otherwise"
    );
    assert!(golden == encode(value), "{name} is written otherwise");
}

fn id(byte: u8) -> ContentId {
    ContentId([byte; 32])
}

fn time(secs: i64, nanos: u32) -> Timestamp {
    Timestamp::new(secs, nanos).expect("below a second")
}

fn record(kind: Kind) -> Record {
    Record {
        kind,
        mode: 0o4755,
        uid: 1000,
        gid: 100_000,
        mtime: time(1_700_000_000, 123_456_789),
        ctime: time(-1, 999_999_999),
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}

fn kinds() -> [(&'static str, Kind); 7] {
    let dir = DirId(300);
    let target = b"../over/there\xff"[..].into();
    let content = id(2);
    [
        (
            "file",
            Kind::File {
                size: 5_000_000_000,
                content,
            },
        ),
        ("directory", Kind::Directory { dir }),
        ("symlink", Kind::Symlink { target }),
        ("fifo", Kind::Fifo),
        ("socket", Kind::Socket),
        ("block-device", Kind::BlockDevice { rdev: 0x0801 }),
        ("char-device", Kind::CharDevice { rdev: 0x0501 }),
    ]
}

#[test]
fn object_records() {
    for (name, kind) in kinds() {
        let name = format!("object-record-1-{name}");
        check(&name, &record(kind), Record::encode, Record::decode);
    }
    let [(_, file), ..] = kinds();
    let xattr = |name: &[u8], value| Xattr {
        name: XattrName::new(name).expect("a name"),
        value,
    };
    let full = Record {
        sha256: Some(Sha256([9; 32])),
        link: Some(Link {
            id: LinkId(77),
            nlink: 3,
        }),
        xattrs: vec![
            xattr(b"security.capability", XattrValue::Inline([1, 0, 2].into())),
            xattr(
                b"user.large",
                XattrValue::Content {
                    content: id(5),
                    len: 4096,
                },
            ),
        ],
        ..record(file)
    };
    check(
        "object-record-1-full",
        &full,
        Record::encode,
        Record::decode,
    );
    let odd = Record {
        xattrs: vec![
            xattr(b"..", XattrValue::Inline([1].into())),
            xattr(b"user.a/b", XattrValue::Inline([].into())),
        ],
        ..full
    };
    let name = "object-record-2-names-of-attributes";
    check(name, &odd, Record::encode, Record::decode);
}

#[test]
fn version_records() {
    let origins = [
        ("import", Origin::Import),
        ("commit", Origin::Commit),
        ("put", Origin::Put),
        ("rollback", Origin::Rollback(VersionNumber(7))),
        (
            "clone",
            Origin::Clone(ProjectId([8; 16]), VersionNumber(300)),
        ),
    ];
    for (name, origin) in origins {
        let record = VersionRecord {
            number: VersionNumber(42),
            id: VersionId([6; 16]),
            parent: VersionNumber(41),
            base: VersionNumber(40),
            origin,
            time: time(1_700_000_000, 1),
            author: "j\u{f6}rg".into(),
            message: "npm install\n".into(),
            counts: VersionCounts {
                objects: 25_311,
                bytes: 1 << 40,
                added: 5,
                removed: 0,
                modified: 200,
                path_len: None,
            },
        };
        let name = format!("version-record-1-{name}");
        check(&name, &record, VersionRecord::encode, VersionRecord::decode);
        if origin == Origin::Commit {
            let mut record = record;
            record.counts.path_len = Some(4095);
            let name = "version-record-2";
            check(name, &record, VersionRecord::encode, VersionRecord::decode);
        }
    }
}

/// Also holds where a stream is cut: a cutter that cuts elsewhere would store everything again.
#[test]
fn piece_lists_and_cuts() {
    let content = Content::of_bytes(&random::random_bytes(2020, 24 * MIB));
    let list = content.pieces.expect("above the limit of small contents");
    check("piece-list-1", &list, PieceList::encode, PieceList::decode);
    let golden = read_golden("content-id-large-1", content.id.as_bytes());
    assert_eq!(ContentId::from_slice(&golden), Some(content.id));
}

#[test]
fn runs_of_zeros_are_cut_at_the_limit() {
    let content = Content::of_bytes(&vec![0; 9 * MIB]);
    let list = content.pieces.expect("above the limit of small contents");
    let lens: Vec<_> = list
        .pieces()
        .iter()
        .map(|piece| piece.len as usize)
        .collect();
    assert_eq!(lens, [4 * MIB, 4 * MIB, MIB]);
}

/// Contents of the golden chunks whose blocks are compressed.
fn compressible() -> [Vec<u8>; 3] {
    let text = (0..60).flat_map(|it| format!("line {it} of a file\n").into_bytes());
    [
        text.collect(),
        vec![b'x'; 300_000],
        random::random_bytes(5, 100),
    ]
}

fn build(contents: &[Vec<u8>]) -> BuiltChunk {
    let mut builder = ChunkBuilder::new(8 * MIB as u64);
    for content in contents {
        builder
            .add(small_content_id(content), content)
            .expect("room");
    }
    builder.finish()
}

fn check_chunk(bytes: &[u8], contents: &[Vec<u8>]) {
    let chunk = verify(Cursor::new(bytes), bytes.len() as u64).expect("a chunk");
    assert_eq!(chunk.footer.contents().len(), contents.len());
    for content in contents {
        let entry = chunk
            .footer
            .find(&small_content_id(content))
            .expect("it is there");
        let mut found = Vec::new();
        for span in chunk.footer.spans(entry) {
            let block = &chunk.footer.blocks()[span.block as usize];
            let start = usize::try_from(block.offset).expect("small");
            let stored = &bytes[start..start + block.stored_len as usize];
            found.extend_from_slice(&decode_block(block, stored).expect("a block")[span.range]);
        }
        assert!(&found == content);
    }
}

#[test]
fn chunks_of_stored_blocks() {
    let contents =
        [(1, 200), (2, 400), (3, 600)].map(|(seed, len)| random::random_bytes(seed, len));
    let chunk = build(&contents);
    let golden = read_golden("chunk-2-stored", &chunk.bytes);
    check_chunk(&golden, &contents);
    assert!(golden == chunk.bytes, "the chunk is written otherwise");
    check_chunk(&read_golden("chunk-1-stored", &[]), &contents);
}

/// Only reading is checked: another version of zstd may compress to other bytes.
#[test]
fn chunks_of_compressed_blocks() {
    let contents = compressible();
    let chunk = build(&contents);
    assert!(
        chunk
            .footer
            .blocks()
            .iter()
            .any(|it| it.codec == BlockCodec::Zstd)
    );
    check_chunk(&read_golden("chunk-2-zstd", &chunk.bytes), &contents);
    check_chunk(&read_golden("chunk-1-zstd", &[]), &contents);
}

#[test]
fn pack_listings() {
    let entry = |path: &[u8], mode, kind| PackEntry {
        path: ObjectPath::new(path).expect("a path"),
        mode,
        kind,
    };
    let file = |size| PackKind::File {
        size,
        content: id(2),
    };
    let target = b"../semver/bin/semver.js"[..].into();
    let mut tree = vec![
        entry(b"bin", 0o755, PackKind::Directory),
        entry(b"bin/semver", 0o777, PackKind::Symlink { target }),
        entry(b"bin.md", 0o600, file(300)),
        entry(b"bin\xff", 0o755, file(0)),
    ];
    tree.sort_by(|a, b| a.path.cmp(&b.path));
    let packs = [("tree", tree), ("empty", vec![])];
    for (name, entries) in packs {
        let listing = PackListing::new(entries).expect("a pack");
        let name = format!("pack-listing-1-{name}");
        check(&name, &listing, PackListing::encode, PackListing::decode);
    }
}

#[test]
fn pack_attributes() {
    let owners = [(1000, 1000), (0, 0), (1000, 1000), (1000, 100_000)];
    let entries = (0u32..)
        .zip(owners)
        .map(|(index, (uid, gid))| EntryAttributes {
            mtime: time(1_700_000_000, index),
            ctime: time(499_162_500, 0),
            owner: Owner { uid, gid },
        });
    let attributes = PackAttributes::new(entries.collect()).expect("few enough");
    check(
        "pack-attributes-1",
        &attributes,
        PackAttributes::encode,
        PackAttributes::decode,
    );
}

/// Inode numbers that change make git, and the kernel's page cache, read everything again.
#[test]
fn node_ids() {
    let project = ProjectId([7; 16]);
    let name = Name::new(b"index.js").expect("a name");
    let mut records: Vec<_> = kinds().map(|(_, kind)| record(kind)).into();
    let link = Some(Link {
        id: LinkId(77),
        nlink: 3,
    });
    records.push(Record {
        link,
        ..records[0].clone()
    });
    let today: Vec<u8> = records
        .iter()
        .map(|record| nodeid::of_entry(&project, DirId(5), &name, record))
        .chain([nodeid::of_directory(&project, DirId::ROOT)])
        .flat_map(u64::to_be_bytes)
        .collect();
    assert_eq!(read_golden("node-ids-1", &today), today);
}
