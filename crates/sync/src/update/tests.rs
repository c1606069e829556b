use std::fs;
use std::path::Path;
use std::time::Duration;

use lfsfs_remote::memory::{Faults, MemoryRemote, MemoryTree};
use lfsfs_remote::{Call, RemoteError};

use super::*;
use crate::rebuild::{Rebuild, RebuildParams};

const CHUNK_LEN: u64 = 256 * 1024;
const DIRECTORIES: u64 = 20;

/// Twenty directories with a file each.
fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for number in 0..DIRECTORIES {
        let dir = format!("dir-{number}");
        tree.directory(&dir).file(&format!("{dir}/file"), b"bytes");
    }
    tree
}

async fn rebuild(remote: &Arc<MemoryRemote>, source: &str, dir: &Path) {
    let source = source.parse().expect("a source");
    let snapshot = remote.resolve_source(&source).await.expect("a version");
    let remote: Arc<dyn RemoteRead> = Arc::<MemoryRemote>::clone(remote);
    let params = RebuildParams {
        dir: dir.to_owned(),
        ..RebuildParams::default()
    };
    let rebuild = Rebuild::prepare(remote, snapshot, params).await;
    let _ = rebuild.expect("a plan").run().await.expect("a version");
}

async fn update(remote: &Arc<MemoryRemote>, dir: &Path) -> Result<UpdateOutcome, UpdateError> {
    let params = UpdateParams {
        dir: dir.to_owned(),
        ..UpdateParams::default()
    };
    let remote: Arc<dyn Remote> = Arc::<MemoryRemote>::clone(remote);
    let update = Update::with_remote(remote, Retry::new(Duration::ZERO), params);
    update.expect("a directory").run().await
}

/// Waits until the file system gives a file another time than `path` has.
fn wait_for_the_clock(path: &Path) {
    let time = |path: &Path| {
        fs::metadata(path)
            .and_then(|it| it.modified())
            .expect("a time")
    };
    let probe = path.with_extension("probe");
    loop {
        fs::write(&probe, "").expect("a file");
        if time(&probe) > time(path) {
            return;
        }
    }
}

#[tokio::test]
async fn files_that_did_not_change_are_not_read() {
    let remote = MemoryRemote::new();
    remote.serve("app", 1, &tree(), CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("dir");
    rebuild(&remote, "app", &dir).await;
    let _ = remote.take_calls();
    let nothing = update(&remote, &dir).await.expect("no version");
    assert_eq!((nothing.version.number.0, nothing.is_new), (1, false));
    assert_eq!(
        (nothing.figures.bytes_read, nothing.figures.entries),
        (0, 2 * DIRECTORIES)
    );
    let calls = remote.take_calls();
    let listings = (calls.of(Call::ListTree), calls.of(Call::ListDirectory));
    assert_eq!(listings, (1, 0), "{calls:?}");
    assert_eq!(calls.of(Call::FindMissing), 0, "{calls:?}");
    fs::write(dir.join("dir-7/file"), "other bytes").expect("a file");
    let probe = scratch.path().join("time");
    fs::write(&probe, "").expect("a file");
    wait_for_the_clock(&probe);
    let version = update(&remote, &dir).await.expect("a version");
    assert_eq!((version.version.number.0, version.is_new), (2, true));
    assert_eq!(
        (version.figures.bytes_read, version.figures.changes),
        (11, 1)
    );
    let again = update(&remote, &dir).await.expect("no version");
    assert_eq!((again.version.number.0, again.figures.bytes_read), (2, 0));
}

#[tokio::test]
async fn a_rebuild_of_changes_leaves_the_summary_to_the_next_update() {
    let (remote, mut tree) = (MemoryRemote::new(), tree());
    remote.serve("app", 1, &tree, CHUNK_LEN);
    tree.file("dir-3/file", b"changed");
    let _ = remote.serve_next("app", &tree, CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("dir");
    let summary = || fs::read(dir.join(".lfsfs/summary")).expect("the summary");
    rebuild(&remote, "app@v1", &dir).await;
    let before = summary();
    rebuild(&remote, "app@v2", &dir).await;
    assert_eq!(summary(), before);
    let probe = scratch.path().join("time");
    fs::write(&probe, "").expect("a file");
    wait_for_the_clock(&probe);
    let read = |outcome: UpdateOutcome| outcome.figures.bytes_read;
    assert_eq!(
        update(&remote, &dir).await.map(read).expect("no version"),
        7
    );
    assert_eq!(
        update(&remote, &dir).await.map(read).expect("no version"),
        0
    );
}

#[tokio::test]
async fn a_failure_leaves_what_the_directory_remembers() {
    let remote = MemoryRemote::new();
    remote.serve("app", 1, &tree(), CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("dir");
    rebuild(&remote, "app", &dir).await;
    fs::write(dir.join("dir-7/file"), "mine").expect("a file");
    fs::remove_dir_all(dir.join("dir-8")).expect("a directory");
    let read = |name: &str| fs::read(dir.join(".lfsfs").join(name)).expect(name);
    let before = ["state", "summary"].map(read);
    remote.set_faults(Faults {
        is_down: true,
        ..Faults::default()
    });
    let failed = update(&remote, &dir).await;
    let is_away = matches!(
        failed,
        Err(UpdateError::Rebuild(crate::rebuild::RebuildError::Remote(
            RemoteError::NoServer { .. }
        )))
    );
    assert!(is_away, "{failed:?}");
    assert_eq!(["state", "summary"].map(read), before);
    remote.set_faults(Faults::default());
    let version = update(&remote, &dir).await.expect("a version");
    assert_eq!(
        (version.version.number.0, version.merged),
        (2, Merged::Done)
    );
    let nothing = update(&remote, &dir).await.expect("no version");
    assert_eq!(nothing.figures.changes, 0);
}
