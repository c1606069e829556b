//! Listings of whole trees: in order, in several messages, from anywhere on, and what is refused.

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_types::{DirId, Kind, Record};
use tempfile::TempDir;

use super::commits::list;
use super::support::{
    TestServer, all, dir_of, directory_record, file_record, kind, put, remove, with_project,
};

const VERSION: [u8; 16] = [1; 16];

fn fifo() -> Record {
    Record {
        kind: Kind::Fifo,
        ..file_record(b"")
    }
}

/// Version 1 has `a/deep`, `b` with entries whose names are long, and `c`; version 2 has one more in `a/deep`.
async fn served(entries: usize) -> (TempDir, TestServer, v1::ListTreeRequest) {
    let (dir, server, project) = with_project().await;
    let made = |number| DirId::SESSION_FIRST.0 + number;
    let mut changes = vec![
        put(1, "a", &directory_record(made(0))),
        put(made(0), "deep", &directory_record(made(1))),
        put(made(1), "x", &fifo()),
        put(1, "b", &directory_record(made(2))),
        put(1, "c", &directory_record(made(3))),
    ];
    let name = |number: usize| format!("{number:0>200}");
    changes.extend((0..entries).map(|number| put(made(2), &name(number), &fifo())));
    server.commit("app", VERSION, changes).await.unwrap();
    let deep = dirs(&server, &project.id, 1).await[2];
    let second = vec![put(deep, "y", &fifo()), remove(1, "c")];
    server.commit("app", [2; 16], second).await.unwrap();
    let request = v1::ListTreeRequest {
        project_id: project.id,
        version: 1,
        version_id: VERSION.to_vec(),
        ..Default::default()
    };
    (dir, server, request)
}

/// Returns the directories of a version, each before those in it.
async fn dirs(server: &TestServer, project: &[u8], version: u64) -> Vec<u64> {
    let mut dirs = Vec::new();
    let mut pending = vec![1];
    while let Some(dir) = pending.pop() {
        dirs.push(dir);
        let entries = list(server, project, version, dir).await;
        let below = entries.iter().rev().filter(|entry| is_directory(entry));
        pending.extend(below.map(dir_of));
    }
    dirs
}

fn is_directory(entry: &v1::Entry) -> bool {
    let record = entry.record.clone().unwrap();
    Record::try_from(record).unwrap().kind.is_directory()
}

async fn told(server: &TestServer, request: &v1::ListTreeRequest) -> Vec<u64> {
    let answers = all(server.fs().list_tree(request.clone()).await);
    let listings = answers
        .await
        .unwrap()
        .into_iter()
        .flat_map(|it| it.listings);
    let mut dirs: Vec<u64> = listings.map(|listing| listing.dir).collect();
    dirs.dedup();
    dirs
}

#[tokio::test]
async fn listings_come_in_order_and_large_directories_in_parts() {
    let (_dir, server, request) = served(3000).await;
    let project = request.project_id.clone();
    let answers = all(server.fs().list_tree(request.clone()).await)
        .await
        .unwrap();
    assert!(answers.len() > 2, "{}", answers.len());
    let mut listings: Vec<v1::TreeListing> = Vec::new();
    let mut goes_on = false;
    for part in answers.into_iter().flat_map(|answer| answer.listings) {
        match listings.last_mut().filter(|_| goes_on) {
            Some(listing) => {
                assert_eq!(listing.dir, part.dir);
                listing.entries.extend(part.entries);
            }
            None => listings.push(part.clone()),
        }
        goes_on = part.more;
    }
    assert!(!goes_on);
    let order = dirs(&server, &project, 1).await;
    assert_eq!(listings.iter().map(|it| it.dir).collect::<Vec<_>>(), order);
    for listing in &listings {
        let alone = v1::ListDirectoryRequest {
            project_id: project.clone(),
            version: 1,
            dir: listing.dir,
            ..Default::default()
        };
        let alone = server
            .fs()
            .list_directory(alone)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(listing.listing_version, alone.listing_version);
        assert_eq!(listing.entries[..alone.entries.len()], alone.entries);
    }
    server.stop().await;
}

#[tokio::test]
async fn listings_go_on_behind_a_directory_below_one_and_since_a_version() {
    let (_dir, server, request) = served(3).await;
    let order = dirs(&server, &request.project_id, 1).await;
    for (at, dir) in order.iter().enumerate() {
        let behind = v1::ListTreeRequest {
            after: *dir,
            ..request.clone()
        };
        assert_eq!(told(&server, &behind).await, order[at + 1..]);
    }
    let a = v1::ListTreeRequest {
        dir: order[1],
        ..request.clone()
    };
    assert_eq!(told(&server, &a).await, order[1..3]);
    let since = v1::ListTreeRequest {
        version: 2,
        version_id: vec![2; 16],
        since: 1,
        since_id: VERSION.to_vec(),
        ..request.clone()
    };
    assert_eq!(told(&server, &since).await, [1, order[2]]);
    let behind = v1::ListTreeRequest {
        after: 1,
        ..since.clone()
    };
    assert_eq!(told(&server, &behind).await, [order[2]]);
    let below = v1::ListTreeRequest {
        dir: order[1],
        ..since.clone()
    };
    assert_eq!(told(&server, &below).await, [order[2]]);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_listed_is_refused() {
    let (_dir, server, request) = served(3).await;
    let order = dirs(&server, &request.project_id, 1).await;
    let refused = async |change: &dyn Fn(&mut v1::ListTreeRequest)| {
        let mut request = request.clone();
        change(&mut request);
        let answers = server.fs().list_tree(request).await;
        kind(match answers {
            Ok(answers) => all(Ok(answers)).await,
            Err(refused) => Err(refused),
        })
    };
    assert_eq!(
        refused(&|it| it.project_id = vec![7]).await,
        FaultKind::Invalid
    );
    assert_eq!(
        refused(&|it| it.project_id = vec![7; 16]).await,
        FaultKind::ProjectNotFound
    );
    assert_eq!(
        refused(&|it| it.version = 9).await,
        FaultKind::VersionNotFound
    );
    assert_eq!(
        refused(&|it| it.version_id = vec![9; 16]).await,
        FaultKind::VersionNotFound
    );
    assert_eq!(
        refused(&|it| it.version_id = vec![9]).await,
        FaultKind::Invalid
    );
    assert_eq!(refused(&|it| it.dir = 4711).await, FaultKind::PathNotFound);
    assert_eq!(refused(&|it| it.after = 4711).await, FaultKind::Invalid);
    let outside = |it: &mut v1::ListTreeRequest| (it.dir, it.after) = (order[1], order[3]);
    assert_eq!(refused(&outside).await, FaultKind::Invalid);
    assert_eq!(
        refused(&|it| it.since = 9).await,
        FaultKind::VersionNotFound
    );
    assert_eq!(
        refused(&|it| it.since_id = vec![1; 16]).await,
        FaultKind::Invalid
    );
    let other = |it: &mut v1::ListTreeRequest| (it.since, it.since_id) = (1, vec![9; 16]);
    assert_eq!(refused(&other).await, FaultKind::VersionNotFound);
    server.stop().await;
}
