//! A client made of what is generated from the proto files, and nothing else.

use std::collections::BTreeMap;

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::fs_client::FsClient;
use lfsfs_proto::v1::record::Kind;
use lfsfs_tests::World;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Bytes of a content in one message.
const PART: usize = 500_000;

/// A connection to the server of a world, and the threads that drive it.
pub(crate) struct Client {
    runtime: Runtime,
    channel: Channel,
}

/// An object as it came, with its whole content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Got {
    pub(crate) version: u64,
    pub(crate) object: v1::Objekt,
    /// Messages that it came in.
    pub(crate) messages: usize,
}

impl Client {
    pub(crate) fn of(world: &World) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let address = format!("http://{}", world.address());
        let channel = runtime.block_on(async {
            let endpoint = Endpoint::from_shared(address).expect("an address");
            endpoint.connect().await.expect("a server")
        });
        Self { runtime, channel }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn fs(&self) -> FsClient<Channel> {
        FsClient::new(self.channel.clone())
    }

    pub(crate) fn new_project(&self, name: &str) {
        let request = v1::NewProjectRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        let made = self.runtime.block_on(self.fs().new_project(request));
        let _ = made.expect("a project");
    }

    /// Asks for objects, and puts contents together that come in parts.
    pub(crate) fn get(&self, request: v1::GetRequest) -> Result<Vec<Got>, Status> {
        self.runtime.block_on(async {
            let mut stream = self.fs().get(request).await?.into_inner();
            let mut found: Vec<Got> = Vec::new();
            let mut continued = false;
            while let Some(message) = stream.message().await? {
                let object = message.object.expect("an object");
                match found.last_mut() {
                    Some(last) if continued => {
                        assert_eq!(object.path, last.object.path);
                        assert_eq!(object.record, None);
                        let content = last.object.content.as_mut().expect("a content");
                        content.extend(object.content.expect("more of it"));
                        last.messages += 1;
                    }
                    _ => found.push(Got {
                        version: message.version,
                        object,
                        messages: 1,
                    }),
                }
                continued = message.continued;
            }
            assert!(!continued, "a content ended in the middle");
            Ok(found)
        })
    }

    pub(crate) fn get_unary(
        &self,
        request: v1::GetUnaryRequest,
    ) -> Result<v1::GetUnaryResponse, Status> {
        let answer = self.runtime.block_on(self.fs().get_unary(request));
        answer.map(tonic::Response::into_inner)
    }

    /// Sends messages, and returns the version that they made.
    pub(crate) fn send(&self, messages: Vec<v1::UpdateRequest>) -> Result<i64, Status> {
        let stream = tokio_stream::iter(messages);
        let answer = self.runtime.block_on(self.fs().update(stream));
        answer.map(|answer| answer.into_inner().version)
    }

    /// Sends objects.
    pub(crate) fn update(&self, project: &str, objects: Vec<v1::Objekt>) -> Result<i64, Status> {
        let messages = objects.into_iter();
        self.send(
            messages
                .flat_map(|object| messages_of(project, object))
                .collect(),
        )
    }

    /// Returns all objects of the newest version: the paths, with what they are.
    pub(crate) fn all(&self, project: &str) -> BTreeMap<String, String> {
        let found = self.get(everything(project)).expect("objects");
        found.iter().map(|got| told(&got.object)).collect()
    }
}

/// Returns the messages that an object is sent in.
pub(crate) fn messages_of(project: &str, object: v1::Objekt) -> Vec<v1::UpdateRequest> {
    let message = |object, continued| v1::UpdateRequest {
        project: project.to_owned(),
        object: Some(object),
        continued,
        ..Default::default()
    };
    let Some(content) = object
        .content
        .clone()
        .filter(|content| content.len() > PART)
    else {
        return vec![message(object, false)];
    };
    let parts = content.chunks(PART);
    let last = parts.len() - 1;
    let parts = parts.enumerate().map(|(at, part)| {
        let part = Some(part.to_vec());
        let object = match at {
            0 => v1::Objekt {
                content: part,
                ..object.clone()
            },
            _ => v1::Objekt {
                content: part,
                ..Default::default()
            },
        };
        message(object, at < last)
    });
    parts.collect()
}

pub(crate) fn everything(project: &str) -> v1::GetRequest {
    v1::GetRequest {
        project: project.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn file(path: &str, content: impl AsRef<[u8]>) -> v1::Objekt {
    v1::Objekt {
        path: path.as_bytes().to_vec(),
        content: Some(content.as_ref().to_vec()),
        ..Default::default()
    }
}

pub(crate) fn removed(path: &str) -> v1::Objekt {
    v1::Objekt {
        path: path.as_bytes().to_vec(),
        deleted: true,
        ..Default::default()
    }
}

/// The marker of an empty directory.
pub(crate) fn marker(path: &str) -> v1::Objekt {
    v1::Objekt {
        path: path.as_bytes().to_vec(),
        ..Default::default()
    }
}

pub(crate) fn symlink(path: &str, target: &str) -> v1::Objekt {
    let target = target.as_bytes().to_vec();
    v1::Objekt {
        path: path.as_bytes().to_vec(),
        record: Some(v1::Record {
            kind: Some(Kind::Symlink(v1::Symlink { target })),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn query(path: &str, is_prefix: bool) -> v1::ObjectQuery {
    v1::ObjectQuery {
        path: path.as_bytes().to_vec(),
        is_prefix,
        ..Default::default()
    }
}

/// Returns the path of an object, and what it is: `deleted`, `dir`, `-> target`, or the content of a file.
pub(crate) fn told(object: &v1::Objekt) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kind = object
        .record
        .as_ref()
        .and_then(|record| record.kind.as_ref());
    let what = match (kind, &object.content) {
        (None, _) => "deleted".to_owned(),
        (Some(Kind::Directory(_)), _) => "dir".to_owned(),
        (Some(Kind::Symlink(symlink)), _) => format!("-> {}", text(&symlink.target)),
        (Some(Kind::File(_)), Some(content)) => text(content),
        (Some(other), _) => format!("{other:?}"),
    };
    (text(&object.path), what)
}

/// Fails unless a call was refused as invalid, by a message with this text.
#[track_caller]
pub(crate) fn assert_invalid<T: std::fmt::Debug>(answer: Result<T, Status>, text: &str) {
    assert_fault(answer, FaultKind::Invalid, text);
}

#[track_caller]
pub(crate) fn assert_fault<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    kind: FaultKind,
    text: &str,
) {
    let fault = Fault::from_status(&answer.expect_err("a refusal"));
    assert_eq!(fault.kind, kind, "{}", fault.message);
    assert!(fault.message.contains(text), "{}", fault.message);
}
