//! Projects deleted and renamed, tags, rollbacks.

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use tempfile::TempDir;
use tonic::Status;

use super::commits::{list, tree};
use super::support::{TestServer, file_record, kind, private_dir, put, remove, with_project};

/// A project with two versions.
async fn with_versions() -> (TempDir, TestServer, v1::Project) {
    let (dir, server, project) = with_project().await;
    server.store(&[b"one", b"two"]).await;
    let first = tree(&[b"one", b"two"]);
    server.commit("app", [1; 16], first).await.unwrap();
    let second = vec![remove(1, "sub"), put(1, "c.txt", &file_record(b"one"))];
    server.commit("app", [2; 16], second).await.unwrap();
    (dir, server, project)
}

#[tokio::test]
async fn a_deleted_project_is_gone_and_its_name_is_free() {
    let (dir, server, project) = with_versions().await;
    let delete = async |server: &TestServer, name: &str| {
        let name = name.to_owned();
        let purge = false;
        let request = v1::DeleteProjectRequest { name, purge };
        server.fs().delete_project(request).await.map(drop)
    };
    assert_eq!(
        kind(delete(&server, "none").await),
        FaultKind::ProjectNotFound
    );
    assert_eq!(kind(delete(&server, "a/b").await), FaultKind::Invalid);
    let base = (2, &[2; 16][..]);
    let open = server
        .open_session(&project.id, base, [3; 16])
        .await
        .unwrap();
    delete(&server, "app").await.unwrap();
    assert_eq!(
        kind(delete(&server, "app").await),
        FaultKind::ProjectNotFound
    );
    let late = server.commit_session(open.session_id, Vec::new()).await;
    assert_eq!(kind(late), FaultKind::ProjectNotFound);
    let resolved = server.resolve_source("app@v1").await;
    assert_eq!(kind(resolved), FaultKind::ProjectNotFound);
    let request = v1::ListDirectoryRequest {
        project_id: project.id.clone(),
        version: 1,
        dir: 1,
        ..Default::default()
    };
    let listed = server.fs().list_directory(request).await;
    assert_eq!(kind(listed), FaultKind::ProjectNotFound);
    let again = server.new_project("app").await;
    assert_ne!(again.id, project.id);
    server.stop().await;

    let server = TestServer::start(dir.path()).await;
    let found = server.resolve_source("app").await.unwrap();
    assert_eq!(found.project.unwrap().id, again.id);
    server.stop().await;
}

#[tokio::test]
async fn a_renamed_project_is_the_same() {
    let (_dir, server, project) = with_versions().await;
    server.new_project("taken").await;
    let rename = async |name: &str, new_name: &str| {
        let request = v1::RenameProjectRequest {
            name: name.to_owned(),
            new_name: new_name.to_owned(),
        };
        server.fs().rename_project(request).await.map(drop)
    };
    for (name, new_name, expected) in [
        ("none", "site", FaultKind::ProjectNotFound),
        ("app", "taken", FaultKind::AlreadyExists),
        ("app", "app", FaultKind::AlreadyExists),
        ("app", ".", FaultKind::Invalid),
        ("", "site", FaultKind::Invalid),
    ] {
        let refused = rename(name, new_name).await;
        assert_eq!(kind(refused), expected, "{name} to {new_name}");
    }
    rename("app", "site").await.unwrap();
    let found = server.resolve_source("site").await.unwrap();
    assert_eq!(
        (found.project.unwrap().id, found.version.unwrap().number),
        (project.id, 2)
    );
    let gone = server.resolve_source("app").await;
    assert_eq!(kind(gone), FaultKind::ProjectNotFound);
    server.stop().await;
}

async fn set_tag(
    server: &TestServer,
    (project, tag): (&str, &str),
    version: u64,
    force: bool,
) -> Result<(), Status> {
    let request = v1::SetTagRequest {
        project: project.to_owned(),
        tag: tag.to_owned(),
        version,
        force,
    };
    server.fs().set_tag(request).await.map(drop)
}

async fn delete_tag(server: &TestServer, project: &str, tag: &str) -> Result<(), Status> {
    let request = v1::DeleteTagRequest {
        project: project.to_owned(),
        tag: tag.to_owned(),
    };
    server.fs().delete_tag(request).await.map(drop)
}

async fn list_tags(
    server: &TestServer,
    project: &str,
    after: &str,
    limit: u32,
) -> Result<(Vec<(String, u64)>, bool), Status> {
    let request = v1::ListTagsRequest {
        project: project.to_owned(),
        after: after.to_owned(),
        limit,
    };
    let page = server.fs().list_tags(request).await?.into_inner();
    let tags = page.tags.into_iter().map(|tag| (tag.name, tag.version));
    Ok((tags.collect(), page.more))
}

