//! Commits that were interrupted, and what the next one makes of them.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_client::{ClientConfig, Servers};
use lfsfs_testkit::proxy::Proxy;
use lfsfs_types::{Source, VersionId};
use lfsfs_vfs::CommitError;

use super::kinds::assert_same;
use crate::commit_support::{Cluster, Mount};
use crate::support::noise;

/// Changes that make directories and links, so that their ids must be known afterwards.
async fn change(mount: &Mount, round: u64) {
    let dir = format!("dir{round}");
    mount.mkdir(&dir).await;
    mount.mkdir(&format!("{dir}/sub")).await;
    mount
        .write(&format!("{dir}/sub/file"), &noise(round, 200_000))
        .await;
    mount
        .link(&format!("{dir}/sub/file"), &format!("{dir}/name"))
        .await;
    mount.write("counter", round.to_string().as_bytes()).await;
}

async fn head(cluster: &Cluster) -> u64 {
    let source: Source = "app@latest".parse().unwrap();
    let snapshot = cluster
        .servers
        .remote()
        .resolve_source(&source)
        .await
        .unwrap();
    snapshot.version.number.0
}

#[tokio::test]
async fn a_seal_left_behind_is_finished_first() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "mine").await;
    change(&mount, 1).await;
    let before = mount.tree().await;
    let overlay = Arc::clone(mount.vfs.overlay().unwrap());
    overlay.seal(VersionId([7; 16])).unwrap();
    drop((overlay, mount));
    let mount = cluster.mount("app@v0", "mine").await;
    let outcome = mount.commit().await.unwrap();
    assert_eq!((outcome.version.number.0, outcome.is_new), (1, true));
    assert_eq!(outcome.version.id, VersionId([7; 16]), "under the same id");
    assert_same(&cluster.version("app@v1").await, &before);
    assert_eq!(head(&cluster).await, 1);
}

#[tokio::test]
async fn what_comes_after_the_seal_is_in_the_next_version() {
    let cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "mine").await;
    change(&mount, 1).await;
    let first = mount.tree().await;
    let overlay = Arc::clone(mount.vfs.overlay().unwrap());
    overlay.seal(VersionId([7; 16])).unwrap();
    mount.write("dir1/sub/file", b"later").await;
    mount.rename("dir1/sub", "moved").await;
    mount.mkdir("dir1/sub").await;
    mount.remove("counter").await;
    change(&mount, 2).await;
    let second = mount.tree().await;
    drop((overlay, mount));
    let mount = cluster.mount("app@v0", "mine").await;
    assert_same(&mount.tree().await, &second);
    let outcome = mount.commit().await.unwrap();
    assert_eq!((outcome.version.number.0, outcome.is_new), (2, true));
    assert_same(&cluster.version("app@v1").await, &first);
    assert_same(&cluster.version("app@v2").await, &second);
    assert_same(&mount.tree().await, &second);
}

#[tokio::test]
async fn a_commit_given_up_at_any_moment_is_made_once() {
    let cluster = Cluster::new().await;
    for round in 1..30 {
        let base = format!("app@v{}", round - 1);
        let mount = cluster.mount(&base, "mine").await;
        change(&mount, round).await;
        let before = mount.tree().await;
        let limit = Duration::from_micros(round * round * 60);
        let _ = tokio::time::timeout(limit, mount.commit()).await;
        drop(mount);
        // If it got to its end, the overlay has the new version as its base.
        let mount = match cluster.try_mount(&base, "mine").await {
            Ok(mount) => mount,
            Err(_) => cluster.mount(&format!("app@v{round}"), "mine").await,
        };
        let outcome = mount.commit().await.unwrap();
        drop(mount);
        assert_eq!(head(&cluster).await, round, "{outcome:?}");
        assert_same(&cluster.version("app@latest").await, &before);
    }
}

/// Commits with force over a slow network that breaks when the version is there and its answer is
/// still on the way.
async fn lose_the_answer(cluster: &Cluster, mount: &mut Mount) {
    let direct = mount.servers.clone();
    let proxy = Proxy::start(direct.address().parse().unwrap()).unwrap();
    mount.servers = Servers::new(ClientConfig::new(proxy.address().to_string())).unwrap();
    proxy.delay(Duration::from_millis(200));
    let before = head(cluster).await;
    let cut = async {
        while head(cluster).await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.cut();
    };
    let (result, ()) = tokio::join!(mount.force(), cut);
    let is_lost = matches!(result, Err(CommitError::AnswerLost { .. }));
    assert!(is_lost, "{result:?}");
    mount.servers = direct;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_answer_was_lost_is_found_again() {
    let cluster = Cluster::new().await;
    let mut mount = cluster.mount("app@v0", "mine").await;
    change(&mount, 1).await;
    let before = mount.tree().await;
    lose_the_answer(&cluster, &mut mount).await;
    assert_same(&mount.tree().await, &before);

    let outcome = mount.commit().await.unwrap();
    assert_eq!((outcome.version.number.0, outcome.is_new), (1, true));
    assert_eq!(outcome.rows, 0, "nothing is written again");
    assert_same(&cluster.version("app@v1").await, &before);
    let outcome = mount.commit().await.unwrap();
    assert_eq!((outcome.version.number.0, outcome.is_new), (1, false));
    assert_eq!(head(&cluster).await, 1);
    change(&mount, 2).await;
    mount.commit().await.unwrap();
    assert_same(&cluster.version("app@v2").await, &mount.tree().await);
}

/// The directory of what is new is another one in the version: theirs was removed, mine made it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_version_whose_answer_was_lost_is_found_again() {
    let cluster = Cluster::new().await;
    let mut mine = cluster.mount("app@v0", "mine").await;
    change(&mine, 1).await;
    mine.commit().await.unwrap();
    let theirs = cluster.mount("app@v1", "theirs").await;
    theirs.remove_all("dir1").await;
    theirs.commit().await.unwrap();
    mine.mkdir("dir1/sub/new").await;
    mine.write("dir1/sub/new/file", b"mine").await;
    lose_the_answer(&cluster, &mut mine).await;

    let outcome = mine.commit().await.unwrap();
    assert_eq!((outcome.version.number.0, outcome.is_new), (3, true));
    let version = cluster.version("app@v3").await;
    assert_eq!(version["dir1/sub/new/file"].bytes, b"mine");
    assert_same(&mine.tree().await, &version);
}

#[tokio::test]
async fn without_a_server_all_changes_stay() {
    let mut cluster = Cluster::new().await;
    let mount = cluster.mount("app@v0", "mine").await;
    change(&mount, 1).await;
    let before = mount.tree().await;
    cluster.stop().await;
    let failed = mount.commit().await.unwrap_err();
    assert!(matches!(failed, CommitError::Remote(_)), "{failed:?}");
    assert!(mount.vfs.overlay().unwrap().sealed().is_none(), "given up");
    assert_same(&mount.tree().await, &before);
    cluster.restart().await;
    assert!(mount.commit().await.unwrap().is_new);
    assert_same(&cluster.version("app@v1").await, &before);
}
