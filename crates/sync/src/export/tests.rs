use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;

use lfsfs_remote::RemoteError;
use lfsfs_remote::memory::{Faults, MemoryRemote, MemoryTree, plain};
use lfsfs_types::{DirId, Kind, Link, LinkId, Xattr, XattrName, XattrValue};

use super::*;

const CHUNK_LEN: u64 = 256 * 1024;

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn linked(kind: &Kind) -> Record {
    let link = Link {
        id: LinkId(7),
        nlink: 2,
    };
    Record {
        link: Some(link),
        ..plain(kind.clone(), 0o640)
    }
}

/// A tree with something of every kind.
fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.file("empty", b"")
        .file("small", b"bytes")
        .file("large", &noise(3_000_000))
        .file("holes", &vec![0; 5_000_000])
        .symlink("link", "small")
        .directory("dir")
        .directory("dir/below")
        .file("dir/below/deep", b"deep")
        .add("dir/pipe", plain(Kind::Fifo, 0o622))
        .add(
            "dir/shut",
            plain(Kind::Directory { dir: DirId::ROOT }, 0o555),
        )
        .file("dir/shut/in", b"in");
    let content = tree.content(b"two names");
    let file = Kind::File { size: 9, content };
    tree.add("dir/one", linked(&file)).add("two", linked(&file));
    let long = tree.content(&[b'x'; 3000]);
    let xattr = |name: &[u8], value| Xattr {
        name: XattrName::new(name).expect("a name"),
        value,
    };
    let content = tree.content(b"kept");
    let mut record = plain(Kind::File { size: 4, content }, 0o400);
    record.xattrs = vec![
        xattr(
            b"user.long",
            XattrValue::Content {
                content: long,
                len: 3000,
            },
        ),
        xattr(b"user.short", XattrValue::Inline((*b"value").into())),
    ];
    tree.add("noted", record);
    tree
}

async fn export_of(remote: &Arc<MemoryRemote>) -> Export {
    let source = "app".parse().expect("a source");
    let snapshot = remote.resolve_source(&source).await.expect("a version");
    let remote: Arc<dyn RemoteRead> = Arc::<MemoryRemote>::clone(remote);
    Export::new(remote, snapshot)
}

fn served(tree: &MemoryTree) -> Arc<MemoryRemote> {
    let remote = MemoryRemote::new();
    remote.serve("app", 1, tree, CHUNK_LEN);
    remote
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text.as_bytes()).expect("a path")
}

/// Checks everything that [`tree`] has, and that there is nothing else.
fn check(root: &Path) {
    let bytes = |name: &str| fs::read(root.join(name)).expect(name);
    let meta = |name: &str| fs::symlink_metadata(root.join(name)).expect(name);
    assert_eq!(bytes("empty"), b"");
    assert_eq!(bytes("small"), b"bytes");
    assert!(bytes("large") == noise(3_000_000));
    assert!(bytes("holes") == vec![0; 5_000_000]);
    assert_eq!(bytes("dir/below/deep"), b"deep");
    assert_eq!(
        fs::read_link(root.join("link")).expect("a link"),
        Path::new("small")
    );
    assert!(meta("dir/pipe").file_type().is_fifo());
    assert_eq!(meta("dir/one").ino(), meta("two").ino());
    assert_eq!(meta("two").nlink(), 2);
    for (name, mode) in [
        ("small", 0o644),
        ("two", 0o640),
        ("dir/pipe", 0o622),
        ("dir/shut", 0o555),
        ("noted", 0o400),
        ("dir", 0o755),
    ] {
        assert_eq!(meta(name).mode() & 0o7777, mode, "{name}");
    }
    for name in ["", "small", "large", "link", "dir", "dir/below", "two"] {
        let time = (meta(name).mtime(), meta(name).mtime_nsec());
        assert_eq!(time, (1_700_000_000, 123_456_789), "{name}");
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!((meta("link").uid(), meta("dir").gid()), (1000, 1000));
    }
    let noted = root.join("noted");
    let value = |name| xattr::get(&noted, name).expect("an attribute");
    assert_eq!(value("user.short").as_deref(), Some(&b"value"[..]));
    assert_eq!(value("user.long"), Some(vec![b'x'; 3000]));
    assert_eq!(
        names(root),
        [
            "dir", "empty", "holes", "large", "link", "noted", "small", "two"
        ]
    );
    assert_eq!(names(&root.join("dir")), ["below", "one", "pipe", "shut"]);
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        String::from_utf8_lossy(name.as_bytes()).into_owned()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_version_is_written_with_all_that_it_has() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("new");
    let figures = export_of(&remote)
        .await
        .into_dir(&dir)
        .await
        .expect("an export");
    check(&dir);
    assert_eq!((figures.entries, figures.removed), (14, 0));
    assert_eq!(figures.bytes, 3_000_000 + 5_000_000 + 5 + 4 + 2 + 9 + 4);
}

