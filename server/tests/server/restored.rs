//! Backups over the wire, and calls that say which version of a number they mean.

use lfsfs_meta_store::BackupReader;
use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_types::ClusterId;

use super::commits::tree;
use super::support::{TestServer, all, kind, with_project};

#[tokio::test]
async fn a_backup_over_the_wire_is_a_whole_file() {
    let (_dir, server, _) = with_project().await;
    let request = || v1::BackUpRequest {};
    let under_way = server.coordinator().back_up(request()).await;
    let parts = all(under_way).await.unwrap();
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.data.clone()).collect();
    let reader = BackupReader::open(&*bytes).unwrap();
    let cluster = server.fs().get_cluster(v1::GetClusterRequest {}).await;
    let cluster = ClusterId::from_slice(&cluster.unwrap().into_inner().cluster_id);
    assert_eq!(Some(reader.head().cluster), cluster);
    let summary = reader.verify().unwrap();
    assert!(summary.rows > 5, "{summary:?}");
    assert_eq!(parts.last().unwrap().rows, summary.rows);
    // The place is free again.
    let again = all(server.coordinator().back_up(request()).await).await;
    assert!(!again.unwrap().is_empty());
    server.stop().await;
}

/// Makes each call about version 1 of a project, with a random id of it, and returns what failed how.
async fn calls(server: &TestServer, project_id: &[u8], id: &[u8]) -> Vec<Option<FaultKind>> {
    let (project_id, version_id) = (project_id.to_vec(), id.to_vec());
    let mut fs = server.fs();
    let list = v1::ListDirectoryRequest {
        project_id: project_id.clone(),
        version: 1,
        dir: 1,
        version_id: version_id.clone(),
        ..Default::default()
    };
    let lookup = v1::LookupRequest {
        project_id: project_id.clone(),
        version: 1,
        version_id: version_id.clone(),
        ..Default::default()
    };
    let places = v1::DirectoryPlacesRequest {
        project_id: project_id.clone(),
        version: 1,
        dirs: vec![1],
        version_id: version_id.clone(),
    };
    let names = v1::ChangedNamesRequest {
        project_id: project_id.clone(),
        from: 1,
        from_id: version_id.clone(),
        ..Default::default()
    };
    let diff = v1::DiffRequest {
        project_id,
        to: 1,
        to_id: version_id,
        ..Default::default()
    };
    fn failure<T>(answer: Result<T, tonic::Status>) -> Option<FaultKind> {
        answer.is_err().then(|| kind(answer))
    }
    vec![
        failure(fs.list_directory(list).await),
        failure(fs.lookup(lookup).await),
        failure(all(fs.directory_places(places).await).await),
        failure(all(fs.changed_names(names).await).await),
        failure(all(fs.diff(diff).await).await),
    ]
}

#[tokio::test]
async fn another_version_of_a_number_is_not_told_as_the_one_that_is_meant() {
    let (_dir, server, project) = with_project().await;
    server.store(&[b"one", b"two"]).await;
    let changes = tree(&[b"one", b"two"]);
    server.commit("app", [1; 16], changes).await.unwrap();
    for good in [&[1; 16][..], b""] {
        assert_eq!(calls(&server, &project.id, good).await, [None; 5]);
    }
    let gone = Some(FaultKind::VersionNotFound);
    assert_eq!(calls(&server, &project.id, &[2; 16]).await, [gone; 5]);
    let wrong = Some(FaultKind::Invalid);
    assert_eq!(calls(&server, &project.id, b"short").await, [wrong; 5]);
    server.stop().await;
}
