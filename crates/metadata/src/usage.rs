//! How much each project takes, and how much of it others use too.
//!
//! Every object of every version names its contents, so all rows of objects are read. What they name is kept as pairs of
//! a content and a project, sorted, and compared with the rows of contents, which come in the same order. Where there
//! are more pairs than fit in memory, this goes over the contents in parts.

use std::collections::HashMap;

use lfsfs_meta_store::{KeyRange, MetaStoreExt as _, Still};
use lfsfs_types::{ContentId, ProjectId, ProjectName};

use crate::collect::{NamedContents, Part, parts};
use crate::content::{ChunkRow, ContentBody, ContentRow};
use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::rows::RowValue as _;

/// Projects that are read at once.
const PROJECTS_AT_ONCE: usize = 100;

/// What a project takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectUsage {
    /// The project.
    pub id: ProjectId,
    /// Its name.
    pub name: ProjectName,
    /// Bytes of all files of its newest version, each as often as it has a name.
    pub logical_bytes: u64,
    /// Different contents that its versions name. The pieces of a large content are counted in its place.
    pub contents: u64,
    /// Bytes of these contents.
    pub content_bytes: u64,
    /// Bytes that they take in chunks, of one copy: as much of each chunk as they have of the bytes that were put into
    /// it.
    pub stored_bytes: u64,
    /// The part of these that versions of other projects name, too.
    pub shared_bytes: u64,
}

impl Metadata {
    /// Returns what each project takes, in the order of their names. Versions that are published meanwhile may count in
    /// part.
    ///
    /// It reads all rows of objects, contents and chunks, and takes about so many bytes of memory, and 24 for each
    /// chunk. None if the process ends meanwhile.
    pub fn usage(&self, memory: usize) -> Result<Option<Vec<ProjectUsage>>> {
        let mut projects = self.projects_to_measure()?;
        let chunks = self.chunk_lens()?;
        let names: u64 = projects.iter().map(|it| it.objects).sum();
        let pairs = names.max(self.inner.contents.count());
        let bytes = pairs.saturating_mul(size_of::<Pair>() as u64);
        for part in parts(&(0..Part::ALL), bytes, memory.saturating_mul(3) / 2) {
            let named = self.named_in(&part, &projects)?;
            self.measure(&part, &named, &chunks, &mut projects)?;
        }
        let usages = projects.into_iter().map(|it| it.usage).collect();
        Ok((!self.stops()).then_some(usages))
    }

    fn projects_to_measure(&self) -> Result<Vec<Measured>> {
        let mut projects: Vec<Measured> = Vec::new();
        loop {
            let last = projects.last().map(|it| it.usage.name.clone());
            let page = self.count_projects(last.as_ref(), PROJECTS_AT_ONCE)?;
            projects.extend(page.items.into_iter().map(|counted| Measured {
                objects: counted.counts.objects,
                usage: ProjectUsage {
                    id: counted.project.id,
                    name: counted.project.name,
                    logical_bytes: counted.counts.bytes,
                    contents: 0,
                    content_bytes: 0,
                    stored_bytes: 0,
                    shared_bytes: 0,
                },
            }));
            if !page.more {
                return Ok(projects);
            }
        }
    }

    /// Returns the length of each chunk, and the bytes that were put into it.
    fn chunk_lens(&self) -> Result<HashMap<u64, (u64, u64)>> {
        let rows = self
            .store()
            .scan_all(KeyRange::prefix(&[table::CHUNK]), SCAN_PAGE);
        let lens = rows.map(|row| {
            let (key, value) = row?;
            let id: [u8; 32] = keys::decode_id(table::CHUNK, &key)?;
            let row = ChunkRow::decode(&key, &value)?;
            Ok((first_number(&id), (row.len, row.raw_len)))
        });
        lens.collect()
    }

    /// Returns what each project names of a part of all contents.
    fn named_in(&self, part: &Part, projects: &[Measured]) -> Result<Named> {
        let mut named = Named::default();
        for (index, project) in (0_u32..).zip(projects) {
            let mut tell = |content: ContentId| {
                if part.has(content) {
                    named.add(content, index);
                }
            };
            let mut contents = NamedContents::new(self, &mut tell);
            contents.objects(&Still(self.store()), project.usage.id.as_bytes())?;
            contents.finish()?;
        }
        named.compact();
        Ok(named)
    }

    /// Adds the contents of a part to the projects that name them.
    fn measure(
        &self,
        part: &Part,
        named: &Named,
        chunks: &HashMap<u64, (u64, u64)>,
        projects: &mut [Measured],
    ) -> Result<()> {
        let mut rest = named.pairs.as_slice();
        for row in self
            .store()
            .scan_all(part.rows_of(table::CONTENT), SCAN_PAGE)
        {
            let (key, value) = row?;
            if rest.is_empty() || self.stops() {
                break;
            }
            let id: [u8; 32] = keys::decode_id(table::CONTENT, &key)?;
            let number = first_number(&id);
            rest = &rest[rest.partition_point(|pair| pair.content < number)..];
            let (naming, behind) = rest.split_at(rest.partition_point(|it| it.content == number));
            rest = behind;
            let row = ContentRow::decode(&key, &value)?;
            let Some(stored) = stored_len(&row, chunks) else {
                continue;
            };
            for pair in naming {
                if let Some(project) = projects.get_mut(pair.project as usize) {
                    project.usage.add(row.len, stored, naming.len() > 1);
                }
            }
        }
        Ok(())
    }
}

/// A project that is measured.
struct Measured {
    objects: u64,
    usage: ProjectUsage,
}

impl ProjectUsage {
    fn add(&mut self, len: u64, stored: u64, is_shared: bool) {
        self.contents += 1;
        self.content_bytes += len;
        self.stored_bytes += stored;
        if is_shared {
            self.shared_bytes += stored;
        }
    }
}

/// A content, by the first bytes of its id, and a project that names it, by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    content: u64,
    project: u32,
}

/// Which projects name which contents. Each pair may be there several times until it is compacted.
#[derive(Debug, Default)]
struct Named {
    pairs: Vec<Pair>,
    /// Pairs that were there when it was compacted.
    compact: usize,
}

impl Named {
    /// So many pairs are not worth sorting before the end.
    const UNSORTED_MAX: usize = 1 << 16;

    fn add(&mut self, content: ContentId, project: u32) {
        let content = first_number(content.as_bytes());
        self.pairs.push(Pair { content, project });
        if self.pairs.len() > (2 * self.compact).max(Self::UNSORTED_MAX) {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.pairs.sort_unstable();
        self.pairs.dedup();
        self.compact = self.pairs.len();
    }
}

/// Returns how many bytes of its chunk a content takes. None for one that has pieces: these are counted.
fn stored_len(row: &ContentRow, chunks: &HashMap<u64, (u64, u64)>) -> Option<u64> {
    let ContentBody::Place { chunk, .. } = row.body else {
        return None;
    };
    let (len, raw_len) = chunks.get(&first_number(chunk.as_bytes())).copied()?;
    // A chunk of an earlier version does not tell what was put into it.
    if raw_len == 0 {
        return Some(row.len.min(len));
    }
    let stored = u128::from(row.len) * u128::from(len) / u128::from(raw_len);
    Some(u64::try_from(stored).unwrap_or(len).min(len))
}

/// Returns the first bytes of an id as a number. Numbers have the order of the ids.
fn first_number(id: &[u8; 32]) -> u64 {
    id.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
