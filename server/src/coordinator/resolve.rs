//! Where contents lie, in messages of bounded size.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lfsfs_metadata::{ChunkLocation, Resolution, Resolved, ResolvedContents};
use lfsfs_proto::convert::{ProtocolError, ids};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::limits::CONTENTS_PER_MESSAGE_MAX;
use lfsfs_types::{ChunkId, ContentId, ContentPlace, NodeId};
use tonic::Streaming;

use super::request::StreamProject;
use super::{Coordinator, nodes};
use crate::blocking::IntoFault as _;
use crate::streams::{Sink, next_question};

/// Contents looked up at once, if they have no more places together than fit an answer.
const CONTENTS_AT_ONCE: usize = 128;
/// How many chunks are remembered, so that each is sent once. A client accepts one that is sent
/// again.
const TOLD_MAX: usize = 16 * 1024;
/// Most places and chunks in one answer: about 90 bytes each.
const PLACES_PER_MESSAGE: usize = 8192;

/// Checks a list of contents that came from a client.
pub(super) fn contents(list: &[Vec<u8>]) -> Result<Vec<ContentId>, Fault> {
    if list.len() > CONTENTS_PER_MESSAGE_MAX {
        let text = format!("at most {CONTENTS_PER_MESSAGE_MAX} contents fit a message");
        return Err(Fault::new(FaultKind::Invalid, text));
    }
    ids("contents", list, ContentId::from_slice).map_err(ProtocolError::into_fault)
}

/// Answers questions until the client has no more.
pub(super) async fn answer_all(
    coordinator: Arc<Coordinator>,
    mut questions: Streaming<v1::ResolveRequest>,
    sink: Sink<v1::ResolveResponse>,
) -> Result<(), Fault> {
    let mut told = HashSet::new();
    let mut project = StreamProject::default();
    while let Some(question) = next_question(&mut questions).await? {
        project.check(&coordinator, &question.project_id).await?;
        let wanted = once_each(contents(&question.contents)?);
        let mut left = &wanted[..];
        while !left.is_empty() {
            let answered = answer_first(&coordinator, left, &mut told, &sink).await?;
            left = &left[answered..];
        }
    }
    Ok(())
}

/// Answers the first of the contents. Returns how many these are.
///
/// The question has paid for what is looked up (`weight`): questions that hold memory and wait for
/// that of their answers would wait for each other.
async fn answer_first(
    coordinator: &Coordinator,
    contents: &[ContentId],
    told: &mut HashSet<ChunkId>,
    sink: &Sink<v1::ResolveResponse>,
) -> Result<usize, Fault> {
    let group = contents[..contents.len().min(CONTENTS_AT_ONCE)].to_vec();
    let resolved = coordinator
        .metadata(move |metadata| metadata.resolve_first(&group, PLACES_PER_MESSAGE))
        .await?;
    if told.len() > TOLD_MAX {
        told.clear();
    }
    let answers = answers(coordinator, &resolved, told);
    let answered = resolved.contents.len();
    drop(resolved);
    for answer in answers {
        sink.send(answer).await?;
    }
    Ok(answered)
}

/// Leaves each content where it stands first: what is asked for twice is answered once.
fn once_each(mut contents: Vec<ContentId>) -> Vec<ContentId> {
    let mut seen = HashSet::with_capacity(contents.len());
    contents.retain(|content| seen.insert(*content));
    contents
}

fn answers(
    coordinator: &Coordinator,
    resolved: &ResolvedContents,
    told: &mut HashSet<ChunkId>,
) -> Vec<v1::ResolveResponse> {
    let chunks = locations(coordinator, resolved);
    let mut pages = Pages::default();
    for content in &resolved.contents {
        let places = places_of(content);
        for place in places {
            if let (true, Some(chunk)) = (told.insert(place.chunk), chunks.get(&place.chunk)) {
                pages.add_chunk(chunk.clone());
            }
        }
        pages.add_content(&message(content), places);
    }
    pages.finish()
}

/// Returns the places of one content: none if it is missing or empty, or has a list.
pub(super) fn places_of(content: &Resolved) -> &[ContentPlace] {
    match &content.resolution {
        Resolution::Missing | Resolution::Empty | Resolution::List { .. } => &[],
        Resolution::Place(place) => std::slice::from_ref(place),
        Resolution::Pieces(places) => places,
    }
}

/// Returns the list of pieces of a content that has too many to tell at once, as the wire has it:
/// its id and length, or nothing and 0.
pub(super) fn list_of(content: &Resolved) -> (Vec<u8>, u32) {
    match &content.resolution {
        Resolution::List { list, count } => (list.as_bytes().to_vec(), *count),
        _ => (Vec::new(), 0),
    }
}

