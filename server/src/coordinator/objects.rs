//! The surface of versioned objects: objects by their paths, with their contents, in both directions.
//!
//! It is for clients that have nothing but gRPC: they know paths and bytes, and nothing of directories, pieces and
//! chunks. So the coordinator reads and stores chunks for them, as a client of its datanodes.

mod archive;
mod asked;
mod compress;
mod contents;
mod found;
mod one_answer;
mod remote;
mod send;
mod update;
mod writer;

use std::sync::Arc;

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::ProjectId;
use tokio::sync::{Mutex, MutexGuard};

pub(super) use self::asked::Asked;
pub(super) use self::compress::get_compress;
use self::contents::Contents;
use self::found::Found;
pub(super) use self::one_answer::answer;
pub(super) use self::remote::OwnRemote;
pub(super) use self::send::store;
pub(super) use self::update::update;
use super::Coordinator;
use crate::calls::Call;
use crate::streams::{Answers, Sink};

/// Bytes of a content in one message, at most. What is longer goes on in the next one.
const PART_LEN: usize = 512 * 1024;

/// How many projects may be updated at the same time, at least as long as their ids lie well.
const TURNS: usize = 64;

/// The turns of updates: those of one project are planned and published one after the other, so that none is planned
/// again and again because others come first.
#[derive(Debug)]
pub(super) struct Turns([Mutex<()>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    /// Waits for the turn of an update. Two projects may share one.
    async fn wait(&self, project: ProjectId) -> MutexGuard<'_, ()> {
        let number = usize::from(project.as_bytes()[0]) % TURNS;
        self.0[number].lock().await
    }
}

/// Sends the objects that are asked for, with their contents.
pub(super) fn get(
    coordinator: &Arc<Coordinator>,
    call: &Call,
    asked: Asked,
) -> Answers<v1::GetResponse> {
    let (own, paying) = (Arc::clone(coordinator), call.clone());
    let sending = |sink| async move {
        let version = asked.to.0;
        let _held = paying.account().take(asked.memory()).await?;
        let contents = Contents::new(&own, &paying, asked.project);
        let mut found = Found::ask(&own, asked);
        while let Some(batch) = found.next_batch().await? {
            let loaded = contents.load(&batch).await?;
            for object in batch {
                if object.is_large() {
                    send_large(&sink, version, &contents, object).await?;
                    continue;
                }
                let content = object.file().and_then(|file| loaded.of(file.content));
                let object = object.message(content);
                sink.send(v1::GetResponse {
                    version,
                    object: Some(object),
                    continued: false,
                })
                .await?;
            }
        }
        Ok(())
    };
    coordinator.tasks.answer(call.clone(), sending)
}

/// Sends a file whose content does not fit one message.
async fn send_large(
    sink: &Sink<v1::GetResponse>,
    version: u64,
    contents: &Contents,
    object: found::Object,
) -> Result<(), Fault> {
    let path = object.path.clone();
    let mut parts = contents.parts(&object)?;
    let mut message = object.message(None);
    while let Some(part) = parts.next().await? {
        message.content = Some(part);
        let object = std::mem::replace(
            &mut message,
            v1::Objekt {
                path: path.clone(),
                ..v1::Objekt::default()
            },
        );
        sink.send(v1::GetResponse {
            version,
            object: Some(object),
            continued: parts.has_more(),
        })
        .await?;
    }
    Ok(())
}

fn invalid(field: &str, problem: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Invalid, format!("{field} is wrong: {problem}"))
}
