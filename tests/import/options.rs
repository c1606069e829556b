//! Options of an import.

use std::fs;

use lfsfs_testkit::chunks;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Numbers, World};

#[test]
fn excluded_names_and_paths_stay_out_and_are_counted() {
    let world = World::new();
    let tree = world.path("tree");
    for dir in ["build/out", "src/build", ".git/objects"] {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    for file in [
        "build/out/a.o",
        "src/build/kept",
        "src/x.log",
        "y.log",
        ".git/HEAD",
        "keep",
    ] {
        fs::write(tree.join(file), file).expect("a file");
    }
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let options = [
        "--exclude",
        "*.log",
        "--exclude",
        "/build/out",
        "--exclude",
        ".git",
    ];
    let report = world.import_json(&tree, "app", &options);
    assert_eq!(report["excluded"], 4, "{report}");
    let listed = world.lfsfs(["ls", "-R", "app"]).ok();
    assert_eq!(listed, "build\nkeep\nsrc\nsrc/build\nsrc/build/kept");

    // What is excluded later is removed: the version mirrors what is left of the directory.
    let report = world.import_json(&tree, "app", &["--exclude", "build"]);
    assert_eq!(report["version"], 2, "{report}");
    let diff = world.lfsfs(["diff", "app@v1", "app@v2"]).ok();
    let mut lines: Vec<_> = diff.lines().collect();
    lines.sort_unstable();
    let expected = [
        "A .git",
        "A .git/HEAD",
        "A .git/objects",
        "A src/x.log",
        "A y.log",
        "D build",
        "D src/build",
        "D src/build/kept",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_pattern_that_is_none_is_named() {
    let world = World::new();
    let tree = world.make_dir("tree");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let words = [
        "import".as_ref(),
        tree.as_os_str(),
        "app".as_ref(),
        "--exclude=[".as_ref(),
    ];
    world.lfsfs(words).fails(2, &["\"[\" is not a pattern"]);
}

#[test]
fn a_dry_run_counts_and_sends_nothing() {
    let world = World::new();
    let tree = world.path("tree");
    let summary = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let dry = world.import_json(&tree, "app", &["--dry-run"]);
    assert_eq!(dry["dry_run"], true, "{dry}");
    assert_eq!(dry["new"], false, "{dry}");
    assert_eq!(dry["rows"], 0, "{dry}");
    assert!(dry["changes"].as_u64() >= Some(summary.entries()), "{dry}");
    assert_eq!(world.head("app"), 0);
    assert!(world.lfsfs(["ls", "app"]).ok().is_empty());

    // Nothing was sent, so the import itself sends what the dry run counted.
    let real = world.import_json(&tree, "app", &[]);
    for key in ["bytes_sent", "contents_sent", "bytes_read", "entries"] {
        let (dry, real) = (dry[key].as_u64(), real[key].as_u64());
        let (dry, real) = (dry.expect("a number"), real.expect("a number"));
        // Chunks are filled by whichever worker comes first.
        assert!(dry.abs_diff(real) <= real / 20, "{key}: {dry} and {real}");
    }
    let words = [
        "import".as_ref(),
        tree.as_os_str(),
        "app".as_ref(),
        "--dry-run".as_ref(),
    ];
    assert_eq!(world.lfsfs(words).ok(), "0 changes, 0 B to send");
}

#[test]
fn message_and_author_are_kept() {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "1").expect("a file");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let options = ["-m", "npm \"ci\"\nagain", "--author", "Ü <u@example.org>"];
    let _ = world.import_json(&tree, "app", &options);
    let version = world.lfsfs(["log", "app", "--json"]).json();
    assert_eq!(version["message"], options[1], "{version}");
    assert_eq!(version["author"], options[3], "{version}");
    assert_eq!(world.lfsfs(["log", "app"]).ok().lines().count(), 1);
}

#[test]
fn a_version_of_times_alone() {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "1").expect("a file");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let _ = world.import_json(&tree, "app", &[]);
    let file = fs::File::options()
        .write(true)
        .open(tree.join("file"))
        .expect("a file");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("a time");
    let report = world.import_json(&tree, "app", &[]);
    assert_eq!(
        (&report["version"], &report["new"]),
        (&2.into(), &true.into()),
        "{report}"
    );
    assert_eq!(report["bytes_sent"], 0, "{report}");
    assert_eq!(world.lfsfs(["diff", "app@v1", "app@v2"]).ok(), "T file");
}

#[test]
fn chunks_are_as_long_as_the_server_tells() {
    for (size, files, longest) in [("1MiB", 6..=12, 2 << 20), ("64MiB", 1..=5, 13 << 20)] {
        let world = World::with_server_arguments(&["--chunk-size", size]);
        let dir = world.make_dir("tree");
        for name in 1..13 {
            fs::write(dir.join(name.to_string()), Numbers(name).bytes(1_000_000)).unwrap();
        }
        world.import(&dir, "app");
        let chunks = chunks::files_in(world.data());
        assert!(files.contains(&chunks.len()), "{size}: {}", chunks.len());
        for chunk in chunks {
            let len = fs::metadata(chunk).unwrap().len();
            assert!(len <= longest, "{size}: {len}");
        }
        assert_version_is_dir(&world, "app", &dir);
    }
}
