//! Chunks on their way to a datanode and back.

use std::fs;

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_server::Role;
use lfsfs_types::chunk::{BuiltChunk, ChunkBuilder};
use lfsfs_types::limits::CHUNK_LEN_MAX;

use super::support::{
    TestServer, chunk_of, chunk_path, config, content_id, frames, kind, noise, private_dir,
    with_project,
};

async fn missing(server: &TestServer, content: &[u8]) -> bool {
    let contents = vec![content_id(content).as_bytes().to_vec()];
    let project_id = server.app().await;
    let request = v1::FindMissingRequest {
        contents,
        project_id,
    };
    let answer = server.fs().find_missing(request).await;
    !answer
        .expect("find missing")
        .into_inner()
        .missing
        .is_empty()
}

#[tokio::test]
async fn an_uploaded_chunk_is_reported_and_comes_back_in_any_range() {
    let (_dir, server, _) = with_project().await;
    let content = noise(300_000);
    let chunk = chunk_of(&[&content, b"small"]);
    let slot = server.plan().await;

    let acks = server.upload(&chunk, &slot).await.unwrap();
    let last = acks.last().unwrap();
    assert!(last.is_final && last.success);
    assert_eq!(last.bytes_received, chunk.bytes.len() as u64);
    assert_eq!(last.replicas[0].address, server.address);
    assert!(acks.is_sorted_by_key(|ack| ack.bytes_received));
    assert_eq!(acks.iter().filter(|ack| ack.is_final).count(), 1);
    assert!(!missing(&server, b"small").await && !missing(&server, &content).await);

    let len = chunk.bytes.len();
    for (offset, length) in [(0, 0), (0, 1), (5, 70_000), (len as u64 - 1, 1)] {
        let frames = server.download(chunk.id.as_bytes(), offset, length).await;
        let bytes: Vec<u8> = frames
            .unwrap()
            .iter()
            .flat_map(|f| f.data.to_vec())
            .collect();
        let start = usize::try_from(offset).unwrap();
        let end = match usize::try_from(length).unwrap() {
            0 => len,
            length => start + length,
        };
        assert_eq!(bytes, chunk.bytes[start..end], "{offset} {length}");
    }
    let outside = server.download(chunk.id.as_bytes(), len as u64, 1).await;
    assert_eq!(kind(outside), FaultKind::Invalid);
    server.stop().await;
}

#[tokio::test]
async fn a_download_session_leads_to_its_chunk() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let chunk = chunk_of(&[b"content"]);
    server.upload(&chunk, &[]).await.unwrap();
    let chunk_id = chunk.id.as_bytes().to_vec();
    let request = v1::PrepareChunkDownloadRequest {
        chunk_id,
        ..Default::default()
    };
    let prepared = server.datanode().prepare_chunk_download(request).await;
    let prepared = prepared.unwrap().into_inner();
    assert_eq!(prepared.size, chunk.bytes.len() as u64);

    let mut request = v1::DownloadChunkStreamRequest {
        target: Some(v1::download_chunk_stream_request::Target::SessionId(
            prepared.session_id,
        )),
        ..Default::default()
    };
    let stream = server
        .datanode()
        .download_chunk_stream(request.clone())
        .await;
    let frame = stream
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    assert!(frame.is_final && frame.data == chunk.bytes);

    request.chunk_stream_size = 2 << 20;
    let answer = server
        .datanode()
        .download_chunk_stream(request.clone())
        .await;
    assert_eq!(kind(answer), FaultKind::Invalid, "frames that are too long");
    request.target = Some(v1::download_chunk_stream_request::Target::SessionId(vec![
        9;
        16
    ]));
    request.chunk_stream_size = 0;
    let answer = server.datanode().download_chunk_stream(request).await;
    assert_eq!(kind(answer), FaultKind::SessionNotFound);
    server.stop().await;
}

