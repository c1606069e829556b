//! What each kind of side has to do: hash, list, look, download, upload, update, remove, copy and move.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_remote::Remote;
use lfsfs_remote::memory::{MemoryRemote, MemoryTree};
use lfsfs_types::content::small_content_id;
use lfsfs_types::{ContentId, Timestamp};
use tempfile::TempDir;

use super::super::item::FileItem;
use super::super::plain::{PlainView, Quiet};
use super::super::project::{ProjectPlace, ProjectView};
use super::super::reconcile::Change;
use super::*;

const CHUNK_LEN: u64 = 256 * 1024;

/// A side under test, and a directory that files come from.
struct Sides {
    scratch: TempDir,
    remote: Option<Arc<MemoryRemote>>,
}

impl Sides {
    fn plain() -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        for name in ["near", "far", "other"] {
            fs::create_dir(scratch.path().join(name)).expect("a directory");
        }
        Self {
            scratch,
            remote: None,
        }
    }

    fn project() -> Self {
        let remote = MemoryRemote::new();
        remote.serve("app", 1, &MemoryTree::new(), CHUNK_LEN);
        Self {
            remote: Some(remote),
            ..Self::plain()
        }
    }

    fn open_plain(&self, name: &str) -> PlainView {
        let dir = self.scratch.path().join(name);
        PlainView::open(&dir, name.to_owned(), Quiet::WhileRead, Arc::default()).expect("a side")
    }

    /// Returns the side as it is now.
    fn far(&self) -> Box<dyn View> {
        match &self.remote {
            None => Box::new(self.open_plain("far")),
            Some(remote) => {
                let remote: Arc<dyn Remote> = Arc::<MemoryRemote>::clone(remote);
                let place = ProjectPlace {
                    project: lfsfs_types::ProjectName::new("app").expect("a name"),
                    base: path("deep/base"),
                    author: "me".to_owned(),
                };
                Box::new(ProjectView::open(remote, &place, Arc::default()).expect("a side"))
            }
        }
    }

    fn near(&self, name: &str) -> PathBuf {
        self.scratch.path().join("near").join(name)
    }

    /// Changes the side, with files of the near directory.
    fn apply(&self, changes: &Changes) -> Applied {
        self.apply_all(&[], changes, &BTreeMap::new())
    }

    fn apply_all(
        &self,
        aside: &[Aside],
        changes: &Changes,
        moves: &BTreeMap<ObjectPath, ObjectPath>,
    ) -> Applied {
        let near = self.open_plain("near");
        let applied = self.far().apply(&Work {
            aside,
            changes,
            moves,
            source: &near,
            agreed: &|_| Ok(None),
            progress: &SyncProgress::default(),
            concurrency: 3,
            message: "a test",
        });
        applied.expect("changes")
    }

    /// Changes the side, and expects that all is done.
    fn change(&self, changes: &Changes) {
        let applied = self.apply(changes);
        assert_eq!(applied.left, []);
        assert!(!applied.is_outdated);
        let done: BTreeSet<_> = applied.done.iter().map(|done| done.path.clone()).collect();
        assert_eq!(done, changes.keys().cloned().collect());
    }

    /// Returns all that the side has, by its listings; and checks that a look tells the same.
    fn all(&self) -> BTreeMap<ObjectPath, Item> {
        let far = self.far();
        let (mut found, mut dirs) = (BTreeMap::new(), vec![ObjectPath::ROOT]);
        while let Some(dir) = dirs.pop() {
            let Listed::Entries(entries) = far.list(&dir).expect("a listing") else {
                panic!("{dir:?} is gone");
            };
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
            for (name, entry) in entries {
                let path = dir.join(&name).expect("a path");
                let item = item(&*far, &path, entry);
                let looked = far.look(&path).expect("a look").expect("an entry");
                assert_eq!(self::item(&*far, &path, looked), item);
                if item.is_directory() {
                    dirs.push(path.clone());
                }
                let _ = found.insert(path, item);
            }
        }
        found
    }

    fn bytes(&self, text: &str, item: &Item) -> Vec<u8> {
        let file = *item.file().expect("a file");
        let wanted = Wanted {
            path: path(text),
            file,
        };
        let mut bytes = Vec::new();
        let mut take = |at: usize, offset: u64, part: &[u8]| {
            assert_eq!((at, offset), (0, bytes.len() as u64));
            bytes.extend_from_slice(part);
            Ok(())
        };
        self.far().download(&[wanted], &mut take).expect("bytes");
        bytes
    }
}

