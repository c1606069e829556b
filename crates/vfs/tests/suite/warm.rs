//! A version that is warm is read without a server.

use std::sync::Arc;

use lfsfs_common::clock::SystemClock;
use lfsfs_remote::RemoteError;
use lfsfs_remote::memory::Faults;
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_vfs::{Vfs, WarmProgress};

use crate::support::{Setup, config, open_base, walk};

#[tokio::test]
async fn a_warm_version_is_read_without_a_server() {
    let setup = Setup::new();
    let whole = walk(&setup.mount().await).await.unwrap();
    let dir = ThreadDir::new().unwrap();
    let first = open_base(&setup.remote, dir.path(), config())
        .await
        .unwrap();
    let progress = WarmProgress::default();
    first.warm(&progress).await;
    let figures = progress.figures();
    assert_eq!(figures.entries, whole.len() as u64);
    let bytes: u64 = whole.values().map(|seen| seen.bytes.len() as u64).sum();
    assert!(figures.bytes > bytes / 2, "{figures:?}");
    assert_eq!((figures.failed, progress.first_failed()), (0, Vec::new()));

    let second = open_base(&setup.remote, dir.path(), config())
        .await
        .unwrap();
    setup.remote.set_faults(Faults {
        is_down: true,
        ..Faults::default()
    });
    let vfs = Vfs::read_only(second, Arc::new(SystemClock)).unwrap();
    assert_eq!(walk(&vfs).await.unwrap(), whole);
    let stats = vfs.base().stats();
    assert_eq!((stats.remote_listings, stats.remote_reads), (0, 0));
}

#[tokio::test]
async fn what_is_damaged_is_told_and_the_rest_is_fetched() {
    let setup = Setup::new();
    let dir = ThreadDir::new().unwrap();
    let base = open_base(&setup.remote, dir.path(), config())
        .await
        .unwrap();
    let flip = |_: &_, range: std::ops::Range<u64>, mut bytes: Vec<u8>| {
        if range.contains(&600_000) {
            bytes[usize::try_from(600_000 - range.start).unwrap()] ^= 1;
        }
        Ok::<_, RemoteError>(bytes)
    };
    setup.remote.set_faults(Faults {
        tamper: Some(Arc::new(flip)),
        ..Faults::default()
    });
    let progress = WarmProgress::default();
    base.warm(&progress).await;
    let (figures, failed) = (progress.figures(), progress.first_failed());
    // All that shares the block with that byte, of which the first are told.
    assert_eq!(failed.len() as u64, figures.failed.min(20));
    assert!(
        figures.failed > 0 && figures.entries > 2 * figures.failed,
        "{figures:?}"
    );
    assert!(
        failed.iter().all(|it| it.reason.contains("verify")),
        "{failed:?}"
    );
}
