//! Fields of requests, checked; pages of answers, bounded.

use std::ops::ControlFlow;

use lfsfs_metadata::{ExactVersion, WholeListing};
use lfsfs_proto::convert::{ProtocolError, id, optional_id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{
    Name, ObjectPath, ProjectId, ProjectName, Record, Source, TagName, VersionId, VersionNumber,
};
use prost::Message as _;
use tonic::{Response, Status};

use super::Coordinator;
use crate::blocking::IntoFault as _;

/// Bytes of entries after which a page of a listing ends, well below what clients take.
pub(super) const LISTING_LEN_MAX: usize = 2 * 1024 * 1024;

pub(super) type Answer<T> = Result<Response<T>, Status>;

pub(super) fn invalid(error: &impl ToString) -> Fault {
    Fault::new(FaultKind::Invalid, error.to_string())
}

pub(super) fn project_name(text: &str) -> Result<ProjectName, Fault> {
    ProjectName::new(text).map_err(|error| invalid(&error))
}

pub(super) fn source(text: &str) -> Result<Source, Fault> {
    // The error of a source does not repeat what its own source says.
    let parsed = text.parse::<Source>();
    parsed.map_err(|error| Fault::new(FaultKind::Invalid, lfsfs_common::full_text(&error)))
}

pub(super) fn path(bytes: &[u8]) -> Result<ObjectPath, Fault> {
    ObjectPath::new(bytes).map_err(|error| invalid(&error))
}

pub(super) fn project_id(bytes: &[u8]) -> Result<ProjectId, Fault> {
    id("project_id", bytes, ProjectId::from_slice).map_err(ProtocolError::into_fault)
}

/// Returns the version that a request means, if its client knows the random id. The number alone may be that of
/// another version, after a restore.
pub(super) fn exact(number: u64, id: &[u8]) -> Result<Option<ExactVersion>, Fault> {
    let id = optional_id("version_id", id, VersionId::from_slice);
    let id = id.map_err(ProtocolError::into_fault)?;
    let number = VersionNumber(number);
    Ok(id.map(|id| ExactVersion { number, id }))
}

/// The project that the messages of one stream are about.
#[derive(Debug, Default)]
pub(super) struct StreamProject {
    id: Vec<u8>,
}

impl StreamProject {
    /// Checks the project that a message names: the first message must, further ones may.
    pub(super) async fn check(
        &mut self,
        coordinator: &Coordinator,
        id: &[u8],
    ) -> Result<(), Fault> {
        if self.id.is_empty() {
            coordinator.known_project(id).await?;
            self.id = id.to_vec();
        } else if !id.is_empty() && id != self.id {
            let text = "project_id is wrong: it differs from that of the first message";
            return Err(Fault::new(FaultKind::Invalid, text));
        }
        Ok(())
    }
}

pub(super) fn tag_name(text: &str) -> Result<TagName, Fault> {
    TagName::new(text).map_err(|error| invalid(&error))
}

/// Returns how many items a page has: as many as asked for, if that is not too many.
pub(super) fn page_len(asked: u32, most: usize) -> usize {
    match asked as usize {
        0 => most,
        asked => asked.min(most),
    }
}

/// Ends a page of entries where a message would become too long. At least one entry is kept.
pub(super) fn fit(entries: Vec<(Name, Record)>, more: bool) -> (Vec<v1::Entry>, bool) {
    let count = entries.len();
    let mut len = 0;
    let fitting: Vec<_> = entries
        .iter()
        .map(v1::Entry::from)
        .take_while(|entry| {
            let is_first = len == 0;
            len += entry.encoded_len() + 8;
            is_first || len <= LISTING_LEN_MAX
        })
        .collect();
    let more = more || fitting.len() < count;
    (fitting, more)
}

/// Adds the listing of a directory below to an answer that has `len` bytes, if it fits.
pub(super) fn add_below(
    answer: &mut v1::ListDirectoryResponse,
    len: &mut usize,
    listing: &WholeListing,
) -> ControlFlow<()> {
    let below = v1::DirectoryBelow {
        dir: listing.dir.0,
        entries: listing.entries.iter().map(v1::Entry::from).collect(),
        listing_version: listing.listing_version.as_bytes().to_vec(),
    };
    *len += below.encoded_len() + 8;
    if *len > LISTING_LEN_MAX {
        return ControlFlow::Break(());
    }
    answer.below.push(below);
    ControlFlow::Continue(())
}

/// Returns the fault of a path that is not there.
pub(super) fn no_such_path(path: &[u8]) -> Fault {
    let text = format!("no such file or directory: {}", path.escape_ascii());
    Fault::new(FaultKind::PathNotFound, text)
}
