//! An update as it arrives: objects with their contents, which become one version when the stream has ended.
//!
//! Contents are stored while they come. A stream that breaks leaves contents that no version has, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use lfsfs_metadata::{ObjectState, ObjectUpdate, Project, UpdateParams, UpdatePath};
use lfsfs_proto::convert::{ProtocolError, id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::record::Kind as KindMessage;
use lfsfs_types::{ContentId, DirId, Kind, Record, Timestamp};
use tonic::Streaming;

use super::super::files::version_id;
use super::super::request::project_name;
use super::super::{Coordinator, log_published};
use super::invalid;
use super::writer::{ContentWriter, Written};
use crate::blocking::{IntoFault as _, blocking};
use crate::calls::Call;
use crate::streams::{next, stopping};

/// The answer to an update without objects.
const NO_VERSION: i64 = -1;

/// Takes the stream of an update and publishes it. The work goes on when the client has gone, so that what was
/// staged is removed at once.
pub(in super::super) async fn update(
    coordinator: &Arc<Coordinator>,
    call: Call,
    stream: Streaming<v1::UpdateRequest>,
) -> Result<v1::UpdateResponse, Fault> {
    let own = Arc::clone(coordinator);
    let running = async move { take(&own, &call, stream).await };
    let ended = coordinator.tasks.tracker.spawn(running).await;
    let version = ended.unwrap_or_else(|error| {
        tracing::error!(%error, "the task of an update failed");
        Err(Fault::new(FaultKind::Internal, "the server failed"))
    })?;
    Ok(v1::UpdateResponse { version })
}

async fn take(
    coordinator: &Arc<Coordinator>,
    call: &Call,
    mut stream: Streaming<v1::UpdateRequest>,
) -> Result<i64, Fault> {
    let Some(first) = next_message(coordinator, &mut stream).await? else {
        return Ok(NO_VERSION);
    };
    let client = call.connection().peer;
    let mut incoming = Incoming::begin(coordinator, call, &first).await?;
    let mut message = Some(first);
    while let Some(taken) = message {
        incoming.take(taken).await?;
        message = next_message(coordinator, &mut stream).await?;
    }
    incoming.publish(client).await
}

async fn next_message(
    coordinator: &Coordinator,
    stream: &mut Streaming<v1::UpdateRequest>,
) -> Result<Option<v1::UpdateRequest>, Fault> {
    tokio::select! {
        message = next(stream) => message,
        () = coordinator.tasks.abort.cancelled() => Err(stopping()),
    }
}

/// What all messages of an update say alike.
#[derive(Debug, Default)]
struct Head {
    project: String,
    version_id: Vec<u8>,
    author: String,
    message: String,
}

impl Head {
    /// Checks that a further message says nothing else.
    fn check(&self, message: &v1::UpdateRequest) -> Result<(), Fault> {
        let differs = |said: &[u8], first: &[u8]| !said.is_empty() && said != first;
        let fields = [
            (
                "project",
                message.project.as_bytes(),
                self.project.as_bytes(),
            ),
            ("version_id", &message.version_id[..], &self.version_id[..]),
            ("author", message.author.as_bytes(), self.author.as_bytes()),
            (
                "message",
                message.message.as_bytes(),
                self.message.as_bytes(),
            ),
        ];
        match fields
            .into_iter()
            .find(|(_, said, first)| differs(said, first))
        {
            None => Ok(()),
            Some((field, ..)) => Err(invalid(field, "it differs from that of the first message")),
        }
    }
}

/// A file whose content is coming.
struct OpenFile {
    bytes: Vec<u8>,
    path: UpdatePath,
    record: Option<v1::Record>,
}

/// The objects that came so far.
struct Incoming {
    coordinator: Arc<Coordinator>,
    head: Head,
    project: Project,
    params: UpdateParams,
    /// None only while a thread has it.
    objects: Option<ObjectUpdate>,
    writer: ContentWriter,
    open: Option<OpenFile>,
    now: Timestamp,
}

impl Incoming {
    async fn begin(
        coordinator: &Arc<Coordinator>,
        call: &Call,
        first: &v1::UpdateRequest,
    ) -> Result<Self, Fault> {
        let name = project_name(&first.project)?;
        let version = version_id(&first.version_id)?;
        coordinator.check_room().await?;
        let begun = coordinator.metadata(move |metadata| {
            let project = metadata.project(&name)?;
            Ok::<_, lfsfs_metadata::MetadataError>((project, metadata.begin_update()?))
        });
        let (project, objects) = begun.await?;
        let wall = coordinator.clock.wall_time();
        Ok(Self {
            coordinator: Arc::clone(coordinator),
            head: Head {
                project: first.project.clone(),
                version_id: first.version_id.clone(),
                author: first.author.clone(),
                message: first.message.clone(),
            },
            params: UpdateParams {
                project: project.id,
                version,
                author: first.author.clone(),
                message: first.message.clone(),
            },
            objects: Some(objects),
            writer: ContentWriter::new(coordinator, call, project.clone()),
            project,
            open: None,
            now: Timestamp {
                secs: wall.seconds(),
                nanos: wall.subsecond_nanoseconds(),
            },
        })
    }

    async fn take(&mut self, message: v1::UpdateRequest) -> Result<(), Fault> {
        self.head.check(&message)?;
        let continued = message.continued;
        let object = message.object.ok_or_else(|| missing("object"))?;
        match self.open.take() {
            Some(open) => self.go_on(open, object, continued).await,
            None => self.begin_object(object, continued).await,
        }
    }

    async fn begin_object(&mut self, object: v1::Objekt, continued: bool) -> Result<(), Fault> {
        let v1::Objekt {
            path: bytes,
            record,
            deleted,
            content,
        } = object;
        let path = UpdatePath::new(&bytes).map_err(|error| at(&bytes, "path", error))?;
        let kind = record.as_ref().and_then(|record| record.kind.as_ref());
        let is_file = !path.is_marker() && matches!(kind, None | Some(KindMessage::File(_)));
        if (deleted || !is_file) && (content.is_some() || continued) {
            let problem = "only a file that is not deleted has one";
            return Err(at(&bytes, "content", problem));
        }
        if deleted {
            if record.is_some() {
                return Err(at(&bytes, "record", "what is deleted has none"));
            }
            return self.add(path, ObjectState::Removed).await;
        }
        if !is_file {
            let is_marker = path.is_marker();
            let state = self.without_content(&bytes, is_marker, record)?;
            return self.add(path, state).await;
        }
        let Some(content) = content else {
            let written = stored(&bytes, record.as_ref())?;
            let state = self.file_state(&bytes, record, written)?;
            return self.add(path, state).await;
        };
        let open = OpenFile {
            bytes,
            path,
            record,
        };
        self.take_content(open, &content, continued).await
    }

    async fn go_on(
        &mut self,
        open: OpenFile,
        object: v1::Objekt,
        continued: bool,
    ) -> Result<(), Fault> {
        let v1::Objekt {
            path,
            record,
            deleted,
            content,
        } = object;
        if !path.is_empty() && path != open.bytes {
            return Err(at(
                &open.bytes,
                "content",
                "it goes on, and another object came",
            ));
        }
        if deleted || record.is_some() {
            return Err(at(
                &open.bytes,
                "content",
                "it goes on, and a record or a removal came",
            ));
        }
        let content = content.ok_or_else(|| missing("object.content"))?;
        self.take_content(open, &content, continued).await
    }

    async fn take_content(
        &mut self,
        open: OpenFile,
        content: &[u8],
        continued: bool,
    ) -> Result<(), Fault> {
        self.writer.push(content).await?;
        if continued {
            self.open = Some(open);
            return Ok(());
        }
        let written = self.writer.end().await?;
        let OpenFile {
            bytes,
            path,
            record,
        } = open;
        check_told(&bytes, record.as_ref(), written)?;
        let state = self.file_state(&bytes, record, written)?;
        self.add(path, state).await
    }

    fn file_state(
        &self,
        path: &[u8],
        record: Option<v1::Record>,
        written: Written,
    ) -> Result<ObjectState, Fault> {
        let Written { content, size } = written;
        let kind = Kind::File { size, content };
        let Some(record) = record else {
            return Ok(ObjectState::Kind(kind, self.now));
        };
        let message = v1::Record {
            kind: Some((&kind).into()),
            ..record
        };
        self.told(path, message).map(ObjectState::Told)
    }

    /// Returns the state of what is no file.
    fn without_content(
        &self,
        path: &[u8],
        is_marker: bool,
        record: Option<v1::Record>,
    ) -> Result<ObjectState, Fault> {
        let dir = DirId::SESSION_FIRST;
        let Some(mut record) = record else {
            return Ok(ObjectState::Kind(Kind::Directory { dir }, self.now));
        };
        let is_directory = matches!(record.kind, None | Some(KindMessage::Directory(_)));
        match (is_marker, is_directory) {
            (true, false) => {
                return Err(at(
                    path,
                    "record.kind",
                    "a path with a slash at its end is that of a directory",
                ));
            }
            (false, true) => {
                return Err(at(path, "path", "that of a directory ends with a slash"));
            }
            (true, true) => record.kind = Some((&Kind::Directory { dir }).into()),
            (false, false) => {}
        }
        if matches!(record.kind, Some(KindMessage::Symlink(_))) && record.mode == 0 {
            record.mode = 0o777;
        }
        self.told(path, record).map(ObjectState::Told)
    }

    /// Returns a record with what a client need not tell.
    fn told(&self, path: &[u8], message: v1::Record) -> Result<Record, Fault> {
        let mtime = message.mtime.unwrap_or_else(|| self.now.into());
        let message = v1::Record {
            mtime: Some(mtime),
            ctime: Some(message.ctime.unwrap_or(mtime)),
            // Each path is an object of its own.
            link: None,
            // The server has not seen it, and reads it from nowhere.
            sha256: None,
            ..message
        };
        let record = Record::try_from(message).map_err(|error| at(path, "record", error))?;
        match record.check_fields() {
            Ok(()) => Ok(record),
            Err(fault) => Err(at(path, "record", fault)),
        }
    }

    async fn add(&mut self, path: UpdatePath, state: ObjectState) -> Result<(), Fault> {
        let objects = self.objects.take();
        let mut objects = objects.ok_or_else(|| Fault::new(FaultKind::Internal, "no update"))?;
        let added = blocking(move || {
            objects.add(path, state)?;
            Ok::<_, lfsfs_metadata::MetadataError>(objects)
        });
        self.objects = Some(added.await?);
        Ok(())
    }

    async fn publish(mut self, client: SocketAddr) -> Result<i64, Fault> {
        if let Some(open) = &self.open {
            return Err(at(
                &open.bytes,
                "content",
                "it goes on, and the stream ended",
            ));
        }
        self.writer.finish().await?;
        let objects = self.objects.take();
        let objects = objects.ok_or_else(|| Fault::new(FaultKind::Internal, "no update"))?;
        let params = self.params;
        let _turn = self.coordinator.objects.wait(self.project.id).await;
        let published = blocking(move || objects.publish(&params)).await?;
        log_published(&self.project.name, &published, client);
        i64::try_from(published.record.number.0)
            .map_err(|_| Fault::new(FaultKind::Internal, "the version has no such number"))
    }
}

/// Returns the content that a record names, for a file whose bytes do not come.
fn stored(path: &[u8], record: Option<&v1::Record>) -> Result<Written, Fault> {
    let file = match record.and_then(|record| record.kind.as_ref()) {
        Some(KindMessage::File(file)) if !file.content.is_empty() => file,
        _ => return Err(at(path, "content", "it is missing")),
    };
    let content = id("record.file.content", &file.content, ContentId::from_slice);
    Ok(Written {
        content: content.map_err(ProtocolError::into_fault)?,
        size: file.size,
    })
}

/// Checks what a record says of a content that came. It need not say anything.
fn check_told(path: &[u8], record: Option<&v1::Record>, written: Written) -> Result<(), Fault> {
    let Some(KindMessage::File(file)) = record.and_then(|record| record.kind.as_ref()) else {
        return Ok(());
    };
    if file.size != 0 && file.size != written.size {
        let problem = format!("it is {}, and {} bytes came", file.size, written.size);
        return Err(at(path, "record.file.size", problem));
    }
    if !file.content.is_empty() && file.content != written.content.as_bytes() {
        let text = format!(
            "record.file.content is wrong: the bytes of \"{}\" are content {}",
            path.escape_ascii(),
            written.content
        );
        return Err(Fault::new(FaultKind::HashMismatch, text));
    }
    Ok(())
}

fn missing(field: &'static str) -> Fault {
    ProtocolError::Missing(field).into_fault()
}

/// Returns the fault of a field of an object.
fn at(path: &[u8], field: &str, problem: impl std::fmt::Display) -> Fault {
    let path = lfsfs_types::path_text(std::iter::once(path));
    invalid(&format!("object.{field} of \"{path}\""), problem)
}
