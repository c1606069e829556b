//! A commit as it arrives: one start, batches of changes, one finish.
//!
//! Only the finish publishes. A stream that just ends may be a client that died or gave up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_metadata::{
    Begun, Change, CommitParams, CommitSession, ExactVersion, MetadataError, Published,
};
use lfsfs_proto::convert::{ProtocolError, id, optional_name, required};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{
    DirId, ObjectPath, Origin, ProjectId, Record, SessionId, VersionId, VersionNumber,
};
use tonic::Streaming;

use super::holdings::Holder;
use super::sessions::CommitPlan;
use super::{Coordinator, log_published};
use crate::blocking::{IntoFault, blocking};
use crate::ids::random_id;
use crate::streams::{next, stopping};

/// Most bytes of paths in the answer to a commit that conflicts, well below what clients take.
const CONFLICTS_LEN_MAX: usize = 8 * 1024 * 1024;
/// How long an opener waits for a commit that makes the same version, less than clients wait for any answer.
const COMMIT_WAIT: Duration = Duration::from_secs(20);

/// Opens a session, or answers that its commit was published before.
pub(super) async fn open_session(
    coordinator: &Coordinator,
    request: v1::OpenSessionRequest,
    connection: Option<SocketAddr>,
) -> Result<v1::OpenSessionResponse, Fault> {
    let plan = plan_of(&request).map_err(ProtocolError::into_fault)?;
    coordinator.check_room().await?;
    wait_for_commit(coordinator, plan).await?;
    let published = coordinator
        .metadata(move |metadata| metadata.check_commit(&params_of(plan, Origin::Commit)))
        .await?;
    if let Some(version) = &published {
        return Ok(v1::OpenSessionResponse {
            session_id: Vec::new(),
            published: Some(version.into()),
        });
    }
    let session = random_id()?;
    let now = coordinator.clock.monotonic();
    let holder = Holder {
        connection,
        project: plan.project,
    };
    coordinator.sessions().open(session, plan, holder, now)?;
    Ok(v1::OpenSessionResponse {
        session_id: session.as_bytes().to_vec(),
        published: None,
    })
}

/// Waits for a commit that makes the same version: its client was killed after it had sent everything, or goes on. The
/// caller wants to know whether that version is published, and before its end there is no answer to that.
async fn wait_for_commit(coordinator: &Coordinator, plan: CommitPlan) -> Result<(), Fault> {
    let waiting = async {
        loop {
            let ended = coordinator.commit_ended.notified();
            let mut ended = std::pin::pin!(ended);
            // A commit that ends behind the look is noticed.
            ended.as_mut().enable();
            if !coordinator.is_committing(plan) {
                break;
            }
            ended.await;
        }
    };
    tokio::select! {
        waited = tokio::time::timeout(COMMIT_WAIT, waiting) => waited.map_err(|_| {
            let text = "a commit is under way that makes this version; ask again";
            Fault::new(FaultKind::Unavailable, text)
        }),
        () = coordinator.tasks.abort.cancelled() => Err(stopping()),
    }
}

fn plan_of(request: &v1::OpenSessionRequest) -> Result<CommitPlan, ProtocolError> {
    let project = id(
        "project_id",
        &request.project_id,
        lfsfs_types::ProjectId::from_slice,
    )?;
    let base_id = id("base_id", &request.base_id, VersionId::from_slice)?;
    Ok(CommitPlan {
        project,
        base: ExactVersion {
            number: VersionNumber(request.base),
            id: base_id,
        },
        version: id("version_id", &request.version_id, VersionId::from_slice)?,
    })
}

fn params_of(plan: CommitPlan, origin: Origin) -> CommitParams {
    CommitParams {
        project: plan.project,
        base: plan.base,
        version: plan.version,
        origin,
        author: String::new(),
        message: String::new(),
        force: false,
        ignore_times: false,
    }
}

impl Coordinator {
    fn is_committing(&self, plan: CommitPlan) -> bool {
        self.sessions().is_committing(plan.project, plan.version)
    }
}

