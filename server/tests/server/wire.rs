//! What every call names beside its subject: the project by its id, and the protocols of its caller.

use lfsfs_proto::headers::PROTOCOL_HEADER;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use tonic::{Request, Status};

use super::support::{TestServer, content_id, kind, with_project};

/// Makes each call that is about a project with an id of one; returns what each is refused with.
async fn refusals(server: &TestServer, project_id: &[u8]) -> Vec<FaultKind> {
    let project_id = project_id.to_vec();
    let contents = vec![content_id(b"content").as_bytes().to_vec()];
    let find = v1::FindMissingRequest {
        contents: contents.clone(),
        project_id: project_id.clone(),
    };
    let plan = v1::PlanUploadRequest {
        project_id: project_id.clone(),
        count: 1,
        chunk_size: 0,
        avoid: Vec::new(),
    };
    let log = v1::LogRequest {
        project_id: project_id.clone(),
        ..Default::default()
    };
    let pieces = v1::PutPiecesRequest {
        content: contents[0].clone(),
        project_id: project_id.clone(),
        ..Default::default()
    };
    let version = v1::ResolveSourceRequest {
        project_id: project_id.clone(),
        version: 0,
        source: String::new(),
    };
    let mut fs = server.fs();
    vec![
        kind(fs.find_missing(find).await),
        kind(fs.plan_upload(plan).await),
        kind(fs.log(log).await),
        kind(fs.put_pieces(tokio_stream::iter([pieces])).await),
        kind(resolve(server, &[project_id]).await),
        kind(fs.resolve_source(version).await),
    ]
}

/// Asks where a content is, in one message for each id of a project.
async fn resolve(server: &TestServer, project_ids: &[Vec<u8>]) -> Result<(), Status> {
    let contents = vec![content_id(b"content").as_bytes().to_vec()];
    let questions = project_ids.iter().map(|project_id| v1::ResolveRequest {
        contents: contents.clone(),
        project_id: project_id.clone(),
    });
    let questions: Vec<_> = questions.collect();
    let answers = server.fs().resolve(tokio_stream::iter(questions)).await;
    let mut answers = answers?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn every_call_about_contents_names_a_project_that_is_there() {
    let (_dir, server, project) = with_project().await;
    let unknown = refusals(&server, &[9; 16]).await;
    assert_eq!(unknown, [FaultKind::ProjectNotFound; 6]);
    let wrong = refusals(&server, &[9; 3]).await;
    assert_eq!(wrong, [FaultKind::Invalid; 6]);

    let app = project.id.clone();
    assert!(
        resolve(&server, &[app.clone(), Vec::new(), app.clone()])
            .await
            .is_ok()
    );
    let unnamed = resolve(&server, &[Vec::new()]).await;
    assert_eq!(kind(unnamed), FaultKind::Invalid);
    let other = server.new_project("other").await.id;
    let mixed = resolve(&server, &[app.clone(), other]).await;
    assert_eq!(kind(mixed), FaultKind::Invalid);

    let deleted = v1::DeleteProjectRequest {
        name: "app".to_owned(),
        purge: false,
    };
    server.fs().delete_project(deleted).await.unwrap();
    let gone = resolve(&server, &[app]).await;
    assert_eq!(kind(gone), FaultKind::ProjectNotFound);
    server.stop().await;
}

#[tokio::test]
async fn a_version_is_found_by_the_id_of_its_project_whatever_its_name() {
    let (_dir, server, project) = with_project().await;
    let by_id = v1::ResolveSourceRequest {
        source: String::new(),
        project_id: project.id.clone(),
        version: 0,
    };
    let before = server.resolve_source("app@v0").await.unwrap();
    let rename = v1::RenameProjectRequest {
        name: "app".to_owned(),
        new_name: "web".to_owned(),
    };
    server.fs().rename_project(rename).await.unwrap();
    let found = server.fs().resolve_source(by_id.clone()).await;
    let found = found.unwrap().into_inner();
    assert_eq!(found.version, before.version);
    assert_eq!(found.project.unwrap().name, "web");
    let both = v1::ResolveSourceRequest {
        source: "web".to_owned(),
        ..by_id
    };
    let refused = server.fs().resolve_source(both).await;
    assert_eq!(kind(refused), FaultKind::Invalid);
    server.stop().await;
}

#[tokio::test]
async fn a_caller_of_another_time_is_told_which_side_to_upgrade() {
    let (_dir, server, _) = with_project().await;
    let ask = async |protocols: &str| {
        let mut request = Request::new(v1::GetClusterRequest {});
        let value = protocols.parse().expect("ASCII");
        request.metadata_mut().insert(PROTOCOL_HEADER, value);
        server.fs().get_cluster(request).await
    };
    let cluster = ask("1-99 0.99.0").await.unwrap().into_inner();
    assert!(cluster.protocol_least <= cluster.protocol_newest);
    let refused = Fault::from_status(&ask("98-99 0.99.0").await.unwrap_err());
    assert_eq!(refused.kind, FaultKind::Incompatible);
    for word in ["0.99.0", env!("CARGO_PKG_VERSION"), "upgrade the server"] {
        assert!(refused.message.contains(word), "{}", refused.message);
    }
    assert_eq!(kind(ask("none").await), FaultKind::Invalid);
    server.stop().await;
}
