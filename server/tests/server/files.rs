//! Single files: planned, uploaded, confirmed, downloaded, deleted.

use std::io::Cursor;

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_types::ContentId;
use lfsfs_types::chunk::{self, Span};
use sha2::{Digest as _, Sha256};

use super::support::{TestServer, chunk_of, content_id, kind, with_project};

async fn plan(server: &TestServer, path: &str, content: &[u8]) -> v1::UploadFileResponse {
    let request = v1::UploadFileRequest {
        project: "app".to_owned(),
        path: path.as_bytes().to_vec(),
        size: content.len() as u64,
        chunk_size: 0,
        checksum: Sha256::digest(content).to_vec(),
        ..Default::default()
    };
    let answer = server.coordinator().upload_file(request).await;
    answer.expect("plan an upload").into_inner()
}

fn confirmation(
    plan: &v1::UploadFileResponse,
    chunks: &[(usize, &[u8])],
    content: &[u8],
) -> v1::ConfirmUploadRequest {
    let chunk = |(slot, chunk): &(usize, &[u8])| v1::UploadedChunk {
        slot_id: plan.slots[*slot].id.clone(),
        chunk_id: chunk.to_vec(),
    };
    v1::ConfirmUploadRequest {
        session_id: plan.session_id.clone(),
        chunks: chunks.iter().map(chunk).collect(),
        content: content_id(content).as_bytes().to_vec(),
        ..Default::default()
    }
}

async fn upload_file(server: &TestServer, path: &str, content: &[u8]) -> u64 {
    let plan = plan(server, path, content).await;
    let chunk = chunk_of(&[content]);
    let uploaded = server.upload(&chunk, &plan.slots[0].id).await;
    uploaded.expect("upload a chunk");
    let request = confirmation(&plan, &[(0, chunk.id.as_bytes())], content);
    let confirmed = server.coordinator().confirm_upload(request).await;
    confirmed.expect("confirm").into_inner().version
}

async fn download(server: &TestServer, source: &str, path: &str) -> Result<Vec<u8>, tonic::Status> {
    let request = v1::DownloadFileRequest {
        source: source.to_owned(),
        path: path.as_bytes().to_vec(),
    };
    let answer = server
        .coordinator()
        .download_file(request)
        .await?
        .into_inner();
    let mut bytes = Vec::new();
    for place in answer.places {
        let frames = server.download(&place.chunk, 0, 0).await?;
        let chunk: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.data.to_vec())
            .collect();
        bytes.extend(content_in(&chunk, &place.content));
    }
    Ok(bytes)
}

