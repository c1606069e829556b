use std::fs;
use std::path::Path;

use lfsfs_remote::memory::{Faults, MemoryRemote, MemoryTree, plain};
use lfsfs_remote::{Call, RemoteError};
use lfsfs_types::{Kind, Link, LinkId, Record};

use super::*;

const CHUNK_LEN: u64 = 256 * 1024;

fn params(dir: &Path) -> RebuildParams {
    RebuildParams {
        dir: dir.to_owned(),
        ..RebuildParams::default()
    }
}

async fn prepared(
    remote: &Arc<MemoryRemote>,
    source: &str,
    params: RebuildParams,
) -> Result<Rebuild, RebuildError> {
    let source = source.parse().expect("a source");
    let snapshot = remote.resolve_source(&source).await.expect("a version");
    let remote: Arc<dyn RemoteRead> = Arc::<MemoryRemote>::clone(remote);
    Rebuild::prepare(remote, snapshot, params).await
}

async fn rebuilt(remote: &Arc<MemoryRemote>, source: &str, dir: &Path) -> RebuildOutcome {
    let rebuild = prepared(remote, source, params(dir)).await;
    rebuild.expect("a plan").run().await.expect("a version")
}

/// Twenty directories with a file each, one in another, and a hard-linked file with two names.
fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for number in 0..20 {
        let dir = format!("dir-{number}");
        tree.directory(&dir).file(&format!("{dir}/file"), b"bytes");
    }
    tree.directory("dir-3/below")
        .file("dir-3/below/deep", b"deep");
    let record = linked(&mut tree);
    tree.add("dir-1/name", record.clone())
        .add("dir-2/name", record);
    tree
}

fn linked(tree: &mut MemoryTree) -> Record {
    let content = tree.content(b"two names");
    let id = LinkId(7);
    Record {
        link: Some(Link { id, nlink: 2 }),
        ..plain(Kind::File { size: 9, content }, 0o640)
    }
}

