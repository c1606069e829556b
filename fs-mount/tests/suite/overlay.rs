//! The changes of a mount: kept over its end, found again, and refused where they do not belong.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use lfsfs_mount::{MountState, UmountMode, unmount};
use lfsfs_testkit::namespace::in_private_namespace;
use lfsfs_testkit::requirements::require_root_and_fuse;
use rustix::mount::MountFlags;
use rustix::process::Signal;

use crate::harness::{Machine, rename};
use crate::life::Watched;

fn in_namespace(name: &str, body: impl FnOnce(Machine)) {
    if require_root_and_fuse().is_ok() {
        in_private_namespace(name, || body(Machine::new()));
    }
}

/// Returns the directories of overlays.
fn overlays(machine: &Machine) -> usize {
    let found = fs::read_dir(machine.places.state.join("overlays"));
    found.map_or(0, Iterator::count)
}

#[test]
fn a_killed_mount_is_replaced_and_shows_every_acknowledged_change() {
    let name = "overlay::a_killed_mount_is_replaced_and_shows_every_acknowledged_change";
    in_namespace(name, |machine| {
        let dir = machine.mount("app@v1", "");
        for round in 0..3 {
            let process = Watched::serving(&machine, &dir);
            let mut log = OpenOptions::new();
            let mut log = log.create(true).append(true).open(dir.join("log")).unwrap();
            for line in 0..200 {
                writeln!(log, "{round} {line}").unwrap();
                fs::write(dir.join(format!("file-{round}-{line}")), "x").unwrap();
            }
            rename(dir.join("file-0-0"), dir.join(format!("moved-{round}"))).unwrap();
            fs::write(dir.join("file-0-0"), "again").unwrap();
            process.signal(Signal::KILL);
            process.assert_ends();
            drop(log);
            assert_eq!(machine.mounts()[0].state, MountState::Dead);

            machine.try_mount("app@v1", &dir, "").unwrap();
            assert_eq!(machine.mounts().len(), 1);
            let written = fs::read_to_string(dir.join("log")).unwrap();
            assert_eq!(written.lines().count(), 200 * (round + 1));
            assert!(dir.join(format!("file-{round}-199")).exists());
            assert!(dir.join(format!("moved-{round}")).exists());
        }
        machine.umount(&dir);
    });
}

#[test]
fn umount_keeps_changes_and_says_how_many() {
    in_namespace(
        "overlay::umount_keeps_changes_and_says_how_many",
        |machine| {
            let dir = machine.mount("lib@v1", "");
            fs::read(dir.join("same/kept")).unwrap();
            let status = machine.status(&dir);
            assert_eq!((status.mode.as_str(), status.changes), ("rw", 0));
            assert_eq!(overlays(&machine), 0, "an unchanged mount has no overlay");

            fs::write(dir.join("new"), "new").unwrap();
            let status = machine.status(&dir);
            assert!(status.changes > 0, "{status:?}");
            assert!(status.overlay.unwrap().join("").is_dir());
            let kept = unmount(&dir, UmountMode::WhenIdle, &machine.places)
                .unwrap()
                .unwrap();
            assert_eq!((kept.changes, kept.version.version), (status.changes, 1));

            let elsewhere = machine.directory("elsewhere");
            machine.try_mount("lib@v1", &elsewhere, "").unwrap();
            assert!(!elsewhere.join("new").exists());
            machine.umount(&elsewhere);
            let dir = machine.mount("lib@v1", "ro");
            assert!(!dir.join("new").exists());
            let status = machine.status(&dir);
            assert_eq!(
                (status.mode.as_str(), status.changes, status.overlay),
                ("ro", 0, None)
            );
            machine.umount(&dir);
            let dir = machine.mount("lib@v1", "");
            assert_eq!(fs::read(dir.join("new")).unwrap(), b"new");
            machine.umount(&dir);
        },
    );
}

#[test]
fn changes_of_another_version_are_refused_with_the_way_back() {
    let name = "overlay::changes_of_another_version_are_refused_with_the_way_back";
    in_namespace(name, |machine| {
        let dir = machine.mount("lib@v1", "");
        fs::write(dir.join("new"), "new").unwrap();
        machine.umount(&dir);

        let refused = machine.try_mount("lib@v2", &dir, "").unwrap_err();
        let text = refused.full_text();
        assert_eq!(refused.exit_code(), 32);
        for word in [
            "mount lib@v1",
            "lfsfs commit",
            "lfsfs discard",
            dir.to_str().unwrap(),
        ] {
            assert!(text.contains(word), "{text}");
        }
        assert!(machine.mounts().is_empty());
        // What was not changed goes along.
        let other = machine.directory("other");
        for source in ["lib@v1", "lib@v2", "lib@latest"] {
            machine.try_mount(source, &other, "").unwrap();
            machine.umount(&other);
        }
        let dir = machine.mount("lib@v1", "");
        assert!(dir.join("new").exists());
        machine.umount(&dir);
    });
}

