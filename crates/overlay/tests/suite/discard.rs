//! Dropping changes of some names and objects, and what such an operation refuses.

use lfsfs_overlay::{ApplyError, BaseObject, EntryName, NewAttributes, NewNode, Operation, State};
use lfsfs_types::{ContentId, DirId, Kind, Link, LinkId, Record};

use crate::common::{ROOT, copy_up_root, create, name, place, record, source, time};

const DIRECTORY: u64 = 2;
const FILE: u64 = 3;
const LINKED: u64 = 4;
const NEW: u64 = 10;
const BELOW: DirId = DirId(2);

/// The root with a directory `a`, the files `a/f` and `f` of one link, and the file `a/b`.
fn state() -> State {
    let mut state = State::new(source().base);
    let file = |nlink: u32| {
        let mut file = record(Kind::File {
            size: 9,
            content: ContentId([3; 32]),
        });
        file.link = (nlink > 1).then_some(Link {
            id: LinkId(5),
            nlink,
        });
        file
    };
    let directory = record(Kind::Directory { dir: BELOW });
    for operation in [
        copy_up_root(),
        copy_up(DIRECTORY, DirId::ROOT, "a", directory),
        copy_up(FILE, BELOW, "b", file(1)),
        copy_up(LINKED, BELOW, "f", file(2)),
    ] {
        state.apply(&operation, None).unwrap();
    }
    state
}

fn copy_up(ino: u64, directory: DirId, text: &str, record: Record) -> Operation {
    let base = BaseObject {
        directory,
        name: Some(name(text)),
        record,
    };
    Operation::CopyUp {
        ino,
        base: base.into(),
    }
}

fn discard(entries: &[EntryName], inodes: &[u64]) -> Operation {
    Operation::Discard {
        entries: entries.to_vec(),
        revealed: Vec::new(),
        inodes: inodes.to_vec(),
    }
}

fn rename(from: EntryName, to: EntryName, ino: u64) -> Operation {
    Operation::Rename {
        from,
        to,
        ino,
        replaced: None,
        time: time(20),
    }
}

fn chmod(ino: u64) -> Operation {
    let attributes = NewAttributes {
        mode: Some(0o600),
        ..NewAttributes::default()
    };
    Operation::SetAttributes {
        ino,
        attributes,
        time: time(20),
    }
}

fn apply(state: &mut State, operations: impl IntoIterator<Item = Operation>) {
    for operation in operations {
        state.apply(&operation, None).unwrap();
    }
}

/// Applies to a copy: what is refused must change nothing.
fn refused(state: &State, operation: &Operation) -> ApplyError {
    let mut copy = state.clone();
    let error = copy.apply(operation, None).unwrap_err();
    assert!(copy == *state, "{operation:?}");
    error
}

#[test]
fn what_moved_and_changed_is_back_in_its_place() {
    let mut state = state();
    let (home, away) = (place(DIRECTORY, "b"), place(ROOT, "moved"));
    apply(
        &mut state,
        [chmod(FILE), rename(home.clone(), away.clone(), FILE)],
    );
    assert_eq!(state.changes_len(), 2, "a name taken away, and one made");
    let error = refused(&state, &discard(std::slice::from_ref(&away), &[FILE]));
    assert_eq!(error, ApplyError::InodeInUse { ino: FILE });
    let error = refused(&state, &discard(std::slice::from_ref(&home), &[FILE]));
    assert_eq!(error, ApplyError::InodeInUse { ino: FILE });

    apply(&mut state, [discard(&[away, home], &[FILE])]);
    assert!(state.is_unchanged(), "{state:?}");
    let file = state.inode(FILE).unwrap();
    assert_eq!((file.attributes.mode, file.in_place), (0o644, true));
    let key = file.base.as_ref().unwrap().key();
    assert_eq!(state.copy_of(&key), Some(FILE));
}

#[test]
fn new_objects_live_on_without_names_and_the_times_of_directories_are_the_bases() {
    let mut state = state();
    apply(&mut state, [create(DIRECTORY, "new", NEW, NewNode::File)]);
    apply(&mut state, [discard(&[place(DIRECTORY, "new")], &[])]);
    assert!(state.is_unchanged());
    assert_eq!(state.orphans().collect::<Vec<_>>(), [NEW]);
    assert_eq!(state.inode(DIRECTORY).unwrap().attributes.mtime, time(0));
}

