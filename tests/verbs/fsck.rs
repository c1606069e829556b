//! `lfsfs fsck`: what is wrong between metadata and datanodes is told, and mended with `--repair`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lfsfs_tests::{Cluster, Numbers, Run};
use serde_json::Value;

use crate::support::put;

const LIMIT: Duration = Duration::from_secs(30);
const FILE_LEN: usize = 300_000;

/// Returns a cluster with two copies of one file, `app:file`.
fn cluster() -> Cluster {
    let cluster = Cluster::new(2, &["--replication", "2", "--repair-after", "8"]);
    let world = &cluster.world;
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let file = world.path("file");
    fs::write(&file, bytes()).expect("a file");
    let _ = put(world, &file, "app:file").ok();
    cluster.wait_for_copies(2, LIMIT);
    cluster
}

fn bytes() -> Vec<u8> {
    Numbers(1).bytes(FILE_LEN)
}

fn fsck(cluster: &Cluster, options: &[&str]) -> Run {
    let words = ["fsck", "--json"].into_iter();
    cluster.world.lfsfs(words.chain(options.iter().copied()))
}

/// Returns the kinds of what was found, and whether it was repaired.
fn findings(run: &Run) -> Vec<(String, bool)> {
    let value = |line| serde_json::from_str::<Value>(line).expect("JSON");
    let stdout = run.stdout();
    // The last line says that the command failed.
    let lines = stdout.lines().map(value);
    let lines = lines.filter(|line| line.get("error").is_none());
    let found = lines.map(|line| {
        let kind = line["finding"].as_str().expect("a text").to_owned();
        (kind, line["repaired"] == true)
    });
    found.collect()
}

fn found(run: &Run) -> Vec<String> {
    findings(run).into_iter().map(|(kind, _)| kind).collect()
}

/// Returns the file of the one chunk of the first datanode.
fn chunk(cluster: &Cluster) -> PathBuf {
    let mut files = cluster.chunk_files(0);
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Checks that `options` mend what was found, that nothing is wrong then, and that the file can be read.
#[track_caller]
fn assert_is_repaired(cluster: &Cluster, options: &[&str], expected: &str) {
    let options = [options, &["--repair"]].concat();
    let run = fsck(cluster, &options);
    assert_eq!(findings(&run), [(expected.to_owned(), true)], "{run:?}");
    assert_eq!(run.code(), Some(0), "{run:?}");
    cluster.wait_for_copies(2, LIMIT);
    let again = fsck(cluster, &["--read"]);
    assert_eq!(
        (found(&again), again.code()),
        (vec![], Some(0)),
        "{again:?}"
    );
    let read = cluster.world.lfsfs(["cat", "app", "file"]);
    assert!(read.stdout_bytes() == bytes(), "{}", read.stderr());
}

#[test]
fn a_whole_cluster_has_no_findings() {
    let cluster = cluster();
    for options in [&[][..], &["--read"], &["--repair"], &["--read", "--repair"]] {
        let run = fsck(&cluster, options);
        assert_eq!((found(&run), run.code()), (vec![], Some(0)), "{run:?}");
    }
    assert_eq!(cluster.world.lfsfs(["fsck"]).ok(), "");
}

#[test]
fn a_chunk_that_was_deleted_is_told_and_copied_again() {
    let cluster = cluster();
    fs::remove_file(chunk(&cluster)).expect("a file");
    let run = fsck(&cluster, &[]);
    assert_eq!(
        (found(&run), run.code()),
        (vec!["lost_copy".to_owned()], Some(1))
    );
    assert!(run.stdout().contains("lfsfs fsck --repair"), "{run:?}");
    assert_is_repaired(&cluster, &[], "lost_copy");
}

#[test]
fn a_chunk_that_was_cut_is_found_without_reading_it() {
    let cluster = cluster();
    let file = fs::OpenOptions::new().write(true).open(chunk(&cluster));
    file.expect("a file").set_len(1000).expect("it is cut");
    assert_eq!(found(&fsck(&cluster, &[])), ["corrupt"]);
    assert_is_repaired(&cluster, &[], "corrupt");
}

#[test]
fn a_flipped_bit_is_found_by_reading() {
    let cluster = cluster();
    let path = chunk(&cluster);
    let mut bytes = fs::read(&path).expect("a file");
    bytes[FILE_LEN / 2] ^= 1;
    fs::write(&path, bytes).expect("a file");
    assert_eq!(found(&fsck(&cluster, &[])), Vec::<String>::new());
    assert_eq!(found(&fsck(&cluster, &["--read"])), ["corrupt"]);
    assert_is_repaired(&cluster, &["--read"], "corrupt");
}

/// Reading a directory fails as reading from a bad place of a disk does.
#[test]
fn a_chunk_that_the_disk_does_not_give_is_given_up() {
    let cluster = cluster();
    let path = chunk(&cluster);
    fs::remove_file(&path).expect("a file");
    fs::create_dir(&path).expect("a directory");
    assert_eq!(found(&fsck(&cluster, &["--read"])), ["unreadable"]);
    assert_is_repaired(&cluster, &["--read"], "unreadable");
}

#[test]
fn a_chunk_that_the_coordinator_does_not_know_is_told_and_kept() {
    let mut cluster = cluster();
    let foreign = {
        // Another cluster's chunk, put where this one keeps its own.
        let other = self::cluster();
        let file = other.world.path("other");
        fs::write(&file, Numbers(2).bytes(FILE_LEN)).expect("a file");
        let _ = put(&other.world, &file, "app:other").ok();
        let own = chunk(&cluster).file_name().expect("a name").to_owned();
        let mut files = other.chunk_files(0);
        files.retain(|file| file.file_name() != Some(&own));
        (
            files[0].file_name().expect("a name").to_owned(),
            fs::read(&files[0]).expect("a file"),
        )
    };
    let store = chunk(&cluster)
        .parent()
        .and_then(|dir| dir.parent())
        .map(PathBuf::from);
    let name = foreign.0.to_str().expect("UTF-8");
    let path = store.expect("a store").join(&name[..2]).join(name);
    fs::write(&path, foreign.1).expect("a file");
    assert_eq!(found(&fsck(&cluster, &[])), ["orphaned"]);
    assert!(path.exists());
    let repaired = fsck(&cluster, &["--repair"]);
    assert_eq!(found(&repaired), ["orphaned"]);
    assert!(path.exists(), "nothing is deleted");
    cluster.stop_node(1);
}

#[test]
fn missing_chunks_are_told_with_the_files_that_need_them() {
    let mut cluster = cluster();
    let files = [0, 1].map(|node| cluster.chunk_files(node).remove(0));
    files
        .iter()
        .for_each(|file| fs::remove_file(file).expect("a file"));
    let run = fsck(&cluster, &["--repair"]);
    assert_eq!(run.code(), Some(1), "{run:?}");
    // The second datanode may be asked for a copy, and find out by itself.
    let mut kinds = found(&run);
    kinds.dedup();
    assert_eq!(kinds, ["lost_copy", "missing", "lost_file"]);
    let text = cluster.world.lfsfs(["fsck"]).stdout();
    assert!(
        text.contains("lost file") && text.contains("app:file"),
        "{text}"
    );
    // The same bytes once more mend it.
    let _ = put(&cluster.world, &cluster.world.path("file"), "app:again").ok();
    cluster.wait_for_copies(2, LIMIT);
    assert_eq!(fsck(&cluster, &[]).code(), Some(0));
    cluster.stop_node(1);
    cluster.wait_for_silence(1, LIMIT);
    assert!(found(&fsck(&cluster, &[])).contains(&"offline".to_owned()));
}
