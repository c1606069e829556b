//! Versions: their records, tags, and what a user's `project@version` stands for.

use lfsfs_meta_store::{Batch, KeyRange, MetaError, MetaStoreExt as _, Read};
use lfsfs_types::{
    Origin, ProjectId, Record, Source, TagName, VersionCounts, VersionId, VersionNumber,
    VersionRecord, VersionRef,
};

use crate::error::{MetadataError, Result};
use crate::exact::ExactVersion;
use crate::keys::{self, table};
use crate::metadata::{Metadata, get_row};
use crate::project::{Page, Project};
use crate::roots::RootsRow;
use crate::rows::{RowValue, VersionPointer};

/// One version of one project, resolved from what a user typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The project, with the head it had.
    pub project: Project,
    /// The version.
    pub version: VersionRecord,
    /// The record of the root directory.
    pub root: Record,
    /// The random id of the last version that changed the listing of the root.
    pub root_listing: VersionId,
}

impl Metadata {
    /// Returns the version that a source names.
    pub fn resolve(&self, source: &Source) -> Result<Snapshot> {
        let project = self.project(&source.project)?;
        let number = match &source.version {
            VersionRef::Latest => project.head.number,
            VersionRef::Number(number) => *number,
            VersionRef::Tag(tag) => {
                self.tag(project.id, tag)?
                    .ok_or_else(|| MetadataError::UnknownTag {
                        project: project.name.clone(),
                        tag: tag.clone(),
                    })?
            }
        };
        self.snapshot_of(project, number)
    }

    /// Returns a version of a project, whatever name the project has.
    pub fn snapshot(&self, project: ProjectId, number: VersionNumber) -> Result<Snapshot> {
        self.snapshot_of(self.project_by_id(project)?, number)
    }

    fn snapshot_of(&self, project: Project, number: VersionNumber) -> Result<Snapshot> {
        let _reading = self.reading();
        let version = self.version_of(&project, number)?;
        let view = self.view_unchecked(project.id, number);
        Ok(Snapshot {
            root: view.root()?,
            root_listing: view.live_directory(lfsfs_types::DirId::ROOT)?.listing_id,
            project,
            version,
        })
    }

    /// Returns the record of a version. Version 0 has one too, which no row holds.
    pub fn version(&self, project: ProjectId, number: VersionNumber) -> Result<VersionRecord> {
        if number == VersionNumber::ZERO {
            return self.version_of(&self.project_by_id(project)?, number);
        }
        self.head(project)?;
        match self.find_version(project, number)? {
            Some(record) => Ok(record),
            None => Err(self.no_version(project, number)?),
        }
    }

    /// Returns the error for a version that is not there. Fails if its project is not.
    pub(crate) fn no_version(
        &self,
        project: ProjectId,
        version: VersionNumber,
    ) -> Result<MetadataError> {
        let found = self.project_by_id(project)?;
        if version < found.head.number {
            return Ok(MetadataError::ExpiredVersion {
                project: found.name,
                version,
            });
        }
        Ok(MetadataError::UnknownVersion { project, version })
    }

