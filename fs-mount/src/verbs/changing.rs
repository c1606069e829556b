//! The verbs that work on the changes of a mount: told and discarded; and the switch to another version.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_client::{ClientConfig, Servers};
use lfsfs_common::full_text;
use lfsfs_remote::{
    ChangedName, Layered, Remote, RemoteError, Retry, Retrying, Snapshot, Subdirectory,
    SubdirectoryError,
};
use lfsfs_types::{ObjectPath, ProjectName, Source, VersionRef};
use lfsfs_vfs::{
    ChangesError, DiscardError, Exclusive, LocalChange, LocalLine, PreparedSwitch, SwitchError,
    VfsError, tried,
};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::Control;
use super::socket::{Answers, Notices};
use crate::control::{
    Answer, ChangeItem, ChangeKind, ControlError, ControlErrorKind, Counted, IgnoredItem,
    ServerMoved, Switched,
};
use crate::mountinfo::Device;
use crate::options::Access;
use crate::publisher::Publisher;
use crate::server::Server;
use crate::submounts;
use crate::users::Use;

/// Most paths of a conflict that are named.
pub(super) const PATHS_MAX: usize = 10_000;

impl Control {
    /// Tells what differs from the version below, in the order of the paths.
    pub(super) async fn tell_changes(
        &self,
        answers: &mut Answers,
    ) -> Result<Counted, ControlError> {
        let changes = answers.telling(Default::default, self.vfs.changes()).await;
        let changes = changes.map_err(|error| self.of_changes(&error))?;
        for change in &changes {
            let item = serde_json::to_value(item(change)).map_err(unsent)?;
            answers
                .send_part(&Answer::Item(item))
                .await
                .map_err(unsent)?;
        }
        let count = changes.len() as u64;
        Ok(Counted { count })
    }

    /// Tells what no commit takes, in the order of the paths.
    pub(super) async fn tell_ignored(
        &self,
        answers: &mut Answers,
    ) -> Result<Counted, ControlError> {
        let ignored = answers.telling(Default::default, self.vfs.ignored()).await;
        let ignored = ignored.map_err(|error| self.of_changes(&error))?;
        for ignored in &ignored {
            let item = IgnoredItem {
                path: ignored.path.as_bytes().to_vec(),
                is_directory: ignored.is_directory,
            };
            let item = serde_json::to_value(item).map_err(unsent)?;
            answers
                .send_part(&Answer::Item(item))
                .await
                .map_err(unsent)?;
        }
        let count = ignored.len() as u64;
        Ok(Counted { count })
    }

    /// Goes to another version of the project.
    pub(super) async fn switch(
        &self,
        version: &str,
        retry: Retry,
        mut notices: Notices,
        answers: &mut Answers,
    ) -> Result<Switched, ControlError> {
        let alone = self.begin_change("switch")?;
        let switch = self.switch_to(&alone, version, &retry);
        answers
            .telling_all(Default::default, &mut notices, switch)
            .await
    }

    /// Returns the server with the patience of one verb.
    pub(super) fn retrying(&self, retry: &Retry) -> Arc<dyn Remote> {
        let server: Arc<dyn Remote> = Arc::<Layered<Server>>::clone(&self.server);
        Retrying::around(server, retry.clone())
    }

    /// Fails if something is mounted where the switch would make the kernel drop a name.
    async fn refuse_submounts(
        &self,
        switch: &PreparedSwitch<'_>,
        retry: &Retry,
    ) -> Result<(), ControlError> {
        let dir = self.fixed.dir.clone();
        let points = spawn_blocking(move || submounts::inside(&dir)).await;
        let points = points.unwrap_or_default();
        if points.is_empty() {
            return Ok(());
        }
        if self.images.is_some() {
            // Another mount takes the place of the whole one.
            return Err(self.in_the_way(&points[0]));
        }
        let matters = |name: &ChangedName| points.iter().any(|it| submounts::covers(name, it));
        let replaced = tried(retry, || switch.replaced(matters)).await;
        let replaced = replaced.map_err(|error| self.of_switch(&error))?;
        let in_the_way = |point: &&PathBuf| replaced.iter().any(|it| submounts::covers(it, point));
        match points.iter().find(in_the_way) {
            None => Ok(()),
            Some(point) => Err(self.in_the_way(point)),
        }
    }

    fn in_the_way(&self, point: &Path) -> ControlError {
        let point = self.fixed.dir.join(point);
        let text = format!(
            "{} is mounted on or below something that would change",
            point.display()
        );
        ControlError::failed(text).hint("unmount it and switch again")
    }

    pub(super) async fn switch_to(
        &self,
        alone: &Exclusive<'_>,
        version: &str,
        retry: &Retry,
    ) -> Result<Switched, ControlError> {
        // What the kernel holds back is a change too.
        self.cut.settle().await;
        let from = self.counted_status().await;
        if from.changes > 0 {
            return Err(self.of_switch(&SwitchError::HasChanges {
                count: from.changes,
            }));
        }
        let snapshot = self.find_version(version, retry).await?;
        let before = self.vfs.base();
        let switch = tried(retry, || alone.prepare_switch(snapshot.clone())).await;
        let switch = switch.map_err(|error| self.of_switch(&error))?;
        self.refuse_submounts(&switch, retry).await?;
        let report = tried(retry, || switch.run(&self.kernel.cache)).await;
        let report = report.map_err(|error| self.of_switch(&error))?;
        self.show_image(before.snapshot(), alone, retry).await?;
        let version = self.status().version;
        let from = from.version;
        info!(
            from = from.version,
            version = version.version,
            ?report,
            "switched"
        );
        Ok(Switched {
            from,
            version,
            changed: report.changed,
        })
    }

