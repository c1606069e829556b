//! Objects in one message, which is as long as clients take without being told more.

use std::collections::VecDeque;
use std::sync::Arc;

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use prost::Message as _;

use super::super::Coordinator;
use super::contents::Contents;
use super::found::{CONTENTS_LEN_MAX, CONTENTS_MAX, Found, Object};
use super::{Asked, PART_LEN};
use crate::calls::Call;

/// Bytes of the longest answer: what gRPC takes if it is not told otherwise, and some room.
const ANSWER_LEN_MAX: u64 = (4 << 20) - (64 << 10);
/// What an object takes in a message beside its record and its content.
const OBJECT_COST: u64 = 24;

/// Returns the objects that are asked for. Contents of more bytes than `content_len_max` are left out.
pub(in super::super) async fn answer(
    coordinator: &Arc<Coordinator>,
    call: &Call,
    asked: Asked,
    content_len_max: Option<u64>,
) -> Result<v1::GetUnaryResponse, Fault> {
    let content_len_max = content_len_max.unwrap_or(u64::MAX);
    let version = asked.to.0;
    let held = call.account().take(asked.memory()).await?;
    let contents = Contents::new(coordinator, call, asked.project);
    let mut found = Found::ask(coordinator, asked);
    let mut objects = VecDeque::new();
    let mut len = 0;
    while let Some(object) = found.next().await? {
        let has_content = object
            .file()
            .is_some_and(|file| file.size <= content_len_max);
        let more = message_len(&object, has_content);
        len += more;
        if len > ANSWER_LEN_MAX {
            return Err(too_long());
        }
        // The message, and its bytes when it is encoded.
        call.hold(call.account().take_more(2 * cost(more)).await?);
        objects.push_back((object, has_content));
    }
    drop(held);
    let mut answered = Vec::with_capacity(objects.len());
    while !objects.is_empty() {
        let batch = next_batch(&mut objects);
        answered.extend(with_contents(&contents, batch).await?);
    }
    Ok(v1::GetUnaryResponse {
        version,
        objects: answered,
    })
}

/// Takes the next objects whose contents are read together.
fn next_batch(objects: &mut VecDeque<(Object, bool)>) -> Vec<(Object, bool)> {
    let mut len = 0;
    let mut batch = Vec::new();
    while batch.len() < CONTENTS_MAX
        && let Some((object, _)) = objects.front()
    {
        len += object.len_in_batch().unwrap_or_default();
        if len > CONTENTS_LEN_MAX && !batch.is_empty() {
            break;
        }
        batch.extend(objects.pop_front());
    }
    batch
}

async fn with_contents(
    contents: &Contents,
    batch: Vec<(Object, bool)>,
) -> Result<Vec<v1::Objekt>, Fault> {
    let wanted = batch.iter().filter(|(_, has_content)| *has_content);
    let loaded = contents.load(wanted.map(|(object, _)| object)).await?;
    let mut messages = Vec::with_capacity(batch.len());
    for (object, has_content) in batch {
        let content = match object.file().filter(|_| has_content) {
            None => None,
            Some(file) if file.size <= PART_LEN as u64 => loaded.of(file.content),
            Some(_) => Some(whole(contents, &object).await?),
        };
        messages.push(object.message(content));
    }
    Ok(messages)
}

async fn whole(contents: &Contents, object: &Object) -> Result<Vec<u8>, Fault> {
    let mut parts = contents.parts(object)?;
    let mut whole = Vec::new();
    while let Some(part) = parts.next().await? {
        whole.extend_from_slice(&part);
    }
    Ok(whole)
}

/// Returns how long an object is in the answer.
fn message_len(object: &Object, has_content: bool) -> u64 {
    let content = object.file().filter(|_| has_content);
    let record = object
        .record_message()
        .map_or(0, |record| record.encoded_len());
    (object.path.len() + record) as u64 + content.map_or(0, |file| file.size) + OBJECT_COST
}

fn cost(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

fn too_long() -> Fault {
    let text = format!(
        "the answer has more than {ANSWER_LEN_MAX} bytes: ask with Get, which sends it in many messages, or for \
         less, by queries or by max_content_send_size"
    );
    Fault::new(FaultKind::Invalid, text)
}
