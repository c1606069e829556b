//! `lfsfs update`: what was changed in a rebuilt directory becomes a version.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use lfsfs_testkit::requirements::{require_program, require_root};
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Numbers, Run, World, in_namespace};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use crate::rebuild::{assert_rebuilt, rebuild};
use crate::support::{names, read, world, write};

/// Runs `lfsfs update DIR` with options.
pub(crate) fn update(world: &World, dir: &Path, options: &[&str]) -> Run {
    let words = ["update".as_ref(), dir.as_os_str()];
    world.lfsfs(words.into_iter().chain(options.iter().map(OsStr::new)))
}

/// Updates, and returns what it says of itself in JSON.
pub(crate) fn update_json(world: &World, dir: &Path, options: &[&str]) -> Value {
    update(world, dir, &[options, &["--json"]].concat()).json()
}

/// Returns a world with app@v1, and a directory that has it.
pub(crate) fn rebuilt(options: &[&str]) -> (World, PathBuf) {
    let world = world();
    let dir = world.path("dir");
    let _ = rebuild(&world, "app", &dir, options).ok();
    (world, dir)
}

/// Checks that a directory is what a new one is that is rebuilt from a version.
#[track_caller]
pub(crate) fn assert_is_version(world: &World, source: &str, dir: &Path) {
    let fresh = world.path(&format!("fresh-{source}-{}", names(&world.path(".")).len()));
    assert_eq!(rebuild(world, source, &fresh, &[]).ok(), source);
    assert_rebuilt(&fresh, dir);
}

/// Replaces the bytes of a file by as many others, and gives it back the time that it had.
fn write_in_disguise(path: &Path, text: &str) {
    let time = fs::metadata(path).and_then(|it| it.modified());
    fs::write(path, text).expect("a file");
    set_time(path, time.expect("a time"));
}

fn set_time(path: &Path, time: SystemTime) {
    let file = fs::File::options().append(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("a time");
}

/// Waits until the file system gives files another time than now.
fn wait_for_the_clock() {
    std::thread::sleep(Duration::from_millis(20));
}

#[test]
fn what_was_changed_is_the_next_version() {
    let (world, dir) = rebuilt(&[]);
    write(&dir, "one", "another");
    write(&dir, "dir/new", "new");
    fs::remove_file(dir.join("two")).expect("a file");
    let run = update(&world, &dir, &["-m", "why", "--author", "me"]);
    assert_eq!((run.ok(), run.stderr()), ("app@v2".into(), String::new()));
    let diff = world.lfsfs(["diff", "app@v1", "app@v2"]).ok();
    assert_eq!(diff, "A dir/new\nM one\nD two");
    let log = world.lfsfs(["log", "app", "--json"]).ok();
    let newest: Value = serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&newest["message"], &newest["author"]),
        (&json!("why"), &json!("me"))
    );
    assert_is_version(&world, "app@v2", &dir);
    assert_eq!(rebuild(&world, "app@v1", &dir, &[]).ok(), "app@v1");
    assert_is_version(&world, "app@v1", &dir);
}

#[test]
fn without_changes_there_is_no_version() {
    let (world, dir) = rebuilt(&[]);
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v1");
    let tree = world.path("tree");
    write(&tree, "one", "theirs");
    assert_eq!(world.import(&tree, "app"), "app@v2");
    // Others published, and the directory keeps what it has.
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v1");
    assert_eq!(read(&dir, "one"), "one");
    assert!(!dir.join(".lfsfs/sent").exists());
    // The time of a directory alone is no change.
    write(&dir, "dir/came", "and went");
    fs::remove_file(dir.join("dir/came")).expect("a file");
    let unchanged = update_json(&world, &dir, &[]);
    let expected = json!({
        "project": "app", "version": 1, "new": false, "rebased": false, "merged": true, "changes": 0,
        "bytes_read": 0, "bytes_sent": 0, "contents_sent": 0, "skipped_unreadable": 0,
        "skipped_sockets": 0, "skipped_mount_points": 0, "ignored": 0, "kept": [],
    });
    assert_eq!(unchanged, expected);
    assert_eq!(world.head("app"), 2);
}

