//! Operations that contradict the state are refused and change nothing.

use lfsfs_overlay::{ApplyError, NewNode, Operation, State};

use crate::common::{ROOT, copy_up_root, create, place, source, time};

#[test]
fn what_contradicts_the_state_is_refused_and_changes_nothing() {
    let mut state = State::new(source().base);
    let directory = create(ROOT, "directory", 2, NewNode::Directory);
    for operation in [
        copy_up_root(),
        directory,
        create(2, "file", 3, NewNode::File),
    ] {
        state.apply(&operation, None).unwrap();
    }
    let wrong = [
        create(9, "x", 10, NewNode::File),
        create(3, "x", 10, NewNode::File),
        create(2, "file", 10, NewNode::File),
        create(2, "x", 3, NewNode::File),
        Operation::Unlink {
            place: place(2, "file"),
            ino: 2,
            time: time(1),
        },
        Operation::Rmdir {
            place: place(ROOT, "directory"),
            ino: 2,
            time: time(1),
        },
        Operation::Truncate {
            ino: 2,
            size: 1,
            time: time(1),
            mode: None,
        },
        Operation::Truncate {
            ino: 3,
            size: u64::MAX,
            time: time(1),
            mode: None,
        },
        Operation::Write {
            ino: 3,
            offset: 0,
            time: time(1),
            mode: None,
        },
        Operation::Forget { ino: 3 },
        Operation::Aborted {
            commit: source().base.id,
        },
        Operation::Switch {
            base: source().base,
        },
    ];
    let before = state.clone();
    for operation in wrong {
        assert!(state.apply(&operation, None).is_err(), "{operation:?}");
        assert!(state == before, "{operation:?}");
    }
    let taken = state
        .apply(&create(2, "file", 10, NewNode::File), None)
        .unwrap_err();
    assert!(matches!(
        taken,
        ApplyError::EntryExists { directory: 2, .. }
    ));
}
