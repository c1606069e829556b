//! What commits cost: as much as changed, however much there is.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lfsfs_tests::{Mounted, Proxied, World, in_namespace, in_namespace_for};

use crate::support::{assert_version_is_mount, write};

/// Files in one directory of a large project.
const FILES_PER_DIRECTORY: usize = 1_000;
/// What a message may take more when the numbers in it are longer.
const BYTES_SLACK: u64 = 2_000;

/// What a commit cost.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    changes: u64,
    contents_sent: u64,
    calls: u64,
    bytes: u64,
}

impl Cost {
    fn of(proxied: &Proxied, mount: &Mounted<'_>) -> Self {
        let before = proxied.proxy.counters();
        let commit = mount.commit("a change");
        let after = proxied.proxy.counters();
        let number = |name: &str| commit[name].as_u64().expect("a number");
        Self {
            changes: number("changes"),
            contents_sent: number("contents_sent"),
            calls: after.calls - before.calls,
            bytes: after.up + after.down - before.up - before.down,
        }
    }

    #[track_caller]
    fn assert_as(&self, small: &Self, what: &str) {
        let counted = |cost: &Self| (cost.changes, cost.contents_sent, cost.calls);
        assert_eq!(counted(self), counted(small), "{what}");
        let more = self.bytes.abs_diff(small.bytes);
        assert!(
            more < BYTES_SLACK,
            "{what}: {} and {} bytes",
            self.bytes,
            small.bytes
        );
    }
}

/// Makes a tree of so many small files, and a directory of others to be renamed.
fn make_tree(tree: &Path, files: usize, renamed: usize) {
    // The listing of the changed directory itself is as long in each project.
    for number in 0..files {
        let directory = number / FILES_PER_DIRECTORY;
        let path = tree.join(format!("files/directory-{directory}/file-{number}"));
        // Few contents: this is about objects.
        write(&path, format!("{}", number % 10));
    }
    for number in 0..renamed {
        let directory = number / FILES_PER_DIRECTORY;
        write(&tree.join(format!("old/{directory}/file-{number}")), "text");
    }
    write(&tree.join("changed"), "first");
}

/// Returns what one changed file costs, and one renamed directory.
fn costs(files: usize, renamed: usize) -> [Cost; 2] {
    let proxied = Proxied::new();
    let world = &proxied.world;
    let tree = world.path("tree");
    make_tree(&tree, files, renamed);
    let _ = world.import(&tree, "app");
    let mount = world.mount_writable("app@v1", "");
    // What is asked once in each mount is not the commit's.
    fs::write(mount.path().join("first"), "first").expect("a file");
    let _ = Cost::of(&proxied, &mount);
    fs::write(mount.path().join("changed"), "second").expect("a file");
    let changed = Cost::of(&proxied, &mount);
    rustix::fs::rename(mount.path().join("old"), mount.path().join("new")).expect("a rename");
    let renamed = Cost::of(&proxied, &mount);
    assert_eq!(world.lfsfs(["diff", "app@v3", "app@v4"]).ok(), "R old\tnew");
    mount.umount();
    [changed, renamed]
}

fn assert_costs_what_changed(files: usize, renamed: usize) {
    let small = costs(1_000, 10);
    let large = costs(files, renamed);
    let kinds = ["one changed file", "one renamed directory"];
    for ((large, small), what) in large.iter().zip(&small).zip(kinds) {
        large.assert_as(small, what);
        assert!(small.calls < 20, "{what}: {small:?}");
    }
    assert_eq!(small[0].changes, 1, "{small:?}");
}

#[test]
fn one_change_costs_the_same_in_a_large_project() {
    let name = "costs::one_change_costs_the_same_in_a_large_project";
    in_namespace(name, || assert_costs_what_changed(10_000, 2_000));
}

#[test]
#[ignore = "soak: a project of 100,000 objects"]
fn one_change_costs_the_same_in_a_project_of_100_000_objects() {
    let name = "costs::one_change_costs_the_same_in_a_project_of_100_000_objects";
    in_namespace_for(name, Duration::from_secs(1_800), || {
        assert_costs_what_changed(90_000, 10_000);
    });
}

/// Makes a package as an installation does: always with the same time.
fn install(dir: &Path, files: usize, changed: Option<usize>) {
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(499_162_500);
    fs::create_dir(dir).expect("a directory");
    for number in 0..files {
        let path = dir.join(format!("package-{}/lib/file-{number}.js", number / 50));
        let text = match changed {
            Some(changed) if changed == number => "module.exports = 'other';\n".to_owned(),
            _ => format!("module.exports = {number};\n"),
        };
        write(&path, text);
        let file = File::options().write(true).open(path).expect("a file");
        file.set_modified(time).expect("a time");
    }
}