/// What can be at one place.
const KINDS: [&str; 8] = [
    "nothing",
    "file",
    "large",
    "directory",
    "empty",
    "symlink",
    "link",
    "fifo",
];

fn make(tree: &Path, place: &str, kind: &str) {
    let at = tree.join(place);
    match kind {
        "file" => fs::write(at, place).expect("a file"),
        "large" => fs::write(at, Numbers(7).bytes(3_000_000)).expect("a file"),
        "directory" => {
            fs::create_dir_all(at.join("below")).expect("directories");
            write(&at, "below/deep", place);
            symlink("below", at.join("inner")).expect("a link");
        }
        "empty" => fs::create_dir(at).expect("a directory"),
        "symlink" => symlink("linked", at).expect("a link"),
        "link" => fs::hard_link(tree.join("linked"), at).expect("a name"),
        "fifo" => mknodat(CWD, at, FileType::Fifo, Mode::RWXU, 0).expect("a fifo"),
        _ => {}
    }
}

fn take_away(tree: &Path, place: &str) {
    let at = tree.join(place);
    let Ok(found) = at.symlink_metadata() else {
        return;
    };
    let removed = if found.is_dir() {
        fs::remove_dir_all(at)
    } else {
        fs::remove_file(at)
    };
    removed.expect("an entry");
}

#[test]
fn any_kind_becomes_any_kind_and_back() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let pairs: Vec<_> = KINDS
        .iter()
        .flat_map(|from| KINDS.map(|to| (*from, to)))
        .collect();
    let tree = world.make_dir("tree");
    write(&tree, "linked", "linked");
    for (from, to) in &pairs {
        make(&tree, &format!("{from}-{to}"), from);
    }
    let _ = world.import(&tree, "app");
    let dir = world.path("dir");
    let _ = rebuild(&world, "app", &dir, &[]).ok();
    for (round, is_back) in [(2, false), (3, true)] {
        for (from, to) in &pairs {
            let place = format!("{from}-{to}");
            if from != to {
                take_away(&dir, &place);
                make(&dir, &place, if is_back { from } else { to });
            }
        }
        let source = format!("app@v{round}");
        assert_eq!(update(&world, &dir, &[]).ok(), source);
        assert_is_version(&world, &source, &dir);
        assert_eq!(update(&world, &dir, &[]).ok(), source);
    }
    let modes = |left: &str| {
        fs::metadata(dir.join(left))
            .expect(left)
            .permissions()
            .mode()
    };
    fs::set_permissions(dir.join("empty-empty"), fs::Permissions::from_mode(0o700))
        .expect("a mode");
    fs::set_permissions(dir.join("file-file"), fs::Permissions::from_mode(0o4711)).expect("a mode");
    xattr::set(dir.join("file-file"), "user.mine", b"value").expect("an attribute");
    std::os::unix::fs::lchown(dir.join("symlink-symlink"), Some(7), Some(8)).expect("an owner");
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v4");
    assert_eq!(
        (modes("empty-empty") & 0o7777, modes("file-file") & 0o7777),
        (0o700, 0o4711)
    );
    assert_is_version(&world, "app@v4", &dir);
}

