//! Packs, as a client sees them that lists directories.

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_types::{DirId, Record};

use super::support::{TestServer, directory_record, file_record, kind, private_dir, put};

/// A package `p` in a directory `packages`, with two directories, one below the other.
fn package() -> Vec<v1::Change> {
    let made = |number| DirId::SESSION_FIRST.0 + number;
    vec![
        put(1, "packages", &directory_record(made(1))),
        put(made(1), "p", &directory_record(made(2))),
        put(made(2), "lib", &directory_record(made(3))),
        put(made(3), "deep", &directory_record(made(4))),
        put(made(2), "index", &file_record(b"one")),
        put(made(3), "a", &file_record(b"one")),
        put(made(4), "b", &file_record(b"two")),
        put(1, "plain", &directory_record(made(5))),
        put(made(5), "below", &directory_record(made(6))),
    ]
}

async fn list(
    server: &TestServer,
    project: &v1::Project,
    dir: u64,
    ahead: bool,
) -> v1::ListDirectoryResponse {
    let request = v1::ListDirectoryRequest {
        project_id: project.id.clone(),
        version: 1,
        dir,
        ahead,
        ..Default::default()
    };
    server
        .fs()
        .list_directory(request)
        .await
        .unwrap()
        .into_inner()
}

fn dir_of(listed: &v1::ListDirectoryResponse, name: &str) -> u64 {
    let entry = listed
        .entries
        .iter()
        .find(|entry| entry.name == name.as_bytes());
    let record = entry.and_then(|entry| entry.record.clone()).unwrap();
    Record::try_from(record).unwrap().dir().unwrap().0
}

#[tokio::test]
async fn a_package_is_listed_with_all_of_its_directories_in_one_call() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let request = v1::NewProjectRequest {
        name: "app".to_owned(),
        pack_patterns: vec!["^packages/[^/]+/$".to_owned()],
        ..Default::default()
    };
    let made = server.fs().new_project(request).await.unwrap().into_inner();
    let project = made.project.unwrap();
    server.store(&[b"one", b"two"]).await;
    server.commit("app", [1; 16], package()).await.unwrap();

    let root = list(&server, &project, 1, true).await;
    assert!(root.below.is_empty(), "the root is in no pack");
    let plain = list(&server, &project, dir_of(&root, "plain"), true).await;
    assert_eq!((plain.entries.len(), plain.below.len()), (1, 0));
    let packages = list(&server, &project, dir_of(&root, "packages"), true).await;
    let package = dir_of(&packages, "p");
    assert!(
        list(&server, &project, package, false)
            .await
            .below
            .is_empty()
    );
    let listed = list(&server, &project, package, true).await;
    assert_eq!((listed.entries.len(), listed.below.len()), (2, 2));
    for below in listed.below {
        let alone = list(&server, &project, below.dir, false).await;
        assert_eq!(below.entries, alone.entries);
        assert_eq!(below.listing_version, alone.listing_version);
    }

    let wrong = v1::SetProjectRequest {
        name: "app".to_owned(),
        pack_patterns: Some(v1::Patterns {
            patterns: vec!["(".to_owned()],
        }),
        ..Default::default()
    };
    let refused = server.fs().set_project(wrong).await;
    assert_eq!(kind(refused), FaultKind::Invalid);
    server.stop().await;
}
