//! Contents that no version names: found and removed.
//!
//! 1. The *barrier*: from this second on, each call that asks for a content renews its stamp if it is older.
//! 2. Publishers that began before are waited for. Those that begin later ask for all of their contents after the
//!    barrier.
//! 3. The rows of all objects, as they are at one moment, mark the contents that they name, and the pieces of these.
//! 4. A content that is not marked, and that no client asked for since before the barrier and for the grace, goes,
//!    unless its row changes at this moment.
//!
//! So a content that a version names never goes: either a row of step 3 names it, or its publisher asked for it after
//! the barrier, and found it present, with a stamp that keeps it, or missing.
//!
//! Where there are more contents than marks fit in memory, steps 3 and 4 go over them in parts.

use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use lfsfs_meta_store::{Applied, Batch, KeyRange, MetaError, MetaStoreExt as _, Row, Still};
use lfsfs_types::{ContentId, ProjectId};

use super::marks::{Marks, Part, parts};
use super::named::NamedContents;
use crate::content::{ContentRow, STAMP_RENEWAL_SECS};
use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::rows::RowValue as _;

/// How contents are collected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CollectParams {
    /// No content goes for which a client asked in so many seconds.
    pub grace_secs: u64,
    /// Since when, in seconds since 1970, clients send contents that no version names yet.
    pub uploads_since: Option<u64>,
    /// Which part of all contents is looked at, in percent; 100 for all.
    pub sample_percent: f64,
    /// Bytes of memory for marks.
    pub marks_bytes: usize,
    /// Only counts.
    pub dry_run: bool,
}

/// What was collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Contents and pieces.
    pub contents: u64,
    /// Their bytes, not compressed.
    pub content_bytes: u64,
}

impl Metadata {
    /// Removes contents that no version names. It may end at any moment.
    ///
    /// Contents of the very second in which it begins stay.
    pub fn collect_contents(&self, params: &CollectParams) -> Result<Collected> {
        let barrier = self.stamp();
        self.inner.barrier.fetch_max(barrier, Ordering::SeqCst);
        self.wait_for_publishers()?;
        let aged = barrier.saturating_sub(params.grace_secs);
        let uploads = params.uploads_since.unwrap_or(u64::MAX);
        // A content that was asked for has a stamp that may be as much older.
        let uploads = uploads.saturating_sub(STAMP_RENEWAL_SECS);
        let before = barrier.min(aged + 1).min(uploads);
        let seed = random_number()?;
        if !params.dry_run {
            self.collect_listings(params.marks_bytes, seed)?;
        }
        let mut collected = Collected::default();
        let count = self.inner.contents.count();
        for part in parts(
            &sample(params.sample_percent, seed),
            count,
            params.marks_bytes,
        ) {
            if self.stops() {
                break;
            }
            let mut marks = Marks::new(part.clone(), params.marks_bytes, seed);
            self.mark(&mut marks)?;
            // Half of the marks must not be taken for all of them.
            if self.stops() {
                break;
            }
            self.sweep(&part, &marks, before, params.dry_run, &mut collected)?;
            if !params.dry_run {
                self.remove_pages(&part)?;
            }
        }
        Ok(collected)
    }

