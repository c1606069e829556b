//! The lines of what a mount changed are the difference between the tree that it began with and the
//! one that it shows.

use lfsfs_remote::Call;
use lfsfs_remote::memory::{Faults, MemoryTree, plain};
use lfsfs_types::{Kind, Link, LinkId};
use lfsfs_vfs::{LocalChange, LocalLine, Privileges, Vfs};
use proptest::prelude::*;

use crate::trees::{Mounted, Step, difference, step, walk};
use crate::writable_support::{Machine, ino};

/// Returns lines as `difference` gives them.
pub(crate) async fn lines(vfs: &Vfs) -> Vec<String> {
    let changes = vfs.changes().await.unwrap();
    assert!(changes.is_sorted_by(|a, b| a.path <= b.path), "{changes:?}");
    let mut lines: Vec<_> = changes.iter().map(text).collect();
    lines.sort();
    lines
}

fn text(change: &LocalChange) -> String {
    let path = String::from_utf8_lossy(change.path.as_bytes());
    match (change.line, &change.old) {
        (LocalLine::Added, None) => format!("A {path}"),
        (LocalLine::Removed, None) => format!("D {path}"),
        (LocalLine::Modified, None) => format!("M {path}"),
        (LocalLine::Times, None) => format!("T {path}"),
        (LocalLine::Renamed, Some(old)) => {
            format!("R {} {path}", String::from_utf8_lossy(old.as_bytes()))
        }
        _ => panic!("{change:?}"),
    }
}

async fn after(steps: &[Step]) -> Vec<String> {
    let mounted = Mounted::new().await;
    for step in steps {
        mounted.must(step).await;
    }
    lines(&mounted.vfs).await
}

fn rename(from: &str, to: &str) -> Step {
    Step::Rename(from.into(), to.into())
}

#[tokio::test]
async fn a_mount_without_changes_has_no_lines() {
    let mounted = Mounted::new().await;
    walk(&mounted.vfs).await;
    assert!(lines(&mounted.vfs).await.is_empty());
    assert_eq!(mounted.vfs.changes_len(), 0);
}

#[tokio::test]
async fn a_moved_directory_is_one_line_whatever_is_below_it() {
    assert_eq!(after(&[rename("a", "c/e")]).await, ["R a c/e"]);
    let below = [rename("a", "e"), Step::Write("e/a/a".into(), 0, 1)];
    assert_eq!(after(&below).await, ["M e/a/a", "R a e"]);
    let twice = [rename("a", "e"), rename("e/a", "f")];
    assert_eq!(after(&twice).await, ["R a e", "R a/a f"]);
    let back = [rename("a", "e"), rename("e", "a")];
    assert!(after(&back).await.is_empty());
}

#[tokio::test]
async fn a_renamed_file_is_a_removal_and_an_addition() {
    assert_eq!(after(&[rename("a/c", "e")]).await, ["A e", "D a/c"]);
}

#[tokio::test]
async fn all_that_a_removed_directory_held_is_removed() {
    let lines = after(&[Step::RemoveAll("a/a".into())]).await;
    assert_eq!(
        lines,
        ["D a/a", "D a/a/a", "D a/a/b", "D a/a/b/a", "D a/a/c"]
    );
}

#[tokio::test]
async fn what_was_removed_and_made_again_is_compared_by_path() {
    let steps = [
        Step::RemoveAll("a/a".into()),
        Step::Mkdir("a/a".into()),
        Step::Remake("a/a/a".into()),
        Step::Create("a/a/c".into()),
        Step::Create("a/a/d".into()),
    ];
    let lines = after(&steps).await;
    let expected = ["A a/a/d", "D a/a/b", "D a/a/b/a", "M a/a", "M a/a/c"];
    assert_eq!(lines, expected, "the base's directory has another owner");
}

#[tokio::test]
async fn what_was_written_again_as_it_was_has_other_times_or_none() {
    let rewritten = [Step::Rewrite("d".into())];
    assert_eq!(after(&rewritten).await, ["T d"]);
    let restored = [Step::Rewrite("d".into()), Step::Utimes("d".into(), true)];
    assert!(after(&restored).await.is_empty());
    let attributes = [Step::Chmod("d".into(), 1), Step::Chmod("d".into(), 0)];
    assert!(after(&attributes).await.is_empty());
}

#[tokio::test]
async fn a_file_in_the_place_of_a_directory_is_modified_and_all_below_removed() {
    let steps = [Step::RemoveAll("b".into()), Step::Create("b".into())];
    let lines = after(&steps).await;
    assert_eq!(lines, ["D b/a", "D b/a/a", "D b/b", "D b/c", "M b"]);
}

#[tokio::test]
async fn a_hard_linked_file_is_told_under_the_name_that_was_used() {
    let mut tree = MemoryTree::new();
    let content = tree.content(b"shared");
    let mut record = plain(Kind::File { size: 6, content }, 0o644);
    record.link = Some(Link {
        id: LinkId(5),
        nlink: 2,
    });
    tree.add("first", record.clone()).add("second", record);
    let machine = Machine::with(&tree);
    let vfs = machine.mount().await;
    let file = ino(&vfs, "second").await;
    vfs.link(file, 1, b"third").await.unwrap();
    assert_eq!(
        lines(&vfs).await,
        ["A third"],
        "link and count alone are no line"
    );
    vfs.write(file, 0, b"SHARED", Privileges::Keep)
        .await
        .unwrap();
    assert_eq!(lines(&vfs).await, ["A third", "M second"]);
    vfs.unlink(1, b"first").await.unwrap();
    assert_eq!(lines(&vfs).await, ["A third", "D first", "M second"]);
}

#[tokio::test]
async fn paths_of_deep_changes_take_one_question_after_a_remount() {
    let mounted = Mounted::new().await;
    mounted.must(&Step::Write("a/a/b/a".into(), 0, 1)).await;
    mounted.must(&Step::Write("b/a/a".into(), 0, 1)).await;
    let mounted = mounted.remount().await;
    mounted.machine.remote.take_calls();
    assert_eq!(lines(&mounted.vfs).await, ["M a/a/b/a", "M b/a/a"]);
    let calls = mounted.machine.remote.take_calls();
    assert_eq!(calls.of(Call::DirectoryPlaces), 1);
    mounted.machine.remote.set_faults(Faults {
        is_down: true,
        ..Faults::default()
    });
    assert_eq!(mounted.vfs.changes_len(), 2, "needs no server");
}

async fn run(steps: Vec<Step>) {
    let mut mounted = Mounted::new().await;
    let before = walk(&mounted.vfs).await;
    for step in &steps {
        mounted = mounted.step(step).await;
    }
    let after = walk(&mounted.vfs).await;
    let expected = difference(&before, &after);
    assert_eq!(lines(&mounted.vfs).await, expected, "before a remount");
    let mounted = mounted.remount().await;
    assert_eq!(lines(&mounted.vfs).await, expected, "after a remount");
    if mounted.vfs.changes_len() == 0 {
        assert!(expected.is_empty());
    }
}

pub(crate) fn config(default: u32) -> ProptestConfig {
    let cases = std::env::var("LFSFS_MODEL_CASES").ok();
    let cases = cases.map_or(default, |it| {
        it.parse().expect("LFSFS_MODEL_CASES is a number")
    });
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    }
}

#[test]
fn lines_are_the_difference_between_the_two_trees() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    proptest!(config(300), |(steps in prop::collection::vec(step(), 1..30))| {
        runtime.block_on(run(steps));
    });
}