#[test]
fn what_is_removed_and_made_again_alike_costs_nothing() {
    let name = "costs::what_is_removed_and_made_again_alike_costs_nothing";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        install(&tree.join("node_modules"), 1_000, None);
        assert_eq!(world.import(&tree, "app"), "app@v1");
        let mount = world.mount_writable("app@v1", "");
        let modules = mount.path().join("node_modules");
        fs::remove_dir_all(&modules).expect("a directory");
        install(&modules, 1_000, Some(321));
        assert_eq!(mount.diff(), ["M node_modules/package-6/lib/file-321.js"]);
        let commit = mount.commit("npm ci");
        assert_eq!(commit["contents_sent"], 1, "{commit}");
        let log = world.lfsfs(["log", "app", "--json"]).ok();
        let newest = log.lines().next().expect("a version");
        let newest: serde_json::Value = serde_json::from_str(newest).expect("a line of JSON");
        let counts = ["added", "removed", "modified"].map(|name| newest[name].as_u64());
        assert_eq!(counts, [Some(0), Some(0), Some(1)], "{newest}");
        let diff = world.lfsfs(["diff", "app@v1", "app@v2"]).ok();
        assert_eq!(diff, "M node_modules/package-6/lib/file-321.js");

        fs::remove_dir_all(&modules).expect("a directory");
        install(&modules, 1_000, Some(321));
        assert_eq!(mount.commit("npm ci")["version"], 2, "nothing differs");
        assert_version_is_mount(&world, "app@v2", mount.path());
        mount.umount();
    });
}

/// Returns the most memory that a process has had, in bytes.
fn peak_memory(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

/// Returns a figure of the memory of a process, in bytes.
fn memory(pid: u32, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with(figure));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.expect("a number").parse::<u64>().expect("a number") * 1_024
}

fn many_changes(count: usize, bytes_max: u64) {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    write(&tree.join("first"), "text");
    let _ = world.import(&tree, "app");
    let dir = world.make_dir("m");
    let _ = world.mount_at("app@v1", &dir, "rw").ok();
    make_tree(&dir, count, 0);
    let status = ["status".as_ref(), "--json".as_ref(), dir.as_os_str()];
    let mount_pid = world.lfsfs(status).json()["pid"]
        .as_u64()
        .expect("a number");
    let mount_pid = u32::try_from(mount_pid).expect("a process id");
    let server_pid = world.server().id();
    let before = (peak_memory(mount_pid), peak_memory(server_pid));
    let own = || memory(mount_pid, "RssAnon:");
    let own_before = own();
    let words = ["commit".as_ref(), "--json".as_ref(), dir.as_os_str()];
    let commit = world.lfsfs(words).json();
    assert!(commit["changes"].as_u64() >= Some(count as u64), "{commit}");
    let after = (peak_memory(mount_pid), peak_memory(server_pid));
    let figures = format!(
        "before {before:?}, after {after:?}, own {own_before} then {}",
        own()
    );
    // For the developer who reads the output of the test.
    let _ = writeln!(
        std::io::stderr(),
        "{count} changes, mount and server: {figures}"
    );
    assert!(
        after.0 - before.0 < bytes_max,
        "mount: {before:?}, then {after:?}"
    );
    assert!(
        after.1 - before.1 < bytes_max,
        "server: {before:?}, then {after:?}"
    );
    let own_after = own();
    // What the mount has in hand of committed objects, beyond what their changes took, with nothing
    // that the commit needed and freed.
    assert!(
        own_after < own_before + 512 * count as u64,
        "mount: {own_before} bytes before the commit, {own_after} after it"
    );
    assert_version_is_mount(&world, "app@v2", &dir);
    let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
}

#[test]
fn many_changes_in_one_commit_take_bounded_memory() {
    let name = "costs::many_changes_in_one_commit_take_bounded_memory";
    in_namespace(name, || many_changes(5_000, 200 << 20));
}

#[test]
#[ignore = "soak: 100,000 changes"]
fn a_hundred_thousand_changes_in_one_commit_take_bounded_memory() {
    let name = "costs::a_hundred_thousand_changes_in_one_commit_take_bounded_memory";
    in_namespace_for(name, Duration::from_secs(1_800), || {
        many_changes(100_000, 400 << 20);
    });
}