fn item(view: &dyn View, path: &ObjectPath, entry: Entry) -> Item {
    match entry {
        Entry::Item(item) => item,
        Entry::File(stat) => match view.complete(path, &stat, None).expect("a content") {
            Completed::File(file, _) => Item::File(file),
            completed => panic!("{path:?}: {completed:?}"),
        },
        entry => panic!("{path:?}: {entry:?}"),
    }
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text.as_bytes()).expect("a path")
}

/// Writes a file of the near directory, and returns what it is.
fn file(sides: &Sides, name: &str, bytes: &[u8]) -> Item {
    let place = sides.near(name);
    fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
    fs::write(&place, bytes).expect("a file");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o640)).expect("a mode");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
    let open = fs::File::options()
        .append(true)
        .open(&place)
        .expect("a file");
    open.set_modified(time).expect("a time");
    Item::File(FileItem {
        mode: 0o640,
        mtime: Timestamp {
            secs: 1_000_000_000,
            nanos: 5,
        },
        size: bytes.len() as u64,
        content: content(&place),
    })
}

fn content(place: &Path) -> ContentId {
    let file = fs::File::open(place).expect("a file");
    lfsfs_upload::describe_file(&file).expect("a content").id
}

fn to(items: &[(&str, Option<Item>, Option<Item>)]) -> Changes {
    let change = |(text, from, to): &(&str, Option<Item>, Option<Item>)| {
        let (from, to) = (from.clone(), to.clone());
        (path(text), Change { from, to })
    };
    items.iter().map(change).collect()
}

const DIRECTORY: Item = Item::Directory { mode: 0o750 };

fn link(target: &str) -> Item {
    Item::Symlink {
        target: target.as_bytes().into(),
    }
}

fn run(test: fn(&Sides)) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for make in [Sides::plain, Sides::project] {
        let tested = runtime.spawn_blocking(move || test(&make()));
        runtime
            .block_on(tested)
            .expect("a side that keeps the contract");
    }
}

#[test]
fn what_is_made_is_listed_and_comes_back() {
    run(|sides| {
        assert_eq!(sides.all(), BTreeMap::new());
        let large = vec![7; 3 << 20];
        let made = [
            ("d", DIRECTORY),
            ("d/empty", file(sides, "d/empty", b"")),
            ("d/large", file(sides, "d/large", &large)),
            ("d/small", file(sides, "d/small", b"bytes")),
            ("d-", link("d")),
            ("\u{e4}", file(sides, "\u{e4}", b"one")),
            ("a\u{308}", file(sides, "a\u{308}", b"two")),
        ];
        let changes = made
            .iter()
            .map(|(text, item)| (*text, None, Some(item.clone())));
        sides.change(&to(&changes.collect::<Vec<_>>()));
        let all = made.iter().map(|(text, item)| (path(text), item.clone()));
        assert_eq!(sides.all(), all.collect());
        assert_eq!(sides.bytes("d/large", &made[2].1), large);
        assert_eq!(sides.bytes("d/small", &made[3].1), b"bytes");
        assert_eq!(sides.bytes("d/empty", &made[1].1), b"");
        let content = made[3].1.file().expect("a file").content;
        assert_eq!(content, small_content_id(b"bytes"));
        assert!(sides.far().has_root().expect("an answer"));
    });
}

#[test]
fn every_kind_becomes_every_other_one() {
    run(|sides| {
        let kinds = [
            None,
            Some(DIRECTORY),
            Some(file(sides, "x", b"one")),
            Some(link("there")),
        ];
        let mut now: Option<Item> = None;
        for from in &kinds {
            for to_kind in &kinds {
                for next in [from, to_kind] {
                    if *next != now {
                        sides.change(&to(&[("x", now.clone(), next.clone())]));
                        now.clone_from(next);
                    }
                    assert_eq!(sides.all().get(&path("x")), now.as_ref());
                }
            }
        }
    });
}

#[test]
fn files_are_updated_moved_and_removed_with_what_is_below() {
    run(|sides| {
        let one = file(sides, "d/one", b"one");
        let first = [
            ("d", DIRECTORY),
            ("d/e", DIRECTORY),
            ("d/one", one.clone()),
            ("d/e/f", one.clone()),
        ];
        let _ = file(sides, "d/e/f", b"one");
        let changes = first
            .iter()
            .map(|(text, item)| (*text, None, Some(item.clone())));
        sides.change(&to(&changes.collect::<Vec<_>>()));
        let two = file(sides, "d/one", b"two");
        sides.change(&to(&[("d/one", Some(one.clone()), Some(two.clone()))]));
        assert_eq!(sides.bytes("d/one", &two), b"two");
        // It moves, though no file of the other side has its bytes.
        fs::remove_file(sides.near("d/one")).expect("a file");
        let changes = to(&[
            ("d/one", Some(two.clone()), None),
            ("moved", None, Some(two.clone())),
        ]);
        let moves = BTreeMap::from([(path("moved"), path("d/one"))]);
        let applied = sides.apply_all(&[], &changes, &moves);
        assert_eq!((applied.left, applied.done.len()), (Vec::new(), 2));
        assert_eq!(sides.bytes("moved", &two), b"two");
        let gone = first.iter().filter(|(text, _)| *text != "d/one");
        let gone: Vec<_> = gone
            .map(|(text, item)| (*text, Some(item.clone()), None))
            .collect();
        sides.change(&to(&gone));
        assert_eq!(sides.all(), BTreeMap::from([(path("moved"), two)]));
    });
}

