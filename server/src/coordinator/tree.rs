//! The listings of a tree: a stream, so their length has no limit, that is read as fast as its client takes it.
//!
//! Each message is read by a call of the metadata of its own. So no thread waits for a client, and no version is kept
//! from expiring by one that takes its time.

use std::sync::Arc;

use lfsfs_metadata::{Metadata, MetadataError, TreeParams, TreePart, TreeWalk};
use lfsfs_proto::status::Fault;
use lfsfs_proto::v1;
use lfsfs_types::{DirId, VersionNumber};
use prost::Message as _;

use super::Coordinator;
use super::request::{exact, invalid, project_id};
use crate::calls::Call;
use crate::streams::Answers;

/// Bytes of listings after which a message ends. One entry more may be in it.
const MESSAGE_LEN: usize = 256 * 1024;

/// Sends the listings of a version, many in a message.
pub(super) fn list_tree(
    coordinator: &Arc<Coordinator>,
    call: Call,
    request: &v1::ListTreeRequest,
) -> Result<Answers<v1::ListTreeResponse>, Fault> {
    let params = params(request)?;
    let coordinator = Arc::clone(coordinator);
    let tasks = coordinator.tasks.clone();
    Ok(tasks.answer(call, move |sink| async move {
        let begin = move |metadata: &Metadata| metadata.begin_tree(params);
        let mut messages = Messages {
            walk: coordinator.metadata(begin).await?,
            rest: None,
        };
        loop {
            let next = move |metadata: &Metadata| {
                let message = messages.next(metadata)?;
                Ok::<_, MetadataError>((messages, message))
            };
            let (read, message) = coordinator.metadata(next).await?;
            messages = read;
            if message.listings.is_empty() {
                return Ok(());
            }
            sink.send(message).await?;
        }
    }))
}

fn params(request: &v1::ListTreeRequest) -> Result<TreeParams, Fault> {
    if request.since == 0 && !request.since_id.is_empty() {
        return Err(invalid(&"since_id is wrong: there is no since"));
    }
    let exact = [
        exact(request.version, &request.version_id)?,
        exact(request.since, &request.since_id)?,
    ];
    Ok(TreeParams {
        project: project_id(&request.project_id)?,
        version: VersionNumber(request.version),
        exact: exact.into_iter().flatten().collect(),
        top: match request.dir {
            0 => DirId::ROOT,
            dir => DirId(dir),
        },
        after: (request.after > 0).then_some(DirId(request.after)),
        since: (request.since > 0).then_some(VersionNumber(request.since)),
    })
}

/// The messages of one stream.
struct Messages {
    walk: TreeWalk,
    /// What was read and did not fit the last message.
    rest: Option<TreePart>,
}

impl Messages {
    /// Returns the next message; an empty one at the end.
    fn next(&mut self, metadata: &Metadata) -> Result<v1::ListTreeResponse, MetadataError> {
        let mut message = v1::ListTreeResponse::default();
        let mut len = 0;
        while len < MESSAGE_LEN {
            let part = match self.rest.take() {
                Some(part) => Some(part),
                None => metadata.continue_tree(&mut self.walk)?,
            };
            let Some(part) = part else {
                break;
            };
            self.add(&mut message, &mut len, part);
        }
        Ok(message)
    }

    /// Adds entries until the message has its length, and keeps the others.
    fn add(&mut self, message: &mut v1::ListTreeResponse, len: &mut usize, part: TreePart) {
        let mut listing = v1::TreeListing {
            dir: part.dir.0,
            entries: Vec::new(),
            listing_version: part.listing_version.as_bytes().to_vec(),
            more: part.more,
        };
        *len += listing.encoded_len() + 8;
        let mut entries = part.entries.into_iter();
        while (*len < MESSAGE_LEN || listing.entries.is_empty())
            && let Some(entry) = entries.next()
        {
            let entry = v1::Entry::from(&entry);
            *len += entry.encoded_len() + 8;
            listing.entries.push(entry);
        }
        if entries.len() > 0 {
            listing.more = true;
            self.rest = Some(TreePart {
                entries: entries.collect(),
                ..part
            });
        }
        message.listings.push(listing);
    }
}
