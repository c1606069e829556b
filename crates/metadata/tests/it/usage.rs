//! What projects take, and how much of it they share.

use lfsfs_metadata::{Metadata, Project, ProjectSettings, ProjectUsage};
use lfsfs_types::content::{Piece, PieceList};
use lfsfs_types::{ContentId, DirId, Kind, ProjectName};

use crate::support::{
    CONTENTS, commit, commit_as, content, file, in_memory, new_project, put, receipt, record,
    remove,
};

/// Enough for all contents at once.
const MEMORY: usize = 1 << 20;

fn project(metadata: &Metadata, name: &str) -> Project {
    let name = ProjectName::new(name).unwrap();
    metadata
        .new_project(&name, ProjectSettings::default())
        .unwrap()
}

fn usage(metadata: &Metadata, memory: usize) -> Vec<ProjectUsage> {
    metadata.usage(memory).unwrap().unwrap()
}

/// Returns logical bytes, contents, their bytes, stored and shared ones.
fn figures(usage: &ProjectUsage) -> (u64, u64, u64, u64, u64) {
    (
        usage.logical_bytes,
        usage.contents,
        usage.content_bytes,
        usage.stored_bytes,
        usage.shared_bytes,
    )
}

#[test]
fn what_several_projects_name_is_shared_and_old_versions_count() {
    let metadata = in_memory();
    let (app, other) = (new_project(&metadata), project(&metadata, "other"));
    project(&metadata, "zero");
    // Of the chunk of all contents, each content of 10 bytes takes so many.
    let each = 10 * 1000 / (u64::from(CONTENTS) * 10);
    let files = (1..=3).map(|number| put(DirId::ROOT, &format!("f{number}"), file(number)));
    let twice = put(DirId::ROOT, "again", file(1));
    commit(&metadata, &app, files.chain([twice]).collect());
    commit(&metadata, &app, vec![remove(DirId::ROOT, "f2")]);
    commit_as(
        &metadata,
        &other,
        [77; 16],
        vec![put(DirId::ROOT, "x", file(3))],
    )
    .unwrap();
    let found = usage(&metadata, MEMORY);
    let names: Vec<_> = found.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["app", "other", "zero"]);
    assert_eq!(figures(&found[0]), (30, 3, 30, 3 * each, each));
    assert_eq!(figures(&found[1]), (10, 1, 10, each, each));
    assert_eq!(figures(&found[2]), (0, 0, 0, 0, 0));
    assert_eq!(found, usage(&metadata, 40), "in parts");
}

#[test]
fn large_contents_count_by_their_pieces() {
    let metadata = in_memory();
    let (app, other) = (new_project(&metadata), project(&metadata, "other"));
    let mut large = Vec::new();
    for numbers in [[101, 102], [102, 103]] {
        let pieces = numbers.map(|number| Piece {
            hash: ContentId([number; 32]),
            len: 1 << 20,
        });
        for (piece, number) in pieces.iter().zip(numbers) {
            let mut receipt = receipt(number, [piece.hash]);
            receipt.info.len = 1 << 19;
            receipt.places[0].len = piece.len;
            metadata.record_chunk(&receipt).unwrap();
        }
        let list = PieceList::new(pieces.to_vec()).unwrap();
        let id = list.content_id();
        metadata.put_pieces(id, &list).unwrap();
        large.push(record(Kind::File {
            size: 2 << 20,
            content: id,
        }));
    }
    commit(
        &metadata,
        &app,
        vec![put(DirId::ROOT, "one", large.remove(0))],
    );
    commit_as(
        &metadata,
        &other,
        [77; 16],
        vec![put(DirId::ROOT, "two", large.remove(0))],
    )
    .unwrap();
    let found = usage(&metadata, MEMORY);
    let mib = 1 << 20;
    assert_eq!(figures(&found[0]), (2 * mib, 2, 2 * mib, mib, mib / 2));
    assert_eq!(figures(&found[1]), (2 * mib, 2, 2 * mib, mib, mib / 2));
    assert!(metadata.missing(&[content(1)]).unwrap().is_empty());
}
