//! Files with access lists. They are kept and not enforced, and what a list denies is denied all the same; with the
//! option `acl` they do what they do on a local file system.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_tests::{World, in_namespace, paths};

const LIST: &str = "system.posix_acl_access";
/// A user in the group of the file.
const USER: u32 = 2000;
const GROUP: u32 = 65_534;

/// Returns `u::USER,u:1234:rw,g::---,m::rw,o::---`.
fn list(user: u8) -> Vec<u8> {
    let entry = |tag: u8, permissions: u8, id: u32| {
        let mut entry = vec![tag, 0, permissions, 0];
        entry.extend(id.to_le_bytes());
        entry
    };
    let no_id = u32::MAX;
    let entries = [
        entry(0x01, user, no_id),
        entry(0x02, 6, 1234),
        entry(0x04, 0, no_id),
        entry(0x10, 6, no_id),
        entry(0x20, 0, no_id),
    ];
    [vec![2, 0, 0, 0], entries.concat()].concat()
}

const DEFAULT: &str = "system.posix_acl_default";
/// The user that the list names.
const NAMED: u32 = 1234;

/// What is compared of an object: its mode and its lists.
type Listed = (String, u32, Option<Vec<u8>>, Option<Vec<u8>>);

fn listed(dir: &Path) -> Vec<Listed> {
    let mut all: Vec<_> = paths(dir)
        .into_iter()
        .map(|(path, _)| {
            let name = path.strip_prefix(dir).expect("it lies below");
            // A symbolic link has no list, and says so in an error.
            let is_link = path.is_symlink();
            let value =
                |name| (!is_link).then(|| xattr::get(&path, name).expect("a list or none"))?;
            let name = name.display().to_string();
            (name, mode_of(&path), value(LIST), value(DEFAULT))
        })
        .collect();
    all.sort();
    all
}

/// Changes of lists and modes, each of which another follows from.
const CHANGES: [fn(&Path); 8] = [
    |dir| xattr::set(dir.join("file"), LIST, &list(6)).expect("a list"),
    |dir| fs::set_permissions(dir.join("file"), Permissions::from_mode(0o640)).expect("a mode"),
    |dir| {
        fs::create_dir(dir.join("dir")).expect("a directory");
        xattr::set(dir.join("dir"), DEFAULT, &list(7)).expect("a list");
    },
    |dir| {
        fs::write(dir.join("dir/file"), "made").expect("a file");
        fs::create_dir(dir.join("dir/dir")).expect("a directory");
        fs::write(dir.join("dir/dir/file"), "made").expect("a file");
        std::os::unix::fs::symlink("file", dir.join("dir/link")).expect("a link");
    },
    // It says no more than a mode, and so is no list any more.
    |dir| xattr::set(dir.join("dir/file"), LIST, &minimal_list()).expect("a list"),
    |dir| xattr::remove(dir.join("dir/dir/file"), LIST).expect("no list"),
    |dir| xattr::remove(dir.join("dir/dir"), DEFAULT).expect("no list"),
    |dir| fs::write(dir.join("dir/dir/later"), "made").expect("a file"),
];

/// Returns `u::rwx,g::r-x,o::r--`.
fn minimal_list() -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, permissions) in [(0x01, 7), (0x04, 5), (0x20, 4)] {
        bytes.extend([tag, 0, permissions, 0, 255, 255, 255, 255]);
    }
    bytes
}

fn mode_of(path: &Path) -> u32 {
    path.metadata().expect("attributes").mode() & 0o7777
}

fn may_read(path: &Path) -> bool {
    may_user_read(USER, path)
}

fn may_user_read(user: u32, path: &Path) -> bool {
    let mut cat = Command::new("cat");
    let output = cat
        .arg(path)
        .uid(user)
        .gid(GROUP)
        .output()
        .expect("cat runs");
    output.status.success()
}

