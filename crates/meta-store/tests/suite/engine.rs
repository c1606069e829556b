//! The engines that keep their rows in a directory.

use std::path::Path;

use lfsfs_meta_store::{MetaError, MetaStore, RedbStore, SledStore};

/// An engine that is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Redb,
    Sled,
}

impl Engine {
    pub(crate) const ALL: [Self; 2] = [Self::Redb, Self::Sled];

    pub(crate) fn open(self, dir: &Path) -> Result<Box<dyn MetaStore>, MetaError> {
        Ok(match self {
            Self::Redb => Box::new(RedbStore::open(dir)?),
            Self::Sled => Box::new(SledStore::open(dir)?),
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::Sled => "sled",
        }
    }

    pub(crate) fn of_name(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|engine| engine.name() == name);
        found.unwrap()
    }
}