#[tokio::test]
async fn zeros_take_no_space() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("new");
    export_of(&remote)
        .await
        .into_dir(&dir)
        .await
        .expect("an export");
    let holes = fs::metadata(dir.join("holes")).expect("a file");
    assert!(holes.blocks() * 512 < 200_000, "{} blocks", holes.blocks());
}

#[tokio::test]
async fn a_directory_with_something_in_it_is_refused_and_stays() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    fs::write(scratch.path().join("mine"), "mine").expect("a file");
    let refused = export_of(&remote).await.into_dir(scratch.path()).await;
    assert!(
        matches!(refused, Err(ExportError::NotEmpty { .. })),
        "{refused:?}"
    );
    assert_eq!(names(scratch.path()), ["mine"]);
    let file = scratch.path().join("mine");
    let refused = export_of(&remote).await.into_dir(&file).await;
    assert!(
        matches!(refused, Err(ExportError::Directory { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_one_node_has_damaged_comes_from_another() {
    let remote = served(&tree());
    remote.set_faults(Faults {
        tamper: Some(Arc::new(|location, _, mut bytes| {
            if location.nodes[0].starts_with("first") {
                bytes[0] ^= 1;
            }
            Ok(bytes)
        })),
        ..Faults::default()
    });
    let scratch = tempfile::tempdir().expect("a directory");
    export_of(&remote)
        .await
        .into_dir(scratch.path())
        .await
        .expect("an export");
    check(scratch.path());
}

#[tokio::test]
async fn a_failure_leaves_the_directory_as_it_was() {
    let remote = served(&tree());
    let unreachable = Faults {
        tamper: Some(Arc::new(|_, _, _| {
            Err(RemoteError::Unavailable {
                address: "first:1".to_owned(),
                reason: "gone".to_owned(),
            })
        })),
        ..Faults::default()
    };
    remote.set_faults(unreachable);
    let scratch = tempfile::tempdir().expect("a directory");
    let failed = export_of(&remote).await.into_dir(scratch.path()).await;
    assert!(matches!(failed, Err(ExportError::Remote(_))), "{failed:?}");
    assert_eq!(names(scratch.path()), [""; 0]);
    let new = scratch.path().join("new");
    assert!(export_of(&remote).await.into_dir(&new).await.is_err());
    assert!(!new.exists());
}

/// Returns the paths that were left out, sorted.
fn left_out(progress: &ExportProgress) -> Vec<String> {
    let first = progress.first_left_out().into_iter();
    let mut paths: Vec<_> = first
        .map(|left_out| String::from_utf8_lossy(&left_out.path).into_owned())
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn damaged_objects_are_left_out_and_the_rest_is_written() {
    let mut tree = tree();
    let content = tree.content(b"four");
    let nothing = tree.content(b"");
    let lost = lfsfs_types::content::small_content_id(b"never stored");
    let sized = |size, content| plain(Kind::File { size, content }, 0o644);
    tree.directory("bad")
        .add("bad/size", sized(1 << 40, content))
        .add("bad/largest", sized(u64::MAX, nothing))
        .add("bad/short", sized(3, content))
        .add("bad/lost", sized(12, lost))
        .file("bad/good", b"good");
    let linked = |size| linked(&Kind::File { size, content });
    let other = |mut record: Record| {
        record.link = Some(Link {
            id: LinkId(8),
            nlink: 2,
        });
        record
    };
    tree.add("bad/link-1", other(linked(5)))
        .add("bad/link-2", other(linked(5)));
    let remote = served(&tree);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("new");
    let export = export_of(&remote).await;
    let progress = export.progress();
    let figures = export.into_dir(&dir).await.expect("an export");
    let expected = [
        "bad/largest",
        "bad/link-1",
        "bad/link-2",
        "bad/lost",
        "bad/short",
        "bad/size",
    ];
    assert_eq!(left_out(&progress), expected);
    assert_eq!(figures.left_out, 6);
    assert_eq!(names(&dir.join("bad")), ["good"]);
    fs::remove_dir_all(dir.join("bad")).expect("a directory");
    let time = rustix::fs::Timespec {
        tv_sec: 1_700_000_000,
        tv_nsec: 123_456_789,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = rustix::fs::AtFlags::empty();
    rustix::fs::utimensat(rustix::fs::CWD, &dir, &times, flags).expect("times");
    check(&dir);
}

#[tokio::test]
async fn an_attribute_that_the_file_system_refuses_is_skipped() {
    let mut tree = tree();
    let content = tree.content(b"kept");
    let mut record = plain(Kind::File { size: 4, content }, 0o644);
    for name in [&b"foo"[..], b"user.", b"user.fine"] {
        record.xattrs.push(Xattr {
            name: XattrName::new(name).expect("a name"),
            value: XattrValue::Inline((*b"value").into()),
        });
    }
    record.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    tree.add("named", record);
    let remote = served(&tree);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("new");
    let figures = export_of(&remote).await.into_dir(&dir).await;
    let figures = figures.expect("an export");
    assert_eq!((figures.skipped_xattrs, figures.left_out), (2, 0));
    let value = xattr::get(dir.join("named"), "user.fine").expect("an attribute");
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
}

#[tokio::test]
async fn a_restore_leaves_what_is_damaged_as_it_was() {
    let mut tree = tree();
    let content = tree.content(b"four");
    tree.add("bad", plain(Kind::File { size: 5, content }, 0o644));
    let remote = served(&tree);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    fs::write(dir.join("bad"), "mine").expect("a file");
    fs::write(dir.join("small"), "mine").expect("a file");
    let export = export_of(&remote).await;
    let progress = export.progress();
    export
        .restore(dir, &ObjectPath::ROOT)
        .await
        .expect("a restore");
    assert_eq!(left_out(&progress), ["bad"]);
    assert_eq!(fs::read(dir.join("bad")).expect("a file"), b"mine");
    assert_eq!(fs::read(dir.join("small")).expect("a file"), b"bytes");
}

#[tokio::test]
async fn what_a_killed_export_left_is_marked_and_named() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("new");
    fs::create_dir(&dir).expect("a directory");
    let marked = Target::open_marked(&dir).expect("a mark");
    let refused = export_of(&remote).await.into_dir(&dir).await;
    let Err(ExportError::NotEmpty { is_unfinished, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(is_unfinished);
    marked.unmark().expect("no mark");
    let exported = export_of(&remote).await.into_dir(&dir).await;
    let _ = exported.expect("an export");
    check(&dir);
}

#[tokio::test]
async fn two_files_are_not_one_because_they_were_linked_here() {
    let mut tree = MemoryTree::new();
    let content = tree.content(b"same");
    let kind = Kind::File { size: 4, content };
    for (name, id) in [("a", 7), ("b", 8), ("c", 7), ("d", 8)] {
        let mut record = linked(&kind);
        record.link = Some(Link {
            id: LinkId(id),
            nlink: 2,
        });
        tree.add(name, record);
    }
    let remote = served(&tree);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    fs::write(dir.join("a"), "same").expect("a file");
    fs::hard_link(dir.join("a"), dir.join("b")).expect("a link");
    let restored = export_of(&remote)
        .await
        .restore(dir, &ObjectPath::ROOT)
        .await;
    restored.expect("a restore");
    let inode = |name: &str| fs::metadata(dir.join(name)).expect(name).ino();
    assert_eq!(inode("a"), inode("c"));
    assert_eq!(inode("b"), inode("d"));
    assert_ne!(inode("a"), inode("b"));
}

#[tokio::test]
async fn who_stops_it_finds_nothing_left() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("new");
    let export = export_of(&remote).await;
    export.progress().stop();
    let stopped = export.into_dir(&dir).await;
    assert!(
        matches!(stopped, Err(ExportError::Interrupted)),
        "{stopped:?}"
    );
    assert!(!dir.exists());
}

/// A work tree that was exported and then changed in every way.
async fn changed_tree(remote: &Arc<MemoryRemote>, dir: &Path) {
    export_of(remote)
        .await
        .into_dir(dir)
        .await
        .expect("an export");
    let at = |name: &str| dir.join(name);
    fs::write(at("small"), "other").expect("a file");
    fs::remove_file(at("link")).expect("a link");
    symlink("elsewhere", at("link")).expect("a link");
    fs::remove_dir_all(at("dir/below")).expect("a directory");
    fs::write(at("dir/below"), "a file now").expect("a file");
    fs::create_dir(at("dir/extra")).expect("a directory");
    fs::write(at("dir/extra/x"), "x").expect("a file");
    // One of two names becomes a file of its own.
    fs::remove_file(at("two")).expect("a file");
    fs::write(at("two"), "two names").expect("a file");
    fs::remove_file(at("empty")).expect("a file");
    fs::create_dir(at("empty")).expect("a directory");
    xattr::set(at("noted"), "user.more", b"more").expect("an attribute");
}

#[tokio::test]
async fn restoring_everything_leaves_what_is_the_same_untouched() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    changed_tree(&remote, dir).await;
    let inode = |name: &str| fs::symlink_metadata(dir.join(name)).expect(name).ino();
    let (large, noted) = (inode("large"), inode("noted"));
    let figures = export_of(&remote)
        .await
        .restore(dir, &ObjectPath::ROOT)
        .await
        .expect("a restore");
    check(dir);
    assert_eq!((inode("large"), inode("noted")), (large, noted));
    assert_eq!(
        xattr::get(dir.join("noted"), "user.more").expect("attributes"),
        None
    );
    // dir/below, dir/extra and empty were in the way.
    assert_eq!(figures.removed, 3);
    // link, dir/below/deep, empty, small, dir/one, and the attributes of noted and two.
    assert_eq!(figures.written, 7);
    let again = export_of(&remote)
        .await
        .restore(dir, &ObjectPath::ROOT)
        .await;
    let again = again.expect("a restore");
    assert_eq!((again.removed, again.written), (0, 0));
}

#[tokio::test]
async fn restoring_one_path_touches_nothing_beside_it() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    changed_tree(&remote, dir).await;
    let restored = export_of(&remote).await.restore(dir, &path("small")).await;
    restored.expect("a restore");
    assert_eq!(fs::read(dir.join("small")).expect("a file"), b"bytes");
    assert!(dir.join("dir/extra/x").exists());
    fs::remove_dir_all(dir.join("dir")).expect("a directory");
    let deep = path("dir/below/deep");
    let restored = export_of(&remote).await.restore(dir, &deep).await;
    restored.expect("a restore");
    assert_eq!(names(&dir.join("dir")), ["below"]);
    let below = fs::metadata(dir.join("dir/below")).expect("a directory");
    assert_eq!(
        (below.mode() & 0o7777, below.mtime()),
        (0o755, 1_700_000_000)
    );
}

#[tokio::test]
async fn a_path_that_the_version_does_not_have_is_told_and_nothing_done() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    fs::write(scratch.path().join("mine"), "mine").expect("a file");
    for missing in ["mine", "small/below", "dir/none"] {
        let told = export_of(&remote)
            .await
            .restore(scratch.path(), &path(missing))
            .await;
        assert!(
            matches!(told, Err(ExportError::NotThere { .. })),
            "{told:?}"
        );
    }
    assert_eq!(names(scratch.path()), ["mine"]);
}

#[tokio::test]
async fn a_name_that_is_linked_with_something_else_is_not_written_through() {
    let remote = served(&tree());
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    fs::write(dir.join("elsewhere"), "bytes").expect("a file");
    fs::hard_link(dir.join("elsewhere"), dir.join("small")).expect("a link");
    let restored = export_of(&remote).await.restore(dir, &path("small")).await;
    restored.expect("a restore");
    let inode = |name: &str| fs::metadata(dir.join(name)).expect(name).ino();
    assert_ne!(inode("small"), inode("elsewhere"));
    assert_eq!(names(dir), ["elsewhere", "small"]);
}