#[test]
fn an_overlay_in_use_is_refused_and_names_its_user() {
    let name = "overlay::an_overlay_in_use_is_refused_and_names_its_user";
    in_namespace(name, |machine| {
        let dir = machine.mount("lib@v1", "overlay=shared");
        fs::write(dir.join("new"), "new").unwrap();
        let other = machine.directory("other");
        let refused = machine
            .try_mount("lib@v1", &other, "overlay=shared")
            .unwrap_err();
        let text = refused.full_text();
        let pid = machine.status(&dir).pid;
        for word in [
            "in use",
            dir.to_str().unwrap(),
            "-o overlay=NAME",
            &format!("process {pid}"),
        ] {
            assert!(text.contains(word), "{text}");
        }
        assert_eq!(refused.exit_code(), 32);
        let foreign = machine.try_mount("app@v1", &other, "overlay=shared");
        assert!(foreign.is_err());
        machine.umount(&dir);

        machine
            .try_mount("lib@v1", &other, "overlay=shared")
            .unwrap();
        assert_eq!(fs::read(other.join("new")).unwrap(), b"new");
        machine.umount(&other);
        let foreign = machine
            .try_mount("app@v1", &other, "overlay=shared")
            .unwrap_err();
        assert!(
            foreign.full_text().contains("project"),
            "{}",
            foreign.full_text()
        );
    });
}

#[test]
fn options_for_speed_serve_all_the_same() {
    in_namespace("overlay::options_for_speed_serve_all_the_same", |machine| {
        for options in ["volatile", "writeback", "volatile,writeback"] {
            let dir = machine.mount("app@v1", &format!("{options},overlay={}", options.len()));
            let write = |dir: &Path| {
                let mut file = fs::File::create(dir.join("lines")).unwrap();
                for line in 0..1000 {
                    writeln!(file, "{line}").unwrap();
                }
                file.sync_all().unwrap();
                fs::write(dir.join("hello"), "changed\n").unwrap();
                rename(dir.join("hello"), dir.join("moved")).unwrap();
            };
            let check = |dir: &Path| {
                let lines = fs::read_to_string(dir.join("lines")).unwrap();
                assert_eq!(lines.lines().count(), 1000, "{options}");
                assert_eq!(
                    fs::read(dir.join("moved")).unwrap(),
                    b"changed\n",
                    "{options}"
                );
            };
            write(&dir);
            check(&dir);
            machine.umount(&dir);
            let dir = machine.mount("app@v1", &format!("{options},overlay={}", options.len()));
            check(&dir);
            machine.umount(&dir);
        }
    });
}

#[test]
fn a_shown_owner_is_not_recorded() {
    use std::os::unix::fs::MetadataExt as _;
    in_namespace("overlay::a_shown_owner_is_not_recorded", |machine| {
        let dir = machine.mount("app@v1", "uid=77,gid=78");
        fs::write(dir.join("new"), "").unwrap();
        std::os::unix::fs::chown(dir.join("hello"), Some(5), Some(6)).unwrap();
        let owner = |name: &str| {
            let found = dir.join(name).metadata().unwrap();
            (found.uid(), found.gid())
        };
        assert_eq!((owner("new"), owner("hello")), ((77, 78), (77, 78)));
        machine.umount(&dir);
        assert_eq!(machine.mount("app@v1", ""), dir);
        assert_eq!((owner("new"), owner("hello")), ((0, 0), (5, 6)));
        machine.umount(&dir);
    });
}

#[test]
fn a_full_disk_costs_the_change_that_did_not_fit_and_no_more() {
    let name = "overlay::a_full_disk_costs_the_change_that_did_not_fit_and_no_more";
    in_namespace(name, |machine| {
        let state = machine.directory("small");
        let size = Some(c"size=4m");
        rustix::mount::mount("small", &state, "tmpfs", MountFlags::empty(), size).unwrap();
        let options = format!("state={}", state.display());
        let dir = machine.mount("app@v1", &options);
        fs::write(dir.join("before"), "before").unwrap();
        let filler = state.join("filler");
        let full = fs::write(&filler, vec![0; 8 << 20]).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));

        let large = vec![1; 256 << 10];
        let refused = fs::write(dir.join("large"), &large).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(fs::read(dir.join("before")).unwrap(), b"before");
        fs::read(dir.join("directory-0/file-0")).unwrap();

        fs::remove_file(&filler).unwrap();
        fs::write(dir.join("large"), &large).unwrap();
        let check = |dir: &Path| {
            assert_eq!(fs::read(dir.join("before")).unwrap(), b"before");
            assert_eq!(fs::read(dir.join("large")).unwrap(), large);
        };
        check(&dir);
        machine.umount(&dir);
        let dir = machine.mount("app@v1", &options);
        check(&dir);
        machine.umount(&dir);
    });
}
