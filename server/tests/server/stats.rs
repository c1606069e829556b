//! The figures that a server tells: engine, nodes, and what projects have.

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;

use super::commits::tree;
use super::support::{TestServer, chunk_of, kind, with_project};

async fn stats(server: &TestServer, after: &str, limit: u32) -> v1::GetStatsResponse {
    let after = after.to_owned();
    let request = v1::GetStatsRequest { after, limit };
    let answer = server.coordinator().get_stats(request).await;
    answer.unwrap().into_inner()
}

/// Returns what `app` counts as stored.
async fn stored(server: &TestServer) -> u64 {
    let projects = stats(server, "", 0).await.projects;
    let app = projects.iter().find(|project| project.name == "app");
    app.unwrap().stored_bytes
}

#[tokio::test]
async fn a_chunk_counts_for_the_project_of_its_slot_until_the_server_starts_again() {
    let (dir, server, _) = with_project().await;
    let (first, second) = (chunk_of(&[b"first"]), chunk_of(&[b"second"]));
    let first_len = first.bytes.len() as u64;
    let slot = server.plan().await;
    server.upload(&first, &slot).await.unwrap();
    assert_eq!(stored(&server).await, first_len);
    let again = server.plan().await;
    server.prepare(&first, &again).await.unwrap();
    assert_eq!(stored(&server).await, first_len, "it was there");
    let slot = server.plan().await;
    server.stop().await;

    let server = TestServer::start(dir.path()).await;
    server.upload(&second, &slot).await.unwrap();
    assert_eq!(stored(&server).await, first_len, "the slot is forgotten");
    server.stop().await;

    let server = TestServer::start(dir.path()).await;
    let stats = stats(&server, "", 0).await;
    let node = stats.nodes.first().unwrap();
    let total = first_len + second.bytes.len() as u64;
    assert_eq!((node.chunks, node.chunk_bytes), (2, total));
    server.stop().await;
}

#[tokio::test]
async fn projects_come_in_pages_with_what_their_newest_version_has() {
    let (_dir, server, project) = with_project().await;
    for name in ["beta", "gamma"] {
        server.new_project(name).await;
    }
    server.store(&[b"one", b"two"]).await;
    let changes = tree(&[b"one", b"two"]);
    server.commit("app", [1; 16], changes).await.unwrap();
    let first = stats(&server, "", 2).await;
    let names = |stats: &v1::GetStatsResponse| {
        let names = stats.projects.iter().map(|project| project.name.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&first), first.more),
        (vec!["app".into(), "beta".into()], true)
    );
    let app = &first.projects[0];
    assert_eq!((&app.id, app.versions), (&project.id, 1));
    assert!(app.objects > 0 && app.bytes >= 6, "{app:?}");
    let rest = stats(&server, "beta", 2).await;
    assert_eq!((names(&rest), rest.more), (vec!["gamma".to_owned()], false));
    let request = v1::GetStatsRequest {
        after: "no/name".to_owned(),
        limit: 0,
    };
    let refused = server.coordinator().get_stats(request).await;
    assert_eq!(kind(refused), FaultKind::Invalid);
    server.stop().await;
}

#[tokio::test]
async fn the_engine_tells_what_it_did() {
    let (_dir, server, _) = with_project().await;
    let stats = stats(&server, "", 0).await;
    let cluster = server.fs().get_cluster(v1::GetClusterRequest {}).await;
    assert_eq!(stats.cluster_id, cluster.unwrap().into_inner().cluster_id);
    let engine = stats.engine.unwrap();
    assert_eq!(engine.name, "redb");
    assert!(engine.batches > 0 && engine.rows_written > 0, "{engine:?}");
    assert!(engine.reads > 0 && engine.flushes > 0, "{engine:?}");
    assert!(engine.cache.unwrap().hits > 0, "{engine:?}");
    let device = engine.device.unwrap();
    assert!(device.syncs > 0 && device.bytes > engine.bytes_written);
    server.stop().await;
}