#[test]
fn sockets_are_left_out_and_device_nodes_are_told() {
    if require_root().is_err() {
        return;
    }
    let (world, dir) = rebuilt(&[]);
    let _socket = UnixListener::bind(dir.join("socket")).expect("a socket");
    write(&dir, "one", "mine");
    let run = update(&world, &dir, &[]);
    assert_eq!(run.ok(), "app@v2");
    assert!(run.stderr().contains("1 sockets"), "{run:?}");
    let device = dir.join("dir/device");
    mknodat(CWD, &device, FileType::CharacterDevice, Mode::RWXU, 0x103).expect("a device");
    write(&dir, "one", "mine again");
    update(&world, &dir, &[]).fails(
        1,
        &[
            "1 entries cannot be sent",
            "dir/device",
            "--skip-unreadable",
        ],
    );
    assert_eq!(
        update_json(&world, &dir, &["--skip-unreadable"])["skipped_unreadable"],
        1
    );
    assert_eq!(world.lfsfs(["cat", "app@v3", "one"]).ok(), "mine again");
}

#[test]
fn files_that_did_not_change_are_not_read() {
    let (world, dir) = rebuilt(&[]);
    let read_of = |options: &[&str]| {
        wait_for_the_clock();
        update_json(&world, &dir, options)["bytes_read"]
            .as_u64()
            .expect("a number")
    };
    assert!(dir.join(".lfsfs/summary").exists());
    assert_eq!(read_of(&[]), 0, "the rebuild knows what it wrote");
    write(&dir, "one", "four");
    assert_eq!(read_of(&[]), 4);
    assert_eq!(read_of(&[]), 0);
    // An attribute alone is found, and what is changed is read.
    fs::set_permissions(dir.join("two"), fs::Permissions::from_mode(0o600)).expect("a mode");
    assert_eq!(read_of(&[]), 3);
    // A file with other bytes, but the length and the time that it had.
    write_in_disguise(&dir.join("one"), "five");
    assert_eq!(read_of(&[]), 4);
    assert_eq!(world.lfsfs(["cat", "app", "one"]).ok(), "five");
    // The summary only saves time.
    fs::remove_file(dir.join(".lfsfs/summary")).expect("the summary");
    assert_eq!(read_of(&[]), 4 + 3 + 9);
    assert_eq!(read_of(&[]), 0);
    for bytes in [&b""[..], b"lfsfssum", &[0xff; 4_000]] {
        fs::write(dir.join(".lfsfs/summary"), bytes).expect("the summary");
        assert_eq!(read_of(&[]), 4 + 3 + 9);
    }
    assert_eq!(world.head("app"), 4);
    assert_is_version(&world, "app@v4", &dir);
}

#[test]
fn a_file_with_a_time_that_is_not_past_is_read_again() {
    let (world, dir) = rebuilt(&[]);
    write(&dir, "one", "future");
    set_time(
        &dir.join("one"),
        SystemTime::now() + Duration::from_secs(3_600),
    );
    for _ in 0..2 {
        wait_for_the_clock();
        let json = update_json(&world, &dir, &[]);
        assert_eq!(
            (&json["version"], &json["bytes_read"]),
            (&json!(2), &json!(6))
        );
    }
}

#[test]
fn all_names_of_a_file_are_read_once_and_stay_one() {
    if require_root().is_err() {
        return;
    }
    let (world, dir) = rebuilt(&[]);
    fs::hard_link(dir.join("one"), dir.join("dir/name")).expect("a name");
    fs::hard_link(dir.join("one"), dir.join("name")).expect("a name");
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v2");
    assert_is_version(&world, "app@v2", &dir);
    wait_for_the_clock();
    let _ = update_json(&world, &dir, &[]);
    assert_eq!(update_json(&world, &dir, &[])["bytes_read"], 0);
    // A part in which one name lies changes nothing of the others.
    assert_eq!(update(&world, &dir, &["--subpath", "dir"]).ok(), "app@v2");
    write(&dir, "name", "other");
    assert_eq!(update(&world, &dir, &["--subpath", "name"]).ok(), "app@v3");
    assert_is_version(&world, "app@v3", &dir);
    fs::remove_file(dir.join("name")).expect("a name");
    write(&dir, "name", "one of its own");
    assert_eq!(update(&world, &dir, &["--subpath", "name"]).ok(), "app@v4");
    assert_eq!(
        world.lfsfs(["cat", "app", "one", "dir/name"]).ok(),
        "otherother"
    );
    // The times of the root come with another change.
    write(&dir, "two", "mine");
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v5");
    assert_is_version(&world, "app@v5", &dir);
}

