//! A client that looks around in the newest version: it lists directories and finds where their contents
//! lie.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lfsfs_remote::{DirectoryListing, Remote};
use lfsfs_types::{ContentId, DirId, Kind, ProjectId};
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use super::load::{LoadClient, newest};

/// What a version has.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) dirs: Vec<DirId>,
    pub(super) files: Vec<Kind>,
}

impl Tree {
    /// Lists every directory of the newest version.
    pub(super) async fn find(remote: &dyn Remote, project: &str) -> anyhow::Result<Self> {
        let newest = newest(remote, project).await?;
        let (project, version) = (newest.project.id, newest.version.number);
        let mut tree = Self {
            dirs: vec![DirId::ROOT],
            files: Vec::new(),
        };
        let mut listed = 0;
        while let Some(dir) = tree.dirs.get(listed).copied() {
            tree.add(remote.list_directory(project, version, dir).await?);
            listed += 1;
        }
        Ok(tree)
    }

    fn add(&mut self, listing: DirectoryListing) {
        for (_, record) in listing.entries {
            match record.kind {
                Kind::Directory { dir } => self.dirs.push(dir),
                kind @ Kind::File { .. } => self.files.push(kind),
                _ => {}
            }
        }
    }

    /// Returns two files with different contents.
    pub(super) fn two_contents(&self) -> anyhow::Result<[Kind; 2]> {
        let first = self.files.first().context("the version has no file")?;
        let other = self.files.iter().find(|kind| *kind != first);
        let other = other.context("all files have one content")?;
        Ok([first.clone(), other.clone()])
    }
}

/// A client that lists.
#[derive(Debug)]
pub(super) struct Reader {
    remote: Arc<dyn Remote>,
    project: String,
    dirs: Arc<[DirId]>,
    random: Xoshiro256PlusPlus,
}

impl Reader {
    /// `seed` decides which of `dirs` it lists.
    pub(super) fn new(
        remote: Arc<dyn Remote>,
        project: &str,
        dirs: Arc<[DirId]>,
        seed: u64,
    ) -> Self {
        Self {
            remote,
            project: project.to_owned(),
            dirs,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    async fn resolve(&self, project: ProjectId, listing: &DirectoryListing) -> anyhow::Result<()> {
        let contents = listing.entries.iter().filter_map(|(_, record)| {
            let Kind::File { content, .. } = record.kind else {
                return None;
            };
            Some(content)
        });
        let contents: BTreeSet<ContentId> = contents.collect();
        let contents: Vec<_> = contents.into_iter().collect();
        if contents.is_empty() {
            return Ok(());
        }
        let resolved = self.remote.resolve(project, &contents).await;
        let resolved = resolved.context("find contents")?;
        let found = resolved.contents.len() + resolved.lists.len();
        ensure!(found == contents.len(), "contents are missing");
        Ok(())
    }
}

impl LoadClient for Reader {
    /// The newest version, one of its directories, the places of the contents there. The listing alone is
    /// timed.
    async fn step(&mut self) -> anyhow::Result<Duration> {
        let newest = newest(&*self.remote, &self.project).await?;
        let (project, version) = (newest.project.id, newest.version.number);
        let dir = self.dirs[self.random.random_range(0..self.dirs.len())];
        let started = Instant::now();
        let listing = self.remote.list_directory(project, version, dir).await;
        let took = started.elapsed();
        self.resolve(project, &listing.context("list a directory")?)
            .await?;
        Ok(took)
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::runtime;
    use super::super::writer::Writer;
    use super::*;
    use lfsfs_remote::memory::{MemoryRemote, MemoryTree};
    use lfsfs_types::VersionNumber;

    const PROJECT: &str = "bench";

    fn served() -> Arc<MemoryRemote> {
        let mut tree = MemoryTree::new();
        tree.directory("a").file("a/b", b"one").file("c", b"two");
        let remote = MemoryRemote::new();
        remote.serve(PROJECT, 1, &tree, 1000);
        remote
    }

    #[test]
    fn readers_find_what_writers_commit() {
        let remote = served();
        let found = runtime().unwrap().block_on(async {
            let tree = Tree::find(&*remote, PROJECT).await?;
            assert_eq!((tree.dirs.len(), tree.files.len()), (2, 2));
            let contents = tree.two_contents()?;
            let mut writer = Writer::new(remote.clone(), PROJECT, "client", contents).await?;
            let mut reader = Reader::new(remote.clone(), PROJECT, tree.dirs.into(), 1);
            for _ in 0..3 {
                writer.step().await?;
                reader.step().await?;
            }
            let version = newest(&*remote, PROJECT).await?.version.number;
            anyhow::Ok((version, Tree::find(&*remote, PROJECT).await?.files.len()))
        });
        let expected = (VersionNumber(4), 3);
        assert_eq!(found.unwrap(), expected, "each commit made a version");
    }
}
