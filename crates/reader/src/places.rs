//! In which chunks contents lie.
//!
//! Asked for a whole [`Group`] at once: from the footers of chunks that are loaded, from the disk
//! cache, from the server. What is remembered may be out of date, because servers move and rewrite
//! chunks; then the server is asked again.

use std::collections::BTreeSet;
use std::sync::Arc;

use lfsfs_remote::Resolved;
use lfsfs_types::content::{Piece, PieceList, PieceListError};
use lfsfs_types::limits::CONTENTS_PER_MESSAGE_MAX;
use lfsfs_types::{ContentId, ContentPlace};

use crate::backend::Backend;
use crate::chunks::Chunks;
use crate::config::ReaderConfig;
use crate::deadline::Deadline;
use crate::error::ReadError;
use crate::group::{Group, GroupKey};
use crate::place_table::{LocatedPart, PlaceTable};
use crate::single_flight::{Launch, SingleFlight, Start};
use crate::weighted::WeightedCache;

mod lists;

const ACTION: &str = "resolve contents";

/// Whether something remembered is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// What the reader knows.
    Any,
    /// What the server says now: something remembered has failed.
    Now,
}

/// The places of contents of one project.
#[derive(Debug)]
pub(crate) struct Places {
    backend: Arc<Backend>,
    chunks: Arc<Chunks>,
    memory: WeightedCache<GroupKey, Arc<PlaceTable>>,
    fetches: Arc<SingleFlight<GroupKey, Arc<PlaceTable>>>,
}

impl Places {
    pub(crate) fn new(backend: Arc<Backend>, chunks: Arc<Chunks>, config: &ReaderConfig) -> Self {
        let spawner = backend.source.spawner.clone();
        Self {
            backend,
            chunks,
            memory: WeightedCache::new(config.places_len_max),
            fetches: SingleFlight::new(config.fetches_max, spawner),
        }
    }

    pub(crate) fn in_memory(&self, key: &GroupKey) -> Option<Arc<PlaceTable>> {
        self.memory.find(key)
    }

    /// Returns the places of a group. A content that the server does not have is not among them.
    pub(crate) async fn load(
        self: &Arc<Self>,
        group: &Arc<dyn Group>,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<Arc<PlaceTable>, ReadError> {
        let key = group.key();
        match freshness {
            Freshness::Any => {
                let known = self.memory.find(&key).or_else(|| self.on_disk(key));
                if let Some(table) = known {
                    return Ok(table);
                }
            }
            Freshness::Now => self.memory.remove(&key),
        }
        let fetched = self.fetches.join(&key, |_| match self.memory.find(&key) {
            Some(table) => Start::Ready(table),
            None => Start::Launch(Launch {
                keys: vec![key],
                deadline,
                work: Arc::clone(self).fetch(Arc::clone(group), freshness, deadline),
            }),
        });
        deadline.bound(ACTION, fetched).await
    }

    /// Returns the places of contents that are small, or pieces. Nothing is remembered but the footers
    /// of chunks.
    pub(crate) async fn locate(
        &self,
        contents: &BTreeSet<ContentId>,
        freshness: Freshness,
        deadline: Deadline,
    ) -> Result<PlaceTable, ReadError> {
        let mut table = PlaceTable::default();
        let unknown = self.add_known(&mut table, contents, freshness);
        for part in unknown.chunks(CONTENTS_PER_MESSAGE_MAX) {
            let resolved = self.backend.resolve(part, deadline).await?;
            self.take(&mut table, part, &resolved);
        }
        table.seal();
        Ok(table)
    }

    fn on_disk(&self, key: GroupKey) -> Option<Arc<PlaceTable>> {
        let GroupKey::Cached(cache_key) = key else {
            return None;
        };
        let table = PlaceTable::decode(&self.backend.places(&cache_key)?);
        match table {
            Ok(table) => Some(self.keep(key, table)),
            Err(error) => {
                // It is replaced by what is fetched now.
                tracing::warn!(%error, "cached places make no sense, asking again");
                None
            }
        }
    }

    async fn fetch(
        self: Arc<Self>,
        group: Arc<dyn Group>,
        freshness: Freshness,
        mut deadline: Deadline,
    ) -> Result<Arc<PlaceTable>, ReadError> {
        let mut table = PlaceTable::default();
        let unknown = self.add_known(&mut table, &group.contents()?, freshness);
        for part in unknown.chunks(CONTENTS_PER_MESSAGE_MAX) {
            let resolved = self.backend.resolve(part, deadline).await?;
            deadline.renew();
            self.take(&mut table, part, &resolved);
            self.take_lists(&mut table, &resolved, &mut deadline)
                .await?;
        }
        table.seal();
        let key = group.key();
        if let GroupKey::Cached(cache_key) = key {
            let encoded = table.encode();
            self.backend
                .store(move |cache| cache.store_places(&cache_key, &encoded))
                .await;
        }
        Ok(self.keep(key, table))
    }

    /// Adds the contents that are in loaded chunks, and returns the others.
    fn add_known(
        &self,
        table: &mut PlaceTable,
        contents: &BTreeSet<ContentId>,
        freshness: Freshness,
    ) -> Vec<ContentId> {
        let mut unknown = Vec::new();
        for content in contents {
            match self.chunks.find_loaded(content) {
                Some(part) if freshness == Freshness::Any => {
                    table.add(*content, [part]);
                }
                _ => unknown.push(*content),
            }
        }
        unknown
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

    fn note_damage(&self, content: &ContentId, problem: &str) {
        self.backend.counters.damaged.add(1);
        tracing::warn!(%content, problem, "wrong places from the server, not used");
    }

    fn keep(&self, key: GroupKey, table: PlaceTable) -> Arc<PlaceTable> {
        let table = Arc::new(table);
        self.memory.insert(key, Arc::clone(&table));
        table
    }
}

/// Returns each place with its chunk, or `None` if a chunk is missing.
fn located(places: &[ContentPlace], resolved: &Resolved) -> Option<Vec<LocatedPart>> {
    let locate = |place: &ContentPlace| {
        let location = resolved.chunks.get(&place.chunk)?;
        let is_it = location.info.id == place.chunk;
        is_it.then(|| LocatedPart {
            id: place.content,
            len: place.len,
            location: Arc::clone(location),
        })
    };
    places.iter().map(locate).collect()
}

/// Returns true if these places are those of the content: either the content itself, or the pieces
/// whose list has its id.
fn names_content(places: &[ContentPlace], content: &ContentId) -> bool {
    if let [place] = places
        && place.content == *content
    {
        return true;
    }
    pieces_at(places).is_ok_and(|pieces| pieces.content_id() == *content)
}

/// Returns the pieces that lie at these places, in order.
fn pieces_at(places: &[ContentPlace]) -> Result<PieceList, PieceListError> {
    let piece = |place: &ContentPlace| Piece {
        hash: place.content,
        len: place.len,
    };
    PieceList::new(places.iter().map(piece).collect())
}