#[test]
fn a_subpath_leaves_the_rest_for_later() {
    let (world, dir) = rebuilt(&[]);
    write(&dir, "one", "mine");
    write(&dir, "dir/three", "mine");
    fs::create_dir_all(dir.join("new/deep/er")).expect("directories");
    write(&dir, "new/deep/file", "mine");
    write(&dir, "new/beside", "mine");
    fs::remove_file(dir.join("two")).expect("a file");
    let changed = |version: u64| {
        let versions = [version - 1, version].map(|version| format!("app@v{version}"));
        world.lfsfs(["diff", &versions[0], &versions[1]]).ok()
    };
    assert_eq!(update(&world, &dir, &["--subpath", "dir"]).ok(), "app@v2");
    assert_eq!(changed(2), "M dir/three");
    assert_eq!(
        update(&world, &dir, &["--subpath", "dir", "--subpath", "link"]).ok(),
        "app@v2"
    );
    // The directories on the way are made, and nothing else in them.
    assert_eq!(
        update(&world, &dir, &["--subpath", "new/deep/er/"]).ok(),
        "app@v3"
    );
    assert_eq!(changed(3), "A new\nA new/deep\nA new/deep/er");
    assert_eq!(update(&world, &dir, &["--subpath", "two"]).ok(), "app@v4");
    assert_eq!(changed(4), "D two");
    fs::remove_dir_all(dir.join("new")).expect("a directory");
    assert_eq!(
        update(&world, &dir, &["--subpath", "new/deep/er"]).ok(),
        "app@v5"
    );
    assert_eq!(changed(5), "D new/deep/er");
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v6");
    assert_eq!(changed(6), "D new\nD new/deep\nM one");
    assert_is_version(&world, "app@v6", &dir);
}

#[test]
fn what_a_rebuild_left_out_stays_in_the_version() {
    let world = world();
    let tree = world.path("tree");
    for name in ["dir/a.log", "b.log", "dir/other"] {
        write(&tree, name, name);
    }
    assert_eq!(world.import(&tree, "app"), "app@v2");
    let (part, most) = (world.path("part"), world.path("most"));
    let _ = rebuild(
        &world,
        "app",
        &part,
        &["--subpath", "dir", "--ignore", "*.log"],
    )
    .ok();
    let _ = rebuild(&world, "app", &most, &["--ignore", "*.log"]).ok();
    assert_eq!(update(&world, &part, &[]).ok(), "app@v2");
    assert_eq!(update(&world, &most, &[]).ok(), "app@v2");
    write(&part, "dir/new.log", "mine");
    write(&part, "outside", "mine");
    write(&part, "dir/three", "mine");
    assert_eq!(update(&world, &part, &[]).ok(), "app@v3");
    assert_eq!(
        world.lfsfs(["diff", "app@v2", "app@v3"]).ok(),
        "M dir/three"
    );
    assert_eq!(
        update(&world, &part, &["--subpath", "dir/other"]).ok(),
        "app@v3"
    );
    update(&world, &part, &["--subpath", "one"]).fails(2, &["has nothing of", "one"]);
    fs::remove_dir_all(part.join("dir")).expect("a directory");
    assert_eq!(update(&world, &part, &[]).ok(), "app@v4");
    let left = world.lfsfs(["ls", "-R", "app"]).ok();
    assert!(
        left.contains("b.log") && left.contains("one") && !left.contains("dir/"),
        "{left}"
    );
    write(&most, "one", "mine");
    assert_eq!(update(&world, &most, &[]).ok(), "app@v5");
    assert!(world.lfsfs(["ls", "app"]).ok().contains("b.log"));
    assert!(!most.join("dir").exists());
}

