//! The check of a whole store: every row is decoded, and every invariant that reading and
//! publishing rely on is looked at. It changes nothing.
//!
//! No client may publish meanwhile: what is above a head is a finding here. docs/durability.md lists
//! the invariants.

mod objects;

use lfsfs_meta_store::{KeyRange, MetaError, MetaStoreExt as _, Rows};
use lfsfs_types::{ChunkId, ContentId, Origin, ProjectId, VersionNumber};

use crate::content::{
    ChunkRow, ContentBody, ContentRow, NodeChunkRow, Presence, PresenceCheck, Stored,
};
use crate::counts::StoredRow;
use crate::error::{MetadataError, Result};
use crate::kept::KeptRow;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE, get_row};
use crate::node::decode_node;
use crate::rows::{CountersRow, HeadRow, LeaseRow, ProjectRow, RowValue, VersionPointer};
use crate::version::decode_version;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The row at which it was found.
    pub key: Vec<u8>,
    /// What is wrong.
    pub what: String,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckSummary {
    /// Projects.
    pub projects: u64,
    /// Published versions.
    pub versions: u64,
    /// Live and closed objects.
    pub objects: u64,
    /// Contents and pieces.
    pub contents: u64,
    /// Chunks.
    pub chunks: u64,
    /// Findings that were reported.
    pub findings: u64,
}

impl Metadata {
    /// Checks everything, tells `report` what is wrong, and returns how much was checked.
    ///
    /// Fails only where the store itself cannot be read.
    pub fn check(&self, report: &mut dyn FnMut(Finding)) -> Result<CheckSummary> {
        let mut checker = Checker {
            metadata: self,
            report,
            summary: CheckSummary::default(),
            presence: PresenceCheck::new(self),
            chunk_bytes: 0,
        };
        checker.check_contents()?;
        checker.check_chunks()?;
        checker.check_stored()?;
        checker.check_nodes()?;
        checker.check_names()?;
        checker.for_each_row(&[table::PROJECT], |checker, key, value| {
            let name = ProjectRow::decode(key, value)?.name;
            let project = ProjectId(keys::decode_id(table::PROJECT, key)?);
            let named = get_row(checker.metadata.store(), &keys::project_name(&name))?;
            checker.expect(
                named == Some(project),
                key,
                "the project's name leads elsewhere",
            );
            let head: Option<HeadRow> = get_row(checker.metadata.store(), &keys::head(project))?;
            let lease: Option<LeaseRow> = get_row(checker.metadata.store(), &keys::lease(project))?;
            checker.check_project(project, key, lease.and(head))
        })?;
        checker.for_each_row(&[table::KEPT], |checker, key, value| {
            let row = KeptRow::decode(key, value)?;
            let project = ProjectId(keys::decode_id(table::KEPT, key)?);
            for of_project in [keys::project(project), keys::head(project)] {
                let is_there = checker.metadata.store().get(&of_project)?.is_some();
                checker.expect(!is_there, key, "the deleted project is there all the same");
            }
            checker.check_project(project, key, Some(row.head))
        })?;
        Ok(checker.summary)
    }
}

/// A check that is going on.
struct Checker<'a> {
    metadata: &'a Metadata,
    report: &'a mut dyn FnMut(Finding),
    summary: CheckSummary,
    presence: PresenceCheck<'a>,
    /// Bytes of the chunks that were checked.
    chunk_bytes: u64,
}

