//! Damaged metadata: the server says what is wrong, or serves the truth.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_tests::listing::{Listing, listing_of_version};
use lfsfs_tests::{Numbers, World};

use crate::support::{Damage, copy_dir, files_below, world_with_version};

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Some damages of a file of this length, over all of it.
fn damages(len: u64, count: u64) -> Vec<Damage> {
    let step = (len / count).max(1);
    let at = |number: u64| (number * step + Numbers(number + len).below(step)).min(len - 1);
    let flips = (0..count.min(len)).map(|number| Damage::Flip {
        at: at(number),
        bit: u8::try_from(number % 8).expect("a bit"),
    });
    let cuts = [0, len / 3, len - 1].map(|len| Damage::Cut { len });
    flips.chain(cuts).collect()
}

/// What the server made of damaged metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Served,
    Refused,
}

/// Starts the server on damaged metadata and compares what it serves.
fn start_and_read(world: &mut World, what: &str, intact: &Listing) -> Outcome {
    let mut command = world.lfsfsd(["all", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(world.data());
    let mut server = Program::start(command).expect("lfsfsd starts");
    let Ok(address) = server.wait_for_word("listening on ", START_TIMEOUT) else {
        let status = server.wait(START_TIMEOUT).expect("lfsfsd ends");
        let text = server.output();
        assert_eq!(status.code(), Some(1), "{what}: {text}");
        assert!(!text.contains("panicked"), "{what}: {text}");
        let advised = text.contains("lfsfsd check") || text.contains("from a backup");
        assert!(advised, "no advice, {what}: {text}");
        return Outcome::Refused;
    };
    world.set_address(&address);
    let outcome = match world.lfsfs(["ls", "-R", "--json", "app"]) {
        run if run.code() == Some(0) => {
            assert_eq!(
                &listing_of_version(world, "app"),
                intact,
                "not the truth: {what}"
            );
            Outcome::Served
        }
        run => {
            let _ = run.fails(1, &["lfsfs: "]);
            Outcome::Refused
        }
    };
    let ended = server.terminate(Duration::from_secs(30));
    assert!(ended.is_ok(), "{what}: {}", server.output());
    assert!(
        !server.output().contains("panicked"),
        "{what}: {}",
        server.output()
    );
    outcome
}

/// Puts the metadata back as it was.
fn restore(world: &World, saved: &Path) {
    fs::remove_dir_all(world.data().join("meta")).expect("the damaged metadata");
    copy_dir(saved, &world.data().join("meta"));
}

fn damage_metadata(count: u64) {
    let (mut world, _) = world_with_version();
    let intact = listing_of_version(&world, "app");
    world.stop_server();
    let meta = world.data().join("meta");
    let saved = world.path("saved");
    copy_dir(&meta, &saved);
    let (mut served, mut refused, mut found) = (0, 0, 0);
    let is_not_empty = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.len() > 0);
    for file in files_below(&meta).into_iter().filter(is_not_empty) {
        let len = fs::metadata(&file).expect("a file").len();
        for damage in damages(len, count) {
            let what = format!("{damage:?} of {}, {len} bytes", file.display());
            damage.apply(&file);
            let check = world.check();
            assert!(matches!(check.code(), Some(0 | 1)), "{what}: {check:?}");
            assert!(!check.stderr().contains("panicked"), "{what}: {check:?}");
            restore(&world, &saved);
            damage.apply(&file);
            match start_and_read(&mut world, &what, &intact) {
                Outcome::Served => served += 1,
                Outcome::Refused => {
                    refused += 1;
                    assert_eq!(
                        check.code(),
                        Some(1),
                        "not found by the check: {what}, {check:?}"
                    );
                }
            }
            found += u64::from(check.code() == Some(1));
            restore(&world, &saved);
        }
    }
    assert!(
        served > 0 && refused > 0 && found > 0,
        "{served} {refused} {found}"
    );
}

#[test]
fn damaged_metadata_is_found_or_does_no_harm() {
    damage_metadata(6);
}

#[test]
#[ignore = "soak: many bits"]
fn metadata_damaged_in_many_places_is_found_or_does_no_harm() {
    damage_metadata(150);
}