/// Changes a rebuilt directory at random; its state is out of the way meanwhile.
pub(crate) fn mutate_rebuilt(world: &World, dir: &Path, seed: u64, count: usize) {
    let (state, aside) = (dir.join(".lfsfs"), world.path("aside"));
    rustix::fs::rename(&state, &aside).expect("the state");
    let _ = mutate(dir, seed, count).expect("changes");
    rustix::fs::rename(&aside, &state).expect("the state");
}

#[test]
fn random_changes_become_versions() {
    if require_root().is_err() {
        return;
    }
    for seed in 1..4 {
        let world = World::new();
        let tree = world.path("tree");
        let spec = TreeSpec {
            seed,
            ..TreeSpec::small()
        };
        let _ = spec.generate(&tree).expect("a tree");
        let _ = world.import(&tree, "app");
        let dir = world.path("dir");
        let _ = rebuild(&world, "app", &dir, &[]).ok();
        for round in 1..=3 {
            mutate_rebuilt(&world, &dir, seed * 100 + round, 40);
            let source = update(&world, &dir, &[]).ok();
            assert_is_version(&world, &source, &dir);
            assert_eq!(update(&world, &dir, &[]).ok(), source, "nothing is left");
        }
        let source = format!("app@v{}", world.head("app"));
        let bare = world.make_dir("bare");
        let _ = rebuild(&world, &source, &bare, &[]).ok();
        fs::remove_dir_all(bare.join(".lfsfs")).expect("the state");
        assert_version_is_dir(&world, &source, &bare);
    }
}