#[test]
fn a_directory_with_other_changes_stays_changed() {
    let mut state = state();
    apply(
        &mut state,
        [
            create(DIRECTORY, "new", NEW, NewNode::File),
            chmod(DIRECTORY),
        ],
    );
    apply(&mut state, [discard(&[place(DIRECTORY, "new")], &[])]);
    assert_eq!(state.changes_len(), 1);
    apply(&mut state, [discard(&[], &[DIRECTORY])]);
    assert!(state.is_unchanged());
}

#[test]
fn a_directory_goes_only_with_everything_in_it() {
    let mut state = state();
    apply(
        &mut state,
        [
            create(ROOT, "d", NEW, NewNode::Directory),
            create(NEW, "file", NEW + 1, NewNode::File),
            create(DIRECTORY, "x", NEW + 2, NewNode::File),
        ],
    );
    let error = refused(&state, &discard(&[place(ROOT, "d")], &[]));
    assert_eq!(error, ApplyError::NotEmpty { ino: NEW });
    let error = refused(&state, &discard(&[], &[DIRECTORY]));
    assert_eq!(error, ApplyError::NotEmpty { ino: DIRECTORY });
    let all = [place(ROOT, "d"), place(NEW, "file"), place(DIRECTORY, "x")];
    apply(&mut state, [discard(&all, &[DIRECTORY])]);
    assert!(state.is_unchanged());
    assert_eq!(state.orphans().count(), 3);
}

#[test]
fn a_hard_linked_file_gets_names_back_and_keeps_others() {
    let mut state = state();
    let (old, new) = (place(DIRECTORY, "f"), place(ROOT, "new"));
    apply(
        &mut state,
        [
            Operation::Unlink {
                place: old.clone(),
                ino: LINKED,
                time: time(20),
            },
            Operation::Link {
                ino: LINKED,
                place: new.clone(),
                time: time(20),
            },
            chmod(LINKED),
        ],
    );
    let reveal = |ino| Operation::Discard {
        entries: vec![old.clone()],
        revealed: vec![(ino, (BELOW, name("f")))],
        inodes: vec![LINKED],
    };
    let error = refused(&state, &reveal(FILE));
    assert_eq!(error, ApplyError::InodeInUse { ino: FILE });

    apply(&mut state, [reveal(LINKED)]);
    let linked = state.inode(LINKED).unwrap();
    assert_eq!((linked.attributes.nlink, linked.base_names), (3, 2));
    assert_eq!((linked.attributes.mode, linked.in_place), (0o644, true));
    assert_eq!(state.changes_len(), 1, "the new name in the root");

    apply(&mut state, [discard(&[new], &[LINKED])]);
    assert!(state.is_unchanged());
}

#[test]
fn nothing_is_dropped_while_a_commit_is_under_way() {
    let mut state = state();
    apply(&mut state, [create(ROOT, "new", NEW, NewNode::File)]);
    let commit = source().base.id;
    apply(&mut state, [Operation::Seal { commit }]);
    for operation in [
        Operation::DiscardAll {},
        discard(&[place(ROOT, "new")], &[]),
    ] {
        let error = refused(&state, &operation);
        assert_eq!(error, ApplyError::SealOutstanding { commit });
    }
    apply(&mut state, [Operation::Aborted { commit }]);
    apply(&mut state, [Operation::DiscardAll {}]);
    assert!(state.is_unchanged());
}

#[test]
fn what_the_overlay_says_nothing_about_cannot_be_dropped() {
    let state = state();
    let error = refused(&state, &discard(&[place(ROOT, "a")], &[]));
    assert!(matches!(error, ApplyError::EntryUnchanged { .. }));
    let error = refused(&state, &discard(&[], &[99]));
    assert_eq!(error, ApplyError::NoInode { ino: 99 });
}

#[test]
fn times_of_directories_alone_are_nothing_to_commit() {
    let mut state = state();
    apply(&mut state, [create(DIRECTORY, "new", NEW, NewNode::File)]);
    assert_eq!(state.changes_len(), 1);
    let unlink = Operation::Unlink {
        place: place(DIRECTORY, "new"),
        ino: NEW,
        time: time(21),
    };
    apply(&mut state, [unlink]);
    assert!(state.is_unchanged());
    assert_eq!(state.changes_len(), 0);
    assert_eq!(state.touched().collect::<Vec<_>>(), [DIRECTORY]);
    let mut base = source().base;
    base.number.0 += 1;
    apply(&mut state, [Operation::Switch { base }]);
    assert_eq!(state.base(), base);
    assert!(state.inode(DIRECTORY).is_none());
}
