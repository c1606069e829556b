//! In which chunks the contents of a directory lie.
//!
//! Asked for a whole stretch of a directory at once, because who reads one file of a directory
//! mostly reads its neighbours: from the indexes of chunks that are loaded, from the disk cache,
//! from the server. What is remembered may be out of date, because servers move and rewrite chunks;
//! then the server is asked again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lfsfs_cache::PlacesKey;
use lfsfs_client::{ChunkLocation, Resolved};
use lfsfs_types::content::{Piece, PieceList};
use lfsfs_types::{ContentId, ContentPlace, DirId, Kind, XattrValue};

use crate::chunks::Chunks;
use crate::deadline::Deadline;
use crate::error::VfsError;
use crate::flight::{Flights, Start};
use crate::listing::Listing;
use crate::listings::{Listings, Source};
use crate::read::Wanted;
use crate::weighted::WeightedCache;

mod lists;
mod table;

pub(crate) use self::table::{Part, PlaceTable};

const ACTION: &str = "resolve contents";

/// Entries of a listing that are resolved together.
const STRETCH_LEN: u32 = 4096;

/// Whether something remembered is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Whatever is known.
    Any,
    /// What the server says now: something remembered has failed.
    Now,
}

/// Contents that are resolved together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Group {
    /// Those of a stretch of a listing.
    Stretch(DirId, u32),
    /// One whose object is in no listing of this version.
    Alone(ContentId),
}

/// The places of the contents of one version.
#[derive(Debug)]
pub(crate) struct Places {
    source: Source,
    listings: Arc<Listings>,
    chunks: Arc<Chunks>,
    memory: WeightedCache<Group, Arc<PlaceTable>>,
    flights: Arc<Flights<Group, Arc<PlaceTable>>>,
}

impl Places {
    pub(crate) fn new(
        source: Source,
        listings: Arc<Listings>,
        chunks: Arc<Chunks>,
        len_max: usize,
    ) -> Self {
        Self {
            source,
            listings,
            chunks,
            memory: WeightedCache::new(len_max),
            flights: Flights::new(),
        }
    }

    pub(crate) fn in_memory(&self, wanted: &Wanted) -> Option<Arc<PlaceTable>> {
        self.memory.find(&group_of(wanted))
    }

