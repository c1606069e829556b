//! What the daemon of a mount does for the requests that a job sends, without a kernel: `cargo bench`.
//!
//! `cargo bench --bench requests -- --test` runs each once, which is what a profiler wants.

use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_common::telemetry::{self, LogTarget};
use lfsfs_mount::Origin;
use lfsfs_mount::operations::{Answer, Caller, Operations, OperationsConfig, Place, WriteRequest};
use lfsfs_overlay::OverlayOptions;
use lfsfs_remote::MemoryRemote;
use lfsfs_remote::memory::MemoryTree;
use lfsfs_types::nodeid;
use lfsfs_vfs::{BaseVersion, OverlayPlace, Privileges, SetAttr, SetTime, Vfs, VfsConfig};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

const FILES_PER_DIRECTORY: u64 = 100;
const DIRECTORIES: u64 = 50;
const FILES: u64 = FILES_PER_DIRECTORY * DIRECTORIES;
/// LOOKUP, MKNOD, GETATTR, GETXATTR, WRITE, and SETATTR for owner, mode and times.
const REQUESTS_PER_FILE: u64 = 8;
const CONTENT: &[u8] = &[b'x'; 2000];
/// A root process, which no signal ends.
const CALLER: Caller = Caller {
    pid: 0,
    uid: 0,
    gid: 0,
};

/// A mount without changes, and the directory with its cache and overlay.
struct Mounted {
    operations: Operations,
    _dir: TempDir,
}

async fn mount() -> Mounted {
    let remote = MemoryRemote::new();
    remote.serve("app", 1, &MemoryTree::new(), 1 << 20);
    // In memory, so that the disk of the machine does not count.
    let dir = TempDir::new_in("/dev/shm").expect("a directory");
    let cache = DiskCache::open(&dir.path().join("cache"), CacheConfig::default());
    let source = "app".parse().expect("a source");
    let config = VfsConfig::default();
    let base = BaseVersion::open(remote, cache.expect("a cache"), &source, config).await;
    let place = OverlayPlace {
        dir: dir.path().join("overlay"),
        options: OverlayOptions::default(),
    };
    let vfs = Vfs::open(
        base.expect("a base"),
        place,
        Arc::new(TestClock::new(WallTime::from_seconds(2_000_000_000))),
    )
    .await;
    let vfs = Arc::new(vfs.expect("an overlay"));
    let operations = Operations::new(vfs, OperationsConfig::default(), None, Handle::current());
    Mounted {
        operations,
        _dir: dir,
    }
}

fn answered<T>(runtime: &Runtime, answer: Answer<T>) -> T {
    let value = runtime.block_on(answer.value()).expect("an answer");
    value.expect("no error")
}

/// Sends what the kernel sends when root unpacks an archive.
fn unpack(runtime: &Runtime, operations: &Operations) {
    for directory in 0..DIRECTORIES {
        let name = format!("directory-{directory}");
        let place = Place {
            parent: nodeid::ROOT,
            name: name.as_bytes(),
        };
        let made = answered(runtime, operations.mkdir(CALLER, place, 0o755));
        let parent = made.attr.expect("a directory").ino;
        for file in 0..FILES_PER_DIRECTORY {
            unpack_file(runtime, operations, parent, file);
        }
    }
}

fn unpack_file(runtime: &Runtime, operations: &Operations, parent: u64, number: u64) {
    let name = format!("file-{number}.js");
    let place = Place {
        parent,
        name: name.as_bytes(),
    };
    let _ = answered(runtime, operations.lookup(CALLER, place));
    let made = operations.mknod(CALLER, place, libc::S_IFREG | 0o600, 0);
    let ino = answered(runtime, made).attr.expect("a file").ino;
    answered(runtime, operations.getattr(CALLER, parent));
    let missing = operations.getxattr(CALLER, ino, b"security.capability", 24);
    drop(runtime.block_on(missing.value()));
    let write = WriteRequest {
        ino,
        offset: 0,
        data: CONTENT,
        origin: Origin::Call,
        privileges: Privileges::Keep,
    };
    answered(runtime, operations.write(CALLER, write));
    for new in attributes() {
        answered(runtime, operations.setattr(CALLER, ino, new));
    }
}

fn attributes() -> [SetAttr; 3] {
    let none = SetAttr::default();
    let (uid, gid) = (Some(0), Some(0));
    let (atime, mtime) = (Some(SetTime::Now), Some(SetTime::Now));
    [
        SetAttr {
            atime,
            mtime,
            ..none
        },
        SetAttr { uid, gid, ..none },
        SetAttr {
            mode: Some(0o644),
            ..none
        },
    ]
}

fn requests(criterion: &mut Criterion) {
    let log = LogTarget::File(Path::new("/dev/null").into());
    // As in a mount: what the log does not want must cost nothing.
    telemetry::init(&log, "info").expect("a log");
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("requests");
    group.throughput(Throughput::Elements(FILES * REQUESTS_PER_FILE));
    group.sample_size(10);
    group.bench_function("unpack 5,000 files", |bencher| {
        bencher.iter_batched(
            || runtime.block_on(mount()),
            |mounted| {
                unpack(&runtime, &mounted.operations);
                mounted
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
