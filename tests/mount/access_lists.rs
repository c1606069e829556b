//! Files with access lists, which are kept and not enforced: what a list denies must be denied all the
//! same.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_tests::{World, in_namespace};

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

fn mode_of(path: &Path) -> u32 {
    path.metadata().expect("attributes").mode() & 0o7777
}

fn may_read(path: &Path) -> bool {
    let mut cat = Command::new("cat");
    let output = cat
        .arg(path)
        .uid(USER)
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