    /// Fails unless the version of a number is the one with this random id.
    pub fn expect_exact(&self, project: ProjectId, version: ExactVersion) -> Result<()> {
        let ExactVersion { number, id } = version;
        match self.version(project, number) {
            Ok(record) if record.id == id => return Ok(()),
            Err(error @ MetadataError::ExpiredVersion { .. }) => return Err(error),
            Err(error) if !error.is_not_found() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let Project { name, head, .. } = self.project_by_id(project)?;
        Err(MetadataError::GoneVersion {
            project: name,
            version: number,
            head: head.number,
        })
    }

    /// As [`expect_exact`](Self::expect_exact), for each of some versions.
    pub fn expect_all_exact(
        &self,
        project: ProjectId,
        versions: impl IntoIterator<Item = ExactVersion>,
    ) -> Result<()> {
        let mut versions = versions.into_iter();
        versions.try_for_each(|version| self.expect_exact(project, version))
    }

    /// Returns up to `limit` versions, the newest first, from below `before` down to version 1.
    pub fn log(
        &self,
        project: ProjectId,
        before: Option<VersionNumber>,
        limit: usize,
    ) -> Result<Page<VersionRecord>> {
        self.head(project)?;
        let prefix = keys::project_rows(table::VERSION, project);
        let range = match before {
            Some(number) => KeyRange::before(&keys::version(project, number), &prefix),
            None => KeyRange::prefix(&prefix),
        };
        let found = self.store().read_one(Read::scan_reverse(range, limit))?;
        let records = found.rows.iter();
        let items = records
            .map(|(key, value)| decode_version(key, value))
            .collect::<Result<_>>()?;
        Ok(Page {
            items,
            more: found.more,
        })
    }

    /// Returns up to `limit` versions behind `after`, the oldest first.
    pub fn versions_after(
        &self,
        project: ProjectId,
        after: VersionNumber,
        limit: usize,
    ) -> Result<Vec<VersionRecord>> {
        self.head(project)?;
        let prefix = keys::project_rows(table::VERSION, project);
        let range = KeyRange::after(&keys::version(project, after), &prefix);
        let found = self.store().read_one(Read::scan(range, limit))?;
        let records = found.rows.iter();
        records
            .map(|(key, value)| decode_version(key, value))
            .collect()
    }

    /// Returns the version that a tag names.
    pub fn tag(&self, project: ProjectId, tag: &TagName) -> Result<Option<VersionNumber>> {
        let row = get_row::<VersionPointer>(self.store(), &keys::tag(project, tag))?;
        Ok(row.map(|row| row.number))
    }

    /// Makes `tag` name a version; one that names another is moved only with `replace`.
    pub fn set_tag(
        &self,
        project: ProjectId,
        tag: &TagName,
        version: VersionNumber,
        replace: bool,
    ) -> Result<()> {
        let key = keys::tag(project, tag);
        let row = VersionPointer {
            project,
            number: version,
        };
        loop {
            self.version(project, version)?;
            let seen = self.store().get(&key)?;
            if let Some(value) = &seen {
                let named = VersionPointer::decode(&key, value)?.number;
                if named != version && !replace {
                    return Err(MetadataError::TagExists {
                        tag: tag.clone(),
                        version: named,
                    });
                }
            }
            let mut batch = Batch::new();
            // A tag must not outlive a project that is deleted meanwhile, nor its version.
            RootsRow::change(self.store(), project, &mut batch)?;
            if version != VersionNumber::ZERO {
                batch.require_present(keys::version(project, version));
            }
            batch
                .require_unchanged(&*key, seen)
                .put(&*key, row.encode());
            if self.store().apply(batch)?.is_done() {
                return Ok(self.store().flush()?);
            }
        }
    }

    /// Returns up to `limit` tags in the order of their names, from behind `after`.
    pub fn list_tags(
        &self,
        project: ProjectId,
        after: Option<&TagName>,
        limit: usize,
    ) -> Result<Page<(TagName, VersionNumber)>> {
        self.head(project)?;
        let prefix = keys::project_rows(table::TAG, project);
        let range = match after {
            Some(tag) => KeyRange::after(&keys::tag(project, tag), &prefix),
            None => KeyRange::prefix(&prefix),
        };
        let found = self.store().scan(range, limit)?;
        let tag = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let name = std::str::from_utf8(&key[prefix.len()..]).ok();
            let name = name.and_then(|name| TagName::new(name).ok());
            let name = name.ok_or_else(|| MetaError::corrupt("no name of a tag", key))?;
            Ok((name, VersionPointer::decode(key, value)?.number))
        };
        Ok(Page {
            items: found.rows.iter().map(tag).collect::<Result<_>>()?,
            more: found.more,
        })
    }

    /// Removes a tag; the version that it names stays.
    pub fn delete_tag(&self, project: ProjectId, tag: &TagName) -> Result<()> {
        let key = keys::tag(project, tag);
        let mut batch = Batch::new();
        // The tags of a deleted project stay as long as it can be brought back.
        batch
            .require_present(keys::project(project))
            .require_present(&*key)
            .delete(&*key);
        if self.store().apply(batch)?.is_done() {
            return Ok(self.store().flush()?);
        }
        let project = self.project_by_id(project)?.name;
        Err(MetadataError::UnknownTag {
            project,
            tag: tag.clone(),
        })
    }

    /// Returns where the version with a random id is, if there is one.
    pub(crate) fn version_by_id(&self, id: VersionId) -> Result<Option<VersionPointer>> {
        get_row(self.store(), &keys::version_id(id))
    }

    pub(crate) fn find_version(
        &self,
        project: ProjectId,
        number: VersionNumber,
    ) -> Result<Option<VersionRecord>> {
        let key = keys::version(project, number);
        let value = self.store().get(&key)?;
        value.map(|value| decode_version(&key, &value)).transpose()
    }

    fn version_of(&self, project: &Project, number: VersionNumber) -> Result<VersionRecord> {
        if number == VersionNumber::ZERO {
            return Ok(version_zero(project));
        }
        let name = || project.name.clone();
        self.find_version(project.id, number)?.ok_or_else(|| {
            if number < project.head.number {
                return MetadataError::ExpiredVersion {
                    project: name(),
                    version: number,
                };
            }
            MetadataError::AbsentVersion {
                project: name(),
                version: number,
                head: project.head.number,
            }
        })
    }
}

/// The version that every project starts with.
fn version_zero(project: &Project) -> VersionRecord {
    VersionRecord {
        number: VersionNumber::ZERO,
        id: VersionId::ZERO,
        parent: VersionNumber::ZERO,
        base: VersionNumber::ZERO,
        origin: Origin::Commit,
        time: project.created,
        author: String::new(),
        message: String::new(),
        counts: VersionCounts {
            path_len: Some(0),
            ..VersionCounts::default()
        },
    }
}

/// Decodes the row of a version; its value carries the format byte of the version record.
pub(crate) fn decode_version(key: &[u8], value: &[u8]) -> Result<VersionRecord> {
    let record =
        VersionRecord::decode(value).map_err(|error| MetaError::corrupt(error.to_string(), key))?;
    Ok(record)
}