    /// Returns the places of what is wanted and of its neighbours, if it has any in `listing`. A
    /// content that the server does not have is not among them.
    pub(crate) async fn load(
        self: &Arc<Self>,
        wanted: &Wanted,
        listing: Option<&Arc<Listing>>,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<Arc<PlaceTable>, VfsError> {
        let group = group_of(wanted);
        match freshness {
            Freshness::Any => {
                let known = self.memory.find(&group).or_else(|| self.on_disk(group));
                if let Some(table) = known {
                    return Ok(table);
                }
            }
            Freshness::Now => self.memory.remove(&group),
        }
        let listing = listing.map(Arc::clone);
        let fetched = self
            .flights
            .join(&group, |_| match self.memory.find(&group) {
                Some(table) => Start::Ready(table),
                None => {
                    let this = Arc::clone(self);
                    let work = this.fetch(group, listing, freshness, deadline);
                    Start::Launch(vec![group], work)
                }
            });
        deadline.bound(ACTION, fetched).await
    }

    /// Takes over what `before` has in memory, but for these directories, which had so many entries.
    /// What remains of others that changed is found to be wrong when it is used.
    pub(crate) fn inherit(&self, before: &Self, changed: &HashMap<DirId, u32>) {
        let groups = changed.iter().flat_map(|(dir, len)| {
            (0..=len / STRETCH_LEN).map(|stretch| Group::Stretch(*dir, stretch))
        });
        let groups: Vec<_> = groups.collect();
        self.memory.inherit(&before.memory, &groups);
    }

    fn on_disk(&self, group: Group) -> Option<Arc<PlaceTable>> {
        let table = PlaceTable::decode(&self.source.cache.places(&self.key(group)?)?);
        match table {
            Ok(table) => Some(self.keep(group, table)),
            Err(error) => {
                // It is replaced by what is fetched now.
                tracing::warn!(%error, "cached places make no sense, asking again");
                None
            }
        }
    }

    async fn fetch(
        self: Arc<Self>,
        group: Group,
        listing: Option<Arc<Listing>>,
        freshness: Freshness,
        mut deadline: Deadline,
    ) -> Result<Arc<PlaceTable>, VfsError> {
        let mut table = PlaceTable::default();
        let mut unresolved = Vec::new();
        for content in contents_of(group, listing.as_deref())? {
            match self.chunks.find_loaded(&content) {
                Some((location, len)) if freshness == Freshness::Any => {
                    table.add(content, [(content, len, location)]);
                }
                _ => unresolved.push(content),
            }
        }
        if !unresolved.is_empty() {
            let resolved = self.ask(&unresolved, deadline).await?;
            deadline.renew();
            self.take(&mut table, &unresolved, &resolved);
            self.take_lists(&mut table, &resolved, &mut deadline)
                .await?;
        }
        table.seal();
        if let Some(key) = self.key(group) {
            let encoded = table.encode();
            self.source
                .writer
                .write(move |cache| cache.store_places(&key, &encoded))
                .await;
        }
        Ok(self.keep(group, table))
    }

    /// Adds what the server said, as far as it can be true.
    fn take(&self, table: &mut PlaceTable, contents: &[ContentId], resolved: &Resolved) {
        for content in contents {
            let Some(places) = resolved.contents.get(content) else {
                continue;
            };
            match located(places, resolved).filter(|_| names_content(places, content)) {
                Some(parts) => table.add(*content, parts),
                None => self.note_damage(content, "these are the places of something else"),
            }
        }
    }

    async fn ask(&self, contents: &[ContentId], deadline: Deadline) -> Result<Resolved, VfsError> {
        self.source.counters.resolves.add(1);
        let project = self.source.snapshot.project.id;
        let call = self.source.remote.resolve(project, contents);
        deadline
            .bound(ACTION, async { call.await.map_err(VfsError::io(ACTION)) })
            .await
    }

    fn note_damage(&self, content: &ContentId, problem: &str) {
        self.source.counters.damaged.add(1);
        tracing::warn!(%content, problem, "wrong places from the server, not used");
    }

    fn keep(&self, group: Group, table: PlaceTable) -> Arc<PlaceTable> {
        let table = Arc::new(table);
        self.memory.insert(group, Arc::clone(&table));
        table
    }

    fn key(&self, group: Group) -> Option<PlacesKey> {
        let Group::Stretch(dir, stretch) = group else {
            return None;
        };
        let listing = self.listings.key(dir)?;
        Some(PlacesKey { listing, stretch })
    }
}

fn group_of(wanted: &Wanted) -> Group {
    match wanted.place {
        Some(place) => Group::Stretch(place.dir, place.index / STRETCH_LEN),
        None => Group::Alone(wanted.content),
    }
}

/// Returns the contents that a group consists of, each once.
fn contents_of(group: Group, listing: Option<&Listing>) -> Result<BTreeSet<ContentId>, VfsError> {
    let (stretch, listing) = match (group, listing) {
        (Group::Alone(content), _) => return Ok(BTreeSet::from([content])),
        (Group::Stretch(_, stretch), Some(listing)) => (stretch, listing),
        (Group::Stretch(..), None) => return Ok(BTreeSet::new()),
    };
    let start = stretch * STRETCH_LEN;
    let end = start.saturating_add(STRETCH_LEN).min(listing.len());
    let mut contents = BTreeSet::new();
    for index in start..end {
        let record = listing.record(index).map_err(VfsError::damaged_record)?;
        if let Kind::File { content, .. } = record.kind {
            contents.insert(content);
        }
        contents.extend(record.xattrs.iter().filter_map(|xattr| match xattr.value {
            XattrValue::Content { content, .. } => Some(content),
            XattrValue::Inline(_) => None,
        }));
    }
    contents.remove(&ContentId::EMPTY);
    Ok(contents)
}

/// Returns each place with its chunk, or `None` if a chunk is missing.
fn located(places: &[ContentPlace], resolved: &Resolved) -> Option<Vec<LocatedPart>> {
    let locate = |place: &ContentPlace| {
        let location = resolved.chunks.get(&place.chunk)?;
        let is_it = location.info.id == place.chunk;
        is_it.then(|| (place.content, place.len, Arc::clone(location)))
    };
    places.iter().map(locate).collect()
}

type LocatedPart = (ContentId, u32, Arc<ChunkLocation>);

/// Returns true if these places are those of the content: either the content itself, or the pieces
/// whose list has its id.
fn names_content(places: &[ContentPlace], content: &ContentId) -> bool {
    if let [place] = places
        && place.content == *content
    {
        return true;
    }
    let piece = |place: &ContentPlace| Piece {
        hash: place.content,
        len: place.len,
    };
    PieceList::new(places.iter().map(piece).collect())
        .is_ok_and(|pieces| pieces.content_id() == *content)
}
