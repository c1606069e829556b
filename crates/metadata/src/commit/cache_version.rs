//! Cache versions: the packages that most projects use, as a version of a project of its own.
//!
//! A machine that has fetched such a version has most of what the next mount needs, whichever project that is of:
//! contents belong to no project. A package lies in a directory that has the name of its listing, so that one that is
//! used twice is there once, and one that stays is not written again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use lfsfs_meta_store::{KeyRange, MetaError, MetaStoreExt as _};
use lfsfs_types::{ContentId, DirId, Kind, Name, ProjectId, Record};

use super::{Change, CommitSession, MadeParams, Mode, Published};
use crate::error::Result;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::pack_row::{PackRow, read_listing, record_of};
use crate::rows::{Packed, RowValue as _};
use crate::view::View;

/// Most packages of one cache version.
const PACKS_MAX: usize = 100_000;
/// So many digits of the id of a listing are the name of its directory.
const NAME_LEN: usize = 32;

/// What a cache version is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheParams {
    /// The version, of a project that has nothing else.
    pub made: MadeParams,
    /// How many packages it has, if there are so many.
    pub packs: usize,
}

impl Metadata {
    /// Publishes a version that has the packages that the newest versions of most other projects have.
    ///
    /// There is none if the project has just these already.
    pub fn make_cache(&self, params: &CacheParams) -> Result<Published> {
        let used = self.most_used_packs(params.made.project, params.packs.min(PACKS_MAX))?;
        let commit = |base| params.made.commit(base);
        self.publish_on_newest(
            params.made.project,
            Mode::Newest,
            commit,
            |session, newest| {
                let mut staging = CacheStaging {
                    metadata: self,
                    session,
                    changes: Vec::new(),
                    dirs: 0,
                };
                staging.stage(newest, &used)
            },
        )
    }

    /// Returns the listings that the newest versions of projects have most often, but for one of these.
    fn most_used_packs(&self, except: ProjectId, count: usize) -> Result<Vec<ContentId>> {
        let mut uses = HashMap::<ContentId, u64>::new();
        for project in self.project_ids()? {
            if project != except {
                self.count_packs(project, &mut uses)?;
            }
        }
        let mut uses: Vec<_> = uses.into_iter().collect();
        uses.sort_unstable_by_key(|(listing, count)| (Reverse(*count), *listing));
        uses.truncate(count);
        Ok(uses.into_iter().map(|(listing, _)| listing).collect())
    }

    /// Counts the packs of the newest version of a project.
    fn count_packs(&self, project: ProjectId, uses: &mut HashMap<ContentId, u64>) -> Result<()> {
        let _reading = self.reading();
        let head = match self.head(project) {
            Err(error) if error.is_not_found() => return Ok(()),
            head => head?.number,
        };
        let view = self.view_unchecked(project, head);
        let mut last = None;
        let rows = KeyRange::prefix(&keys::project_rows(table::PACK, project));
        for row in self.store().scan_all(rows, SCAN_PAGE) {
            let (key, value) = row?;
            let (_, root, version) = keys::decode_pack(&key)?;
            // The rows of each pack come from the newest one on.
            if version > head || last.replace(root) == Some(root) {
                continue;
            }
            let newest = view.directory_row(root)?;
            let is_there =
                newest.is_some_and(|(_, row)| row.packed == Packed::Root && row.place.is_some());
            if is_there {
                *uses
                    .entry(PackRow::decode(&key, &value)?.listing)
                    .or_default() += 1;
            }
        }
        Ok(())
    }
}

/// Returns the name of the directory of a listing.
fn directory_name(listing: ContentId) -> Result<Name> {
    let digits = listing.to_string();
    let name = digits.as_bytes().get(..NAME_LEN).unwrap_or_default();
    let is_no_name = || MetaError::corrupt("the id of a listing makes no name", name);
    Ok(keys::name_of(name, name)?.ok_or_else(is_no_name)?)
}

/// The staging of a cache version.
struct CacheStaging<'a> {
    metadata: &'a Metadata,
    session: &'a mut CommitSession,
    changes: Vec<Change>,
    dirs: u64,
}

impl CacheStaging<'_> {
    fn stage(&mut self, newest: View<'_>, listings: &[ContentId]) -> Result<()> {
        let mut wanted = BTreeSet::new();
        for listing in listings {
            wanted.insert(directory_name(*listing)?);
        }
        let mut there = BTreeSet::new();
        newest.for_each_entry(DirId::ROOT, |name, _| {
            if wanted.contains(&name) {
                there.insert(name);
            } else {
                self.add(DirId::ROOT, name, None)?;
            }
            Ok(())
        })?;
        for listing in listings {
            let name = directory_name(*listing)?;
            if !there.contains(&name) {
                self.add_pack(*listing, name)?;
            }
        }
        self.flush()
    }

    fn add_pack(&mut self, id: ContentId, name: Name) -> Result<()> {
        let key = keys::pack_listing(id);
        let listing = read_listing(self.metadata.store(), id, &key)?.listing(&key)?;
        let top = self.add_directory(DirId::ROOT, name, 0o755)?;
        let mut dirs = HashMap::from([(Vec::new(), top)]);
        for entry in listing.entries() {
            let Some((above, name)) = entry.path.split_last() else {
                continue;
            };
            let above = dirs.get(above.as_bytes()).copied().unwrap_or(top);
            let record = record_of(entry, DirId::ROOT, &Default::default());
            if record.kind.is_directory() {
                let dir = self.add_directory(above, name, entry.mode)?;
                dirs.insert(entry.path.as_bytes().to_vec(), dir);
            } else {
                self.add(above, name, Some(record))?;
            }
        }
        Ok(())
    }

    fn add_directory(&mut self, above: DirId, name: Name, mode: u32) -> Result<DirId> {
        let dir = DirId(DirId::SESSION_FIRST.0 + self.dirs);
        self.dirs += 1;
        let record = Record::plain(Kind::Directory { dir }, mode);
        self.add(above, name, Some(record))?;
        Ok(dir)
    }

    fn add(&mut self, dir: DirId, name: Name, state: Option<Record>) -> Result<()> {
        let name = Some(name);
        self.changes.push(Change { dir, name, state });
        if self.changes.len() >= SCAN_PAGE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.session.stage(std::mem::take(&mut self.changes))
    }
}
