//! A history that has every operation of the log, for tests of its bytes.

use std::path::Path;

use lfsfs_overlay::{Base, BaseObject, Change, NewAttributes, NewNode, Operation, Overlay, State};
use lfsfs_types::{
    ContentId, DirId, Kind, Link, LinkId, Record, VersionId, VersionNumber, XattrValue,
};

use crate::common::{
    ROOT, copy_up_root, create, name, place, record, source, time, write, xattr_name,
};

const DIRECTORY: u64 = 2;
const FILE: u64 = 3;
const LINKED: u64 = 4;
/// The first number of new objects.
const NEW: u64 = 10;
const COMMIT: VersionId = VersionId([5; 16]);

/// What to do next, if that depends on what was done.
enum Step {
    Do(Operation),
    Data(Operation, Vec<u8>),
    /// Copies the first extent of an inode elsewhere in the log.
    Move(u64),
}

/// Makes the whole history, and returns the state after each operation.
pub(crate) fn make(overlay: &Overlay) -> Vec<State> {
    let mut states = Vec::new();
    for step in steps() {
        match step {
            Step::Do(operation) => overlay.apply(&[operation.into()]).unwrap(),
            Step::Data(operation, data) => {
                let data = &data;
                overlay.apply(&[Change { operation, data }]).unwrap();
            }
            Step::Move(ino) => move_first(overlay, ino),
        }
        states.push(overlay.state());
    }
    states
}

/// Returns the length of the log's one segment.
pub(crate) fn log_len(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("00000001.log")).unwrap().len()
}

fn move_first(overlay: &Overlay, ino: u64) {
    let view = overlay.view();
    let file = view.state().inode(ino).unwrap().file().unwrap();
    let (offset, extent) = file.extents().next().unwrap();
    let from = extent.location().unwrap();
    let data = view
        .read(from, usize::try_from(extent.len).unwrap())
        .unwrap();
    let operation = Operation::Move { ino, offset, from };
    let data = &data;
    overlay.apply(&[Change { operation, data }]).unwrap();
}

fn steps() -> Vec<Step> {
    let mut steps = copied_up();
    steps.extend(creations());
    steps.extend(contents());
    steps.extend(names());
    steps.extend(layers());
    steps
}

fn copy_up(ino: u64, directory: DirId, text: &str, record: Record) -> Step {
    let base = BaseObject {
        directory,
        name: Some(name(text)),
        record,
    };
    Step::Do(Operation::CopyUp {
        ino,
        base: base.into(),
    })
}

fn copied_up() -> Vec<Step> {
    let file = record(Kind::File {
        size: 90,
        content: ContentId([3; 32]),
    });
    let linked = Record {
        link: Some(Link {
            id: LinkId(5),
            nlink: 2,
        }),
        ..file.clone()
    };
    let directory = record(Kind::Directory { dir: DirId(2) });
    vec![
        Step::Do(copy_up_root()),
        copy_up(DIRECTORY, DirId::ROOT, "a", directory),
        copy_up(FILE, DirId(2), "b", file),
        copy_up(LINKED, DirId(2), "f", linked),
    ]
}

fn creations() -> Vec<Step> {
    let nodes = [
        NewNode::File,
        NewNode::Directory,
        NewNode::Symlink(b"target".as_slice().into()),
        NewNode::Fifo,
        NewNode::Socket,
        NewNode::BlockDevice(0x801),
        NewNode::CharDevice(0x103),
        NewNode::Directory,
        NewNode::File,
    ];
    let make = |(ino, node)| Step::Do(create(ROOT, &format!("new {ino}"), ino, node));
    (NEW..).zip(nodes).map(make).collect()
}

