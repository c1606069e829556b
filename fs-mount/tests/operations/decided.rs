//! What the operations of a mount decide, whatever transport carries them.

use std::sync::Arc;

use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_common::clock::StampClock;
use lfsfs_mount::Access;
use lfsfs_mount::operations::{
    Operations, OperationsConfig, Place, Reply, SetxattrRequest, ShownOwner, Xattrs,
};
use lfsfs_remote::MemoryRemote;
use lfsfs_remote::memory::{Faults, MemoryTree};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::nodeid;
use lfsfs_vfs::{BaseVersion, SetAttr, Vfs, VfsConfig};
use rustix::io::Errno;
use tokio::runtime::Handle;

use crate::memory_transport::{CALLER, answered, list};

const ROOT: u64 = nodeid::ROOT;

struct Mounted {
    operations: Operations,
    remote: Arc<MemoryRemote>,
    _dir: ThreadDir,
}

async fn mount(config: OperationsConfig) -> Mounted {
    let mut tree = MemoryTree::new();
    tree.file("hello", b"hello\n").directory("dir");
    let remote = MemoryRemote::new();
    remote.serve("app", 1, &tree, 1 << 20);
    let dir = ThreadDir::new().unwrap();
    let cache = DiskCache::open(dir.path(), CacheConfig::default()).unwrap();
    let source = "app".parse().unwrap();
    let base = BaseVersion::open(remote.clone(), cache, &source, VfsConfig::default()).await;
    let vfs = Vfs::read_only(base.unwrap(), Arc::new(StampClock)).unwrap();
    let operations = Operations::new(Arc::new(vfs), config, None, Handle::current());
    Mounted {
        operations,
        remote,
        _dir: dir,
    }
}

fn read_only() -> OperationsConfig {
    OperationsConfig {
        access: Access::ReadOnly,
        ..OperationsConfig::default()
    }
}

fn place(name: &str) -> Place<'_> {
    Place {
        parent: ROOT,
        name: name.as_bytes(),
    }
}

#[tokio::test]
async fn what_the_kernel_does_by_itself_is_answered_enosys_and_counted() {
    let mount = mount(read_only()).await;
    let operations = &mount.operations;
    for answer in [
        operations.open(),
        operations.opendir(),
        operations.create(),
        operations.flush(),
        operations.access(),
        operations.ioctl(),
        operations.poll(),
    ] {
        assert!(
            matches!(answer, Reply::Ready(Err(Errno::NOSYS))),
            "{answer:?}"
        );
    }
    let counts = operations.counters().snapshot();
    assert_eq!(counts.len(), 7, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[tokio::test]
async fn a_read_only_mount_refuses_changes_and_has_nothing_to_sync() {
    let mount = mount(read_only()).await;
    let operations = &mount.operations;
    let hello = answered(operations.lookup(CALLER, place("hello"))).await;
    let ino = hello.unwrap().attr.unwrap().ino;
    let made = answered(operations.mkdir(CALLER, place("new"), 0o755)).await;
    assert_eq!(made.unwrap_err(), Errno::ROFS);
    let mode = Some(0o600);
    let set = SetAttr {
        mode,
        ..SetAttr::default()
    };
    let set = answered(operations.setattr(CALLER, ino, set)).await;
    assert_eq!(set.unwrap_err(), Errno::ROFS);
    let removed = answered(operations.unlink(CALLER, place("hello"))).await;
    assert_eq!(removed.unwrap_err(), Errno::ROFS);
    // The kernel takes this for success, and asks no more.
    let synced = answered(operations.fsync(CALLER, ino)).await;
    assert_eq!(synced.unwrap_err(), Errno::NOSYS);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_kept_like_one_that_is() {
    let mount = mount(read_only()).await;
    let operations = &mount.operations;
    let there = answered(operations.lookup(CALLER, place("hello"))).await;
    let absent = answered(operations.lookup(CALLER, place("absent"))).await;
    let (there, absent) = (there.unwrap(), absent.unwrap());
    assert!(there.attr.is_some() && absent.attr.is_none());
    assert_eq!(there.lifetime, absent.lifetime);
    assert!(!absent.lifetime.is_zero());
}

#[tokio::test]
async fn the_chosen_owner_is_in_every_reply_with_attributes() {
    let mount = mount(OperationsConfig {
        owner: ShownOwner {
            uid: Some(7),
            gid: Some(8),
        },
        ..read_only()
    })
    .await;
    let operations = &mount.operations;
    let found = answered(operations.lookup(CALLER, place("hello"))).await;
    let looked_up = found.unwrap().attr.unwrap();
    let asked = answered(operations.getattr(CALLER, looked_up.ino)).await;
    let mut shown = vec![looked_up, asked.unwrap().attr];
    let listed = list(operations, ROOT, 2).await.unwrap();
    shown.extend(listed.into_iter().map(|it| it.attr));
    assert_eq!(shown.len(), 4);
    assert!(
        shown.iter().all(|it| (it.uid, it.gid) == (7, 8)),
        "{shown:?}"
    );
}

#[tokio::test]
async fn without_xattrs_each_request_about_them_says_so_once() {
    let mount = mount(OperationsConfig {
        xattrs: Xattrs::Absent,
        ..read_only()
    })
    .await;
    let operations = &mount.operations;
    let set = SetxattrRequest {
        ino: ROOT,
        name: b"user.a",
        value: b"b",
        flags: 0,
    };
    let answers = [
        answered(operations.getxattr(CALLER, ROOT, b"user.a", 0))
            .await
            .err(),
        answered(operations.listxattr(CALLER, ROOT, 0)).await.err(),
        answered(operations.setxattr(CALLER, set)).await.err(),
        answered(operations.removexattr(CALLER, ROOT, b"user.a"))
            .await
            .err(),
    ];
    assert_eq!(answers, [Some(Errno::NOSYS); 4]);
}

#[tokio::test]
async fn what_is_cold_waits_and_what_is_warm_is_answered_at_once() {
    let mount = mount(read_only()).await;
    let operations = &mount.operations;
    let cold = operations.lookup(CALLER, place("hello"));
    assert!(matches!(cold, Reply::Pending(_)), "{cold:?}");
    let ino = answered(cold).await.unwrap().attr.unwrap().ino;
    let cold = operations.read(CALLER, ino, 0, 100);
    assert!(matches!(cold, Reply::Pending(_)), "{cold:?}");
    assert_eq!(&answered(cold).await.unwrap()[..], b"hello\n");
    mount.remote.set_faults(Faults {
        is_down: true,
        ..Faults::default()
    });
    let warm = operations.read(CALLER, ino, 1, 2);
    assert!(
        matches!(&warm, Reply::Ready(Ok(bytes)) if &bytes[..] == b"el"),
        "{warm:?}"
    );
    let warm = operations.lookup(CALLER, place("hello"));
    assert!(matches!(warm, Reply::Ready(Ok(_))), "{warm:?}");
}