/// Returns what is told of a content, but for its places.
fn message(content: &Resolved) -> v1::ResolvedContent {
    let (list, list_count) = list_of(content);
    v1::ResolvedContent {
        content: content.content.as_bytes().to_vec(),
        found: content.resolution != Resolution::Missing,
        list,
        list_count,
        ..Default::default()
    }
}

/// Returns every chunk of an answer with the nodes that have it; nodes that are available come
/// first.
pub(super) fn locations(
    coordinator: &Coordinator,
    resolved: &ResolvedContents,
) -> HashMap<ChunkId, v1::ChunkLocation> {
    let mut cluster = coordinator.cluster();
    cluster.tick(coordinator.clock.monotonic());
    let node = |id: &NodeId| cluster.members().find(*id).map(nodes::message);
    let location = |chunk: &ChunkLocation| {
        let mut nodes: Vec<_> = chunk.nodes.iter().filter_map(node).collect();
        nodes.sort_by_key(|node| (node.state, node.draining));
        v1::ChunkLocation {
            info: Some((&chunk.info).into()),
            nodes,
        }
    };
    let chunks = resolved.chunks.iter();
    chunks
        .map(|chunk| (chunk.info.id, location(chunk)))
        .collect()
}

/// Answers that are filled one after the other.
#[derive(Default)]
struct Pages {
    done: Vec<v1::ResolveResponse>,
    page: v1::ResolveResponse,
    items: usize,
}

impl Pages {
    fn add_chunk(&mut self, chunk: v1::ChunkLocation) {
        self.make_room();
        self.page.chunks.push(chunk);
        self.items += 1;
    }

    /// Adds a content, in as many pages as its places need. A page never ends with a content that
    /// goes on without saying so.
    fn add_content(&mut self, content: &v1::ResolvedContent, places: &[ContentPlace]) {
        let mut left = places;
        loop {
            self.make_room();
            let (now, later) = left.split_at(left.len().min(PLACES_PER_MESSAGE - self.items));
            self.items += now.len().max(1);
            left = later;
            self.page.contents.push(v1::ResolvedContent {
                places: now.iter().map(v1::ContentPlace::from).collect(),
                continued: !left.is_empty(),
                ..content.clone()
            });
            if left.is_empty() {
                return;
            }
        }
    }

    fn make_room(&mut self) {
        if self.items >= PLACES_PER_MESSAGE {
            self.done.push(std::mem::take(&mut self.page));
            self.items = 0;
        }
    }

    fn finish(mut self) -> Vec<v1::ResolveResponse> {
        self.done.push(self.page);
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u32) -> ContentPlace {
        ContentPlace {
            content: ContentId([1; 32]),
            chunk: ChunkId([2; 32]),
            block: number,
            offset: 0,
            len: 1,
        }
    }

    fn content(byte: u8) -> v1::ResolvedContent {
        v1::ResolvedContent {
            content: vec![byte; 32],
            found: true,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_asked_for_twice_is_answered_once() {
        let id = |byte| ContentId([byte; 32]);
        let asked = vec![id(3), id(1), id(3), id(2), id(1)];
        assert_eq!(once_each(asked), [id(3), id(1), id(2)]);
    }

    #[test]
    fn places_go_on_in_the_next_page_and_none_is_lost() {
        for count in [0, 1, PLACES_PER_MESSAGE - 1, 2 * PLACES_PER_MESSAGE + 5] {
            let places: Vec<_> = (0..).map(place).take(count).collect();
            let mut pages = Pages::default();
            pages.add_content(&content(9), &[place(0)]);
            pages.add_content(&content(1), &places);
            let pages = pages.finish();

            let mut parts = pages.iter().flat_map(|page| &page.contents).skip(1);
            let blocks: Vec<_> = parts
                .clone()
                .flat_map(|part| part.places.iter().map(|place| place.block))
                .collect();
            assert!(blocks.into_iter().eq((0..).take(count)), "{count} places");
            let last = parts.clone().count() - 1;
            assert!(parts.all(|part| part.content == [1; 32]));
            for (number, page) in pages.iter().enumerate() {
                let here: usize = page.contents.iter().map(|part| part.places.len()).sum();
                assert!(here <= PLACES_PER_MESSAGE);
                let ends = page.contents.last().is_some_and(|part| !part.continued);
                assert_eq!(ends, number == last, "{count} places, page {number}");
            }
        }
    }
}