#[test]
fn what_a_list_denies_is_denied_in_a_mount_and_the_list_stays() {
    let name = "access_lists::what_a_list_denies_is_denied_in_a_mount_and_the_list_stays";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        fs::set_permissions(world.path("."), Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(&tree, Permissions::from_mode(0o755)).expect("a mode");
        let secret = tree.join("secret");
        fs::write(&secret, "secret").expect("a file");
        chown(&secret, Some(0), Some(GROUP)).expect("a group");
        if let Err(error) = xattr::set(&secret, LIST, &list(6)) {
            let kept = "skipped: needs a file system with access lists";
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{kept}");
            return;
        }
        assert_eq!(
            mode_of(&secret),
            0o660,
            "a local file system shows the mask"
        );
        assert!(!may_read(&secret));
        assert_eq!(world.import(&tree, "app"), "app@v1");

        let mount = world.mount_writable("app@v1", "");
        let shown = mount.path().join("secret");
        assert_eq!(mode_of(&shown), 0o600);
        assert!(!may_read(&shown));
        assert_eq!(xattr::get(&shown, LIST).expect("a list"), Some(list(6)));

        // What is set as it is shown changes no mask, and nothing that is set grants what the list
        // denies.
        fs::set_permissions(&shown, Permissions::from_mode(0o700)).expect("a mode");
        assert_eq!(mode_of(&shown), 0o700);
        let mut file = fs::File::options()
            .append(true)
            .open(&shown)
            .expect("a file");
        std::io::Write::write_all(&mut file, b"s").expect("a write");
        drop(file);
        fs::set_permissions(&shown, Permissions::from_mode(0o760)).expect("a mode");
        assert_eq!(mode_of(&shown), 0o700);
        assert!(!may_read(&shown));
        mount.commit("chmod u+x");
        assert_eq!(mode_of(&shown), 0o700);
        mount.remount();
        assert_eq!(mode_of(&shown), 0o700);
        mount.umount();

        let export = |version: &str, name: &str| {
            let dir = world.path(name);
            let words = ["export".as_ref(), version.as_ref(), dir.as_os_str()];
            let _ = world.lfsfs(words).ok();
            dir
        };
        assert_same_trees(
            &tree,
            &export("app@v1", "first"),
            &CompareOptions::default(),
        );
        let second = export("app@v2", "second").join("secret");
        assert_eq!(mode_of(&second), 0o760);
        assert_eq!(xattr::get(&second, LIST).expect("a list"), Some(list(7)));
    });
}

#[test]
fn with_the_option_lists_do_what_they_do_on_a_local_file_system() {
    let name = "access_lists::with_the_option_lists_do_what_they_do_on_a_local_file_system";
    in_namespace(name, || {
        let world = World::new();
        let local = world.make_dir("tree");
        fs::set_permissions(world.path("."), Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(&local, Permissions::from_mode(0o755)).expect("a mode");
        fs::write(local.join("file"), "first").expect("a file");
        if let Err(error) = xattr::set(local.join("file"), LIST, &list(6)) {
            let kept = "skipped: needs a file system with access lists";
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{kept}");
            return;
        }
        xattr::remove(local.join("file"), LIST).expect("no list");
        let mode = Permissions::from_mode(0o644);
        fs::set_permissions(local.join("file"), mode).expect("a mode");
        assert_eq!(world.import(&local, "app"), "app@v1");

        let mount = world.mount_writable("app@v1", "acl");
        let may = |user| {
            let read = may_user_read(user, &local.join("file"));
            assert_eq!(may_user_read(user, &mount.path().join("file")), read);
            read
        };
        for (number, change) in CHANGES.iter().enumerate() {
            change(&local);
            change(mount.path());
            assert_eq!(listed(mount.path()), listed(&local), "change {number}");
            may(NAMED);
            may(USER);
        }
        assert!(may(NAMED) && !may(USER), "the list names one of them");
        mount.kill_and_mount();
        assert_eq!(listed(mount.path()), listed(&local));
        mount.commit("lists");
        mount.umount();

        let export = world.path("export");
        let _ = world
            .lfsfs(["export", "app@v2", export.to_str().expect("text")])
            .ok();
        assert_eq!(listed(&export), listed(&local));
        // Switched to a version without lists, the kernel does not go by those that it knows.
        let mount = world.mount("app@v2", "acl");
        assert!(may_user_read(NAMED, &mount.path().join("file")));
        mount.switch("v1");
        assert_eq!(mode_of(&mount.path().join("file")), 0o644);
        assert!(may_user_read(USER, &mount.path().join("file")));
        mount.switch("v2");
        assert!(!may_user_read(USER, &mount.path().join("file")));
        assert!(may_user_read(NAMED, &mount.path().join("file")));
        mount.umount();
    });
}