#[tokio::test]
async fn flipped_cut_and_misplaced_frames_store_nothing() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let content = noise(100_000);
    let chunk = chunk_of(&[&content]);
    let session = server.prepare(&chunk, &[]).await.unwrap().session_id;
    let again = server.prepare(&chunk, &[]).await.unwrap().session_id;
    assert_eq!(session, again, "one chunk, one session");

    let good = frames(&chunk, &session);
    let mut flipped = good.clone();
    let mut data = flipped[3].data.to_vec();
    data[17] ^= 1;
    flipped[3].data = data.into();
    assert_eq!(kind(server.send(flipped).await), FaultKind::HashMismatch);

    let cut = good[..4].to_vec();
    assert_eq!(kind(server.send(cut).await), FaultKind::Unavailable);

    let mut gap = good.clone();
    gap.remove(2);
    assert_eq!(kind(server.send(gap).await), FaultKind::Invalid);

    let mut foreign = good.clone();
    foreign[1].session_id = vec![0; 16];
    assert_eq!(kind(server.send(foreign).await), FaultKind::Invalid);

    assert!(missing(&server, &content).await);
    let absent = server.download(chunk.id.as_bytes(), 0, 0).await;
    assert_eq!(kind(absent), FaultKind::ChunkNotFound);

    server.send(good).await.unwrap();
    assert!(
        !missing(&server, &content).await,
        "the session still serves"
    );
    server.stop().await;
}

/// Two clients that import the same files announce the same chunk. The end of the first upload once
/// took the session of the second away.
#[tokio::test]
async fn two_clients_that_announce_one_chunk_both_come_to_their_end() {
    let (_dir, server, _project) = with_project().await;
    let chunk = chunk_of(&[b"in both trees"]);
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let slot = server.plan().await;
        let prepared = server.prepare(&chunk, &slot).await.unwrap();
        assert!(!prepared.present);
        sessions.push(prepared.session_id);
    }
    for session in sessions {
        let acks = server.send(frames(&chunk, &session)).await.unwrap();
        assert!(acks.last().unwrap().is_final);
    }
    server.stop().await;
}

#[tokio::test]
async fn wrong_ids_and_poisoned_containers_are_refused() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let mut wrong = chunk_of(&[b"one thing"]);
    wrong.id = chunk_of(&[b"another thing"]).id;
    assert_eq!(
        kind(server.upload(&wrong, &[]).await),
        FaultKind::HashMismatch
    );

    let mut builder = ChunkBuilder::new(1000);
    let trusted = content_id(b"what all clients trust");
    builder.add(trusted, b"something else").unwrap();
    let poisoned = builder.finish();
    let refused = server.upload(&poisoned, &[]).await;
    assert_eq!(kind(refused), FaultKind::HashMismatch);
    assert!(missing(&server, b"what all clients trust").await);
    server.stop().await;
}

