//! Calls of an operator who looks for chunks that are wrong.

use std::fs;

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_proto::v1::ChunkFindingKind as Kind;

use super::support::{TestServer, all, chunk_of, chunk_path, kind, private_dir};

const CONTENTS: &[&[u8]] = &[b"one", b"two"];

/// Checks all chunks. Returns what was found, and how many there are.
async fn check(server: &TestServer, read: bool, repair: bool) -> (Vec<(Kind, bool)>, u64) {
    let request = v1::CheckChunksRequest { read, repair };
    let answers = all(server.datanode().check_chunks(request).await);
    let answers = answers.await.unwrap();
    let chunks = answers.last().expect("it tells how far it is").chunks;
    let findings = answers.iter().flat_map(|answer| &answer.findings);
    let findings = findings.map(|finding| (finding.kind(), finding.repaired));
    (findings.collect(), chunks)
}

#[tokio::test]
async fn a_check_tells_what_differs_and_changes_nothing_unless_asked() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    server.store(CONTENTS).await;
    assert_eq!(check(&server, true, false).await, (vec![], 1));
    let path = chunk_path(dir.path(), &chunk_of(CONTENTS));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(check(&server, false, false).await.0, []);
    assert_eq!(
        check(&server, true, false).await.0,
        [(Kind::Damaged, false)]
    );
    assert!(path.exists());
    assert_eq!(check(&server, true, true).await.0, [(Kind::Damaged, true)]);
    assert!(!path.exists());
    assert_eq!(check(&server, true, true).await, (vec![], 0));
    let unhealthy = v1::ListUnhealthyChunksRequest::default();
    let unhealthy = server.coordinator().list_unhealthy_chunks(unhealthy).await;
    let unhealthy = unhealthy.unwrap().into_inner();
    assert_eq!((unhealthy.looked_at, unhealthy.next.len()), (1, 0));
    assert_eq!(unhealthy.chunks[0].health(), v1::ChunkHealth::Missing);
    server.stop().await;
}

#[tokio::test]
async fn one_check_runs_at_a_time_and_one_that_is_given_up_makes_room() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    server.store(CONTENTS).await;
    // What differs is looked at again a second later, so the check takes that long.
    fs::remove_file(chunk_path(dir.path(), &chunk_of(CONTENTS))).unwrap();
    let request = v1::CheckChunksRequest::default();
    let first = server.datanode().check_chunks(request).await.unwrap();
    let second = server.datanode().check_chunks(request).await;
    assert_eq!(kind(second), FaultKind::Unavailable);
    drop(first);
    let has_room = async {
        while server.datanode().check_chunks(request).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, has_room).await.expect("room");
    server.stop().await;
}

#[tokio::test]
async fn a_place_that_is_none_is_refused() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let after = vec![7; 31];
    let request = v1::ListUnhealthyChunksRequest { after };
    let refused = server.coordinator().list_unhealthy_chunks(request).await;
    assert_eq!(kind(refused), FaultKind::Invalid);
    server.stop().await;
}