/// A session while its commit goes on. Dropping it ends the session, however the commit ended.
struct Open<'a> {
    coordinator: &'a Coordinator,
    id: SessionId,
    plan: CommitPlan,
}

impl<'a> Open<'a> {
    fn begin(coordinator: &'a Coordinator, id: SessionId) -> Result<Self, Fault> {
        let now = coordinator.clock.monotonic();
        let plan = coordinator.sessions().begin(id, now)?;
        Ok(Self {
            coordinator,
            id,
            plan,
        })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.coordinator.sessions().close(self.id);
        self.coordinator.commit_ended.notify_waiters();
    }
}

/// Takes the stream of a commit and publishes it. The work goes on when the client has gone, so
/// that staged changes are removed at once.
pub(super) async fn commit(
    coordinator: &Arc<Coordinator>,
    client: SocketAddr,
    stream: Streaming<v1::CommitRequest>,
) -> Result<v1::CommitResponse, Fault> {
    let own = Arc::clone(coordinator);
    let running = async move { take_commit(&own, client, stream).await };
    let ended = coordinator.tasks.tracker.spawn(running).await;
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "the task of a commit failed");
        Err(Fault::new(FaultKind::Internal, "the server failed"))
    })
}

async fn take_commit(
    coordinator: &Coordinator,
    client: SocketAddr,
    mut stream: Streaming<v1::CommitRequest>,
) -> Result<v1::CommitResponse, Fault> {
    let first = tokio::select! {
        first = next(&mut stream) => first?,
        () = coordinator.tasks.abort.cancelled() => return Err(stopping()),
    };
    let first = first.and_then(|message| message.part);
    let Some(v1::commit_request::Part::Start(start)) = first else {
        return Err(out_of_order());
    };
    let id = id("session_id", &start.session_id, SessionId::from_slice)
        .map_err(ProtocolError::into_fault)?;
    let open = Open::begin(coordinator, id)?;
    let project = open.plan.project;
    coordinator.check_room().await?;
    let wants_ids = start.want_ids;
    let params = start_params(open.plan, start).map_err(ProtocolError::into_fault)?;
    let begun = coordinator.metadata(move |metadata| metadata.begin_commit(params));
    match begun.await? {
        Begun::AlreadyDone(record) => Ok(v1::CommitResponse {
            rebased: record.parent != record.base,
            version: Some((&record).into()),
            ..v1::CommitResponse::default()
        }),
        Begun::Session(session) => {
            let session = stage(coordinator, session, &mut stream).await?;
            match blocking(move || publish(session)).await? {
                Ok(published) => {
                    log(coordinator, project, &published, client).await;
                    Ok(answer(&published, wants_ids))
                }
                Err(conflicts) => Ok(v1::CommitResponse {
                    conflicts: Some(conflicts),
                    ..v1::CommitResponse::default()
                }),
            }
        }
    }
}

async fn log(
    coordinator: &Coordinator,
    project: ProjectId,
    published: &Published,
    client: SocketAddr,
) {
    let found = coordinator.metadata(move |metadata| metadata.project_by_id(project));
    // The versions of a project that was deleted meanwhile are of no use to the reader of the log.
    if let Ok(project) = found.await {
        log_published(&project.name, published, client);
    }
}

/// Publishes, or returns the conflicts, which are an answer and no failure.
fn publish(session: CommitSession) -> Result<Result<Published, v1::Conflicts>, MetadataError> {
    match session.publish() {
        Ok(published) => Ok(Ok(published)),
        Err(error) => {
            let message = lfsfs_common::full_text(&error);
            match error {
                MetadataError::Conflicts { paths, count, .. } => Ok(Err(v1::Conflicts {
                    message,
                    paths: first_paths(&paths),
                    count,
                })),
                error => Err(error),
            }
        }
    }
}

/// Returns as many paths as one message takes.
fn first_paths(paths: &[ObjectPath]) -> Vec<Vec<u8>> {
    let mut len = 0;
    let fitting = paths.iter().take_while(|path| {
        len += path.as_bytes().len() + 8;
        len <= CONFLICTS_LEN_MAX
    });
    fitting.map(|path| path.as_bytes().to_vec()).collect()
}

