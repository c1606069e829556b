//! What most tests need: a source, names, times, and an overlay in a directory.

use std::path::Path;
use std::time::Duration;

use lfsfs_overlay::{
    Base, BaseObject, Change, Creation, EntryName, NewNode, Operation, Overlay, OverlayOptions,
    ProjectBase,
};
use lfsfs_types::{
    DirId, Kind, Name, ProjectId, Record, Timestamp, VersionId, VersionNumber, XattrName,
};

pub(crate) const ROOT: u64 = 1;

pub(crate) fn source() -> ProjectBase {
    let base = Base {
        number: VersionNumber(7),
        id: VersionId([7; 16]),
    };
    ProjectBase {
        project: ProjectId([1; 16]),
        base,
    }
}

pub(crate) fn options() -> OverlayOptions {
    OverlayOptions {
        // A process that another test is just starting holds every lock until it runs its program.
        lock_wait: Duration::from_secs(1),
        ..OverlayOptions::default()
    }
}

pub(crate) fn open(dir: &Path) -> Overlay {
    Overlay::open(dir, &source(), &options()).unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub(crate) fn xattr_name(text: &str) -> XattrName {
    XattrName::new(text.as_bytes()).unwrap()
}

pub(crate) fn place(directory: u64, text: &str) -> EntryName {
    EntryName {
        directory,
        name: name(text),
    }
}

pub(crate) fn time(secs: i64) -> Timestamp {
    Timestamp { secs, nanos: 5 }
}

pub(crate) fn record(kind: Kind) -> Record {
    Record {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: time(0),
        ctime: time(0),
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}

pub(crate) fn root() -> BaseObject {
    let record = record(Kind::Directory { dir: DirId::ROOT });
    BaseObject {
        directory: DirId::ABOVE_ROOT,
        name: None,
        record,
    }
}

pub(crate) fn copy_up_root() -> Operation {
    Operation::CopyUp {
        ino: ROOT,
        base: root().into(),
    }
}

pub(crate) fn create(directory: u64, text: &str, ino: u64, node: NewNode) -> Operation {
    let creation = Creation {
        mode: 0o644,
        uid: 1,
        gid: 2,
        time: time(9),
    };
    Operation::Create {
        place: place(directory, text),
        ino,
        node,
        creation,
    }
}

pub(crate) fn write(ino: u64, offset: u64, data: &[u8]) -> Change<'_> {
    let operation = Operation::Write {
        ino,
        offset,
        time: time(10),
        mode: None,
    };
    Change { operation, data }
}

/// Makes an overlay with one empty file, inode 2.
pub(crate) fn with_file(dir: &Path) -> Overlay {
    let overlay = open(dir);
    let file = create(ROOT, "file", 2, NewNode::File);
    overlay
        .apply(&[copy_up_root().into(), file.into()])
        .unwrap();
    overlay
}

/// Returns all of a file that lies in the log.
pub(crate) fn read(overlay: &Overlay, ino: u64) -> Vec<u8> {
    try_read(overlay, ino).unwrap()
}

pub(crate) fn try_read(
    overlay: &Overlay,
    ino: u64,
) -> Result<Vec<u8>, lfsfs_overlay::OverlayError> {
    crate::base::read(&overlay.view(), ino, |_| Vec::new())
}
