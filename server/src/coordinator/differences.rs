//! Answers about two versions, and about where directories are: streams, so their length has no
//! limit.

use std::collections::HashSet;
use std::ops::ControlFlow;

use lfsfs_metadata::{ChangedName, DiffEntry, DiffLine, MetadataError, Renames};
use lfsfs_proto::status::Fault;
use lfsfs_proto::v1;
use lfsfs_types::limits::DIRS_PER_MESSAGE_MAX;
use lfsfs_types::{DirId, Name, ObjectPath, ProjectId, VersionNumber};
use prost::Message as _;

use super::Coordinator;
use super::request::{exact, invalid, no_such_path, project_id};
use crate::blocking::{IntoFault, blocking};
use crate::calls::Call;
use crate::streams::{Answers, Sink};

/// Bytes of names after which a message is sent, well below what clients take.
const BATCH_LEN: usize = 256 * 1024;
/// Most places of one message; each has at most one name.
const PLACES_PER_MESSAGE: usize = 1024;
/// Directories looked for at once: each may have thousands above it.
const DIRS_AT_ONCE: usize = 16;
/// How many places are remembered, so that each is sent once. A client accepts one that is sent
/// again.
const TOLD_MAX: usize = 1024 * 1024;

/// Sends the lines of a difference.
pub(super) fn diff(
    coordinator: &Coordinator,
    call: Call,
    request: &v1::DiffRequest,
) -> Result<Answers<v1::DiffEntry>, Fault> {
    let project = project_id(&request.project_id)?;
    let (from, to) = (VersionNumber(request.from), VersionNumber(request.to));
    let exact = [
        exact(request.from, &request.from_id)?,
        exact(request.to, &request.to_id)?,
    ];
    let renames = if request.expand_renames {
        Renames::Expanded
    } else {
        Renames::Told
    };
    let metadata = coordinator.metadata.clone();
    Ok(coordinator.tasks.answer(call, move |sink| {
        blocking(move || {
            metadata.expect_all_exact(project, exact.into_iter().flatten())?;
            let mut tell = |entry| go_on(&sink, diff_message(&entry));
            metadata
                .diff(project, from, to, renames, &mut tell)
                .map(drop)
        })
    }))
}

/// Sends the names that may differ between two versions, many in a message.
pub(super) fn changed_names(
    coordinator: &Coordinator,
    call: Call,
    request: &v1::ChangedNamesRequest,
) -> Result<Answers<v1::ChangedNamesResponse>, Fault> {
    let project = project_id(&request.project_id)?;
    let (from, to) = (VersionNumber(request.from), VersionNumber(request.to));
    let exact = [
        exact(request.from, &request.from_id)?,
        exact(request.to, &request.to_id)?,
    ];
    let metadata = coordinator.metadata.clone();
    Ok(coordinator.tasks.answer(call, move |sink| {
        blocking(move || {
            metadata.expect_all_exact(project, exact.into_iter().flatten())?;
            let mut names = Vec::new();
            let mut len = 0;
            let told = metadata.changed_names(project, from, to, &mut |name| {
                let name = changed_name_message(name);
                len += name.encoded_len();
                names.push(name);
                if len < BATCH_LEN {
                    return ControlFlow::Continue(());
                }
                len = 0;
                let names = std::mem::take(&mut names);
                go_on(&sink, v1::ChangedNamesResponse { names })
            })?;
            if told.is_continue() && !names.is_empty() {
                // This fails if the client has gone: it waits for no answer then.
                let _ = go_on(&sink, v1::ChangedNamesResponse { names });
            }
            Ok::<_, MetadataError>(())
        })
    }))
}

