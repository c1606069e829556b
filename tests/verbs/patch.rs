//! `lfsfs diff --patch`: git and patch(1) make one version of the other with it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use lfsfs_tests::{World, in_namespace, run};

use crate::support::write;

/// What git keeps of a tree: bytes, targets of links, and whether a file may be run.
type Kept = BTreeMap<PathBuf, (bool, Vec<u8>)>;

fn kept(dir: &Path) -> Kept {
    let mut kept = Kept::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("metadata");
            let value = if metadata.is_dir() {
                dirs.push(path);
                continue;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                (false, target.into_os_string().into_encoded_bytes())
            } else {
                let can_run = metadata.permissions().mode() & 0o100 != 0;
                (can_run, fs::read(&path).expect("a file"))
            };
            kept.insert(path.strip_prefix(dir).expect("below").to_owned(), value);
        }
    }
    kept
}

/// Makes app@v1, and a directory with what v2 is to be.
fn world() -> (World, PathBuf) {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir(tree.join("dir")).expect("a directory");
    let numbers: String = (1..100).map(|number| format!("{number}\n")).collect();
    write(&tree, "numbers", &numbers);
    for name in ["gone", "mode", "kind", "a \"b\"\tc\nd", "dir/in", "no end"] {
        write(&tree, name, &format!("{name}\nsecond\nthird\n"));
    }
    fs::write(tree.join("returns"), b"one\r\ntwo\rthree\r\n\xff\xfe\n").expect("a file");
    symlink("numbers", tree.join("link")).expect("a link");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    (world, tree)
}

fn change(dir: &Path) {
    let numbers = fs::read_to_string(dir.join("numbers")).expect("a file");
    let numbers = numbers
        .replace("\n7\n", "\nseven\n")
        .replace("\n90\n", "\n");
    write(dir, "numbers", &numbers);
    fs::remove_file(dir.join("gone")).expect("a file");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.join("mode"), mode).expect("a mode");
    fs::remove_file(dir.join("kind")).expect("a file");
    symlink("mode", dir.join("kind")).expect("a link");
    write(dir, "a \"b\"\tc\nd", "other\nsecond\n");
    write(dir, "dir/in", "first\ndir/in\nsecond\nthird\n");
    write(dir, "no end", "no end\nsecond\nthird");
    fs::write(dir.join("returns"), b"one\r\ntwo\rfour\r\n\xff\xfe").expect("a file");
    fs::remove_file(dir.join("link")).expect("a link");
    symlink("no end", dir.join("link")).expect("a link");
    write(dir, "empty", "");
    write(dir, "dir/new file", "new");
}

/// Makes app@v2 in a mount and returns what `diff --patch` shows of it before and after the commit.
fn patches(world: &World) -> (Vec<u8>, Vec<u8>) {
    let mount = world.mount_writable("app", "");
    change(mount.path());
    let patch = mount.verb(["diff", "--patch"]);
    let _ = patch.ok();
    assert_eq!(mount.verb(["commit"]).ok(), "app@v2");
    mount.umount();
    let both = world.lfsfs(["diff", "--patch", "app@v1", "app@v2"]);
    let _ = both.ok();
    (patch.stdout_bytes().to_vec(), both.stdout_bytes().to_vec())
}

#[test]
fn git_makes_the_new_version_of_the_old_one() {
    in_namespace("patch::git_makes_the_new_version_of_the_old_one", || {
        let (world, tree) = world();
        let (of_mount, of_versions) = patches(&world);
        assert_eq!(
            String::from_utf8_lossy(&of_mount),
            String::from_utf8_lossy(&of_versions)
        );
        let patch = world.path("patch");
        fs::write(&patch, &of_versions).expect("a file");
        let before = kept(&tree);
        let (dir, patch) = (tree.to_str().expect("text"), patch.to_str().expect("text"));
        let _ = run("git", ["-C", dir, "apply", patch]).ok();
        let after = kept(&tree);
        assert_ne!(before, after);
        let expected = world.path("expected");
        let expected_text = expected.to_str().expect("text");
        let _ = world.lfsfs(["export", "app@v2", expected_text]).ok();
        assert_eq!(after, kept(&expected));
    });
}

#[test]
fn what_git_does_not_keep_is_a_line_and_bytes_that_are_no_text_are_not_shown() {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("binary"), b"a\0b").expect("a file");
    fs::create_dir(tree.join("dir")).expect("a directory");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    fs::write(tree.join("binary"), b"a\0c").expect("a file");
    fs::set_permissions(tree.join("dir"), fs::Permissions::from_mode(0o700)).expect("a mode");
    assert_eq!(world.import(&tree, "app"), "app@v2");
    let patch = world.lfsfs(["show", "--patch", "app@v2"]).ok();
    let expected = "diff --git a/binary b/binary\n\
                    Binary files a/binary and b/binary differ\n\
                    M dir";
    assert!(patch.ends_with(expected), "{patch}");
    let refused = world.lfsfs(["diff", "--patch", "--json", "app@v1", "app@v2"]);
    refused.fails(2, &["--patch", "--json"]);
}

#[test]
fn a_file_of_a_directory_that_moved_is_compared_with_what_it_was_there() {
    in_namespace(
        "patch::a_file_of_a_directory_that_moved_is_compared_with_what_it_was_there",
        || {
            let (world, _) = world();
            let mount = world.mount_writable("app", "");
            let at = |name: &str| mount.path().join(name);
            rustix::fs::rename(at("dir"), at("moved")).expect("a directory");
            write(mount.path(), "moved/in", "dir/in\nsecond\n");
            let expected = "R dir\tmoved\n\
                        diff --git a/dir/in b/moved/in\n\
                        rename from dir/in\n\
                        rename to moved/in\n\
                        --- a/dir/in\n\
                        +++ b/moved/in\n\
                        @@ -1,3 +1,2 @@\n \
                        dir/in\n second\n-third";
            assert_eq!(mount.verb(["diff", "-p"]).ok(), expected);
            let below = mount.path().join("numbers");
            let _ = fs::remove_file(&below);
            let path = below.to_str().expect("text");
            let patch = world.lfsfs(["diff", "-p", path]).ok();
            assert!(
                patch.starts_with("diff --git a/numbers b/numbers\ndeleted file mode 100644\n")
            );
            assert!(patch.ends_with("\n-99"), "{patch}");
            mount.umount();
        },
    );
}
