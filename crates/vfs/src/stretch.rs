//! The contents of a stretch of a listing, which are resolved together: a program that reads one file
//! of a directory mostly reads its neighbours.

use std::collections::BTreeSet;
use std::sync::Arc;

use lfsfs_cache::{ListingKey, PlacesKey};
use lfsfs_reader::{Group, GroupKey, ReadError};
use lfsfs_types::{ContentId, Kind, ProjectId, XattrValue};

use crate::inode::Place;
use crate::listing::Listing;

/// Entries of a listing that are resolved together.
const STRETCH_LEN: u32 = 4096;

/// An entry of a listing.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) place: Place,
    pub(crate) listing: Arc<Listing>,
}

/// A part of a listing.
#[derive(Debug)]
struct Stretch {
    key: PlacesKey,
    listing: Arc<Listing>,
}

/// Returns the name of what is resolved together with a content: the stretch of its entry, or nothing
/// else where the content is in no listing of this version.
pub(crate) fn key_of(project: &ProjectId, content: ContentId, listed: Option<&Listed>) -> GroupKey {
    let key = listed.and_then(|listed| stretch_of(project, listed));
    key.map_or(GroupKey::Alone(content), GroupKey::Cached)
}

/// Returns what is resolved together with a content.
pub(crate) fn group_of(
    project: &ProjectId,
    content: ContentId,
    listed: Option<&Listed>,
) -> Arc<dyn Group> {
    let stretch = listed.and_then(|listed| {
        Some(Stretch {
            key: stretch_of(project, listed)?,
            listing: Arc::clone(&listed.listing),
        })
    });
    match stretch {
        Some(stretch) => Arc::new(stretch),
        None => Arc::new(content),
    }
}

fn stretch_of(project: &ProjectId, listed: &Listed) -> Option<PlacesKey> {
    let (dir, version) = listed.listing.stored()?;
    let listing = ListingKey {
        project: *project,
        dir,
        version,
    };
    Some(PlacesKey {
        listing,
        stretch: listed.place.index / STRETCH_LEN,
    })
}

impl Group for Stretch {
    fn key(&self) -> GroupKey {
        GroupKey::Cached(self.key)
    }

    fn contents(&self) -> Result<BTreeSet<ContentId>, ReadError> {
        let start = self.key.stretch * STRETCH_LEN;
        let end = start.saturating_add(STRETCH_LEN).min(self.listing.len());
        let mut contents = BTreeSet::new();
        for index in start..end {
            let record = self.listing.record(index);
            let record =
                record.map_err(|error| ReadError::corrupt("read a listing", error.to_string()))?;
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
}