#[test]
fn what_cannot_be_updated_is_refused() {
    let (mut world, dir) = rebuilt(&[]);
    write(&dir, "one", "mine");
    let other = world.make_dir("other");
    update(&world, &other, &[]).fails(1, &["no rebuild made it", "lfsfs rebuild"]);
    assert_eq!(names(&other), [""; 0]);
    update(&world, &world.path("none"), &[]).fails(1, &["no rebuild made it"]);
    for (subpath, word) in [("a/../b", ".."), ("/one", "absolute"), ("a//b", "subpath")] {
        update(&world, &dir, &["--subpath", subpath]).fails(2, &[word, "hint"]);
    }
    let state = dir.join(".lfsfs/state");
    let text = fs::read_to_string(&state).expect("the state");
    let version = text.find(r#""version""#).expect("a version");
    let under_way = r#""version":null,"under_way":{"versions":[],"replaces":false}}"#;
    fs::write(&state, [&text[..version], under_way].concat()).expect("the state");
    update(&world, &dir, &[]).fails(1, &["did not come to its end", "lfsfs rebuild"]);
    fs::write(&state, text.replace(r#""number":1"#, r#""number":7"#)).expect("the state");
    update(&world, &dir, &[]).fails(1, &["v7", "does not have", "hint"]);
    fs::write(&state, "{").expect("the state");
    update(&world, &dir, &[]).fails(1, &["damaged", "hint"]);
    fs::write(&state, &text).expect("the state");
    let elsewhere = World::new();
    update(&elsewhere, &dir, &[]).fails(1, &["does not have", "--server"]);
    world.stop_server();
    update(&world, &dir, &[]).fails(1, &["no lfsfs server"]);
    world.start_server(&[]);
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v2");
}

/// Runs a command as a user without rights.
fn as_user(world: &World, words: &[&OsStr]) -> Run {
    let ours = world.command_for_any_user(words);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(ours.get_program())
        .args(ours.get_args())
        .env_clear()
        .env("HOME", "/")
        .env("LFSFS_SERVER", world.address());
    Run::of(command)
}

#[test]
fn what_a_user_could_not_be_given_is_no_change() {
    if require_root().is_err() || require_program("setpriv").is_err() {
        return;
    }
    let world = world();
    let tree = world.path("tree");
    fs::set_permissions(tree.join("one"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    xattr::set(tree.join("two"), "trusted.mine", b"value").expect("an attribute");
    assert_eq!(world.import(&tree, "app"), "app@v2");
    let parent = world.path(".");
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).expect("a mode");
    let home = world.make_dir("home");
    std::os::unix::fs::chown(&home, Some(65_534), Some(65_534)).expect("an owner");
    let dir = home.join("dir");
    let _ = as_user(
        &world,
        &["rebuild".as_ref(), "app".as_ref(), dir.as_os_str()],
    )
    .ok();
    let update = || as_user(&world, &["update".as_ref(), dir.as_os_str()]).ok();
    assert_eq!(update(), "app@v2");
    write(&dir, "one", "theirs");
    write(&dir, "two", "theirs");
    write(&dir, "new", "theirs");
    std::os::unix::fs::chown(dir.join("new"), Some(65_534), Some(65_534)).expect("an owner");
    assert_eq!(update(), "app@v3");
    assert_eq!(update(), "app@v3");
    assert_eq!(
        world.lfsfs(["diff", "app@v2", "app@v3"]).ok(),
        "A new\nM one\nM two"
    );
    let root = world.path("of-root");
    let _ = rebuild(&world, "app", &root, &[]).ok();
    let owner = |name: &str| fs::metadata(root.join(name)).expect(name).uid();
    assert_eq!(["one", "two", "new"].map(owner), [0, 0, 65_534]);
    let kept = xattr::get(root.join("two"), "trusted.mine").expect("an attribute");
    assert_eq!(kept.as_deref(), Some(&b"value"[..]));
}

#[test]
fn what_is_mounted_in_it_is_left_alone() {
    in_namespace("update::what_is_mounted_in_it_is_left_alone", || {
        let (world, dir) = rebuilt(&[]);
        mount("none", dir.join("dir"), "tmpfs", MountFlags::empty(), None).expect("a tmpfs");
        write(&dir, "dir/elsewhere", "elsewhere");
        write(&dir, "one", "mine");
        let run = update(&world, &dir, &[]);
        assert_eq!(run.ok(), "app@v2");
        assert!(
            run.stderr().contains("something else is mounted"),
            "{run:?}"
        );
        assert_eq!(world.lfsfs(["diff", "app@v1", "app@v2"]).ok(), "M one");
        unmount(dir.join("dir"), UnmountFlags::empty()).expect("an unmount");
        assert_eq!(update(&world, &dir, &[]).ok(), "app@v2");
    });
}

#[test]
fn it_sends_what_fsdiff_tells() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let (tree, dir) = (world.path("tree"), world.path("dir"));
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let _ = rebuild(&world, "app", &dir, &[]).ok();
    mutate_rebuilt(&world, &dir, 9, 40);
    let told = world.lfsfs(["fsdiff".as_ref(), dir.as_os_str()]).ok();
    let source = update(&world, &dir, &[]).ok();
    let sent = world.lfsfs(["diff", "--no-renames", "app@v1", &source]);
    assert_eq!(told, sent.ok());
    assert_eq!(world.lfsfs(["fsdiff".as_ref(), dir.as_os_str()]).ok(), "");
}

#[test]
fn no_link_is_followed_and_nothing_outside_is_sent() {
    let (world, dir) = rebuilt(&[]);
    let outside = world.make_dir("outside");
    write(&outside, "three", "outside");
    fs::remove_dir_all(dir.join("dir")).expect("a directory");
    symlink(&outside, dir.join("dir")).expect("a link");
    assert_eq!(
        update(&world, &dir, &["--subpath", "dir/three"]).ok(),
        "app@v2"
    );
    assert_eq!(
        world.lfsfs(["diff", "app@v1", "app@v2"]).ok(),
        "D dir/three"
    );
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v3");
    assert_eq!(world.lfsfs(["diff", "app@v2", "app@v3"]).ok(), "M dir");
    assert_eq!(read(&outside, "three"), "outside");
}
