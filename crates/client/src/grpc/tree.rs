//! Listings of a tree over gRPC: messages in, whole listings out.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use lfsfs_proto::convert::id;
use lfsfs_proto::v1;
use lfsfs_remote::{DirectoryListing, RemoteError, TreeStream};
use lfsfs_types::{DirId, Name, Record, VersionId};
use tonic::Streaming;

use crate::connection::Connections;
use crate::fault::{Checked as _, converted};

const WHAT: &str = "listings";

/// Asks for listings, and returns them as they come.
pub(super) async fn ask(
    connections: Arc<Connections>,
    request: v1::ListTreeRequest,
) -> Result<TreeStream, RemoteError> {
    let mut fs = connections.fs();
    let limit = connections.config.progress_timeout;
    let answer = connections.call(WHAT, limit, fs.list_tree(request));
    let arriving = Arriving {
        messages: answer.await?.into_inner(),
        connections,
        came: VecDeque::new(),
        part: None,
    };
    let listings = stream::try_unfold(arriving, |mut arriving| async move {
        let listing = arriving.next().await?;
        Ok(listing.map(|listing| (listing, arriving)))
    });
    Ok(listings.boxed())
}

/// What has come and was not handed on.
struct Arriving {
    connections: Arc<Connections>,
    messages: Streaming<v1::ListTreeResponse>,
    came: VecDeque<v1::TreeListing>,
    /// The beginning of a directory that goes on.
    part: Option<Part>,
}

/// The entries of a directory that have come.
struct Part {
    dir: DirId,
    listing_version: VersionId,
    entries: Vec<(Name, Record)>,
}

impl Arriving {
    async fn next(&mut self) -> Result<Option<(DirId, DirectoryListing)>, RemoteError> {
        loop {
            while let Some(listing) = self.came.pop_front() {
                if let Some(whole) = self.take(listing)? {
                    return Ok(Some(whole));
                }
            }
            let says_something = |it: &v1::ListTreeResponse| !it.listings.is_empty();
            let messages = &mut self.messages;
            let next = self.connections.next(WHAT, messages, says_something);
            match next.await? {
                Some(message) => self.came.extend(message.listings),
                None if self.part.is_some() => return Err(wrong("a directory does not end")),
                None => return Ok(None),
            }
        }
    }

    /// Adds entries to those of their directory. Returns it if it is whole.
    fn take(
        &mut self,
        message: v1::TreeListing,
    ) -> Result<Option<(DirId, DirectoryListing)>, RemoteError> {
        let version = &message.listing_version;
        let begun = Part {
            dir: DirId(message.dir),
            listing_version: id("listing_version", version, VersionId::from_slice).checked()?,
            entries: Vec::with_capacity(message.entries.len()),
        };
        let mut part = match self.part.take() {
            Some(part)
                if (part.dir, part.listing_version) == (begun.dir, begun.listing_version) =>
            {
                part
            }
            Some(_) => return Err(wrong("a directory does not go on")),
            None => begun,
        };
        if message.more && message.entries.is_empty() {
            // Else a directory could go on for ever.
            return Err(wrong("a directory goes on and has no entries"));
        }
        for entry in message.entries {
            let (name, record): (Name, Record) = converted(entry)?;
            if part.entries.last().is_some_and(|(last, _)| *last >= name) {
                return Err(wrong("a directory's names are out of order"));
            }
            part.entries.push((name, record));
        }
        if message.more {
            self.part = Some(part);
            return Ok(None);
        }
        let listing = DirectoryListing {
            entries: part.entries,
            listing_version: part.listing_version,
        };
        Ok(Some((part.dir, listing)))
    }
}

fn wrong(what: &str) -> RemoteError {
    RemoteError::Corrupt(what.to_owned())
}
