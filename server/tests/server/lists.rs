//! Contents of more pieces than one message tells.

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_types::content::{Content, Piece, PieceList};
use lfsfs_types::limits::{PIECE_LEN_MIN, PIECES_INLINE_MAX};
use lfsfs_types::{Kind, Record};

use crate::support::{
    TestServer, chunk_of, content_id, file_record, kind, noise, put, with_project,
};

async fn put_pieces(server: &TestServer, list: &PieceList) -> Result<(), tonic::Status> {
    let id = list.content_id();
    let project_id = server.app().await;
    let requests = list.pieces().chunks(1000).map(|part| v1::PutPiecesRequest {
        project_id: project_id.clone(),
        content: id.as_bytes().to_vec(),
        pieces: part.iter().map(v1::Piece::from).collect(),
    });
    let requests: Vec<_> = requests.collect();
    let stream = tokio_stream::iter(requests);
    server.fs().put_pieces(stream).await.map(drop)
}

#[tokio::test]
async fn a_content_of_many_pieces_answers_with_the_list_of_them() {
    let (_dir, server, _) = with_project().await;
    let bytes = noise(PIECE_LEN_MIN as usize);
    let piece = Piece {
        hash: content_id(&bytes),
        len: PIECE_LEN_MIN,
    };
    let list = PieceList::new(vec![piece; PIECES_INLINE_MAX + 1]).unwrap();
    server.upload(&chunk_of(&[&bytes]), &[]).await.unwrap();
    let refused = put_pieces(&server, &list).await;
    assert_eq!(kind(refused), FaultKind::ContentNotFound, "no list");

    let encoded = list.encode();
    let stored = Content::of_bytes(&encoded);
    assert_eq!(stored.pieces, None, "the list is a small content");
    server.upload(&chunk_of(&[&encoded]), &[]).await.unwrap();
    put_pieces(&server, &list).await.unwrap();

    let content = list.content_id();
    let question = v1::ResolveRequest {
        project_id: server.app().await,
        contents: vec![content.as_bytes().to_vec(), piece.hash.as_bytes().to_vec()],
    };
    let answer = server.fs().resolve(tokio_stream::iter([question])).await;
    let message = answer.unwrap().into_inner().message().await.unwrap();
    let contents = message.unwrap().contents;
    assert_eq!(contents[0].list, stored.id.as_bytes());
    assert_eq!(contents[0].list_count, list.count());
    assert!(contents[0].found && contents[0].places.is_empty());
    assert!(contents[1].list.is_empty() && contents[1].places.len() == 1);

    let record = Record {
        kind: Kind::File {
            size: list.total_len(),
            content,
        },
        ..file_record(b"")
    };
    let changes = vec![put(1, "large", &record)];
    server.commit("app", [1; 16], changes).await.unwrap();
    let request = v1::DownloadFileRequest {
        source: "app".to_owned(),
        path: b"large".to_vec(),
    };
    let answer = server.coordinator().download_file(request).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.list, stored.id.as_bytes());
    assert_eq!(answer.list_count, list.count());
    assert!(answer.places.is_empty());
    server.stop().await;
}