    /// In kernel mode, mounts the image of the version that is the base now in place of the one before. If that fails, the
    /// version before is the base again.
    async fn show_image(
        &self,
        before: &Snapshot,
        alone: &Exclusive<'_>,
        retry: &Retry,
    ) -> Result<(), ControlError> {
        let Some(images) = &self.images else {
            return Ok(());
        };
        let device = self.shown.mount().device();
        let Err(error) = images.replace(&self.shown, self.vfs.base()).await else {
            let moved = self.socket.move_to(self.shown.mount().device());
            moved.map_err(|error| ControlError::failed(full_text(&error)))?;
            self.warn_of_other_namespaces(device).await;
            return Ok(());
        };
        let back = tried(retry, || alone.prepare_switch(before.clone())).await;
        let back = back.map_err(|error| self.of_switch(&error))?;
        let back = tried(retry, || back.run(&self.kernel.cache)).await;
        back.map_err(|error| self.of_switch(&error))?;
        Err(ControlError::failed(error.full_text()))
    }

    /// Says who goes on seeing the version before, because no mount event reaches them.
    async fn warn_of_other_namespaces(&self, device: Device) {
        let dir = self.fixed.dir.clone();
        let looked = spawn_blocking(move || Use::elsewhere(device, &dir)).await;
        let shown_in = looked.unwrap_or_default().shown_in();
        if !shown_in.is_empty() {
            let shown_in = shown_in.join(", ");
            warn!(
                shown_in,
                "other mount namespaces still show the version before"
            );
        }
    }

    /// Finds what a user named: what stands behind `@`, or a whole source.
    pub(super) async fn find_version(
        &self,
        text: &str,
        retry: &Retry,
    ) -> Result<Snapshot, ControlError> {
        let base = self.vfs.base();
        let project = &base.snapshot().project;
        let source = source(text, &project.name)?;
        let snapshot = self.retrying(retry).resolve_source(&source).await;
        let snapshot = snapshot.map_err(|error| self.of_remote(&error))?;
        if snapshot.project.id != project.id {
            return Err(ControlError::new(
                ControlErrorKind::Usage,
                format!(
                    "{source} is of another project than this mount, which shows {}",
                    project.name
                ),
            )
            .hint("unmount it and mount the other project"));
        }
        self.shown_of(snapshot, retry).await
    }

    /// Returns what the mount would show of a version: all of it, or the directory that is its root.
    async fn shown_of(&self, whole: Snapshot, retry: &Retry) -> Result<Snapshot, ControlError> {
        let path = &self.fixed.path;
        if path.is_root() {
            return Ok(whole);
        }
        let inside = Subdirectory::new(self.retrying(retry), path.clone());
        inside.of(whole).await.map_err(|error| match error {
            SubdirectoryError::Remote(error) => self.of_remote(&error),
            error => ControlError::failed(full_text(&error)).hint(
                "the mount shows what it showed; to see another directory, unmount and mount that",
            ),
        })
    }

    /// Asks the server at another address from now on, if that is the same one.
    pub(super) async fn move_to_server(&self, address: &str) -> Result<ServerMoved, ControlError> {
        let _alone = self.begin_change("change of the server")?;
        let servers = self.servers_at(address.to_owned())?;
        let (address, remote) = (servers.address().to_owned(), servers.remote());
        let base = self.vfs.base();
        let source = Source {
            project: base.snapshot().project.name.clone(),
            version: VersionRef::Number(base.snapshot().version.number),
        };
        let found = remote.resolve_source(&source).await;
        let found = found.map_err(|error| ControlError::failed(full_text(&error)))?;
        expect_same(base.snapshot(), &found, &address)?;
        let from = self.server.0.address();
        self.server.0.replace(address.clone(), remote);
        info!(
            from,
            server = address,
            "the server is asked at another address"
        );
        Ok(ServerMoved {
            from,
            server: address,
        })
    }

    fn servers_at(&self, address: String) -> Result<Servers, ControlError> {
        let config = ClientConfig {
            address,
            ..self.client.clone()
        };
        let servers = Servers::new(config);
        servers.map_err(|error| ControlError::new(ControlErrorKind::Usage, full_text(&error)))
    }