    /// Waits until the publishers have ended that began before.
    fn wait_for_publishers(&self) -> Result<()> {
        for project in self.project_ids()? {
            let lock = self.publishing_lock(project);
            drop(lock.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(())
    }

    /// Returns all projects, with the deleted ones that can be brought back: both have a row of counters, which stays
    /// when one becomes the other.
    pub(crate) fn project_ids(&self) -> Result<Vec<ProjectId>> {
        let rows = KeyRange::prefix(&[table::COUNTERS]);
        let ids = self.store().scan_all(rows, SCAN_PAGE).map(|row| {
            let id = keys::decode_id(table::COUNTERS, &row?.0)?;
            Ok(ProjectId(id))
        });
        ids.collect()
    }

    /// Marks the contents that objects name.
    fn mark(&self, marks: &mut Marks) -> Result<()> {
        let mut mark = |content| marks.mark(content);
        let mut marking = NamedContents::new(self, &mut mark);
        match self.store().snapshot() {
            Ok(snapshot) => marking.objects(snapshot.as_ref(), &[])?,
            // Without a snapshot, rows must not move while they are read.
            Err(MetaError::NoSnapshot { .. }) => {
                for project in self.project_ids()? {
                    let lock = self.publishing_lock(project);
                    let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
                    marking.objects(&Still(self.store()), project.as_bytes())?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        marking.finish()
    }

    fn sweep(
        &self,
        part: &Part,
        marks: &Marks,
        before: u64,
        dry_run: bool,
        collected: &mut Collected,
    ) -> Result<()> {
        let range = part.rows_of(table::CONTENT);
        let mut garbage = Vec::new();
        for row in self.store().scan_all(range, SCAN_PAGE) {
            let (key, value) = row?;
            if self.stops() {
                return Ok(());
            }
            let content = ContentId(keys::decode_id(table::CONTENT, &key)?);
            let row = ContentRow::decode(&key, &value)?;
            if row.stamp >= before || marks.has(content) {
                continue;
            }
            if dry_run {
                collected.contents += 1;
                collected.content_bytes += row.len;
                continue;
            }
            garbage.push((key, value));
            if garbage.len() >= SCAN_PAGE.min(self.store().batch_ops_max()) {
                self.remove_contents(std::mem::take(&mut garbage), collected)?;
            }
        }
        self.remove_contents(garbage, collected)
    }

    /// Removes the pages of piece lists whose content is gone. The last page of a content goes first: a client that
    /// stores the content at this moment looks for that one.
    fn remove_pages(&self, part: &Part) -> Result<()> {
        let mut of_gone: Vec<(ContentId, Vec<Vec<u8>>)> = Vec::new();
        for row in self.store().scan_all(part.rows_of(table::PIECES), 1) {
            let (key, _) = row?;
            let content = keys::content_of_page(&key)?;
            match of_gone.last_mut() {
                Some((last, keys)) if *last == content => keys.push(key),
                _ if self.store().get(&keys::content(content))?.is_none() => {
                    of_gone.push((content, vec![key]));
                }
                _ => {}
            }
        }
        for (content, pages) in of_gone {
            for page in pages.into_iter().rev() {
                let mut batch = Batch::new();
                batch.require_absent(keys::content(content)).delete(page);
                if !self.store().apply(batch)?.is_done() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Removes rows of contents, but for those that change at this moment.
    fn remove_contents(&self, mut garbage: Vec<Row>, collected: &mut Collected) -> Result<()> {
        while !garbage.is_empty() {
            let mut batch = Batch::new();
            for (key, value) in &garbage {
                batch.require_equals(&**key, &**value).delete(&**key);
            }
            match self.store().apply(batch)? {
                Applied::Done => break,
                // A client has asked for this one.
                Applied::Conflict { index } => drop(garbage.swap_remove(index)),
            }
        }
        for (key, value) in garbage {
            collected.contents += 1;
            collected.content_bytes += ContentRow::decode(&key, &value)?.len;
        }
        Ok(())
    }
}

/// Returns the beginnings of the ids that a collection looks at: `percent` of all, from a random one on.
fn sample(percent: f64, seed: u64) -> Range<u32> {
    let all = Part::ALL;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and the number of all"
    )]
    let len = (f64::from(all) * (percent / 100.0).clamp(0.0, 1.0)).ceil() as u32;
    let start = u32::try_from(seed % u64::from(all - len + 1)).unwrap_or(0);
    start..start + len
}

fn random_number() -> Result<u64> {
    let bytes = crate::metadata::random()?;
    Ok(bytes
        .iter()
        .take(8)
        .fold(0, |all, byte| all << 8 | u64::from(*byte)))
}
