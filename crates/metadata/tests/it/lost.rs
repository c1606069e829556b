//! Contents that datanodes have lost: forgotten, missing, stored again.

use std::sync::Arc;

use lfsfs_meta_store::MetaStore;
use lfsfs_metadata::{Keep, Metadata, MetadataError, NodeFigures, Refusal};
use lfsfs_types::{ChunkId, ContentId, DirId, Kind, NodeId, Origin, Timestamp, VersionNumber};

use crate::crash::Double;
use crate::support::{
    NODE, assert_clean, begin, commit, commit_as, content, file, in_memory, new_project, open,
    params, put, receipt, record, remove, store_contents,
};

const FIRST: ChunkId = ChunkId([1; 32]);
const OTHER: NodeId = NodeId([8; 16]);
const ONE_OTHER: Keep<'_> = Keep {
    least: 1,
    live: &[NODE, OTHER],
};

fn with_other_node(metadata: &Metadata) {
    let figures = NodeFigures::default();
    metadata.upsert_node(OTHER, "127.0.0.1:2", figures).unwrap();
}

fn findings(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    let found = metadata.check(&mut |finding| findings.push(finding.what));
    assert_eq!(found.unwrap().findings, findings.len() as u64);
    findings
}

fn missing(metadata: &Metadata, contents: &[u8]) -> Vec<ContentId> {
    let contents: Vec<_> = contents.iter().map(|number| content(*number)).collect();
    metadata.missing(&contents).unwrap()
}

#[test]
fn a_chunk_without_nodes_makes_its_contents_missing_until_they_are_stored_again() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    commit(&metadata, &project, vec![put(DirId::ROOT, "file", file(1))]);
    with_other_node(&metadata);
    let mut copy = receipt(1, [content(1)]);
    copy.node = OTHER;
    metadata.record_chunk(&copy).unwrap();

    let forgotten = metadata.forget_replicas(NODE, &[FIRST, FIRST]).unwrap();
    assert_eq!((forgotten.places, forgotten.lost), (1, vec![]));
    assert_eq!(missing(&metadata, &[1, 2]), []);
    let forgotten = metadata.forget_replicas(OTHER, &[FIRST]).unwrap();
    assert_eq!(forgotten.lost, [FIRST]);
    let again = metadata.forget_replicas(OTHER, &[FIRST]).unwrap();
    assert_eq!(again.places, 0);
    assert_eq!(missing(&metadata, &[1, 2]), [content(1), content(2)]);
    let found = findings(&metadata);
    assert!(
        found.len() == 1 && found[0].contains("is lost"),
        "{found:?}"
    );

    // One is stored in another chunk; the old one would do as well.
    metadata.record_chunk(&receipt(2, [content(1)])).unwrap();
    assert_eq!(missing(&metadata, &[1, 2]), [content(2)]);
    assert_clean(&metadata);
    metadata
        .record_chunk(&receipt(1, [content(1), content(2)]))
        .unwrap();
    assert_eq!(missing(&metadata, &[1, 2]), []);
    let resolved = metadata.resolve_contents(&[content(1)]).unwrap();
    assert_eq!(resolved.chunks[0].info.id, ChunkId([2; 32]));
}

#[test]
fn what_is_forgotten_is_forgotten_after_any_crash() {
    let store = Arc::new(Double::new(true));
    let metadata = open(store.clone() as Arc<dyn MetaStore>);
    store_contents(&metadata);
    metadata.forget_replicas(NODE, &[FIRST]).unwrap();
    let after = open(Arc::new(store.after_crash(0, None)));
    assert_eq!(missing(&after, &[1]), [content(1)]);
    // It is here all the same; the datanode says so at its start.
    after.record_chunk(&receipt(1, [content(1)])).unwrap();
    assert_eq!(missing(&after, &[1]), []);
}

#[test]
fn a_lost_content_can_be_kept_moved_and_rolled_back_to_but_not_named_anew() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    commit(&metadata, &project, vec![put(DirId::ROOT, "file", file(1))]);
    metadata.forget_replicas(NODE, &[FIRST]).unwrap();
    let mut executable = file(1);
    executable.mode = 0o755;
    let mode = vec![put(DirId::ROOT, "file", executable.clone())];
    commit(&metadata, &project, mode);
    let renamed = vec![
        remove(DirId::ROOT, "file"),
        put(DirId::ROOT, "renamed", executable),
    ];
    commit(&metadata, &project, renamed);
    let copied = vec![put(DirId::ROOT, "copy", file(1))];
    let refused = commit_as(&metadata, &project, [77; 16], copied).unwrap_err();
    assert!(matches!(
        refused,
        MetadataError::MissingContents { count: 1, .. }
    ));
    let back = lfsfs_metadata::RollbackParams {
        project: project.id,
        to: VersionNumber(1),
        version: lfsfs_types::VersionId([78; 16]),
        author: String::new(),
        message: String::new(),
    };
    assert!(metadata.rollback(&back).unwrap().is_new);
}