impl Checker<'_> {
    /// Returns what is known of a content, without renewing its stamp.
    fn stored(&mut self, content: ContentId) -> Result<Stored> {
        if content == ContentId::EMPTY {
            let presence = Presence::Present;
            return Ok(Stored { presence, len: 0 });
        }
        let row = self.metadata.content_row(content)?;
        Ok(Stored {
            presence: match &row {
                Some(row) => self.presence.of_row(row)?,
                None => Presence::Unknown,
            },
            len: row.map_or(0, |row| row.len),
        })
    }

    fn find(&mut self, key: &[u8], what: impl Into<String>) {
        self.summary.findings += 1;
        (self.report)(Finding {
            key: key.to_vec(),
            what: what.into(),
        });
    }

    /// Reports what `holds` denies.
    fn expect(&mut self, holds: bool, key: &[u8], what: &str) {
        if !holds {
            self.find(key, what);
        }
    }

    /// Calls `check` for each row of a range; a row that is damaged is a finding.
    fn for_each_row(
        &mut self,
        prefix: &[u8],
        mut check: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut rest = Some(KeyRange::prefix(prefix));
        while let Some(range) = rest.take() {
            let (found, damaged) = self.rows_before_damage(range.clone())?;
            for (key, value) in &found.rows {
                self.check_row(key, value, &mut check)?;
            }
            let last = match &damaged {
                Some(_) => damaged.as_deref(),
                None if found.more => found.rows.last().map(|(key, _)| key.as_slice()),
                None => None,
            };
            rest = last.map(|last| range.beyond(last, false));
        }
        Ok(())
    }

    /// Reads a page of rows, those before the first damaged one of them if there is one, and returns its
    /// key. It is a finding.
    fn rows_before_damage(&mut self, range: KeyRange) -> Result<(Rows, Option<Vec<u8>>)> {
        let store = self.metadata.store();
        match store.scan(range.clone(), SCAN_PAGE) {
            Err(MetaError::Corrupt { what, key }) if range.contains(&key) => {
                self.find(&key, what);
                let before = KeyRange::new(range.start, key.clone());
                Ok((store.scan(before, SCAN_PAGE)?, Some(key)))
            }
            found => Ok((found?, None)),
        }
    }

    fn check_row(
        &mut self,
        key: &[u8],
        value: &[u8],
        check: &mut impl FnMut(&mut Self, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        match check(self, key, value) {
            Err(MetadataError::Store(MetaError::Corrupt { what, key })) => {
                self.find(&key, what);
                Ok(())
            }
            checked => checked,
        }
    }

    /// Every content that has a place has a known chunk.
    fn check_contents(&mut self) -> Result<()> {
        self.for_each_row(&[table::CONTENT], |checker, key, value| {
            checker.summary.contents += 1;
            keys::decode_id::<32>(table::CONTENT, key)?;
            // Pieces of a large content may be gone, if no object names it: garbage goes in any order. Objects that
            // name it are findings.
            if let ContentBody::Place { chunk, .. } = ContentRow::decode(key, value)?.body {
                let known = checker.metadata.store().get(&keys::chunk(chunk))?.is_some();
                checker.expect(known, key, "the chunk of the content is unknown");
            }
            Ok(())
        })
    }

    fn check_chunks(&mut self) -> Result<()> {
        let has_node_chunks = self.metadata.has_node_chunks()?;
        self.for_each_row(&[table::CHUNK], |checker, key, value| {
            checker.summary.chunks += 1;
            let chunk = ChunkId(keys::decode_id(table::CHUNK, key)?);
            let row = ChunkRow::decode(key, value)?;
            checker.chunk_bytes = checker.chunk_bytes.saturating_add(row.len);
            for node in row.nodes {
                let known = checker.metadata.node(node)?.is_some();
                checker.expect(known, key, "a node of the chunk is unknown");
                let store = checker.metadata.store();
                let listed = store.get(&keys::node_chunk(node, chunk))?.is_some();
                let expected = listed || !has_node_chunks;
                checker.expect(expected, key, "a node of the chunk does not list it");
            }
            Ok(())
        })?;
        self.check_node_chunks()
    }

    /// What a node lists names that node.
    fn check_node_chunks(&mut self) -> Result<()> {
        self.for_each_row(&[table::NODE_CHUNK], |checker, key, value| {
            let (node, chunk) = keys::decode_node_chunk(key)?;
            let len = NodeChunkRow::decode(key, value)?.len;
            let row: Option<ChunkRow> = get_row(checker.metadata.store(), &keys::chunk(chunk))?;
            let fits = row.is_some_and(|row| row.nodes.contains(&node) && row.len == len);
            checker.expect(
                fits,
                key,
                "the chunk is unknown, has another length or not this node",
            );
            Ok(())
        })
    }

    /// What projects count as stored is of projects that are there, and no chunk counts twice. Comes
    /// after the chunks.
    fn check_stored(&mut self) -> Result<()> {
        let mut stored = 0_u64;
        self.for_each_row(&[table::STORED], |checker, key, value| {
            let project = ProjectId(keys::decode_id(table::STORED, key)?);
            stored = stored.saturating_add(StoredRow::decode(key, value)?.bytes);
            let store = checker.metadata.store();
            let known = store.get(&keys::project(project))?.is_some()
                || store.get(&keys::kept(project))?.is_some();
            checker.expect(known, key, "the project that counts stored bytes is gone");
            checker.expect(
                stored <= checker.chunk_bytes,
                key,
                "the projects up to this one count more stored bytes than all chunks have",
            );
            Ok(())
        })
    }

    fn check_nodes(&mut self) -> Result<()> {
        self.for_each_row(&[table::NODE], |_, key, value| {
            decode_node(key, value).map(drop)
        })
    }

    /// Every name, random id and tag leads to something.
    fn check_names(&mut self) -> Result<()> {
        self.for_each_row(&[table::PROJECT_NAME], |checker, key, value| {
            let id = ProjectId::decode(key, value)?;
            let project: Option<ProjectRow> =
                get_row(checker.metadata.store(), &keys::project(id))?;
            let named = project.is_some_and(|row| keys::project_name(&row.name) == key);
            checker.expect(named, key, "the project of the name has another or is gone");
            Ok(())
        })?;
        for rows in [table::VERSION_ID, table::TAG] {
            self.for_each_row(&[rows], |checker, key, value| {
                let VersionPointer { project, number } = VersionPointer::decode(key, value)?;
                let version = checker.metadata.find_version(project, number)?;
                let fits = match rows {
                    table::VERSION_ID => version.is_some_and(|v| keys::version_id(v.id) == key),
                    _ => version.is_some() || number == VersionNumber::ZERO,
                };
                checker.expect(fits, key, "the version is not there");
                Ok(())
            })?;
        }
        Ok(())
    }

    fn check_project(
        &mut self,
        project: ProjectId,
        key: &[u8],
        head: Option<HeadRow>,
    ) -> Result<()> {
        self.summary.projects += 1;
        let store = self.metadata.store();
        let counters: Option<CountersRow> = get_row(store, &keys::counters(project))?;
        let (Some(head), Some(counters)) = (head, counters) else {
            self.find(key, "the project has no head, counters or lease");
            return Ok(());
        };
        self.check_versions(project, head)?;
        objects::check(self, project, head, counters)
    }

    /// All versions up to the head are there or have expired, and each is found by its random id.
    fn check_versions(&mut self, project: ProjectId, head: HeadRow) -> Result<()> {
        let mut next = VersionNumber(1);
        let mut count = self.metadata.expired_versions(project)?;
        let has_expired = count > 0;
        let prefix = keys::project_rows(table::VERSION, project);
        self.for_each_row(&prefix, |checker, key, value| {
            checker.summary.versions += 1;
            let record = decode_version(key, value)?;
            let follows = record.number == next || (has_expired && record.number > next);
            checker.expect(
                follows && keys::version(project, record.number) == key,
                key,
                "a version is missing before this one",
            );
            count += 1;
            checker.expect(
                record.number <= head.number,
                key,
                "a version above the head",
            );
            checker.expect(
                record.number.0.checked_sub(1) == Some(record.parent.0)
                    && record.base <= record.parent,
                key,
                "the version has another parent or base than it can have",
            );
            if let Origin::Rollback(version) = record.origin {
                checker.expect(
                    version < record.number,
                    key,
                    "the version says that it rolled back to one that was not there",
                );
            }
            let found = checker.metadata.version_by_id(record.id)?;
            let number = record.number;
            checker.expect(
                found == Some(VersionPointer { project, number }),
                key,
                "the random id of the version leads elsewhere",
            );
            next = VersionNumber(record.number.0.saturating_add(1));
            Ok(())
        })?;
        let key = keys::head(project);
        self.expect(
            next == head.number.next(),
            &key,
            "the head has no version record",
        );
        self.expect(
            !has_expired || count == head.number.0,
            &key,
            "a version is missing that has not expired",
        );
        Ok(())
    }
}