fn contents() -> Vec<Step> {
    let time = time(30);
    let change = write(NEW, 5, b"new bytes");
    let value = XattrValue::Inline(b"value".as_slice().into());
    vec![
        Step::Data(change.operation, change.data.to_vec()),
        Step::Data(write(FILE, 50, b"").operation, b"over the base".to_vec()),
        Step::Move(NEW),
        Step::Do(Operation::Truncate {
            ino: FILE,
            size: 60,
            time,
            mode: Some(0o644),
        }),
        Step::Do(Operation::Fallocate {
            ino: FILE,
            offset: 10,
            len: 20,
            size: 100,
            time,
            mode: None,
        }),
        Step::Do(Operation::SetAttributes {
            ino: LINKED,
            attributes: NewAttributes {
                mode: Some(0o600),
                uid: Some(7),
                gid: None,
                mtime: Some(time),
            },
            time,
        }),
        Step::Do(Operation::SetXattr {
            ino: FILE,
            name: xattr_name("user.a"),
            value: value.clone(),
            time,
        }),
        Step::Do(Operation::SetXattr {
            ino: FILE,
            name: xattr_name("user.b"),
            value,
            time,
        }),
        Step::Do(Operation::RemoveXattr {
            ino: FILE,
            name: xattr_name("user.b"),
            time,
        }),
    ]
}

fn names() -> Vec<Step> {
    let time = time(40);
    let new = |ino: u64| place(ROOT, &format!("new {ino}"));
    vec![
        Step::Do(Operation::Link {
            ino: LINKED,
            place: place(NEW + 1, "linked"),
            time,
        }),
        Step::Do(Operation::Unlink {
            place: place(DIRECTORY, "f"),
            ino: LINKED,
            time,
        }),
        Step::Do(Operation::Rmdir {
            place: new(NEW + 7),
            ino: NEW + 7,
            time,
        }),
        Step::Do(Operation::Rename {
            from: place(DIRECTORY, "b"),
            to: place(NEW + 1, "moved"),
            ino: FILE,
            replaced: None,
            time,
        }),
        Step::Do(Operation::Rename {
            from: new(NEW + 3),
            to: new(NEW + 8),
            ino: NEW + 3,
            replaced: Some(NEW + 8),
            time,
        }),
        Step::Do(Operation::Exchange {
            first: new(NEW + 4),
            first_ino: NEW + 4,
            second: place(NEW + 1, "moved"),
            second_ino: FILE,
            time,
        }),
        Step::Do(Operation::Forget { ino: NEW + 8 }),
    ]
}

fn layers() -> Vec<Step> {
    let mapped = BaseObject {
        directory: DirId(2),
        name: Some(name("after")),
        record: record(Kind::File {
            size: 0,
            content: ContentId::EMPTY,
        }),
    };
    let operations = [
        Operation::Discard {
            entries: vec![place(ROOT, "new 12"), place(DIRECTORY, "f")],
            revealed: vec![(LINKED, (DirId(2), name("f")))],
            inodes: vec![LINKED],
        },
        Operation::Seal { commit: COMMIT },
        Operation::Aborted { commit: COMMIT },
        create(DIRECTORY, "after", 30, NewNode::File),
        Operation::Seal { commit: COMMIT },
        chmod(30),
        Operation::Mapped {
            ino: 30,
            base: mapped.into(),
        },
        Operation::Committed {
            commit: COMMIT,
            base: Base {
                number: VersionNumber(8),
                id: COMMIT,
            },
            directories: vec![(NEW + 1, DirId(20))],
        },
        // The commit dropped the root's inode, and so does a switch.
        copy_up_root(),
        create(ROOT, "dropped", 31, NewNode::File),
        Operation::DiscardAll {},
        Operation::Switch {
            base: source().base,
        },
        copy_up_root(),
        create(ROOT, "last", 32, NewNode::File),
    ];
    operations.into_iter().map(Step::Do).collect()
}

fn chmod(ino: u64) -> Operation {
    let attributes = NewAttributes {
        mode: Some(0o640),
        ..NewAttributes::default()
    };
    Operation::SetAttributes {
        ino,
        attributes,
        time: time(50),
    }
}