#[tokio::test]
async fn only_what_differs_is_asked() {
    let (remote, mut tree) = (MemoryRemote::new(), tree());
    remote.serve("app", 1, &tree, CHUNK_LEN);
    tree.file("dir-3/below/deep", b"changed");
    let _ = remote.serve_next("app", &tree, CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("new");
    let first = rebuilt(&remote, "app@v1", &dir).await.figures;
    assert_eq!((first.written, first.directories), (23, 21));
    let _ = remote.take_calls();
    let second = rebuilt(&remote, "app@v2", &dir).await.figures;
    assert_eq!((second.written, second.removed), (1, 0));
    let calls = remote.take_calls();
    assert_eq!(calls.of(Call::ListDirectory), 3, "{calls:?}");
    assert_eq!(calls.of(Call::ChangedNames), 1, "{calls:?}");
    let _ = rebuilt(&remote, "app@v2", &dir).await;
    assert_eq!(remote.take_calls().all(), 1, "the version is resolved");
}

#[tokio::test]
async fn names_that_did_not_change_are_found_where_others_of_the_file_did() {
    let (remote, mut tree) = (MemoryRemote::new(), tree());
    remote.serve("app", 1, &tree, CHUNK_LEN);
    let record = linked(&mut tree);
    tree.remove("dir-1/name").add("dir-9/name", record);
    let _ = remote.serve_next("app", &tree, CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(scratch.path().join(name)).expect(name).ino()
    };
    let _ = rebuilt(&remote, "app@v1", scratch.path()).await;
    assert_eq!(inode("dir-1/name"), inode("dir-2/name"));
    let _ = rebuilt(&remote, "app@v2", scratch.path()).await;
    assert_eq!(inode("dir-9/name"), inode("dir-2/name"));
    // The directory of a name that was replaced has its times again.
    let changed = fs::metadata(scratch.path().join("dir-2")).and_then(|it| it.modified());
    let recorded = std::time::Duration::new(1_700_000_000, 123_456_789);
    assert_eq!(changed.expect("a time"), std::time::UNIX_EPOCH + recorded);
    assert!(!scratch.path().join("dir-1/name").exists());
}

#[tokio::test]
async fn a_directory_at_another_place_is_whole_there() {
    let (remote, mut tree) = (MemoryRemote::new(), tree());
    remote.serve("app", 1, &tree, CHUNK_LEN);
    tree.rename("dir-3", "dir-4/moved");
    tree.rename("dir-5", "dir-3");
    let _ = remote.serve_next("app", &tree, CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| scratch.path().join(name);
    let _ = rebuilt(&remote, "app@v1", scratch.path()).await;
    let _ = rebuilt(&remote, "app@v2", scratch.path()).await;
    assert!(at("dir-4/moved/below/deep").exists() && at("dir-3/file").exists());
    assert!(!at("dir-3/below").exists() && !at("dir-5").exists());
    let _ = rebuilt(&remote, "app@v1", scratch.path()).await;
    assert!(at("dir-3/below/deep").exists() && at("dir-5/file").exists());
    assert!(!at("dir-4/moved").exists());
}

/// Fails after directories were made and entries removed, before a content is there.
async fn interrupt(remote: &Arc<MemoryRemote>, source: &str, dir: &Path) {
    let gone = |_: &_, _, _| {
        Err(RemoteError::Unavailable {
            address: "first:1".to_owned(),
            reason: "gone".to_owned(),
        })
    };
    remote.set_faults(Faults {
        tamper: Some(Arc::new(gone)),
        ..Faults::default()
    });
    let failed = prepared(remote, source, params(dir)).await;
    let failed = failed.expect("a plan").run().await;
    assert!(matches!(failed, Err(RebuildError::Export(_))), "{failed:?}");
    remote.set_faults(Faults::default());
}

#[tokio::test]
async fn what_an_interrupted_version_left_goes() {
    let (remote, mut tree) = (MemoryRemote::new(), tree());
    remote.serve("app", 1, &tree, CHUNK_LEN);
    tree.remove("dir-6");
    let _ = remote.serve_next("app", &tree, CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    interrupt(&remote, "app@v1", scratch.path()).await;
    assert!(scratch.path().join("dir-6").exists());
    fs::create_dir(scratch.path().join("own")).expect("a directory");
    let _ = rebuilt(&remote, "app@v2", scratch.path()).await;
    assert!(!scratch.path().join("dir-6").exists());
    assert!(scratch.path().join("own").exists() && scratch.path().join("dir-7/file").exists());
}

#[tokio::test]
async fn a_failure_leaves_it_under_way_until_all_was_compared() {
    let (remote, mut tree) = (MemoryRemote::new(), tree());
    remote.serve("app", 1, &tree, CHUNK_LEN);
    tree.remove("dir-6").file("dir-7/file", b"changed");
    let _ = remote.serve_next("app", &tree, CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| scratch.path().join(name);
    let _ = rebuilt(&remote, "app@v1", scratch.path()).await;
    interrupt(&remote, "app@v2", scratch.path()).await;
    // What the user makes stays, also where the user changed a file: that one is compared.
    fs::write(at("own"), "mine").expect("a file");
    fs::write(at("dir-8/file"), "mine").expect("a file");
    let whole = prepared(&remote, "app@v2", params(scratch.path())).await;
    assert!(whole.expect("a plan").expected().is_some());
    let _ = rebuilt(&remote, "app@v2", scratch.path()).await;
    let read = |name: &str| fs::read(at(name)).expect(name);
    assert_eq!(
        (read("own"), read("dir-8/file")),
        (b"mine".to_vec(), b"bytes".to_vec())
    );
    assert!(!at("dir-6").exists());
    assert_eq!(read("dir-7/file"), b"changed");
}

#[tokio::test]
async fn a_version_that_the_server_has_no_more_is_not_compared_with() {
    let remote = MemoryRemote::new();
    remote.serve("app", 1, &tree(), CHUNK_LEN);
    let scratch = tempfile::tempdir().expect("a directory");
    let _ = rebuilt(&remote, "app@v1", scratch.path()).await;
    let state = scratch.path().join(".lfsfs/state");
    let text = fs::read_to_string(&state).expect("the state");
    fs::write(&state, text.replace(r#""number":1"#, r#""number":8"#)).expect("the state");
    let refused = prepared(&remote, "app@v1", params(scratch.path())).await;
    let is_gone = matches!(
        refused,
        Err(RebuildError::Refused {
            refusal: Refusal::VersionGone(VersionNumber(8)),
            ..
        })
    );
    assert!(is_gone, "{refused:?}");
}
