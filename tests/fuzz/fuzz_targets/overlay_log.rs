//! Operations of the overlay log, replayed: what a damaged or made-up log would have them be.
//!
//! The input is a row of operations, each with its length before it; checksums are left out, since
//! nothing would get past them. What can be applied must leave a state that can be looked at.

#![no_main]

use lfsfs_overlay::{Base, Location, Operation, State};
use lfsfs_types::{VersionId, VersionNumber};
use libfuzzer_sys::fuzz_target;

/// A place in the log, for operations that carry data.
const DATA: (Location, u64) = (
    Location {
        segment: 1,
        record: 56,
        record_len: 1000,
        skip: 100,
    },
    500,
);

fuzz_target!(|bytes: &[u8]| {
    let mut state = State::new(Base {
        number: VersionNumber(7),
        id: VersionId([7; 16]),
    });
    let mut rest = bytes;
    while let [high, low, more @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
        let (operation, left) = more.split_at(len);
        rest = left;
        if let Ok(operation) = Operation::decode(operation) {
            replay(&mut state, &operation);
        }
    }
    look_at(&state);
});

fn replay(state: &mut State, operation: &Operation) {
    let again = Operation::decode(&operation.encode());
    assert_eq!(
        again.as_ref(),
        Ok(operation),
        "what is written is read otherwise"
    );
    let before = state.clone();
    let data = matches!(operation, Operation::Write { .. } | Operation::Move { .. });
    if state.apply(operation, data.then_some(DATA)).is_err() {
        assert!(*state == before, "what was refused changed something");
    }
}

fn look_at(state: &State) {
    assert!(state.changes().count() <= 100_000);
    for (ino, inode) in state.changed() {
        assert!(
            !inode.is_orphan(),
            "{ino} has no name and counts as changed"
        );
        if let Some(file) = inode.file() {
            let mut end = 0;
            for piece in file.pieces(0, 1 << 20) {
                assert_eq!(piece.offset, end, "a gap");
                end += piece.len;
            }
        }
    }
}