fn content_in(chunk: &[u8], content: &[u8]) -> Vec<u8> {
    let len = chunk.len() as u64;
    let verified = chunk::verify(Cursor::new(chunk), len).expect("a whole chunk");
    let id = ContentId::from_slice(content).expect("a content id");
    let footer = verified.footer;
    let entry = footer.find(&id).expect("the content is in the chunk");
    let raw = |span: Span| {
        let range = footer.block_range(span.block).expect("the block is there");
        let bound = |at| usize::try_from(at).expect("a small chunk");
        let stored = &chunk[bound(range.start)..bound(range.end)];
        let block = &footer.blocks()[span.block as usize];
        chunk::decode_block(block, stored).expect("a whole block")[span.range].to_vec()
    };
    footer.spans(entry).flat_map(raw).collect()
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down_and_each_time_is_a_version() {
    let (_dir, server, _) = with_project().await;
    assert_eq!(upload_file(&server, "deep/er/file", b"one").await, 1);
    assert_eq!(upload_file(&server, "deep/er/file", b"two").await, 2);
    assert_eq!(upload_file(&server, "deep/other", b"three").await, 3);
    for (source, path, content) in [
        ("app@v1", "deep/er/file", &b"one"[..]),
        ("app", "deep/er/file", b"two"),
        ("app", "deep/other", b"three"),
    ] {
        assert_eq!(download(&server, source, path).await.unwrap(), content);
    }
    let request = v1::ListFilesRequest {
        source: "app".to_owned(),
        directory: b"deep".to_vec(),
        ..Default::default()
    };
    let listed = server.coordinator().list_files(request).await.unwrap();
    let names: Vec<_> = listed
        .into_inner()
        .files
        .into_iter()
        .map(|f| f.name)
        .collect();
    assert_eq!(names, [b"er".to_vec(), b"other".to_vec()]);

    let request = v1::DeleteFileRequest {
        project: "app".to_owned(),
        path: b"deep/other".to_vec(),
        ..Default::default()
    };
    let deleted = server.coordinator().delete_file(request.clone()).await;
    assert_eq!(deleted.unwrap().into_inner().version, 4);
    let gone = download(&server, "app", "deep/other").await;
    assert_eq!(kind(gone), FaultKind::PathNotFound);
    let again = server.coordinator().delete_file(request).await;
    assert_eq!(kind(again), FaultKind::PathNotFound);
    let kept = download(&server, "app@v3", "deep/other").await.unwrap();
    assert_eq!(kept, b"three");
    server.stop().await;
}

#[tokio::test]
async fn a_file_without_bytes_needs_no_chunk() {
    let (_dir, server, _) = with_project().await;
    let plan = plan(&server, "empty", b"").await;
    assert!(plan.slots.is_empty());
    let request = confirmation(&plan, &[], b"");
    for _ in 0..2 {
        let confirmed = server.coordinator().confirm_upload(request.clone()).await;
        let version = confirmed.unwrap().into_inner().version;
        assert_eq!(version, 1, "a repeated confirmation is the same version");
    }
    assert_eq!(download(&server, "app", "empty").await.unwrap(), b"");
    server.stop().await;
}

#[tokio::test]
async fn a_confirmation_needs_receipts_and_the_announced_content() {
    let (_dir, server, _) = with_project().await;
    let plan = plan(&server, "file", b"content").await;
    let chunk = chunk_of(&[b"content", b"another"]);
    let slots = [(0, &chunk.id.as_bytes()[..])];
    let confirm = |request| {
        let mut coordinator = server.coordinator();
        async move { coordinator.confirm_upload(request).await }
    };
    let early = confirm(confirmation(&plan, &slots, b"content")).await;
    assert_eq!(kind(early), FaultKind::ChunkNotFound, "no receipt");
    let early = confirm(confirmation(&plan, &[], b"content")).await;
    assert_eq!(kind(early), FaultKind::ContentNotFound, "no content");

    server.upload(&chunk, &plan.slots[0].id).await.unwrap();
    let other = confirm(confirmation(&plan, &slots, b"another")).await;
    assert_eq!(kind(other), FaultKind::HashMismatch, "another content");
    let wrong_slot = [(1, &chunk.id.as_bytes()[..])];
    let wrong = confirm(confirmation(&plan, &wrong_slot, b"content")).await;
    assert_eq!(kind(wrong), FaultKind::ChunkNotFound, "another slot");
    let mut unknown = confirmation(&plan, &slots, b"content");
    unknown.session_id = vec![1; 16];
    assert_eq!(kind(confirm(unknown).await), FaultKind::SessionNotFound);

    confirm(confirmation(&plan, &slots, b"content"))
        .await
        .unwrap();
    assert_eq!(download(&server, "app", "file").await.unwrap(), b"content");
    server.stop().await;
}

#[tokio::test]
async fn a_directory_is_no_place_for_a_file() {
    let (_dir, server, _) = with_project().await;
    upload_file(&server, "dir/file", b"content").await;
    for path in ["dir", "dir/file/below"] {
        let plan = plan(&server, path, b"content").await;
        let request = confirmation(&plan, &[], b"content");
        let refused = server.coordinator().confirm_upload(request).await;
        assert_eq!(kind(refused), FaultKind::Invalid, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_mode_is_what_the_client_says_and_0644_if_it_says_nothing() {
    let (_dir, server, _) = with_project().await;
    for (mode, kept) in [(Some(0), 0), (Some(0o4755), 0o4755), (None, 0o644)] {
        let plan = plan(&server, "file", b"").await;
        let request = v1::ConfirmUploadRequest {
            mode,
            ..confirmation(&plan, &[], b"")
        };
        server.coordinator().confirm_upload(request).await.unwrap();
        let request = v1::DownloadFileRequest {
            source: "app".to_owned(),
            path: b"file".to_vec(),
        };
        let found = server.coordinator().download_file(request).await;
        let record = found.unwrap().into_inner().record.expect("a record");
        assert_eq!(record.mode, kept, "{mode:?}");
    }
    server.stop().await;
}

/// `lfsfs put` stores the content before it plans: it wants no places, and a full cluster need have none.
#[tokio::test]
async fn a_plan_without_slots_has_no_limit_of_chunks() {
    let (_dir, server, _project) = with_project().await;
    let request = v1::UploadFileRequest {
        project: "app".to_owned(),
        path: b"file".to_vec(),
        size: 15 << 40,
        without_slots: true,
        ..Default::default()
    };
    let plan = server.coordinator().upload_file(request).await.unwrap();
    let plan = plan.into_inner();
    assert_eq!((plan.slots.len(), plan.session_id.len()), (0, 16));
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_is_planned_again_under_its_version_id_is_made_once() {
    let (_dir, server, _) = with_project().await;
    upload_file(&server, "first", b"content").await;
    let upload = |content: &'static [u8]| {
        let mut coordinator = server.coordinator();
        async move {
            let request = v1::UploadFileRequest {
                project: "app".to_owned(),
                path: b"file".to_vec(),
                size: content.len() as u64,
                version_id: vec![7; 16],
                ..Default::default()
            };
            let plan = coordinator.upload_file(request).await.unwrap().into_inner();
            let request = confirmation(&plan, &[], content);
            let confirmed = coordinator.confirm_upload(request).await;
            confirmed.unwrap().into_inner().version
        }
    };
    assert_eq!(upload(b"content").await, 2);
    // Another client changes it, and the first one asks again for want of an answer.
    assert_eq!(upload_file(&server, "file", b"other").await, 3);
    assert_eq!(upload(b"content").await, 2);
    assert_eq!(download(&server, "app", "file").await.unwrap(), b"other");

    let request = v1::UploadFileRequest {
        project: "app".to_owned(),
        path: b"file".to_vec(),
        version_id: vec![7; 15],
        ..Default::default()
    };
    let refused = server.coordinator().upload_file(request).await;
    assert_eq!(kind(refused), FaultKind::Invalid, "no id");
    server.stop().await;
}

#[tokio::test]
async fn a_deletion_under_one_version_id_is_done_once() {
    let (_dir, server, _) = with_project().await;
    upload_file(&server, "file", b"content").await;
    let delete = |version: u8| {
        let mut coordinator = server.coordinator();
        let request = v1::DeleteFileRequest {
            project: "app".to_owned(),
            path: b"file".to_vec(),
            version_id: vec![version; 16],
            author: "me".to_owned(),
            message: "not used".to_owned(),
        };
        async move { coordinator.delete_file(request).await }
    };
    for _ in 0..2 {
        assert_eq!(delete(1).await.unwrap().into_inner().version, 2);
    }
    assert_eq!(kind(delete(2).await), FaultKind::PathNotFound);
    let mut fs = server.fs();
    let inspected = fs.inspect(v1::InspectRequest {
        name: "app".to_owned(),
    });
    let head = inspected.await.unwrap().into_inner().head.expect("a head");
    assert_eq!((&*head.author, &*head.message), ("me", "not used"));
    server.stop().await;
}

#[tokio::test]
async fn a_download_names_every_chunk_and_who_has_it() {
    let (_dir, server, _) = with_project().await;
    upload_file(&server, "file", b"content").await;
    let request = v1::DownloadFileRequest {
        source: "app@v1".to_owned(),
        path: b"file".to_vec(),
    };
    let found = server.coordinator().download_file(request).await;
    let found = found.unwrap().into_inner();
    let [place] = &found.places[..] else {
        unreachable!("a small content has one place")
    };
    let [chunk] = &found.chunks[..] else {
        unreachable!("it lies in one chunk")
    };
    let info = chunk.info.as_ref().expect("what it takes to read it");
    assert_eq!(info.id, place.chunk);
    let mut coordinator = server.coordinator();
    let nodes = coordinator.list_nodes(v1::ListNodesRequest {});
    let nodes = nodes.await.unwrap().into_inner().nodes;
    let addresses = |nodes: &[v1::NodeInfo]| -> Vec<String> {
        nodes.iter().map(|node| node.address.clone()).collect()
    };
    assert_eq!(addresses(&chunk.nodes), addresses(&nodes));
    server.stop().await;
}

#[tokio::test]
async fn a_directory_is_listed_by_pages() {
    let (_dir, server, _) = with_project().await;
    for name in ["dir/a", "dir/b", "dir/c", "other"] {
        upload_file(&server, name, name.as_bytes()).await;
    }
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let request = v1::ListFilesRequest {
            source: "app".to_owned(),
            directory: b"dir".to_vec(),
            after: names.last().cloned().unwrap_or_default(),
            limit: 2,
        };
        let page = server.coordinator().list_files(request).await.unwrap();
        let page = page.into_inner();
        names.extend(page.files.into_iter().map(|file| file.name));
        pages += 1;
        if !page.more {
            break;
        }
    }
    assert_eq!(names, [b"a", b"b", b"c"].map(|name| name.to_vec()));
    assert_eq!(pages, 2);
    server.stop().await;
}
