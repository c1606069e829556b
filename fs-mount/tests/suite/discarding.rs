//! What differs from the version is told and dropped, asked over the socket.

use std::fs;
use std::io;
use std::path::Path;

use lfsfs_mount::{
    AnswerSink, ChangeItem, ChangeKind, ControlErrorKind, ControlProgress, ControlRequest, Counted,
    MountError, call, call_with,
};
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;

use crate::harness::Machine;

#[derive(Default)]
struct Lines(Vec<(ChangeKind, String)>);

impl AnswerSink for Lines {
    type Item = ChangeItem;

    fn progress(&mut self, _progress: ControlProgress) {}

    fn item(&mut self, item: ChangeItem) -> io::Result<()> {
        self.0
            .push((item.kind, String::from_utf8(item.path).unwrap()));
        Ok(())
    }
}

fn changes(machine: &Machine, dir: &Path) -> Vec<(ChangeKind, String)> {
    let mut lines = Lines::default();
    let counted = call_with(&machine.find(dir), &ControlRequest::Changes, &mut lines);
    let counted: Counted = counted.unwrap();
    assert_eq!(counted.count, lines.0.len() as u64);
    lines.0
}

fn discard(machine: &Machine, dir: &Path, paths: &[&str]) -> Result<Counted, MountError> {
    let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    call(&machine.find(dir), &ControlRequest::Discard { paths })
}

fn line(kind: ChangeKind, path: &str) -> (ChangeKind, String) {
    (kind, path.to_owned())
}

#[test]
fn changes_are_told_and_dropped_while_the_kernel_caches_all() {
    if require_root_and_fuse().is_err() {
        return;
    }
    let name = "discarding::changes_are_told_and_dropped_while_the_kernel_caches_all";
    in_private_namespace(name, || {
        let machine = Machine::new();
        let dir = machine.mount("lib@v1", "");
        fs::write(dir.join("other/changed"), "mine\n").unwrap();
        fs::remove_file(dir.join("other/gone")).unwrap();
        fs::write(dir.join("new"), "new\n").unwrap();
        assert!(!dir.join("other/gone").exists());
        let expected = [
            line(ChangeKind::Added, "new"),
            line(ChangeKind::Modified, "other/changed"),
            line(ChangeKind::Removed, "other/gone"),
        ];
        assert_eq!(changes(&machine, &dir), expected);

        discard(&machine, &dir, &["other/gone"]).unwrap();
        assert_eq!(fs::read(dir.join("other/gone")).unwrap(), b"gone\n");
        assert_eq!(changes(&machine, &dir), expected[..2]);
        let unknown = discard(&machine, &dir, &["nowhere"]).unwrap_err();
        let MountError::Control(error) = unknown else {
            panic!("{unknown:?}")
        };
        assert!(error.message.contains("nowhere"), "{error:?}");

        discard(&machine, &dir, &[]).unwrap();
        assert_eq!(fs::read(dir.join("other/changed")).unwrap(), b"first\n");
        assert!(!dir.join("new").exists());
        let listed = fs::read_dir(&dir).unwrap().count();
        assert_eq!((changes(&machine, &dir), listed), (Vec::new(), 2));
        assert_eq!(machine.status(&dir).changes, 0);
        machine.umount(&dir);
    });
}

#[test]
fn a_read_only_mount_has_nothing_to_drop_or_commit() {
    if require_root_and_fuse().is_err() {
        return;
    }
    let name = "discarding::a_read_only_mount_has_nothing_to_drop_or_commit";
    in_private_namespace(name, || {
        let machine = Machine::new();
        let dir = machine.mount("lib@v1", "ro");
        assert_eq!(changes(&machine, &dir), Vec::new());
        let commit = ControlRequest::Commit {
            message: String::new(),
            author: "me".to_owned(),
            force: false,
            ignore_times: false,
            later: false,
            takes_ignored: false,
            retry_ms: 0,
        };
        for request in [commit, ControlRequest::Discard { paths: Vec::new() }] {
            let refused = call::<serde_json::Value>(&machine.find(&dir), &request).unwrap_err();
            let MountError::Control(error) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!(error.kind, ControlErrorKind::Failed);
            assert!(error.message.contains("read-only"), "{error:?}");
        }
        machine.umount(&dir);
    });
}
