//! What a commit makes: session ids while it is told, the ids that the version gave afterwards.

use std::collections::HashMap;

use lfsfs_overlay::{ChangedEntry, CommitIds, DirectoryRef, Entry, Inode, Sealed};
use lfsfs_remote::{DirectoryListing, Published, RemoteError, RemoteRead};
use lfsfs_types::{DirId, LinkId, Name, ProjectId, Record, VersionNumber};

/// New directories and files with several names, by their inodes.
#[derive(Debug, Default)]
pub(super) struct Made {
    directories: HashMap<u64, DirId>,
    links: HashMap<u64, LinkId>,
}

impl Made {
    /// Returns the session's id of a new directory.
    pub(super) fn directory(&mut self, ino: u64) -> DirId {
        let next = DirId(DirId::SESSION_FIRST.0 + self.directories.len() as u64);
        *self.directories.entry(ino).or_insert(next)
    }

    /// Returns the session's id of a new hard link.
    pub(super) fn link(&mut self, ino: u64) -> LinkId {
        let next = LinkId(LinkId::SESSION_FIRST.0 + self.links.len() as u64);
        *self.links.entry(ino).or_insert(next)
    }

    /// Notes the id that a hard link has already, and returns it.
    pub(super) fn known_link(&mut self, ino: u64, link: LinkId) -> LinkId {
        *self.links.entry(ino).or_insert(link)
    }

    /// Returns the ids in the version, or `None` if the answer does not tell all of them.
    pub(super) fn ids(&self, published: &Published) -> Option<CommitIds> {
        let directories = self.directories.iter();
        let links = self.links.iter();
        Some(CommitIds {
            directories: directories
                .map(|(ino, made)| Some((*ino, *published.dirs.get(made)?)))
                .collect::<Option<_>>()?,
            links: links
                .map(|(ino, made)| {
                    let id = if made.is_session() {
                        *published.links.get(made)?
                    } else {
                        *made
                    };
                    Some((*ino, id))
                })
                .collect::<Option<_>>()?,
        })
    }
}

/// Finds the ids of what a version made by looking where it is: for a version of which the answer
/// was lost.
pub(super) struct Finder<'a> {
    remote: &'a dyn RemoteRead,
    project: ProjectId,
    /// The version that the changes were made on.
    base: VersionNumber,
    version: VersionNumber,
    found: Made,
    /// The listing that was looked at last.
    listing: Option<(DirId, DirectoryListing)>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(
        remote: &'a dyn RemoteRead,
        project: ProjectId,
        base: VersionNumber,
        version: VersionNumber,
    ) -> Self {
        Self {
            remote,
            project,
            base,
            version,
            found: Made::default(),
            listing: None,
        }
    }

    pub(super) async fn find(mut self, sealed: &Sealed) -> Result<CommitIds, RemoteError> {
        for entry in sealed.changes() {
            if let Entry::Present { ino, inode } = entry.entry {
                self.look_at(&entry, ino, inode).await?;
            }
        }
        let Made { directories, links } = self.found;
        Ok(CommitIds {
            directories: directories.into_iter().collect(),
            links: links.into_iter().collect(),
        })
    }

    async fn look_at(
        &mut self,
        entry: &ChangedEntry<'_>,
        ino: u64,
        inode: &Inode,
    ) -> Result<(), RemoteError> {
        let base_link = inode.base.as_ref().and_then(|base| base.record.link);
        if let Some(link) = base_link {
            self.found.links.insert(ino, link.id);
            return Ok(());
        }
        let is_directory = inode.directory().is_some();
        let is_made = if is_directory {
            inode.base.is_none()
        } else {
            inode.attributes.nlink > 1 && !self.found.links.contains_key(&ino)
        };
        if !is_made {
            return Ok(());
        }
        let record = self.record(entry).await?.ok_or_else(lacking)?;
        match (is_directory, record.dir(), record.link) {
            (true, Some(dir), _) => {
                self.found.directories.insert(ino, dir);
            }
            (false, _, Some(link)) => {
                self.found.links.insert(ino, link.id);
            }
            _ => return Err(lacking()),
        }
        Ok(())
    }

    /// Returns what the version has at an entry.
    async fn record(&mut self, entry: &ChangedEntry<'_>) -> Result<Option<Record>, RemoteError> {
        let dir = match entry.directory {
            DirectoryRef::Base(dir) => dir,
            DirectoryRef::New(ino) => *self.found.directories.get(&ino).ok_or_else(lacking)?,
            DirectoryRef::NamesOf(_) => return Ok(None),
        };
        let found = match self.list(dir).await {
            Ok(()) => self.named(entry.name),
            // Changes that were forced made it again at its path.
            Err(RemoteError::NotFound(_)) => {
                let dir = self.made_again(dir).await?;
                self.list(dir).await?;
                self.named(entry.name)
            }
            Err(error) => return Err(error),
        };
        Ok(found)
    }

    async fn list(&mut self, dir: DirId) -> Result<(), RemoteError> {
        if self.listing.as_ref().is_none_or(|(last, _)| *last != dir) {
            let listing = self.remote.list_directory(self.project, self.version, dir);
            self.listing = Some((dir, listing.await?));
        }
        Ok(())
    }

    /// Returns what a name is in the directory that was listed last.
    fn named(&self, name: Option<&Name>) -> Option<Record> {
        let entries = self
            .listing
            .iter()
            .flat_map(|(_, listing)| &listing.entries);
        let mut named = entries.filter(|(it, _)| Some(it) == name);
        Some(named.next()?.1.clone())
    }

    /// Returns the directory that the version has at the path that one has in the base.
    async fn made_again(&mut self, dir: DirId) -> Result<DirId, RemoteError> {
        let dirs = [dir];
        let places = self.remote.directory_places(self.project, self.base, &dirs);
        let place = |(dir, parent, name)| (dir, (parent, name));
        let places: HashMap<_, _> = places.await?.into_iter().map(place).collect();
        let mut names = Vec::new();
        let mut above = dir;
        while let Some((parent, name)) = places.get(&above) {
            names.push(name);
            above = *parent;
        }
        let mut at = DirId::ROOT;
        for name in names.into_iter().rev() {
            self.list(at).await?;
            let found = self.named(Some(name)).and_then(|record| record.dir());
            at = found.ok_or_else(lacking)?;
        }
        Ok(at)
    }
}

fn lacking() -> RemoteError {
    RemoteError::Corrupt("the version lacks what was committed".to_owned())
}
