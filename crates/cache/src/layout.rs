//! Where things lie below the cache directory. Nothing else builds a path.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lfsfs_types::{ChunkId, DirId, ProjectId, VersionId, VersionNumber};

/// Names one listing for ever: an equal listing version means an equal listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListingKey {
    /// The project.
    pub project: ProjectId,
    /// The directory.
    pub dir: DirId,
    /// The random id of the last version that changed the listing.
    pub version: VersionId,
}

/// Names the places of the contents of one stretch of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlacesKey {
    /// The listing.
    pub listing: ListingKey,
    /// Which stretch; only very large directories have more than the first.
    pub stretch: u32,
}

/// Names a whole file: a hash of its bytes, and of its attributes where those are shared, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey(pub [u8; 32]);

/// The directory of whole files.
pub(crate) const FILES: &str = "files";

/// The directories that hold cached files: what is measured, evicted and wiped.
pub(crate) const STORES: [&str; 6] = ["batches", "chunks", FILES, "listings", "places", "versions"];

/// The paths below one cache directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns what the file at `path` is called in the cache: checksums cover it, so that a file
    /// that came to the place of another is not taken for it.
    pub(crate) fn name<'a>(&self, path: &'a Path) -> &'a [u8] {
        let name = path.strip_prefix(&self.dir).unwrap_or(path);
        name.as_os_str().as_bytes()
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.dir.join("format")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn usage(&self) -> PathBuf {
        self.dir.join("usage")
    }

    pub(crate) fn stores(&self) -> impl Iterator<Item = PathBuf> + '_ {
        STORES.iter().map(|store| self.dir.join(store))
    }

    /// Two hexadecimal digits of fan-out keep directories small.
    pub(crate) fn chunk(&self, id: &ChunkId) -> PathBuf {
        let name = id.to_string();
        self.dir.join("chunks").join(&name[..2]).join(name)
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.dir.join(FILES)
    }

    pub(crate) fn file(&self, key: &FileKey) -> PathBuf {
        let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.files().join(&name[..2]).join(name)
    }

    pub(crate) fn listing(&self, key: &ListingKey) -> PathBuf {
        self.dir
            .join("listings")
            .join(key.project.to_string())
            .join(format!("{}-{}", key.dir, key.version))
    }

    pub(crate) fn batches(&self, project: &ProjectId) -> PathBuf {
        self.dir.join("batches").join(project.to_string())
    }

    pub(crate) fn places(&self, key: &PlacesKey) -> PathBuf {
        let ListingKey {
            project,
            dir,
            version,
        } = key.listing;
        self.dir
            .join("places")
            .join(project.to_string())
            .join(format!("{dir}-{version}-{}", key.stretch))
    }

    pub(crate) fn versions(&self, project: &ProjectId) -> PathBuf {
        self.dir.join("versions").join(project.to_string())
    }

    pub(crate) fn whole_version(
        &self,
        project: &ProjectId,
        (number, version): (VersionNumber, &VersionId),
        top: DirId,
    ) -> PathBuf {
        let name = format!("{}-{version}-{top}-whole", number.0);
        self.versions(project).join(name)
    }

    pub(crate) fn version(&self, project: &ProjectId, version: &VersionId) -> PathBuf {
        self.versions(project).join(version.to_string())
    }
}

/// Returns the version, and the directory, of which a file name says that the log has all that lies below.
pub(crate) fn parse_whole_version(name: &str) -> Option<(VersionNumber, VersionId, DirId)> {
    let mut parts = name.strip_suffix("-whole")?.split('-');
    let number = parts.next()?.parse().ok()?;
    let version = VersionId::try_from_hex(parts.next()?).ok()?;
    let top = parts.next()?.parse().ok()?;
    Some((VersionNumber(number), version, DirId(top)))
}