#[test]
fn a_chunk_is_released_when_nothing_lies_in_it_alone() {
    let metadata = in_memory();
    with_other_node(&metadata);
    let contents = [content(1), content(2)];
    let refused = metadata
        .release_replica(NODE, FIRST, &contents, ONE_OTHER)
        .unwrap_err();
    assert!(matches!(
        refused,
        MetadataError::ChunkInUse { chunk: FIRST }
    ));
    assert_eq!(missing(&metadata, &[1, 2]), []);
    // What it has lies in the first chunk.
    metadata.record_chunk(&receipt(5, contents)).unwrap();
    let double = ChunkId([5; 32]);
    metadata
        .release_replica(NODE, double, &contents, ONE_OTHER)
        .unwrap();
    assert_eq!(missing(&metadata, &[1, 2]), []);
    // Another node has all of the first one.
    let mut copy = receipt(1, contents);
    copy.node = OTHER;
    metadata.record_chunk(&copy).unwrap();
    metadata
        .release_replica(NODE, FIRST, &contents, ONE_OTHER)
        .unwrap();
    assert_eq!(missing(&metadata, &[1, 2]), []);
}

#[test]
fn a_size_that_is_not_that_of_the_content_is_refused_and_found() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    for (size, content) in [
        (11, content(1)),
        (1 << 40, content(1)),
        (0, content(1)),
        (u64::MAX, ContentId::EMPTY),
    ] {
        let wrong = record(Kind::File { size, content });
        let change = vec![put(DirId::ROOT, "file", wrong)];
        let error = commit_as(&metadata, &project, [77; 16], change).unwrap_err();
        let MetadataError::Refused { reason, place } = error else {
            panic!("{error}");
        };
        assert!(
            matches!(reason, Refusal::WrongLength { field: "size", .. }),
            "{reason}"
        );
        assert!(place.name.is_some());
    }
    commit(&metadata, &project, vec![put(DirId::ROOT, "file", file(1))]);
    assert_clean(&metadata);
    // An older program took a receipt of another length.
    metadata.forget_replicas(NODE, &[FIRST]).unwrap();
    let mut longer = receipt(1, [content(1)]);
    longer.places[0].len = 11;
    metadata.record_chunk(&longer).unwrap();
    let found = findings(&metadata);
    assert!(
        found.len() == 1 && found[0].contains("size is 10"),
        "{found:?}"
    );
}

#[test]
fn times_and_origins_that_cannot_be_are_refused() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    for secs in [i64::MIN, i64::MAX] {
        let mut wrong = file(1);
        wrong.mtime = Timestamp { secs, nanos: 0 };
        let change = vec![put(DirId::ROOT, "file", wrong)];
        let error = commit_as(&metadata, &project, [77; 16], change).unwrap_err();
        let text = format!("{:?}", std::error::Error::source(&error).unwrap());
        assert!(text.contains("mtime"), "{text}");
    }
    for origin in [
        Origin::Rollback(VersionNumber(u64::MAX)),
        Origin::Clone(project.id, VersionNumber(1)),
    ] {
        let mut params = params(&metadata, &project, [77; 16]);
        params.origin = origin;
        let error = metadata.begin_commit(params).unwrap_err();
        assert!(
            matches!(error, MetadataError::InvalidOrigin { .. }),
            "{error}"
        );
    }
    let mut params = params(&metadata, &project, [77; 16]);
    params.origin = Origin::Rollback(VersionNumber::ZERO);
    drop(begin(&metadata, params));
}

#[test]
fn many_contents_of_a_chunk_are_there_at_once_and_durable_with_a_version_or_a_flush() {
    let many: Vec<_> = (0..5_000_u32)
        .map(|number| {
            let mut id = [3; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            ContentId(id)
        })
        .collect();
    let stored = || {
        let store = Arc::new(Double::new(true));
        let metadata = open(store.clone() as Arc<dyn MetaStore>);
        store_contents(&metadata);
        let project = new_project(&metadata);
        metadata.record_chunk(&receipt(9, many.clone())).unwrap();
        (store, metadata, project)
    };
    let missing_after_crash = |store: &Double| {
        let after = open(Arc::new(store.after_crash(0, None)));
        assert_clean(&after);
        after.missing(&many).unwrap().len()
    };

    let (store, metadata, project) = stored();
    // A version without them lets them wait.
    commit(
        &metadata,
        &project,
        vec![put(DirId::ROOT, "other", file(1))],
    );
    assert_eq!(missing_after_crash(&store), many.len());
    let size = metadata.resolve_contents(&many[..1]).unwrap().contents[0].len;
    let named = record(Kind::File {
        size,
        content: many[0],
    });
    commit(&metadata, &project, vec![put(DirId::ROOT, "file", named)]);
    assert_eq!(missing_after_crash(&store), 0);

    let (store, metadata, _) = stored();
    assert_eq!(metadata.missing(&many).unwrap(), []);
    assert_eq!(missing_after_crash(&store), many.len());
    metadata.flush().unwrap();
    assert_eq!(missing_after_crash(&store), 0);
}