    /// Drops the changes at and below paths, or all without any.
    pub(super) async fn discard(
        &self,
        paths: &[Vec<u8>],
        answers: &mut Answers,
    ) -> Result<Counted, ControlError> {
        self.expect_writable()?;
        let paths: Result<Vec<_>, _> = paths.iter().map(|path| ObjectPath::new(path)).collect();
        let paths =
            paths.map_err(|error| ControlError::new(ControlErrorKind::Usage, full_text(&error)))?;
        let alone = self.begin_change("discard")?;
        let discard = async {
            // What the kernel holds back would come again as a change.
            self.cut.settle().await;
            let kernel = Arc::clone(&self.kernel.cache);
            let discarded = alone.discard(&paths, kernel).await;
            discarded.map_err(|error| self.of_discard(&error))
        };
        let count = answers.telling(Default::default, discard).await?;
        if self.vfs.changes_len() == 0 {
            // Nothing is left of what was refused.
            self.with_record(Publisher::forget).await?;
        }
        info!(count, paths = paths.len(), "discarded");
        Ok(Counted { count })
    }

    pub(super) fn expect_writable(&self) -> Result<(), ControlError> {
        match self.fixed.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(ControlError::failed(
                "the mount is read-only: there are no changes",
            )
            .hint("mount it again without -o ro to change it")),
        }
    }
}

fn source(text: &str, project: &ProjectName) -> Result<Source, ControlError> {
    let usage = |error: &dyn std::error::Error| {
        ControlError::new(ControlErrorKind::Usage, full_text(error))
    };
    if text.contains('@') {
        return text.parse().map_err(|error| usage(&error));
    }
    Ok(Source {
        project: project.clone(),
        version: text.parse().map_err(|error| usage(&error))?,
    })
}

fn item(change: &LocalChange) -> ChangeItem {
    let bytes = |path: &ObjectPath| path.as_bytes().to_vec();
    ChangeItem {
        kind: match change.line {
            LocalLine::Added => ChangeKind::Added,
            LocalLine::Removed => ChangeKind::Removed,
            LocalLine::Modified => ChangeKind::Modified,
            LocalLine::Times => ChangeKind::Times,
            LocalLine::Renamed => ChangeKind::Renamed,
        },
        path: bytes(&change.path),
        old: change.old.as_ref().map(bytes),
    }
}

/// Fails unless the version that a mount shows is the one that a server at another address has.
fn expect_same(shown: &Snapshot, found: &Snapshot, address: &str) -> Result<(), ControlError> {
    let what = if found.cluster != shown.cluster {
        "is of another cluster"
    } else if found.project.id != shown.project.id {
        "has another project of this name"
    } else if found.version.id != shown.version.id {
        "has another version of this number"
    } else {
        return Ok(());
    };
    let version = format!("{}@{}", shown.project.name, shown.version.number);
    Err(ControlError::failed(format!(
        "the server at {address} {what} than {version} of this mount"
    ))
    .hint("nothing was changed; unmount, and mount again from that server"))
}

impl Control {
    fn of_switch(&self, error: &SwitchError) -> ControlError {
        match error {
            SwitchError::HasChanges { count } => {
                let there_are = match count {
                    1 => "there is 1 uncommitted change".to_owned(),
                    _ => format!("there are {count} uncommitted changes"),
                };
                ControlError::failed(there_are)
                    .hint("make them a version with lfsfs commit, or drop them with lfsfs discard")
            }
            SwitchError::InTheWay { paths } => {
                let count = paths.len() as u64;
                let paths = paths.iter().take(PATHS_MAX);
                ControlError {
                    paths: paths.map(|path| path.as_bytes().to_vec()).collect(),
                    paths_count: count,
                    ..ControlError::failed(full_text(error))
                }
                .hint(
                    "the version has something there, or not their directory; remove or move them, or drop them \
                     with lfsfs discard PATH",
                )
            }
            SwitchError::OtherProject | SwitchError::Changes(_) => {
                ControlError::failed(full_text(error))
            }
            SwitchError::Vfs(error) => {
                self.with_way_to_server(full_text(error), is_no_answer(error))
            }
        }
    }

    fn of_discard(&self, error: &DiscardError) -> ControlError {
        let is_no_answer = matches!(error, DiscardError::Vfs(error) if is_no_answer(error));
        self.with_way_to_server(full_text(error), is_no_answer)
    }

    fn of_changes(&self, error: &ChangesError) -> ControlError {
        let is_no_answer = matches!(error, ChangesError::Vfs(error) if is_no_answer(error));
        self.with_way_to_server(full_text(error), is_no_answer)
    }

    fn of_remote(&self, error: &RemoteError) -> ControlError {
        self.with_way_to_server(full_text(error), error.is_no_answer())
    }

    /// Says what to do if the server is not there any more, but somewhere else.
    pub(super) fn with_way_to_server(&self, text: String, is_no_answer: bool) -> ControlError {
        let error = ControlError::failed(text);
        if is_no_answer {
            error.hint(format!(
                "if the server has a new address: lfsfs switch --server ADDRESS {}",
                self.fixed.dir.display()
            ))
        } else {
            error
        }
    }
}

pub(super) fn is_no_answer(error: &VfsError) -> bool {
    match error {
        VfsError::Timeout { .. } => true,
        VfsError::Io { source, .. } => source.is_no_answer(),
        _ => false,
    }
}

pub(super) fn unsent(error: impl std::error::Error) -> ControlError {
    ControlError::failed(format!("cannot send the answer: {error}"))
}
