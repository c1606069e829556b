//! A client that commits small changes: one file, whose content the server has already.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt as _;
use futures::stream;
use lfsfs_common::random::random_bytes;
use lfsfs_remote::{Change, Opened, Published, Remote, SessionParams};
use lfsfs_types::{
    DirId, Kind, Name, Origin, ProjectId, Record, Timestamp, VersionId, VersionNumber,
};

use super::load::{LoadClient, newest};

/// A client that commits.
#[derive(Debug)]
pub(super) struct Writer {
    remote: Arc<dyn Remote>,
    project: ProjectId,
    /// The newest version that it knows: the one that its last commit made.
    base: (VersionNumber, VersionId),
    /// The file that it alone changes.
    name: Name,
    /// What the file is next, and what it is after that.
    contents: [Kind; 2],
    /// How many of its commits the server made fit versions that others had made meanwhile.
    rebased: u64,
}

impl Writer {
    /// Finds the newest version of a project. `contents` are two that the server has.
    pub(super) async fn new(
        remote: Arc<dyn Remote>,
        project: &str,
        name: &str,
        contents: [Kind; 2],
    ) -> anyhow::Result<Self> {
        let newest = newest(&*remote, project).await?;
        Ok(Self {
            project: newest.project.id,
            base: (newest.version.number, newest.version.id),
            name: Name::new(name.as_bytes())?,
            remote,
            contents,
            rebased: 0,
        })
    }

    pub(super) fn rebased(&self) -> u64 {
        self.rebased
    }

    async fn commit(&mut self) -> anyhow::Result<Published> {
        self.contents.swap(0, 1);
        let params = SessionParams {
            project: self.project,
            base: self.base,
            version: VersionId(random_bytes()?),
            origin: Origin::Commit,
            author: "bench".to_owned(),
            message: String::new(),
            force: false,
            ignore_times: false,
            want_ids: false,
        };
        let opened = self.remote.open_session(&params).await;
        let Opened::Session(session) = opened.context("open a session")? else {
            anyhow::bail!("a new version was published before");
        };
        let changes = stream::iter([self.change()?]).boxed();
        let published = self.remote.commit(session, &params, changes).await;
        let published = published.context("commit")?;
        ensure!(
            published.version.id == params.version,
            "a commit changed nothing"
        );
        Ok(published)
    }

    fn change(&self) -> anyhow::Result<Change> {
        let time = Timestamp {
            // Another one in each commit, as of a program that writes the file.
            secs: self.base.0.0.try_into()?,
            nanos: 0,
        };
        Ok(Change {
            dir: DirId::ROOT,
            name: Some(self.name.clone()),
            state: Some(file(self.contents[0].clone(), time)),
        })
    }
}

impl LoadClient for Writer {
    async fn step(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let published = self.commit().await?;
        let took = started.elapsed();
        self.base = (published.version.number, published.version.id);
        self.rebased += u64::from(published.rebased);
        Ok(took)
    }
}

fn file(kind: Kind, time: Timestamp) -> Record {
    Record {
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: time,
        ctime: time,
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}
