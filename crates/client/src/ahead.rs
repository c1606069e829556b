//! Listings that came with others, until they are asked for.
//!
//! A server that keeps a package as one listing answers for its directories together. A reader that goes through a
//! tree asks for each of them soon; then it is here already, and goes to the reader.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lfsfs_remote::DirectoryListing;
use lfsfs_types::{DirId, ProjectId};
use lru::LruCache;

/// So many entries are held; of more the oldest listings go.
const ENTRIES_MAX: usize = 1 << 15;
/// What a listing counts beside its entries.
const LISTING_COST: usize = 4;

/// A directory of a version, which the random id names.
type Key = (ProjectId, Vec<u8>, DirId);

/// Listings for which no reader has asked yet.
#[derive(Debug)]
pub(crate) struct ListingsAhead(Mutex<Held>);

#[derive(Debug)]
struct Held {
    listings: LruCache<Key, DirectoryListing>,
    cost: usize,
}

impl Default for ListingsAhead {
    fn default() -> Self {
        Self(Mutex::new(Held {
            listings: LruCache::unbounded(),
            cost: 0,
        }))
    }
}

impl ListingsAhead {
    /// Takes a listing out, if it is here.
    pub(crate) fn take(
        &self,
        project: ProjectId,
        version_id: &[u8],
        dir: DirId,
    ) -> Option<DirectoryListing> {
        let mut held = self.held();
        let found = held.listings.pop(&(project, version_id.to_vec(), dir))?;
        held.cost -= cost(&found);
        Some(found)
    }

    /// Holds a listing of a version whose random id is known.
    pub(crate) fn put(
        &self,
        project: ProjectId,
        version_id: &[u8],
        dir: DirId,
        listing: DirectoryListing,
    ) {
        let mut held = self.held();
        held.cost += cost(&listing);
        let key = (project, version_id.to_vec(), dir);
        if let Some(before) = held.listings.put(key, listing) {
            held.cost -= cost(&before);
        }
        while held.cost > ENTRIES_MAX {
            let Some((_, oldest)) = held.listings.pop_lru() else {
                return;
            };
            held.cost -= cost(&oldest);
        }
    }

    /// No method panics between two changes of it.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(listing: &DirectoryListing) -> usize {
    LISTING_COST + listing.entries.len()
}

#[cfg(test)]
mod tests {
    use lfsfs_types::{Kind, Name, Record, VersionId};

    use super::*;

    fn listing(entries: usize) -> DirectoryListing {
        let record = Record::plain(Kind::Fifo, 0o644);
        let name = |number: usize| Name::new(format!("{number:06}").as_bytes()).expect("a name");
        DirectoryListing {
            entries: (0..entries)
                .map(|number| (name(number), record.clone()))
                .collect(),
            listing_version: VersionId([1; 16]),
        }
    }

    #[test]
    fn a_listing_is_given_once_and_to_the_version_that_it_is_of() {
        let ahead = ListingsAhead::default();
        let project = ProjectId([1; 16]);
        ahead.put(project, b"v", DirId(5), listing(3));
        assert!(ahead.take(project, b"w", DirId(5)).is_none());
        assert!(ahead.take(project, b"v", DirId(6)).is_none());
        let found = ahead.take(project, b"v", DirId(5)).expect("it is there");
        assert_eq!(found.entries.len(), 3);
        assert!(ahead.take(project, b"v", DirId(5)).is_none());
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many() {
        let ahead = ListingsAhead::default();
        let project = ProjectId([1; 16]);
        for dir in 0..100 {
            ahead.put(project, b"v", DirId(dir), listing(1000));
        }
        assert!(ahead.take(project, b"v", DirId(0)).is_none());
        assert!(ahead.take(project, b"v", DirId(99)).is_some());
        assert!(ahead.held().cost <= ENTRIES_MAX);
    }
}