#[tokio::test]
async fn announcements_of_impossible_chunks_are_refused() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    for (id_len, size) in [(31, 100), (32, 0), (32, CHUNK_LEN_MAX + 1)] {
        let request = v1::PrepareChunkUploadRequest {
            chunk_id: vec![1; id_len],
            size,
            ..Default::default()
        };
        let answer = server.datanode().prepare_chunk_upload(request).await;
        assert_eq!(kind(answer), FaultKind::Invalid, "{id_len} {size}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_chunk_that_is_here_is_not_sent_again_and_a_damaged_one_is() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let chunk = chunk_of(&[b"content"]);
    server.upload(&chunk, &[]).await.unwrap();
    assert!(server.prepare(&chunk, &[]).await.unwrap().present);

    fs::write(chunk_path(dir.path(), &chunk), b"rotten").unwrap();
    let acks = server.upload(&chunk, &[]).await.unwrap();
    assert!(acks.last().unwrap().is_final);
    let frames = server.download(chunk.id.as_bytes(), 0, 0).await.unwrap();
    assert_eq!(frames[0].data, chunk.bytes);
    server.stop().await;
}

#[tokio::test]
async fn a_full_disk_refuses_chunks_and_plans_and_serves_reads() {
    let dir = private_dir();
    let chunk = chunk_of(&[b"content"]);
    let server = TestServer::start(dir.path()).await;
    server.new_project("app").await;
    server.upload(&chunk, &[]).await.unwrap();
    server.stop().await;

    let mut config = config(dir.path());
    config.reserve = u64::MAX;
    let server = TestServer::start_with(config).await;
    let other = chunk_of(&[b"other content"]);
    assert_eq!(kind(server.prepare(&other, &[]).await), FaultKind::Full);
    let request = v1::PlanUploadRequest {
        project_id: server.app().await,
        count: 1,
        chunk_size: 0,
        avoid: Vec::new(),
    };
    assert_eq!(
        kind(server.fs().plan_upload(request).await),
        FaultKind::Full
    );
    let commit = server.commit("app", [1; 16], Vec::new()).await;
    assert_eq!(kind(commit), FaultKind::Full);
    let health = server
        .datanode()
        .health_check(v1::HealthCheckRequest {})
        .await;
    let health = health.unwrap().into_inner();
    assert!(health.full && health.chunks == 1 && health.disk_total_bytes > 0);
    let frames = server.download(chunk.id.as_bytes(), 0, 0).await.unwrap();
    assert_eq!(frames[0].data, chunk.bytes);
    server.stop().await;
}

#[tokio::test]
async fn a_datanode_deletes_only_what_nothing_needs() {
    let dir = tempfile::tempdir().unwrap();
    let with_role = |role, name: &str| {
        let mut config = config(&dir.path().join(name));
        config.role = role;
        // There is one datanode.
        config.cluster.replication = 1;
        config.cluster.min_replicas = 1;
        config
    };
    let coordinator = TestServer::start_with(with_role(Role::Coordinator, "coordinator")).await;
    let role = Role::DataNode {
        coordinator: coordinator.address.clone(),
    };
    let datanode = TestServer::start_with(with_role(role, "datanode")).await;
    let needed = chunk_of(&[b"1", b"2"]);
    datanode.upload(&needed, &[]).await.unwrap();
    // Its contents have their places in the first chunk.
    let doubles = [chunk_of(&[b"1"]), chunk_of(&[b"2"])];
    for chunk in &doubles {
        datanode.upload(chunk, &[]).await.unwrap();
    }
    let delete = |chunk: &BuiltChunk| v1::DeleteChunkRequest {
        chunk_id: chunk.id.as_bytes().to_vec(),
        reason: "a test".to_owned(),
        generation: 1,
    };
    let refused = datanode.datanode().delete_chunk(delete(&needed)).await;
    assert_eq!(kind(refused), FaultKind::Invalid);
    assert!(!missing(&coordinator, b"1").await && !missing(&coordinator, b"2").await);
    datanode
        .datanode()
        .delete_chunk(delete(&doubles[0]))
        .await
        .unwrap();
    let id = |chunk: &BuiltChunk| chunk.id.as_bytes().to_vec();
    let request = v1::BulkDeleteChunkRequest {
        chunk_ids: vec![id(&doubles[1]), vec![1, 2, 3], id(&needed)],
        reason: "a test".to_owned(),
        generation: 1,
    };
    let failed = datanode.datanode().bulk_delete_chunk(request).await;
    assert_eq!(
        failed.unwrap().into_inner().failed,
        [vec![1, 2, 3], id(&needed)]
    );
    for chunk in &doubles {
        let absent = datanode.download(chunk.id.as_bytes(), 0, 0).await;
        assert_eq!(kind(absent), FaultKind::ChunkNotFound);
    }
    let frames = datanode.download(needed.id.as_bytes(), 0, 0).await.unwrap();
    assert_eq!(frames[0].data, needed.bytes);
    assert!(!missing(&coordinator, b"1").await && !missing(&coordinator, b"2").await);
    datanode.stop().await;
    coordinator.stop().await;
}