fn answer(published: &Published, with_ids: bool) -> v1::CommitResponse {
    let counts = published.record.counts;
    let rows = if published.is_new {
        counts.added + counts.removed + counts.modified
    } else {
        0
    };
    let made = |made: u64, id: u64| v1::MadeId {
        made: made - DirId::SESSION_FIRST.0,
        id,
    };
    let dirs = published.dirs.iter().filter(|_| with_ids);
    let links = published.links.iter().filter(|_| with_ids);
    v1::CommitResponse {
        version: Some((&published.record).into()),
        rows,
        rebased: published.is_rebased,
        made_dirs: dirs.map(|(dir, id)| made(dir.0, id.0)).collect(),
        made_links: links.map(|(link, id)| made(link.0, id.0)).collect(),
        conflicts: None,
    }
}

fn start_params(plan: CommitPlan, start: v1::CommitStart) -> Result<CommitParams, ProtocolError> {
    let origin = required("origin", start.origin)?.try_into()?;
    Ok(CommitParams {
        author: start.author,
        message: start.message,
        force: start.force,
        ignore_times: start.ignore_times,
        ..params_of(plan, origin)
    })
}

/// Stages every batch of the stream; a stream that breaks leaves nothing staged.
async fn stage(
    coordinator: &Coordinator,
    session: CommitSession,
    stream: &mut Streaming<v1::CommitRequest>,
) -> Result<CommitSession, Fault> {
    let mut session = session;
    let mut staged = 0;
    loop {
        let part = tokio::select! {
            part = next_part(stream) => part,
            () = coordinator.tasks.abort.cancelled() => Err(stopping()),
        };
        let batch = match part {
            Ok(Part::Changes(changes)) => changes,
            Ok(Part::Finish { changes }) if changes == staged => return Ok(session),
            Ok(Part::Finish { changes }) => {
                discard(session).await;
                let text = format!("{staged} changes arrived of {changes} that were sent");
                return Err(Fault::new(FaultKind::Invalid, text));
            }
            Err(fault) => {
                discard(session).await;
                return Err(fault);
            }
        };
        staged += batch.len() as u64;
        let added = blocking(move || {
            let added = session.stage(batch).map_err(IntoFault::into_fault);
            Ok::<_, Fault>((session, added))
        });
        let (same, added) = added.await?;
        session = same;
        if let Err(fault) = added {
            discard(session).await;
            return Err(fault);
        }
    }
}

/// What follows the start of a commit.
enum Part {
    Changes(Vec<Change>),
    Finish { changes: u64 },
}

async fn next_part(stream: &mut Streaming<v1::CommitRequest>) -> Result<Part, Fault> {
    match next(stream).await?.map(|message| message.part) {
        Some(Some(v1::commit_request::Part::Changes(batch))) => {
            let changes = batch.changes.into_iter().map(change);
            let changes = changes.collect::<Result<_, ProtocolError>>();
            changes
                .map(Part::Changes)
                .map_err(ProtocolError::into_fault)
        }
        Some(Some(v1::commit_request::Part::Finish(finish))) => match next(stream).await? {
            None => Ok(Part::Finish {
                changes: finish.changes,
            }),
            Some(_) => Err(out_of_order()),
        },
        None | Some(_) => Err(out_of_order()),
    }
}

fn change(message: v1::Change) -> Result<Change, ProtocolError> {
    Ok(Change {
        dir: DirId(message.dir),
        name: optional_name("name", &message.name)?,
        state: message.record.map(Record::try_from).transpose()?,
    })
}

/// Removes what is staged, which may be much.
async fn discard(session: CommitSession) {
    let dropped = blocking(move || {
        drop(session);
        Ok::<_, Fault>(())
    });
    let _ = dropped.await;
}

fn out_of_order() -> Fault {
    Fault::new(
        FaultKind::Invalid,
        "a commit is one start, then changes, then a finish and nothing more; nothing was published",
    )
}
