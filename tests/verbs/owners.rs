//! Mounts of other users, and places that other users can write.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{Run, World, in_namespace, mount_table, run};

use crate::support::{read, typed_in, world};

/// A user without rights that every machine has.
const USER: u32 = 65534;

fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).expect("an owner");
}

/// Lets users open the device, which some machines allow root only.
fn open_device(world: &World) {
    let device = world.path("fuse");
    let words = ["-m", "666"].map(OsStr::new);
    let node = ["c", "10", "229"].map(OsStr::new);
    let words = words.into_iter().chain([device.as_os_str()]).chain(node);
    let _ = run("mknod", words).ok();
    rustix::mount::mount_bind(&device, "/dev/fuse").expect("a bind mount");
}

/// Returns a command of a user without a login: no variable says where sockets lie.
fn as_user(world: &World, home: &Path, words: &[&str]) -> Run {
    let ours = world.command_for_any_user(words);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(ours.get_program())
        .args(ours.get_args())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", home)
        .env("LFSFS_SERVER", world.address());
    Run::of(command)
}

/// Makes a home and a mount point of the user.
fn user_places(world: &World) -> (PathBuf, PathBuf) {
    let parent = world.path("tree").parent().expect("a directory").to_owned();
    fs::set_permissions(&parent, Permissions::from_mode(0o755)).expect("a mode");
    let (home, dir) = (world.make_dir("home"), world.make_dir("theirs"));
    give(&home);
    give(&dir);
    (home, dir)
}

#[test]
fn root_may_do_with_a_users_mount_what_the_user_may() {
    let needed = ["fusermount3", "setpriv"].map(require_program);
    if needed.iter().any(Result::is_err) {
        return;
    }
    if !Path::new("/etc/mtab").exists() {
        println!("skipped: there is no /etc/mtab here, and fusermount3 ends no mount without it");
        return;
    }
    let name = "owners::root_may_do_with_a_users_mount_what_the_user_may";
    in_namespace(name, || {
        let world = world();
        open_device(&world);
        let (home, dir) = user_places(&world);
        let path = dir.to_str().expect("UTF-8");
        let _ = as_user(&world, &home, &["mount", "app", path]).ok();
        let status = as_user(&world, &home, &["status", path]).ok();
        assert!(status.contains("app@v1"), "{status}");
        let sockets = PathBuf::from(format!("/tmp/lfsfs-{USER}"));
        let own = fs::metadata(&sockets).expect("a directory of sockets");
        assert_eq!((own.uid(), own.mode() & 0o777), (USER, 0o700));

        let write = |text: &str| {
            let file = dir.join("one");
            let script = format!("printf {text} > {}", file.display());
            let user = [
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "sh",
                "-c",
            ];
            let words = user.into_iter().chain([script.as_str()]);
            let _ = run("setpriv", words).ok();
        };
        let root = |words: &[&str]| typed_in(&world, Path::new("/"), words).ok();
        write("mine");
        let listed = root(&["mounts"]);
        assert!(listed.contains("  rw  1 changes  "), "{listed}");
        assert!(root(&["status", path]).contains("\nchanges    1\n"));
        assert_eq!(root(&["diff", path]), "M one");
        assert_eq!(root(&["commit", path]), "app@v2");
        assert_eq!(root(&["cat", "app@v2", "one"]), "mine");
        assert_eq!(root(&["switch", path, "v1"]), "app@v1");
        for paths in [format!("{path}/one"), path.to_owned()] {
            write("again");
            assert_eq!(root(&["discard", "--yes", &paths]), "1 change discarded");
        }
        // Another user may not.
        let _ = root(&["umount", path]);
        assert!(mount_table(&dir).is_empty());
        fs::remove_dir(&sockets).expect("nothing is left in it");
    });
}

#[test]
fn what_cannot_be_asked_is_shown_as_unknown() {
    if require_program("setpriv").is_err() {
        return;
    }
    in_namespace("owners::what_cannot_be_asked_is_shown_as_unknown", || {
        let world = world();
        let (home, _) = user_places(&world);
        let mount = world.mount_writable("app", "");
        fs::write(mount.path().join("one"), "changed").expect("a file");
        let listed = as_user(&world, &home, &["mounts"]).ok();
        let unknown = "  app  ?  rw  ? changes  pid ?  silent: only user 0 and root may ask";
        assert!(listed.contains(unknown), "{listed}");
        let json = as_user(&world, &home, &["mounts", "--json"]).json();
        for key in ["version", "changes", "pid"] {
            assert_eq!(json.get(key), Some(&serde_json::Value::Null), "{key}");
        }
        assert_eq!(json["mode"], "rw");
        assert!(
            json["reason"]
                .as_str()
                .expect("a reason")
                .contains("user 0")
        );
        let path = mount.path().to_str().expect("UTF-8");
        as_user(&world, &home, &["umount", path]).fails(1, &["user 0"]);
        mount.umount();
    });
}

#[test]
fn a_log_or_a_place_that_another_user_can_replace_is_refused() {
    let name = "owners::a_log_or_a_place_that_another_user_can_replace_is_refused";
    in_namespace(name, || {
        let world = world();
        let dir = world.make_dir("mnt");
        let precious = world.path("precious");
        fs::write(&precious, "precious").expect("a file");
        let theirs = world.make_dir("theirs");
        give(&theirs);
        let log = world.path("log");
        symlink(&precious, &log).expect("a link");
        std::os::unix::fs::lchown(&log, Some(USER), None).expect("an owner");
        symlink(&precious, theirs.join("log")).expect("a link");
        let open = world.make_dir("open");
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("a mode");
        let below = |dir: &Path, name: &str| dir.join(name).display().to_string();
        let theirs = |option: &str| format!("{option}={}", below(&theirs, option));
        let refused = [
            format!("log={}", log.display()),
            theirs("log"),
            theirs("state"),
            theirs("cache"),
            theirs("run"),
            format!("state={}", below(&open, "state")),
        ];
        for options in refused {
            let mounted = world.mount_at("app@v1", &dir, &options);
            assert_eq!(mounted.code(), Some(1), "{mounted:?}");
            let told = mounted.stderr();
            assert!(told.contains("cannot use"), "{told}");
            assert!(
                told.contains("65534") || told.contains("written by all users"),
                "{told}"
            );
            assert!(mount_table(&dir).is_empty());
        }
        // A second name of a file, which no owner gives away.
        fs::remove_file(&log).expect("a link");
        fs::hard_link(&precious, &log).expect("a second name");
        let options = format!("log={}", log.display());
        world
            .mount_at("app@v1", &dir, &options)
            .fails(1, &["other names"]);
        assert_eq!(
            read(precious.parent().expect("a directory"), "precious"),
            "precious"
        );
        assert_eq!(
            fs::metadata(&precious).expect("a file").mode() & 0o777,
            0o644
        );

        // Links of root's own are followed.
        fs::remove_file(&log).expect("a name");
        symlink(world.path("real-log"), &log).expect("a link");
        let mounted = world.mount_at("app@v1", &dir, &options);
        assert_eq!(mounted.ok(), "");
        assert!(world.path("real-log").exists());
        let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
    });
}
