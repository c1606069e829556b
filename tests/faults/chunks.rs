//! Damaged chunk files on the server: wrong bytes are never served, and the check finds them.

use std::fs;
use std::path::PathBuf;

use lfsfs_testkit::chunks;
use lfsfs_tests::{Numbers, World};

use crate::support::{Damage, copy_dir};

/// A stopped server with one large file and some small ones as `app@v1`.
fn stopped_world() -> (World, PathBuf) {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("large"), Numbers(7).bytes(3_000_000)).expect("a file");
    for number in 0..50 {
        let text = format!("small file {number} ").repeat(200);
        fs::write(tree.join(format!("small-{number:02}")), text).expect("a file");
    }
    let _ = world.import(&tree, "app");
    world.stop_server();
    world.assert_check_is_clean();
    (world, tree)
}

/// Some damages of a file of this length, over all of it.
fn damages(len: u64, count: u64) -> Vec<Damage> {
    let mut numbers = Numbers(len);
    let flip = |at: u64| Damage::Flip {
        at: at.min(len - 1),
        bit: u8::try_from(at % 8).expect("a bit"),
    };
    let mut damages: Vec<_> = (0..count).map(|_| flip(numbers.below(len))).collect();
    damages.extend([0, 10, len - 1, len - 40].map(flip));
    damages.extend([0, len / 2, len - 1].map(|len| Damage::Cut { len }));
    damages
}

/// Reads everything: each file is whole or an error.
fn assert_truth_or_error(world: &World, tree: &std::path::Path, damage: &str) {
    let mut errors = 0;
    for name in ["large", "small-00", "small-25", "small-49"] {
        let run = world.lfsfs(["cat", "app@v1", name]);
        let expected = fs::read(tree.join(name)).expect("a file of the tree");
        let bytes = run.stdout_bytes();
        assert!(
            expected.starts_with(bytes),
            "wrong bytes in {name}: {damage}"
        );
        if run.code() == Some(0) {
            assert_eq!(bytes.len(), expected.len(), "{name} is cut short: {damage}");
        } else {
            errors += 1;
            let _ = run.fails(1, &["lfsfs: "]);
        }
    }
    let listed = world.lfsfs(["ls", "app@v1"]).ok();
    assert_eq!(
        listed.lines().count(),
        51,
        "listings need no chunk: {errors} errors, {damage}"
    );
}

fn damage_chunks(count: u64) {
    let (mut world, tree) = stopped_world();
    let saved = world.path("saved");
    copy_dir(world.data(), &saved);
    for file in chunks::files_in(world.data()) {
        let len = fs::metadata(&file).expect("a file").len();
        for damage in damages(len, count) {
            damage.apply(&file);
            let what = format!("{damage:?} of {len} bytes");
            let check = world.check();
            let found = check.stdout();
            assert_eq!(check.code(), Some(1), "{what}: {check:?}");
            assert!(found.contains("chunk "), "{what}: {found}");
            world.start_server(&[]);
            assert_truth_or_error(&world, &tree, &what);
            world.stop_server();
            fs::remove_dir_all(world.data()).expect("the damaged data");
            copy_dir(&saved, world.data());
        }
    }
}

#[test]
fn damaged_chunks_are_found_and_never_served() {
    damage_chunks(3);
}

#[test]
#[ignore = "soak: many bits"]
fn chunks_damaged_in_many_places_are_found_and_never_served() {
    damage_chunks(150);
}

#[test]
fn a_chunk_that_is_gone_is_found_and_can_be_imported_again() {
    let (mut world, tree) = stopped_world();
    for file in chunks::files_in(world.data()) {
        fs::remove_file(file).expect("a chunk");
    }
    let check = world.check();
    assert_eq!(check.code(), Some(1), "{check:?}");
    world.start_server(&[]);
    assert_truth_or_error(&world, &tree, "no chunks");
    let _ = world
        .lfsfs(["cat", "app@v1", "large"])
        .fails(1, &["lfsfs: "]);
    // The server knows by now, and so does the check.
    world.stop_server();
    let check = world.check();
    assert_eq!(check.code(), Some(1), "{check:?}");
    assert!(check.stdout().contains("is lost"), "{check:?}");
    world.start_server(&[]);
    assert_eq!(world.import(&tree, "app"), "app@v1");
    for name in ["large", "small-00", "small-49"] {
        let expected = fs::read(tree.join(name)).expect("a file of the tree");
        let cat = world.lfsfs(["cat", "app@v1", name]);
        assert_eq!(cat.stdout_bytes(), expected, "{name}");
    }
    world.stop_server();
    world.assert_check_is_clean();
}
