//! `lfsfs diff [DIR]`: what is not committed yet.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use lfsfs_tests::{Mounted, World, in_namespace};
use serde_json::json;

use crate::support::{typed_in, world, write};

/// Changes a mount in every way that has a line of its own.
fn change(mount: &Mounted<'_>) {
    let at = |name: &str| mount.path().join(name);
    write(mount.path(), "a\nb", "new");
    write(mount.path(), "one", "changed");
    let earlier = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let two = fs::File::options().write(true).open(at("two"));
    two.and_then(|two| two.set_modified(earlier))
        .expect("times");
    fs::remove_file(at("link")).expect("a link");
    rustix::fs::rename(at("dir"), at("moved")).expect("a directory");
}

const LINES: &str = "A \"a\\nb\"\nD link\nR dir\tmoved\nM one\nT two";

#[test]
fn lines_are_those_that_the_commit_will_have() {
    in_namespace("diff::lines_are_those_that_the_commit_will_have", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        assert_eq!(mount.verb(["diff"]).ok(), "");
        change(&mount);
        assert_eq!(mount.verb(["diff"]).ok(), LINES);
        assert_eq!(
            typed_in(&world, &mount.path().join("moved"), &["diff"]).ok(),
            LINES
        );
        assert_eq!(mount.verb(["commit"]).ok(), "app@v2");
        assert_eq!(world.lfsfs(["diff", "app@v1", "app@v2"]).ok(), LINES);
        assert_eq!(mount.verb(["diff"]).ok(), "");
        let plain = world
            .lfsfs(["diff", "--no-renames", "app@v1", "app@v2"])
            .ok();
        let expected =
            "A \"a\\nb\"\nD dir\nD dir/three\nD link\nA moved\nA moved/three\nM one\nT two";
        assert_eq!(plain, expected);
        mount.umount();
    });
}

#[test]
fn scripts_get_the_forms_that_they_read() {
    in_namespace("diff::scripts_get_the_forms_that_they_read", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        change(&mount);
        assert_eq!(
            mount.verb(["diff", "-z"]).stdout(),
            "A a\nb\0D link\0R dir\0moved\0M one\0T two\0"
        );
        assert_eq!(
            mount.verb(["diff", "--stat"]).ok(),
            "1 added, 1 removed, 1 modified, 1 touched, 1 renamed"
        );
        let stat = mount.verb(["diff", "--stat", "--json"]).json();
        assert_eq!(stat["renamed"], 1);
        let lines = mount.verb(["diff", "--json"]).ok();
        let renamed = lines.lines().nth(2).expect("a line");
        let renamed: serde_json::Value = serde_json::from_str(renamed).expect("JSON");
        assert_eq!(
            renamed,
            json!({"change": "R", "path": "moved", "old": {"path": "dir"}})
        );
        is_quiet_without_a_reader(&world, &mount);
        mount.umount();
    });
}

fn is_quiet_without_a_reader(world: &World, mount: &Mounted<'_>) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = world.command(["diff".as_ref(), mount.path().as_os_str()]);
    command.stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().expect("lfsfs starts");
    drop(command);
    let output = child.wait_with_output().expect("lfsfs ends");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn a_read_only_mount_has_no_changes_and_other_places_none_either() {
    in_namespace(
        "diff::a_read_only_mount_has_no_changes_and_other_places_none_either",
        || {
            let world = world();
            let mount = world.mount("app", "");
            assert_eq!(mount.verb(["diff"]).ok(), "");
            mount
                .verb(["diff", "--no-renames"])
                .fails(2, &["two versions"]);
            let outside = world.make_dir("outside");
            typed_in(&world, &outside, &["diff"])
                .fails(1, &["not in a mount", "lfsfs diff app@v1 v2"]);
            typed_in(&world, &outside, &["diff", "none"]).fails(2, &["none", "lfsfs show none"]);
            typed_in(&world, &outside, &["diff", "./none"]).fails(1, &["not in a mount"]);
            mount.umount();
        },
    );
}

#[test]
fn a_mode_is_a_change_of_the_object() {
    in_namespace("diff::a_mode_is_a_change_of_the_object", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(mount.path().join("dir"), mode).expect("a mode");
        assert_eq!(mount.diff(), ["M dir"]);
        mount.umount();
    });
}
