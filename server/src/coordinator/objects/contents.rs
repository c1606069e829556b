//! Contents, read from datanodes within the memory of a call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lfsfs_common::tasks::Tasks;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_reader::{ContentReader, Deadline, Group, ReaderConfig, Source, Wanted};
use lfsfs_types::limits::BLOCK_RAW_LEN_MAX;
use lfsfs_types::{ContentId, ProjectId};

use super::super::Coordinator;
use super::PART_LEN;
use super::found::{File, Object};
use super::remote::OwnRemote;
use crate::blocking::IntoFault as _;
use crate::budget::Held;
use crate::calls::Call;

/// How long a read may make no progress.
const READ_MAX: Duration = Duration::from_secs(30);
/// What the reader keeps, and what is on its way to it.
const CONFIG: ReaderConfig = ReaderConfig {
    blocks_len_max: 2 << 20,
    places_len_max: 1 << 20,
    footers_len_max: 1 << 20,
    in_flight_len_max: 2 << 20,
    fetches_max: 4,
    window_len_first: 512 << 10,
    window_len_max: 1 << 20,
};
/// What it takes to read a large content part by part: that, and a part.
const PARTS_COST: usize = (6 << 20) + PART_LEN;
/// What a content of a batch takes beside its bytes: the blocks that it begins and ends in, as they are stored and
/// as they are read.
const BLOCKS_COST: usize = 2 * BLOCK_RAW_LEN_MAX as usize;

/// Reads contents of one project for one call.
pub(super) struct Contents {
    reader: ContentReader,
    call: Call,
    /// What the reader fetches with; they end with it.
    _tasks: Tasks,
}

impl Contents {
    pub(super) fn new(coordinator: &Arc<Coordinator>, call: &Call, project: ProjectId) -> Self {
        let tasks = Tasks::new();
        let source = Source {
            remote: Arc::new(OwnRemote::new(coordinator)),
            project,
            cache: None,
            spawner: tasks.spawner().clone(),
        };
        Self {
            reader: ContentReader::new(source, &CONFIG),
            call: call.clone(),
            _tasks: tasks,
        }
    }

    /// Reads the contents of the files among these that are not large.
    pub(super) async fn load(
        &self,
        objects: impl IntoIterator<Item = &Object>,
    ) -> Result<LoadedContents, Fault> {
        let files = objects.into_iter().filter(|object| !object.is_large());
        let files: Vec<File> = files.filter_map(Object::file).collect();
        let wanted: Vec<_> = files.iter().filter(|file| file.size > 0).collect();
        let ids: Vec<_> = wanted.iter().map(|file| file.content).collect();
        if ids.is_empty() {
            return Ok(LoadedContents::default());
        }
        let len: u64 = wanted.iter().map(|file| file.size).sum();
        let bytes = 3 * usize::try_from(len).unwrap_or(usize::MAX) + ids.len() * BLOCKS_COST;
        let held = self.call.account().take_more(bytes).await?;
        let deadline = Deadline::after(READ_MAX);
        let loaded = self.reader.load(&ids, deadline).await;
        Ok(LoadedContents {
            contents: loaded.map_err(lfsfs_reader::ReadError::into_fault)?,
            _held: held,
        })
    }

    /// Begins to read a large content part by part.
    pub(super) fn parts(&self, object: &Object) -> Result<Parts<'_>, Fault> {
        let file = object.file();
        let file = file.ok_or_else(|| Fault::new(FaultKind::Internal, "this is not a file"))?;
        Ok(Parts {
            contents: self,
            file,
            group: Arc::new(file.content),
            at: 0,
            held: Held::default(),
        })
    }
}

/// Contents that were read, and the memory that they are in.
#[derive(Default)]
pub(super) struct LoadedContents {
    contents: HashMap<ContentId, Bytes>,
    _held: Held,
}

impl LoadedContents {
    /// Returns the bytes of a content. One without bytes needs no reading.
    pub(super) fn of(&self, content: ContentId) -> Option<Vec<u8>> {
        if content == ContentId::EMPTY {
            return Some(Vec::new());
        }
        self.contents.get(&content).map(|bytes| bytes.to_vec())
    }
}

/// A large content that is read part by part.
pub(super) struct Parts<'a> {
    contents: &'a Contents,
    file: File,
    group: Arc<dyn Group>,
    at: u64,
    held: Held,
}

impl Parts<'_> {
    /// Returns true if a part is left.
    pub(super) fn has_more(&self) -> bool {
        self.at < self.file.size
    }

    /// Returns the next part; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let File { content, size } = self.file;
        let range = self.at..self.at + PART_LEN as u64;
        let Some(wanted) = Wanted::new(content, size, range) else {
            return Ok(None);
        };
        if self.held.is_empty() {
            self.held = self.contents.call.account().take_more(PARTS_COST).await?;
        }
        let reader = &self.contents.reader;
        let part = reader.read(&self.group, &wanted, READ_MAX).await;
        let part = part.map_err(lfsfs_reader::ReadError::into_fault)?;
        self.at += part.len() as u64;
        Ok(Some(part.to_vec()))
    }
}