#[tokio::test]
async fn tags_are_set_moved_listed_and_deleted() {
    let (_dir, server, _) = with_versions().await;
    for (tag, version) in [("good", 1), ("bad", 2), ("zero", 0)] {
        set_tag(&server, ("app", tag), version, false)
            .await
            .unwrap();
    }
    // Once more is no move.
    set_tag(&server, ("app", "good"), 1, false).await.unwrap();
    let tagged = server.resolve_source("app@good").await.unwrap();
    assert_eq!(tagged.version.unwrap().number, 1);
    set_tag(&server, ("app", "good"), 2, true).await.unwrap();
    let tag = |name: &str, version| (name.to_owned(), version);
    let all = vec![tag("bad", 2), tag("good", 2), tag("zero", 0)];
    assert_eq!(
        list_tags(&server, "app", "", 0).await.unwrap(),
        (all.clone(), false)
    );
    let first = list_tags(&server, "app", "", 1).await.unwrap();
    assert_eq!(first, (all[..1].to_vec(), true));
    let rest = list_tags(&server, "app", "bad", 2).await.unwrap();
    assert_eq!(rest, (all[1..].to_vec(), false));
    delete_tag(&server, "app", "good").await.unwrap();
    let gone = server.resolve_source("app@good").await;
    assert_eq!(kind(gone), FaultKind::VersionNotFound);
    server.stop().await;
}

#[tokio::test]
async fn tags_that_cannot_be_are_refused() {
    let (_dir, server, _) = with_versions().await;
    set_tag(&server, ("app", "good"), 1, false).await.unwrap();
    for (project, tag, version, expected) in [
        ("app", "good", 2, FaultKind::AlreadyExists),
        ("app", "new", 3, FaultKind::VersionNotFound),
        ("none", "new", 1, FaultKind::ProjectNotFound),
        ("app", "latest", 1, FaultKind::Invalid),
        ("app", "v7", 1, FaultKind::Invalid),
        ("app", "a b", 1, FaultKind::Invalid),
        ("a/b", "new", 1, FaultKind::Invalid),
    ] {
        let refused = set_tag(&server, (project, tag), version, false).await;
        assert_eq!(kind(refused), expected, "{project}@{tag} = {version}");
    }
    for (project, tag, expected) in [
        ("app", "none", FaultKind::VersionNotFound),
        ("none", "good", FaultKind::ProjectNotFound),
        ("app", "v1", FaultKind::Invalid),
    ] {
        let refused = delete_tag(&server, project, tag).await;
        assert_eq!(kind(refused), expected, "{project}@{tag}");
    }
    let unknown = list_tags(&server, "none", "", 0).await;
    assert_eq!(kind(unknown), FaultKind::ProjectNotFound);
    let wrong = list_tags(&server, "app", "latest", 0).await;
    assert_eq!(kind(wrong), FaultKind::Invalid);
    server.stop().await;
}

#[tokio::test]
async fn a_rollback_is_a_version_with_the_tree_of_an_older_one() {
    let (_dir, server, project) = with_versions().await;
    let rollback = async |project: &str, version| {
        let request = v1::RollbackRequest {
            project: project.to_owned(),
            version,
            ..Default::default()
        };
        let rolled = server.fs().rollback(request).await;
        rolled.map(|rolled| rolled.into_inner().version)
    };
    assert_eq!(kind(rollback("none", 1).await), FaultKind::ProjectNotFound);
    assert_eq!(kind(rollback("app", 3).await), FaultKind::VersionNotFound);
    assert_eq!(kind(rollback("a/b", 1).await), FaultKind::Invalid);
    assert_eq!(rollback("app", 1).await.unwrap(), 3);
    let [first, third] = [1, 3].map(|version| list(&server, &project.id, version, 1));
    assert_eq!(third.await, first.await);
    let head = server.resolve_source("app").await.unwrap().version.unwrap();
    let origin = head.origin.unwrap().origin.unwrap();
    assert_eq!(origin, v1::origin::Origin::Rollback(1));
    assert_eq!(rollback("app", 3).await.unwrap(), 3, "nothing to roll back");
    assert_eq!(rollback("app", 0).await.unwrap(), 4);
    assert_eq!(list(&server, &project.id, 4, 1).await, []);
    server.stop().await;
}

#[tokio::test]
async fn patterns_are_counted_and_measured_before_any_is_compiled() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let refused = async |patterns: Vec<String>| {
        let request = v1::NewProjectRequest {
            name: "app".to_owned(),
            pack_patterns: patterns,
            ..Default::default()
        };
        let status = server.fs().new_project(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
        status.message().to_owned()
    };
    // Neither is a regular expression: a message about that would mean that one was compiled.
    let long = refused(vec!["(".repeat(5000)]).await;
    assert!(long.contains("4,096 bytes"), "{long}");
    let many = refused(vec!["(".to_owned(); 300]).await;
    assert!(many.contains("256 pack patterns"), "{many}");
    let large = refused(vec![r"(\w{9}){9}".to_owned()]).await;
    assert!(large.contains("is not a regular expression"), "{large}");
    let bad = refused(vec!["(".to_owned()]).await;
    assert!(bad.contains("is not a regular expression"), "{bad}");
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_projects_ends_before_it_is_too_long_for_a_message() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    for number in 0..6 {
        let request = v1::NewProjectRequest {
            name: format!("app-{number}"),
            pack_patterns: vec!["a".repeat(4096); 250],
            ..Default::default()
        };
        server.fs().new_project(request).await.unwrap();
    }
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let after = names.last().cloned().unwrap_or_default();
        let request = v1::ListProjectsRequest {
            after,
            ..Default::default()
        };
        let page = server.fs().list_projects(request).await.unwrap();
        let page = page.into_inner();
        names.extend(page.projects.into_iter().map(|project| project.name));
        pages += 1;
        if !page.more {
            break;
        }
    }
    assert_eq!(names, [0, 1, 2, 3, 4, 5].map(|n| format!("app-{n}")));
    assert!(pages > 1, "the default of clients is 4 MiB");
    server.stop().await;
}