#[test]
fn modes_and_times_change_without_the_bytes() {
    run(|sides| {
        let one = file(sides, "one", b"one");
        sides.change(&to(&[
            ("d", None, Some(DIRECTORY)),
            ("one", None, Some(one.clone())),
        ]));
        let mut other = *one.file().expect("a file");
        (other.mode, other.mtime.secs) = (0o600, 5);
        let other = Item::File(other);
        let private = Item::Directory { mode: 0o700 };
        fs::remove_file(sides.near("one")).expect("a file");
        sides.change(&to(&[
            ("d", Some(DIRECTORY), Some(private.clone())),
            ("one", Some(one), Some(other.clone())),
        ]));
        let expected = [(path("d"), private), (path("one"), other.clone())];
        assert_eq!(sides.all(), BTreeMap::from(expected));
        assert_eq!(sides.bytes("one", &other), b"one");
    });
}

#[test]
fn what_is_set_aside_is_a_copy_beside_what_takes_its_place() {
    run(|sides| {
        let mine = file(sides, "f", b"mine");
        sides.change(&to(&[("f", None, Some(mine.clone()))]));
        let theirs = file(sides, "f", b"theirs");
        let aside = Aside {
            path: path("f"),
            copy: path("f.copy"),
            item: mine.clone(),
        };
        let changes = to(&[("f", None, Some(theirs.clone()))]);
        let applied = sides.apply_all(&[aside], &changes, &BTreeMap::new());
        assert_eq!(applied.left, []);
        let expected = [(path("f"), theirs), (path("f.copy"), mine.clone())];
        assert_eq!(sides.all(), BTreeMap::from(expected));
        assert_eq!(sides.bytes("f.copy", &mine), b"mine");
    });
}

#[test]
fn what_others_changed_meanwhile_is_left() {
    run(|sides| {
        let one = file(sides, "f", b"one");
        sides.change(&to(&[("f", None, Some(one.clone()))]));
        let stale = sides.far();
        // Another program, or another machine.
        let theirs = file(sides, "f", b"theirs");
        sides.change(&to(&[("f", Some(one.clone()), Some(theirs.clone()))]));
        let mine = file(sides, "f", b"mine");
        let near = sides.open_plain("near");
        let applied = stale.apply(&Work {
            aside: &[],
            changes: &to(&[("f", Some(one.clone()), Some(mine))]),
            moves: &BTreeMap::new(),
            source: &near,
            agreed: &|_| Ok(None),
            progress: &SyncProgress::default(),
            concurrency: 1,
            message: "a test",
        });
        let applied = applied.expect("an answer");
        assert!(
            applied.is_outdated || applied.left.len() == 1,
            "{applied:?}"
        );
        assert_eq!(sides.bytes("f", &theirs), b"theirs");
    });
}

#[test]
fn a_mark_tells_what_changed_since() {
    run(|sides| {
        let one = file(sides, "f", b"one");
        sides.change(&to(&[("d", None, Some(DIRECTORY)), ("f", None, Some(one))]));
        let Some(mark) = sides.far().mark() else {
            // A plain directory is compared whole.
            return;
        };
        let nothing = Since::At {
            paths: BTreeSet::new(),
            trees: BTreeSet::new(),
        };
        assert_eq!(sides.far().since(&mark).expect("an answer"), nothing);
        sides.change(&to(&[("g", None, Some(file(sides, "g", b"one")))]));
        let Since::At { paths, trees } = sides.far().since(&mark).expect("an answer") else {
            panic!("everything");
        };
        assert_eq!(
            (paths, trees),
            (BTreeSet::from([path("g")]), BTreeSet::new())
        );
        let other = [&mark[..1], &[0; 16], &mark[17..]].concat();
        assert_eq!(
            sides.far().since(&other).expect("an answer"),
            Since::Everywhere
        );
    });
}
