//! Which files of the newest versions cannot be read, because their chunks are missing.

use std::collections::BTreeSet;

use lfsfs_client::Client;
use lfsfs_remote::{RemoteError, Snapshot};
use lfsfs_types::{ChunkId, ContentId, Kind, ObjectPath, ProjectName};

use super::Report;
use super::finding::Finding;
use crate::error::CommandError;
use crate::progress;

/// Contents that are asked for at once.
const CONTENTS_AT_ONCE: usize = 1000;

/// Tells the files of every project that need one of these chunks.
pub(super) async fn check(
    client: &Client,
    missing: &BTreeSet<ChunkId>,
    report: &mut Report,
) -> Result<(), CommandError> {
    let bar = progress::spinner();
    for project in client.admin.list_projects().await? {
        bar.set_message(format!("files of {}", project.name));
        let snapshot = client.remote.snapshot(project.id, project.head.0).await;
        match snapshot {
            Ok(snapshot) => Walk::new(client, &snapshot, missing).run(report).await?,
            // Another user has just removed it.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A walk through one version.
struct Walk<'a> {
    client: &'a Client,
    snapshot: &'a Snapshot,
    missing: &'a BTreeSet<ChunkId>,
    /// Files whose contents are not looked up yet.
    files: Vec<(ObjectPath, ContentId)>,
}

impl<'a> Walk<'a> {
    fn new(client: &'a Client, snapshot: &'a Snapshot, missing: &'a BTreeSet<ChunkId>) -> Self {
        Self {
            client,
            snapshot,
            missing,
            files: Vec::new(),
        }
    }

    async fn run(mut self, report: &mut Report) -> Result<(), CommandError> {
        let (project, version) = (self.snapshot.project.id, self.snapshot.version.number);
        let mut pending: Vec<_> = self
            .snapshot
            .root
            .dir()
            .map(|dir| (ObjectPath::ROOT, dir))
            .into_iter()
            .collect();
        while let Some((path, dir)) = pending.pop() {
            let remote = &self.client.remote;
            let listing = remote.list_directory(project, version, dir).await?;
            for (name, record) in listing.entries {
                let path = path.join(&name)?;
                match &record.kind {
                    Kind::File { content, .. } => self.files.push((path, *content)),
                    _ => pending.extend(record.dir().map(|dir| (path, dir))),
                }
            }
            if self.files.len() >= CONTENTS_AT_ONCE {
                self.look_up(report).await?;
            }
        }
        self.look_up(report).await
    }

    async fn look_up(&mut self, report: &mut Report) -> Result<(), CommandError> {
        let files = std::mem::take(&mut self.files);
        for files in files.chunks(CONTENTS_AT_ONCE) {
            let contents: Vec<_> = files.iter().map(|(_, content)| *content).collect();
            let lost = self.lost(&contents).await?;
            for (path, _) in files.iter().filter(|(_, content)| lost.contains(content)) {
                report.add(&Finding::of_file(self.name(), path))?;
            }
        }
        Ok(())
    }

    fn name(&self) -> &ProjectName {
        &self.snapshot.project.name
    }

    /// Returns those contents that need a chunk that is missing.
    async fn lost(&self, contents: &[ContentId]) -> Result<BTreeSet<ContentId>, RemoteError> {
        let project = self.snapshot.project.id;
        let resolved = self.client.remote.resolve(project, contents).await?;
        let needs = |content: &ContentId| match resolved.contents.get(content) {
            Some(places) => places
                .iter()
                .any(|place| self.missing.contains(&place.chunk)),
            // Of a content in many pieces the list alone is looked at.
            None => !resolved.lists.contains_key(content) && *content != ContentId::EMPTY,
        };
        Ok(contents.iter().copied().filter(needs).collect())
    }
}