/// Sends the versions that changed a path.
pub(super) fn log_of_path(
    coordinator: &Coordinator,
    call: Call,
    project: ProjectId,
    path: ObjectPath,
    request: &v1::LogRequest,
) -> Answers<v1::Version> {
    let before = (request.before > 0).then_some(VersionNumber(request.before));
    let limit = match request.limit {
        0 => u32::MAX,
        limit => limit,
    };
    let metadata = coordinator.metadata.clone();
    coordinator.tasks.answer(call, move |sink| {
        blocking(move || {
            let mut told = 0;
            let ended = metadata.log_of_path(project, &path, before, &mut |version| {
                told += 1;
                match go_on(&sink, (&version).into()) {
                    ControlFlow::Continue(()) if told < limit => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            });
            match ended.map_err(IntoFault::into_fault)? {
                ControlFlow::Continue(()) if told == 0 && before.is_none() => {
                    Err(no_such_path(path.as_bytes()))
                }
                _ => Ok(()),
            }
        })
    })
}

/// Sends where directories of a version are.
pub(super) fn directory_places(
    coordinator: &Coordinator,
    call: Call,
    request: v1::DirectoryPlacesRequest,
) -> Result<Answers<v1::DirectoryPlacesResponse>, Fault> {
    let project = project_id(&request.project_id)?;
    if request.dirs.len() > DIRS_PER_MESSAGE_MAX {
        let text = format!("one question is about at most {DIRS_PER_MESSAGE_MAX} directories");
        return Err(invalid(&text));
    }
    let exact = exact(request.version, &request.version_id)?;
    let version = VersionNumber(request.version);
    let dirs: Vec<_> = request.dirs.into_iter().map(DirId).collect();
    let metadata = coordinator.metadata.clone();
    Ok(coordinator.tasks.answer(call, move |sink| {
        blocking(move || {
            metadata.expect_all_exact(project, exact)?;
            let mut told = HashSet::new();
            for dirs in dirs.chunks(DIRS_AT_ONCE) {
                let mut places = metadata.directory_places(project, version, dirs)?;
                if told.len() > TOLD_MAX {
                    told.clear();
                }
                places.retain(|(dir, ..)| told.insert(*dir));
                if tell_places(&sink, &places).is_break() {
                    break;
                }
            }
            Ok::<_, MetadataError>(())
        })
    }))
}

fn tell_places(
    sink: &Sink<v1::DirectoryPlacesResponse>,
    places: &[(DirId, DirId, Name)],
) -> ControlFlow<()> {
    for places in places.chunks(PLACES_PER_MESSAGE) {
        let places = places.iter().map(|(dir, parent, name)| v1::DirectoryPlace {
            dir: dir.0,
            parent: parent.0,
            name: name.as_bytes().to_vec(),
        });
        let places = places.collect();
        go_on(sink, v1::DirectoryPlacesResponse { places })?;
    }
    ControlFlow::Continue(())
}

/// Sends an answer; breaks if the client takes none.
fn go_on<T: prost::Message>(sink: &Sink<T>, answer: T) -> ControlFlow<()> {
    match sink.blocking_send(answer) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

fn diff_message(entry: &DiffEntry) -> v1::DiffEntry {
    let kind = match entry.line {
        DiffLine::Added => v1::DiffKind::Added,
        DiffLine::Removed => v1::DiffKind::Removed,
        DiffLine::Modified => v1::DiffKind::Modified,
        DiffLine::Times => v1::DiffKind::Touched,
        DiffLine::Renamed => v1::DiffKind::Renamed,
    };
    let old_path = entry.old_path.as_ref();
    v1::DiffEntry {
        kind: kind.into(),
        path: entry.path.as_bytes().to_vec(),
        old_path: old_path.map_or_else(Vec::new, |path| path.as_bytes().to_vec()),
    }
}

fn changed_name_message(changed: ChangedName) -> v1::ChangedName {
    let name = changed.name.map(|name| name.as_bytes().to_vec());
    v1::ChangedName {
        dir: changed.dir.0,
        name: name.unwrap_or_default(),
        old_path: changed.old.map(|path| path.as_bytes().to_vec()),
        new_path: changed.new.map(|path| path.as_bytes().to_vec()),
    }
}
