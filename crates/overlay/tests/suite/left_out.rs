//! New objects that no commit takes and that a switch keeps.

use lfsfs_overlay::{Base, BaseObject, EntryName, NewNode, Operation, Overlay, Slot, State};
use lfsfs_types::{DirId, Kind, Record, VersionId, VersionNumber};

use crate::common::{ROOT, copy_up_root, create, open, place, record, source, time};

const COMMIT: VersionId = VersionId([5; 16]);
const NEXT: Base = Base {
    number: VersionNumber(8),
    id: VersionId([8; 16]),
};

/// Makes a file that is committed, and a directory and a linked file that are not.
fn filled() -> (tempfile::TempDir, Overlay) {
    let dir = tempfile::tempdir().unwrap();
    let overlay = open(dir.path());
    let link = |directory, text| Operation::Link {
        ino: 13,
        place: place(directory, text),
        time: time(3),
    };
    let operations = [
        copy_up_root(),
        create(ROOT, "kept", 10, NewNode::File),
        create(ROOT, "build", 11, NewNode::Directory),
        create(11, "deep", 12, NewNode::Directory),
        create(12, "file", 13, NewNode::File),
        link(ROOT, "linked.o"),
    ];
    overlay.apply(&operations.map(Into::into)).unwrap();
    (dir, overlay)
}

fn left_out() -> [EntryName; 2] {
    [place(ROOT, "build"), place(ROOT, "linked.o")]
}

fn names(state: &State, directory: u64) -> Vec<String> {
    let directory = state.inode(directory).unwrap().directory().unwrap();
    let present = directory.entries.iter();
    let present = present.filter(|(_, slot)| matches!(slot, Slot::Inode { .. }));
    present
        .map(|(name, _)| String::from_utf8_lossy(name.as_bytes()).into_owned())
        .collect()
}

fn root_of(mode: u32) -> BaseObject {
    BaseObject {
        directory: DirId::ABOVE_ROOT,
        name: None,
        record: Record {
            mode,
            ..record(Kind::Directory { dir: DirId::ROOT })
        },
    }
}

#[test]
fn a_commit_takes_the_rest_and_they_stay() {
    let (dir, overlay) = filled();
    overlay.draft(COMMIT).unwrap();
    let sealed = overlay.begin(COMMIT, &left_out()).unwrap();
    assert!(!sealed.is_draft());
    assert_eq!(names(sealed.view().state(), ROOT), ["kept"]);
    assert!((11..=13).all(|ino| sealed.view().state().inode(ino).is_none()));
    assert_eq!(names(&overlay.state(), ROOT), ["build", "kept", "linked.o"]);
    // Every way to write the state down has both sides.
    overlay.compact().unwrap();
    let before = (
        overlay.state(),
        overlay.sealed().unwrap().view().state().clone(),
    );
    drop(overlay);
    let overlay = open(dir.path());
    let after = (
        overlay.state(),
        overlay.sealed().unwrap().view().state().clone(),
    );
    assert_eq!(after.1, before.1);
    assert_eq!(after.0.changes_len(), before.0.changes_len());
    let mapped = |state: &State| {
        assert_eq!(state.changed_since_seal(), [ROOT]);
        Ok(vec![(ROOT, root_of(0o644))])
    };
    let accept = |_: &State, _: &State| Ok::<_, lfsfs_overlay::OverlayError>(());
    overlay
        .committed(COMMIT, NEXT, &[], mapped, accept)
        .unwrap();
    drop(overlay);
    let state = Overlay::open(
        dir.path(),
        &lfsfs_overlay::ProjectBase {
            base: NEXT,
            ..source()
        },
        &crate::common::options(),
    );
    let state = state.unwrap().state();
    assert_eq!(names(&state, ROOT), ["build", "linked.o"]);
    assert_eq!(names(&state, 12), ["file"]);
    assert_eq!(state.inode(13).unwrap().attributes.nlink, 2);
    assert!(state.without(&left_out()).unwrap().is_unchanged());
}

#[test]
fn a_draft_is_given_up_when_the_overlay_is_opened_again() {
    let (dir, overlay) = filled();
    assert!(overlay.draft(COMMIT).unwrap().is_draft());
    overlay.compact().unwrap();
    let before = overlay.state().changes_len();
    drop(overlay);
    let overlay = open(dir.path());
    assert!(overlay.sealed().is_none());
    assert_eq!(overlay.state().changes_len(), before);
    // Nothing is taken out of what was begun.
    overlay.seal(COMMIT).unwrap();
    assert!(overlay.begin(COMMIT, &left_out()).is_err());
}

#[test]
fn only_new_objects_can_be_left_out() {
    let (_dir, overlay) = filled();
    let state = overlay.state();
    for wrong in [place(ROOT, "none"), place(10, "kept"), place(99, "kept")] {
        assert!(state.without(&[wrong]).is_err());
    }
    assert!(
        state
            .without(&[place(ROOT, "kept"), place(ROOT, "kept")])
            .is_err()
    );
}

#[test]
fn a_switch_keeps_them_above_what_the_directory_is_then() {
    let (dir, overlay) = filled();
    let accept = |_: &State, _: &State| Ok::<_, lfsfs_overlay::OverlayError>(());
    let directories = || vec![(ROOT, root_of(0o700))];
    let refused = overlay.switch_keeping(NEXT, &left_out(), directories(), accept);
    assert!(refused.is_err(), "there is another change");
    let unlink = Operation::Unlink {
        place: place(ROOT, "kept"),
        ino: 10,
        time: time(4),
    };
    overlay
        .apply(&[unlink.into(), Operation::Forget { ino: 10 }.into()])
        .unwrap();
    assert!(
        overlay
            .switch_keeping(NEXT, &left_out(), Vec::new(), accept)
            .is_err()
    );
    overlay
        .switch_keeping(NEXT, &left_out(), directories(), accept)
        .unwrap();
    let state = overlay.state();
    drop(overlay);
    let next = lfsfs_overlay::ProjectBase {
        base: NEXT,
        ..source()
    };
    let overlay = Overlay::open(dir.path(), &next, &crate::common::options()).unwrap();
    assert_eq!(overlay.state(), state);
    assert_eq!(
        (state.base(), names(&state, ROOT)),
        (NEXT, vec!["build".into(), "linked.o".into()])
    );
    assert_eq!(state.inode(ROOT).unwrap().attributes.mode, 0o700);
    assert!(state.without(&left_out()).unwrap().is_unchanged());
}
