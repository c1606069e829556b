//! Projects: a name points to a random id, and everything else is kept under the id.

use lfsfs_meta_store::{Applied, Batch, KeyRange, MetaStoreExt as _, Read, Rows};
use lfsfs_types::{ProjectId, ProjectName, Timestamp};

use crate::error::{MetadataError, Result};
use crate::exact::ExactVersion;
use crate::keys::{self, table};
use crate::metadata::{Metadata, get_row, random};
use crate::pack::patterns::PackPatterns;
use crate::pack_row::Stamp;
use crate::rows::{CountersRow, HeadRow, LeaseRow, ProjectRow, RowValue};
use crate::settings::ProjectSettings;

/// A project and its newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its identity, never used again.
    pub id: ProjectId,
    /// The name that points to it now.
    pub name: ProjectName,
    /// When it was made.
    pub created: Timestamp,
    /// What its owner decided.
    pub settings: ProjectSettings,
    /// The newest version and its random id.
    pub head: ExactVersion,
    /// Whether its packs do not follow its pack patterns yet.
    pub repacking: bool,
}

/// Some of many, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether there are further ones behind them.
    pub more: bool,
}

impl<T> Page<T> {
    /// Returns the page with each item as `convert` makes it.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(convert).collect(),
            more: self.more,
        }
    }
}

impl Metadata {
    /// Makes a project, which has only the empty version 0.
    pub fn new_project(&self, name: &ProjectName, settings: ProjectSettings) -> Result<Project> {
        settings.check()?;
        let id = ProjectId(random()?);
        let row = ProjectRow {
            name: name.clone(),
            created: self.now(),
            settings,
        };
        let mut batch = Batch::new();
        batch
            .require_absent(keys::project_name(name))
            .put(keys::project_name(name), id.encode())
            .put(keys::project(id), row.encode())
            .put(keys::head(id), HeadRow::ZERO.encode())
            .put(keys::counters(id), CountersRow::FIRST.encode())
            .put(keys::lease(id), LeaseRow::FREE.encode());
        if !self.store().apply(batch)?.is_done() {
            return Err(MetadataError::ProjectExists { name: name.clone() });
        }
        self.store().flush()?;
        Ok(project_of(id, row, HeadRow::ZERO))
    }

    /// Returns the project that a name points to.
    pub fn project(&self, name: &ProjectName) -> Result<Project> {
        let unknown = || MetadataError::UnknownProject { name: name.clone() };
        let key = keys::project_name(name);
        let id = get_row::<ProjectId>(self.store(), &key)?.ok_or_else(unknown)?;
        self.project_by_id(id)
    }

    /// Returns a project by its id.
    pub fn project_by_id(&self, id: ProjectId) -> Result<Project> {
        let (key, head) = (keys::project(id), keys::head(id));
        let reads = [
            Read::get(&*key),
            Read::get(&*head),
            Read::get(keys::repack(id)),
        ];
        let mut values = self.store().read(&reads)?.into_iter().map(Rows::into_value);
        let (Some(Some(row)), Some(Some(head_row))) = (values.next(), values.next()) else {
            return Err(MetadataError::UnknownProjectId { id });
        };
        let row = ProjectRow::decode(&key, &row)?;
        let repacking = values.next().flatten().is_some();
        let head = HeadRow::decode(&head, &head_row)?;
        Ok(Project {
            repacking,
            ..project_of(id, row, head)
        })
    }

    /// Returns the compiled pack patterns of a project.
    pub(crate) fn pack_patterns(&self, id: ProjectId) -> Result<PackPatterns> {
        let settings = self.project_by_id(id)?.settings;
        // They were checked when they were set.
        Ok(
            PackPatterns::new(&settings.pack_patterns).unwrap_or_else(|error| {
                tracing::warn!(project = %id, %error, "no directory is packed");
                PackPatterns::default()
            }),
        )
    }

    /// Fails if there is no project of an id.
    pub fn expect_project(&self, id: ProjectId) -> Result<()> {
        self.head(id).map(drop)
    }

    /// Gives a project another name; its id and all else stays.
    pub fn rename_project(&self, name: &ProjectName, new: &ProjectName) -> Result<Project> {
        loop {
            let project = self.project(name)?;
            let row = ProjectRow {
                name: new.clone(),
                created: project.created,
                settings: project.settings.clone(),
            };
            let old = ProjectRow {
                name: name.clone(),
                ..row.clone()
            };
            let mut batch = Batch::new();
            batch
                .require_absent(keys::project_name(new))
                .require_equals(keys::project_name(name), project.id.encode())
                .require_equals(keys::project(project.id), old.encode())
                .delete(keys::project_name(name))
                .put(keys::project_name(new), project.id.encode())
                .put(keys::project(project.id), row.encode());
            match self.store().apply(batch)? {
                Applied::Done => {
                    self.store().flush()?;
                    return self.project(new);
                }
                Applied::Conflict { index: 0 } => {
                    return Err(MetadataError::ProjectExists { name: new.clone() });
                }
                // Another client renamed or deleted it meanwhile.
                Applied::Conflict { .. } => {}
            }
        }
    }

    /// Changes what the owner of a project decides.
    pub fn set_project(
        &self,
        name: &ProjectName,
        change: impl Fn(&mut ProjectSettings),
    ) -> Result<Project> {
        loop {
            let project = self.project(name)?;
            let old = ProjectRow {
                name: name.clone(),
                created: project.created,
                settings: project.settings,
            };
            let mut row = old.clone();
            change(&mut row.settings);
            row.settings.check()?;
            let mut batch = Batch::new();
            batch
                .require_equals(keys::project_name(name), project.id.encode())
                .require_equals(keys::project(project.id), old.encode())
                .put(keys::project(project.id), row.encode());
            if row.settings.pack_patterns != old.settings.pack_patterns {
                let mark = Stamp::draw()?;
                batch.put(keys::repack(project.id), mark.encode());
            }
            // Otherwise another client renamed, changed or deleted it meanwhile.
            if self.store().apply(batch)?.is_done() {
                self.store().flush()?;
                return self.project_by_id(project.id);
            }
        }
    }

    /// Returns up to `limit` projects in the order of their names, from behind `after`.
    pub fn list_projects(
        &self,
        after: Option<&ProjectName>,
        limit: usize,
    ) -> Result<Page<Project>> {
        let prefix = [table::PROJECT_NAME];
        let range = match after {
            Some(name) => KeyRange::after(&keys::project_name(name), &prefix),
            None => KeyRange::prefix(&prefix),
        };
        let found = self.store().scan(range, limit)?;
        let ids = found
            .rows
            .iter()
            .map(|(key, value)| ProjectId::decode(key, value));
        let items = ids
            .map(|id| self.project_by_id(id?))
            .collect::<Result<_>>()?;
        Ok(Page {
            items,
            more: found.more,
        })
    }

    /// Returns the newest version of a project.
    pub(crate) fn head(&self, project: ProjectId) -> Result<HeadRow> {
        get_row(self.store(), &keys::head(project))?
            .ok_or(MetadataError::UnknownProjectId { id: project })
    }
}

fn project_of(id: ProjectId, row: ProjectRow, head: HeadRow) -> Project {
    Project {
        id,
        name: row.name,
        created: row.created,
        settings: row.settings,
        head: ExactVersion {
            number: head.number,
            id: head.id,
        },
        repacking: false,
    }
}
