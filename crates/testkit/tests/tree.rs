//! Generated trees: repeatable, complete, runnable, and compared exactly.

#![expect(
    clippy::unwrap_used,
    reason = "also the helpers of a test fail by panicking"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use lfsfs_testkit::compare::{Aspect, CompareOptions, assert_same_trees, compare_trees};
use lfsfs_testkit::requirements::require_program;
use lfsfs_testkit::tempdir::{TempDir, remove_tree};
use lfsfs_testkit::tree::{ChangeKind, LargeFile, TreeSpec, mutate};

fn torture() -> TreeSpec {
    let mut spec = TreeSpec::torture();
    spec.files = 300;
    spec.features.large_file = Some(LargeFile {
        bytes: 5_000_000,
        compressible: true,
    });
    spec
}

#[test]
fn one_seed_makes_one_tree_with_every_odd_object() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let summary = torture().generate(&one).unwrap();
    assert_eq!(torture().generate(&two).unwrap(), summary);
    assert_same_trees(&one, &two, &CompareOptions::default());

    assert_eq!(summary.hard_links, 5);
    assert_eq!(
        fs::metadata(one.join("hard-links/right/same"))
            .unwrap()
            .nlink(),
        3
    );
    assert_eq!(
        fs::metadata(one.join("large-file")).unwrap().len(),
        5_000_000
    );
    let old = fs::symlink_metadata(one.join("unusual-times/file-0")).unwrap();
    assert_eq!((old.mtime(), old.mtime_nsec()), (-1, 999_999_999));
    let setuid = fs::metadata(one.join("unusual-modes/file-4755")).unwrap();
    assert_eq!(setuid.mode() & 0o7777, 0o4755);
    // The kernel refuses the whole path of 4,095 bytes below the root, so look from within.
    let first = one.join("a".repeat(255));
    assert_eq!(fs::read_dir(&first).unwrap().count(), 1);

    let other = TreeSpec {
        seed: 2,
        ..torture()
    };
    other.generate(&dir.path().join("three")).unwrap();
    let three = dir.path().join("three");
    assert!(
        !compare_trees(&one, &three, &CompareOptions::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_small_tree_is_small_and_an_application_has_the_files_asked_for() {
    let dir = TempDir::new().unwrap();
    let small = TreeSpec::small()
        .generate(&dir.path().join("small"))
        .unwrap();
    assert!((200..450).contains(&small.entries()), "{small:?}");
    for files in [0, 1, 7, 1_000] {
        let path = dir.path().join(files.to_string());
        let summary = TreeSpec::app(files).generate(&path).unwrap();
        assert_eq!(summary.files, files as u64);
    }
    assert!(
        TreeSpec::app(1).generate(&dir.path().join("1")).is_err(),
        "not empty"
    );
}

#[test]
fn the_application_runs() {
    if require_program("node").is_err() {
        return;
    }
    let dir = TempDir::new().unwrap();
    TreeSpec::app(2_000).generate(dir.path()).unwrap();
    let output = Command::new("node")
        .arg("index.js")
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let modules: u32 = text
        .trim()
        .strip_prefix("modules ")
        .unwrap()
        .parse()
        .unwrap();
    assert!(modules > 100, "{modules} modules");
    let commands = fs::read_dir(dir.path().join("node_modules/.bin")).unwrap();
    for command in commands {
        let command = command.unwrap().path();
        assert_eq!(
            fs::metadata(&command).unwrap().mode() & 0o111,
            0o111,
            "{command:?}"
        );
    }
}

#[test]
fn mutations_are_repeatable_and_make_a_difference() {
    let dir = TempDir::new().unwrap();
    let [base, one, two] = ["base", "one", "two"].map(|name| dir.path().join(name));
    for path in [&base, &one, &two] {
        torture().generate(path).unwrap();
    }
    let changes = mutate(&one, 5, 200).unwrap();
    assert_eq!(changes.len(), 200);
    assert_eq!(mutate(&two, 5, 200).unwrap(), changes);
    let untimed = CompareOptions {
        times: false,
        directory_times: false,
        ..CompareOptions::default()
    };
    assert_same_trees(&one, &two, &untimed);
    let found = compare_trees(&base, &one, &untimed).unwrap();
    assert!(found.len() > 50, "only {} differences", found.len());
    let is_kind = |wanted: fn(&ChangeKind) -> bool| changes.iter().any(|c| wanted(&c.kind));
    assert!(is_kind(|kind| matches!(kind, ChangeKind::Edited)));
    assert!(is_kind(|kind| matches!(kind, ChangeKind::Added)));
    assert!(is_kind(|kind| matches!(kind, ChangeKind::Removed)));
    assert!(is_kind(|kind| matches!(kind, ChangeKind::ModeChanged)));
    assert!(is_kind(|kind| matches!(kind, ChangeKind::TypeChanged)));
    assert!(is_kind(|kind| matches!(kind, ChangeKind::Renamed { .. })));
    assert!(mutate(&dir.path().join("base/empty-directories/one"), 1, 1).is_err());
}

/// Makes two equal trees, lets `change` change one object of the second, and returns the aspects
/// in which they differ, times left out.
fn aspects(change: impl FnOnce(&Path)) -> Vec<Aspect> {
    let dir = TempDir::new().unwrap();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for path in [&one, &two] {
        fs::create_dir_all(path.join("directory/inner")).unwrap();
        fs::write(path.join("file"), "content").unwrap();
        fs::hard_link(path.join("file"), path.join("same")).unwrap();
        fs::write(path.join("other"), "content").unwrap();
        symlink("file", path.join("symlink")).unwrap();
    }
    change(&two);
    let options = CompareOptions {
        times: false,
        directory_times: false,
        ..CompareOptions::default()
    };
    let found = compare_trees(&one, &two, &options).unwrap();
    found.iter().map(|difference| difference.aspect).collect()
}

#[test]
fn every_aspect_is_seen() {
    use Aspect::{Contents, HardLinks, LinkCount, Missing, Mode, Size, Target, Type, Unexpected};
    assert_eq!(aspects(|_| ()), []);
    assert_eq!(
        aspects(|dir| fs::write(dir.join("other"), "CONTENT").unwrap()),
        [Contents]
    );
    assert_eq!(
        aspects(|dir| fs::write(dir.join("other"), "c").unwrap()),
        [Size]
    );
    assert_eq!(
        aspects(|dir| fs::write(dir.join("z"), "").unwrap()),
        [Unexpected]
    );
    assert_eq!(
        aspects(|dir| fs::remove_file(dir.join("other")).unwrap()),
        [Missing]
    );
    assert_eq!(
        aspects(|dir| fs::write(dir.join("directory/\n"), "").unwrap()),
        [Unexpected]
    );
    let mode = |dir: &Path| {
        fs::set_permissions(dir.join("directory"), fs::Permissions::from_mode(0o700)).unwrap();
    };
    assert_eq!(aspects(mode), [Mode]);
    let target = |dir: &Path| {
        fs::remove_file(dir.join("symlink")).unwrap();
        symlink("File", dir.join("symlink")).unwrap();
    };
    assert_eq!(aspects(target), [Target]);
    let kind = |dir: &Path| {
        fs::remove_file(dir.join("other")).unwrap();
        fs::create_dir(dir.join("other")).unwrap();
    };
    assert_eq!(aspects(kind), [Type]);
    let split = |dir: &Path| {
        fs::remove_file(dir.join("same")).unwrap();
        fs::write(dir.join("same"), "content").unwrap();
    };
    assert_eq!(aspects(split), [LinkCount, LinkCount, HardLinks]);
    let joined = |dir: &Path| {
        fs::remove_file(dir.join("other")).unwrap();
        fs::hard_link(dir.join("file"), dir.join("other")).unwrap();
    };
    assert_eq!(
        aspects(joined),
        [LinkCount, LinkCount, HardLinks, LinkCount]
    );
}

#[test]
fn times_and_xattrs_are_seen_and_can_be_left_out() {
    let dir = TempDir::new().unwrap();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    torture().generate(&one).unwrap();
    torture().generate(&two).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(two.join("xattrs/text"))
        .unwrap();
    let time = fs::metadata(two.join("xattrs/text"))
        .unwrap()
        .modified()
        .unwrap();
    file.set_modified(time + std::time::Duration::from_nanos(1))
        .unwrap();
    rustix::fs::fsetxattr(
        &file,
        "user.comment",
        b"other",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let found = compare_trees(&one, &two, &CompareOptions::default()).unwrap();
    let found_aspects: Vec<_> = found.iter().map(|difference| difference.aspect).collect();
    assert_eq!(found_aspects, [Aspect::Time, Aspect::Xattrs]);
    assert_eq!(
        found[1].to_string(),
        "\"xattrs/text\": Xattrs: expected [\"user.comment=made by hand\"], \
         found [\"user.comment=other\"]"
    );
    let options = CompareOptions {
        times: false,
        ignored_xattr_prefixes: vec!["user.comment".into()],
        ..CompareOptions::default()
    };
    assert_same_trees(&one, &two, &options);
}

#[test]
fn a_temporary_directory_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_owned();
    torture().generate(&path.join("tree")).unwrap();
    fs::set_permissions(path.join("tree"), fs::Permissions::from_mode(0o000)).unwrap();
    drop(dir);
    assert!(!path.exists());
    assert!(remove_tree(&path).is_err(), "it is not there any more");
}
