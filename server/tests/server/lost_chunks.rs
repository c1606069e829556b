//! "Present" is what is there: what a datanode loses is missing until it is stored again.

use std::fs;

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_types::limits::PIECE_LEN_MIN;
use lfsfs_types::{Content, NodeId};

use super::support::{
    TestServer, chunk_of, chunk_path, content_id, file_record, kind, noise, put, with_project,
};

async fn missing(server: &TestServer, contents: &[&[u8]]) -> Vec<bool> {
    let ids: Vec<_> = contents
        .iter()
        .map(|content| Content::of_bytes(content).id.as_bytes().to_vec())
        .collect();
    let request = v1::FindMissingRequest {
        contents: ids.clone(),
        project_id: server.app().await,
    };
    let answer = server.fs().find_missing(request).await;
    let missing = answer.expect("find missing").into_inner().missing;
    ids.iter().map(|id| missing.contains(id)).collect()
}

#[tokio::test]
async fn chunks_that_went_while_the_server_was_down_are_missing_until_they_are_stored_again() {
    let (dir, server, _) = with_project().await;
    let (gone, cut, stays) = (noise(3000), noise(4000), noise(5000));
    let chunks = [&gone, &cut, &stays].map(|content| chunk_of(&[content]));
    for chunk in &chunks {
        server.upload(chunk, &[]).await.unwrap();
    }
    let contents = [&gone[..], &cut, &stays];
    assert_eq!(missing(&server, &contents).await, [false; 3]);
    server.stop().await;
    fs::remove_file(chunk_path(dir.path(), &chunks[0])).unwrap();
    let path = chunk_path(dir.path(), &chunks[1]);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(100).unwrap();

    for _ in 0..2 {
        // The second start finds nothing new, and remembers.
        let server = TestServer::start(dir.path()).await;
        assert_eq!(missing(&server, &contents).await, [true, true, false]);
        server.stop().await;
    }
    let server = TestServer::start(dir.path()).await;
    let change = vec![put(1, "file", &file_record(&gone))];
    let refused = server.commit("app", [1; 16], change.clone()).await;
    assert_eq!(kind(refused), FaultKind::ContentNotFound);
    // In another chunk, as another client would pack it.
    server.store(&[b"something else", &gone]).await;
    server.upload(&chunks[1], &[]).await.unwrap();
    assert_eq!(missing(&server, &contents).await, [false; 3]);
    server.commit("app", [1; 16], change).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_reader_who_finds_a_chunk_gone_makes_its_contents_missing() {
    let (dir, server, _) = with_project().await;
    let chunk = chunk_of(&[b"one", b"two"]);
    server.upload(&chunk, &[]).await.unwrap();
    fs::remove_file(chunk_path(dir.path(), &chunk)).unwrap();
    let read = server.download(chunk.id.as_bytes(), 0, 0).await;
    assert_eq!(kind(read), FaultKind::ChunkNotFound);
    assert_eq!(missing(&server, &[b"one", b"two"]).await, [true; 2]);

    let contents = vec![content_id(b"one").as_bytes().to_vec()];
    let project_id = server.app().await;
    let question = tokio_stream::iter([v1::ResolveRequest {
        contents,
        project_id,
    }]);
    let mut answers = server.fs().resolve(question).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(answer.chunks[0].nodes.is_empty(), "no node is named");

    server.upload(&chunk, &[]).await.unwrap();
    assert_eq!(missing(&server, &[b"one", b"two"]).await, [false; 2]);
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_chunk_that_is_moved_aside_is_missing() {
    let (dir, server, _) = with_project().await;
    let chunk = chunk_of(&[b"content"]);
    server.upload(&chunk, &[]).await.unwrap();
    let mut bytes = chunk.bytes.clone();
    bytes[20] ^= 1;
    fs::write(chunk_path(dir.path(), &chunk), bytes).unwrap();
    // Announcing it has it verified; nothing is sent.
    assert!(!server.prepare(&chunk, &[]).await.unwrap().present);
    assert_eq!(missing(&server, &[b"content"]).await, [true]);
    server.stop().await;
    let server = TestServer::start(dir.path()).await;
    assert_eq!(missing(&server, &[b"content"]).await, [true]);
    server.upload(&chunk, &[]).await.unwrap();
    assert_eq!(missing(&server, &[b"content"]).await, [false]);
    server.stop().await;
}

#[tokio::test]
async fn a_chunk_that_comes_back_is_found_again() {
    let (dir, server, _) = with_project().await;
    let chunk = chunk_of(&[b"content"]);
    server.upload(&chunk, &[]).await.unwrap();
    server.stop().await;
    let path = chunk_path(dir.path(), &chunk);
    fs::remove_file(&path).unwrap();
    let server = TestServer::start(dir.path()).await;
    assert_eq!(missing(&server, &[b"content"]).await, [true]);
    server.stop().await;
    fs::write(&path, &chunk.bytes).unwrap();
    let server = TestServer::start(dir.path()).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while missing(&server, &[b"content"]).await == [true] {
        assert!(tokio::time::Instant::now() < deadline, "it is not found");
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_large_content_is_missing_with_any_of_its_pieces() {
    let (dir, server, _) = with_project().await;
    let bytes = noise(3 * 1024 * 1024);
    let content = Content::of_bytes(&bytes);
    let list = content.pieces.unwrap();
    let mut chunks = Vec::new();
    for (range, piece) in list.ranges() {
        let start = usize::try_from(range.start).unwrap();
        let chunk = chunk_of(&[&bytes[start..][..piece.len as usize]]);
        server.upload(&chunk, &[]).await.unwrap();
        chunks.push(chunk);
    }
    assert!(chunks.len() > 1 && PIECE_LEN_MIN > 0);
    let request = v1::PutPiecesRequest {
        project_id: server.app().await,
        content: content.id.as_bytes().to_vec(),
        pieces: list.pieces().iter().map(v1::Piece::from).collect(),
    };
    let registered = server.fs().put_pieces(tokio_stream::iter([request])).await;
    registered.unwrap();
    assert_eq!(missing(&server, &[&bytes]).await, [false]);
    let last = chunks.last().unwrap();
    fs::remove_file(chunk_path(dir.path(), last)).unwrap();
    let read = server.download(last.id.as_bytes(), 0, 0).await;
    assert_eq!(kind(read), FaultKind::ChunkNotFound);
    assert_eq!(missing(&server, &[&bytes]).await, [true]);
    server.upload(last, &[]).await.unwrap();
    assert_eq!(missing(&server, &[&bytes]).await, [false]);
    server.stop().await;
}

#[tokio::test]
async fn a_lost_content_blocks_no_change_that_does_not_need_its_bytes() {
    let (dir, server, _) = with_project().await;
    let chunk = chunk_of(&[b"content"]);
    server.upload(&chunk, &[]).await.unwrap();
    let record = file_record(b"content");
    let first = vec![put(1, "file", &record)];
    server.commit("app", [1; 16], first).await.unwrap();
    fs::remove_file(chunk_path(dir.path(), &chunk)).unwrap();
    let read = server.download(chunk.id.as_bytes(), 0, 0).await;
    assert_eq!(kind(read), FaultKind::ChunkNotFound);

    let mut executable = record.clone();
    executable.mode = 0o755;
    let mode = vec![put(1, "file", &executable)];
    server.commit("app", [2; 16], mode).await.unwrap();
    let renamed = vec![
        super::support::remove(1, "file"),
        put(1, "renamed", &executable),
    ];
    server.commit("app", [3; 16], renamed).await.unwrap();
    let copied = vec![put(1, "copy", &record)];
    let refused = server.commit("app", [4; 16], copied).await;
    assert_eq!(kind(refused), FaultKind::ContentNotFound);
    let back = v1::RollbackRequest {
        project: "app".to_owned(),
        version: 1,
        ..Default::default()
    };
    server.fs().rollback(back).await.unwrap();
    server.stop().await;
}

/// A node that a client made up.
fn invented() -> v1::NodeInfo {
    v1::NodeInfo {
        id: vec![9; NodeId::LEN],
        address: "127.0.0.1:1".to_owned(),
        capacity_bytes: u64::MAX,
        ..Default::default()
    }
}

#[tokio::test]
async fn in_one_process_the_datanode_alone_speaks_for_itself() {
    let (_dir, server, _) = with_project().await;
    let chunk = chunk_of(&[b"content"]);
    server.upload(&chunk, &[]).await.unwrap();
    let mut coordinator = server.coordinator();
    let nodes = coordinator.list_nodes(v1::ListNodesRequest {}).await;
    let node = nodes.unwrap().into_inner().nodes.remove(0);

    let register = v1::RegisterDataNodeRequest {
        node: Some(invented()),
    };
    let register = coordinator.register_data_node(register).await;
    assert_eq!(kind(register), FaultKind::Denied);
    let heartbeat = v1::DataNodeHeartbeatRequest {
        node: Some(v1::NodeInfo {
            used_bytes: node.capacity_bytes,
            ..node.clone()
        }),
        last_seen_version: 0,
        losses_reported: true,
    };
    let heartbeat = coordinator.data_node_heartbeat(heartbeat).await;
    assert_eq!(kind(heartbeat), FaultKind::Denied);
    let unknown = chunk_of(&[b"never stored"]);
    let report = v1::ReportChunkRequest {
        node_id: node.id.clone(),
        generation: node.generation,
        slot_id: Vec::new(),
        info: Some(v1::ChunkInfo {
            id: unknown.id.as_bytes().to_vec(),
            len: 1000,
            footer_len: 100,
            footer_sha256: vec![1; 32],
        }),
        contents: vec![v1::ContentPlace {
            content: content_id(b"never stored").as_bytes().to_vec(),
            chunk: unknown.id.as_bytes().to_vec(),
            block: 0,
            offset: 0,
            len: 12,
        }],
    };
    let report = coordinator.report_chunk(report).await;
    assert_eq!(kind(report), FaultKind::Denied);
    let lost = v1::ReportLostChunksRequest {
        node_id: node.id.clone(),
        generation: node.generation,
        chunk_ids: vec![chunk.id.as_bytes().to_vec()],
    };
    let lost = coordinator.report_lost_chunks(lost).await;
    assert_eq!(kind(lost), FaultKind::Denied);

    let delete = v1::DeleteChunkRequest {
        chunk_id: chunk.id.as_bytes().to_vec(),
        reason: "no reason".to_owned(),
        generation: 1,
    };
    let delete = server.datanode().delete_chunk(delete).await;
    assert_eq!(kind(delete), FaultKind::Denied);
    let delete = v1::BulkDeleteChunkRequest {
        chunk_ids: vec![chunk.id.as_bytes().to_vec()],
        reason: "no reason".to_owned(),
        generation: 1,
    };
    let delete = server.datanode().bulk_delete_chunk(delete).await;
    assert_eq!(kind(delete), FaultKind::Denied);

    assert_eq!(missing(&server, &[b"never stored"]).await, [true]);
    assert_eq!(missing(&server, &[b"content"]).await, [false]);
    let read = server.download(chunk.id.as_bytes(), 0, 0).await.unwrap();
    assert_eq!(read[0].data, chunk.bytes);
    server.stop().await;
}
