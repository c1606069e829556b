use std::collections::{BTreeMap, BTreeSet};

use lfsfs_types::Name;

use super::*;
use crate::memory::{MemoryRemote, MemoryTree};

const CHUNK_LEN: u64 = 256 * 1024;

/// The names of a version below its root, by directory and name, with what is there.
type Tree = BTreeMap<(DirId, Name), (ObjectPath, Record)>;

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text.as_bytes()).expect("a path")
}

/// v1 has `a/b` with a file and two directories; directories come into it and leave it, it moves, and another
/// one takes its place.
fn served() -> Arc<MemoryRemote> {
    let remote = MemoryRemote::new();
    let mut tree = MemoryTree::new();
    tree.directory("a")
        .directory("a/b")
        .directory("a/b/in")
        .directory("a/b/in/deep")
        .directory("a/b/stays")
        .directory("out")
        .directory("out/deep")
        .file("a/b/file", b"file")
        .file("a/b/in/one", b"one")
        .file("a/b/in/deep/two", b"two")
        .file("a/b/stays/three", b"three")
        .file("out/four", b"four")
        .file("out/deep/five", b"five");
    remote.serve("app", 1, &tree, CHUNK_LEN);
    let mut next = |change: &dyn Fn(&mut MemoryTree)| {
        change(&mut tree);
        let _ = remote.serve_next("app", &tree, CHUNK_LEN);
    };
    next(&|tree| {
        tree.rename("a/b/in", "in");
        tree.rename("out", "a/b/out");
        tree.file("beside", b"beside");
    });
    next(&|tree| {
        tree.rename("a/b/out/deep", "a/b/stays/deep");
        tree.file("a/b/stays/three", b"changed");
        tree.file("in/one", b"changed outside");
    });
    next(&|tree| {
        tree.rename("in", "a/b/back");
        tree.remove("a/b/out");
    });
    next(&|tree| {
        tree.rename("a/b", "moved");
        tree.directory("a/b").file("a/b/file", b"of another");
    });
    remote
}

fn inside(remote: &Arc<MemoryRemote>) -> Subdirectory {
    let remote: Arc<dyn RemoteRead> = Arc::<MemoryRemote>::clone(remote);
    Subdirectory::new(remote, path("a/b"))
}

async fn snapshot(inside: &Subdirectory, number: u64) -> Snapshot {
    let source = format!("app@v{number}").parse().expect("a source");
    inside.resolve_source(&source).await.expect("a version")
}

async fn tree(inside: &Subdirectory, number: u64) -> Tree {
    let Snapshot {
        project, version, ..
    } = snapshot(inside, number).await;
    let mut found = Tree::new();
    let mut pending = vec![(DirId::ROOT, ObjectPath::ROOT)];
    while let Some((dir, path)) = pending.pop() {
        let listing = inside.list_directory(project.id, version.number, dir).await;
        for (name, record) in listing.expect("a listing").entries {
            let path = path.join(&name).expect("a path");
            pending.extend(record.dir().map(|dir| (dir, path.clone())));
            found.insert((dir, name), (path, record));
        }
    }
    found
}

#[tokio::test]
async fn every_name_that_differs_is_told_with_its_paths() {
    let remote = served();
    let inside = inside(&remote);
    for (from, to) in (1..=5).flat_map(|from| (1..=5).map(move |to| (from, to))) {
        let (old, new) = (tree(&inside, from).await, tree(&inside, to).await);
        let range = VersionRange {
            from: VersionNumber(from),
            to: VersionNumber(to),
        };
        let project = snapshot(&inside, from).await.project.id;
        let told = inside.changed_names(project, range).await.expect("names");
        let keys: BTreeSet<_> = told.iter().map(|it| (it.dir, it.name.clone())).collect();
        assert_eq!(keys.len(), told.len(), "each once, v{from} to v{to}");
        for it in &told {
            let Some(name) = &it.name else { continue };
            let at = |tree: &Tree| tree.get(&(it.dir, name.clone())).map(|it| it.0.clone());
            assert_eq!(
                (&it.old, &it.new),
                (&at(&old), &at(&new)),
                "v{from} to v{to}"
            );
        }
        for key in old.keys().chain(new.keys()) {
            let record = |tree: &Tree| tree.get(key).map(|it| it.1.clone());
            if record(&old) != record(&new) {
                let key = (key.0, Some(key.1.clone()));
                assert!(keys.contains(&key), "{key:?}, v{from} to v{to}");
            }
        }
    }
}

#[tokio::test]
async fn directories_have_places_only_inside() {
    let remote = served();
    let inside = inside(&remote);
    for number in 1..=5 {
        let shown = snapshot(&inside, number).await;
        let tree = tree(&inside, number).await;
        let dirs: Vec<DirId> = (1..40).map(DirId).collect();
        let places = inside
            .directory_places(shown.project.id, shown.version.number, &dirs)
            .await
            .expect("places");
        let found: BTreeSet<_> = places.into_iter().collect();
        let expected = tree
            .iter()
            .filter_map(|((above, name), (_, record))| Some((record.dir()?, *above, name.clone())));
        assert_eq!(found, expected.collect(), "v{number}");
        assert_ne!(shown.root_dir, DirId::ROOT);
        assert_eq!(shown.root.dir(), Some(DirId::ROOT));
    }
}

#[tokio::test]
async fn what_is_no_directory_is_named() {
    let remote = MemoryRemote::new();
    let mut tree = MemoryTree::new();
    tree.directory("a")
        .file("a/file", b"file")
        .symlink("link", "a");
    remote.serve("app", 1, &tree, CHUNK_LEN);
    let whole = remote
        .resolve_source(&"app".parse().expect("a source"))
        .await;
    let whole = whole.expect("a version");
    for (text, words) in [
        ("none", "there is no \"none\""),
        ("a/none/x", "there is no \"a/none\""),
        ("a/file", "\"a/file\" is a file"),
        ("a/file/x", "\"a/file\" is a file"),
        ("link", "\"link\" is a symbolic link, which is not followed"),
        ("link/file", "\"link\" is a symbolic link"),
    ] {
        let remote: Arc<dyn RemoteRead> = Arc::<MemoryRemote>::clone(&remote);
        let inside = Subdirectory::new(remote, path(text));
        let error = inside.of(whole.clone()).await.expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}
