//! Micro benchmarks of the code that sees every byte or every object: `cargo bench`.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lfsfs_types::chunk::{BuiltChunk, ChunkBuilder, verify};
use lfsfs_types::content::{cut, describe, small_content_id};
use lfsfs_types::object::{Kind, Record};
use lfsfs_types::pack::{PackEntry, PackKind, PackListing};
use lfsfs_types::{ContentId, ObjectPath, Timestamp};

const SMALL_LEN: usize = 4 * 1024;
const LARGE_LEN: usize = 32 * 1024 * 1024;
const CHUNK_LEN: u64 = 4 * 1024 * 1024;
const LISTING_ENTRIES: u32 = 1_000;

/// Bytes that do not repeat, the same ones in every run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Text that compresses about as well as source code.
fn text(len: usize) -> Vec<u8> {
    let words = [
        "const ", "value", " = ", "require(", "'./lib'", ");\n", "return ",
    ];
    let mut text = Vec::with_capacity(len + 16);
    for byte in noise(len) {
        if text.len() >= len {
            break;
        }
        text.extend_from_slice(words[usize::from(byte) % words.len()].as_bytes());
    }
    text.truncate(len);
    text
}

fn contents(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("content");
    let small = noise(SMALL_LEN);
    group.throughput(Throughput::Bytes(SMALL_LEN as u64));
    group.bench_function("hash 4 KiB", |bencher| {
        bencher.iter(|| small_content_id(black_box(&small)));
    });
    let large = noise(LARGE_LEN);
    group.throughput(Throughput::Bytes(LARGE_LEN as u64));
    group.sample_size(10);
    group.bench_function("cut 32 MiB into hashed pieces", |bencher| {
        bencher.iter(|| cut(black_box(&large[..])).filter(Result::is_ok).count());
    });
    group.bench_function("describe 32 MiB", |bencher| {
        bencher.iter(|| describe(black_box(&large[..])).expect("memory can be read"));
    });
    group.finish();
}

fn build_chunk(contents: &[(ContentId, &[u8])]) -> BuiltChunk {
    let mut builder = ChunkBuilder::new(2 * CHUNK_LEN);
    for (id, bytes) in contents {
        builder.add(*id, bytes).expect("the chunk has room");
    }
    builder.finish()
}

fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk");
    let bytes = text(usize::try_from(CHUNK_LEN).expect("4 MiB fit"));
    let contents: Vec<_> = bytes
        .chunks(SMALL_LEN)
        .map(|content| (small_content_id(content), content))
        .collect();
    group.throughput(Throughput::Bytes(CHUNK_LEN));
    group.sample_size(10);
    group.bench_function("build from files of 4 KiB", |bencher| {
        bencher.iter(|| build_chunk(black_box(&contents)));
    });
    let chunk = build_chunk(&contents);
    group.bench_function("verify", |bencher| {
        bencher.iter(|| {
            let reader = Cursor::new(black_box(&chunk.bytes));
            verify(reader, chunk.bytes.len() as u64).expect("the chunk is whole")
        });
    });
    group.finish();
}

fn record() -> Record {
    Record {
        kind: Kind::File {
            size: 1_234,
            content: small_content_id(b"content"),
        },
        mode: 0o644,
        uid: 1_000,
        gid: 1_000,
        mtime: Timestamp::new(1_700_000_000, 123_456_789).expect("below a second"),
        ctime: Timestamp::new(1_700_000_001, 0).expect("below a second"),
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let record = record();
    let encoded = record.encode();
    group.bench_function("encode", |bencher| {
        bencher.iter(|| black_box(&record).encode());
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| Record::decode(black_box(&encoded)).expect("just encoded"));
    });
    group.finish();
}

fn listing() -> PackListing {
    let entry = |number: u32| PackEntry {
        path: ObjectPath::new(format!("file-{number:04}.js").as_bytes()).expect("a good name"),
        mode: 0o644,
        kind: PackKind::File {
            size: number.into(),
            content: small_content_id(&number.to_be_bytes()),
        },
    };
    PackListing::new((0..LISTING_ENTRIES).map(entry).collect()).expect("a good listing")
}

fn listings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pack listing");
    let encoded = listing().encode();
    group.throughput(Throughput::Elements(LISTING_ENTRIES.into()));
    group.bench_function("decode 1,000 entries", |bencher| {
        bencher.iter(|| PackListing::decode(black_box(&encoded)).expect("just encoded"));
    });
    group.finish();
}

criterion_group!(formats, contents, chunks, records, listings);
criterion_main!(formats);
