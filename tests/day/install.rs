//! `make install`: what was built comes to its places, without cargo.

use std::fs;
use std::path::Path;
use std::process::Command;

use lfsfs_testkit::requirements::require_program;
use lfsfs_testkit::tempdir::TempDir;
use lfsfs_tests::{Run, World};

use crate::support::repository;

fn install(release: &Path, root: &Path) -> Run {
    let mut command = Command::new("make");
    command
        .current_dir(repository())
        .arg("install")
        .arg(format!("RELEASE={}", release.display()))
        .arg(format!("DESTDIR={}", root.display()))
        // Nothing may be compiled: root often has no cargo.
        .args(["CARGO=/bin/false", "PREFIX=/usr", "SBINDIR=/sbin"]);
    Run::of(command)
}

#[test]
fn without_a_build_nothing_is_installed() {
    if require_program("make").is_err() {
        return;
    }
    let dir = TempDir::new().expect("a directory");
    let (release, root) = (dir.path().join("release"), dir.path().join("root"));
    install(&release, &root).fails(2, &["lfsfs is not there: run make build first"]);
    assert!(!root.exists());
}

#[test]
fn programs_completions_and_pages_come_to_their_places() {
    if require_program("make").is_err() {
        return;
    }
    let world = World::without_server();
    let (release, root) = (world.make_dir("release"), world.path("root"));
    for (name, command) in [
        ("lfsfs", world.command([""; 0])),
        ("lfsfsd", world.lfsfsd([""; 0])),
    ] {
        fs::copy(command.get_program(), release.join(name)).expect("a copy");
    }
    let share = release.join("share");
    let documents = ["documents".as_ref(), share.as_os_str()];
    let _ = world.lfsfs(documents).ok();
    let _ = Run::of(world.lfsfsd(documents)).ok();
    // Over an older installation, too.
    for _ in 0..2 {
        let _ = install(&release, &root).ok();
    }
    for file in [
        "usr/bin/lfsfs",
        "usr/bin/lfsfsd",
        "usr/share/bash-completion/completions/lfsfs",
        "usr/share/bash-completion/completions/lfsfsd",
        "usr/share/zsh/site-functions/_lfsfs",
        "usr/share/fish/vendor_completions.d/lfsfs.fish",
        "usr/share/man/man1/lfsfs.1",
        "usr/share/man/man1/lfsfs-commit.1",
        "usr/share/man/man1/lfsfsd.1",
        "usr/share/man/man1/lfsfsd-config.1",
        "usr/share/doc/lfsfs/lfsfsd.toml",
        "usr/share/doc/lfsfs/grafana-lfsfs.json",
        "usr/share/doc/lfsfs/prometheus-lfsfs.rules.yml",
        "usr/lib/systemd/system/lfsfsd.service",
        "usr/lib/systemd/system/lfsfsd-coordinator.service",
        "usr/lib/systemd/system/lfsfsd-datanode.service",
        "usr/share/man/man8/mount.lfsfs.8",
    ] {
        let len = fs::metadata(root.join(file)).expect(file).len();
        assert!(len > 0, "{file}");
    }
    let helper = fs::read_link(root.join("sbin/mount.lfsfs")).expect("a link");
    assert_eq!(helper, Path::new("/usr/bin/lfsfs"));
    let mut installed = Command::new(root.join("usr/bin/lfsfs"));
    installed.arg("--version");
    assert!(Run::of(installed).ok().starts_with("lfsfs "));
}
