//! How the process of a mount ends: by the kernel, by signals, by orders, and when no process needs it.
//!
//! A file system lives as long as anything shows it, and mount namespaces of other programs may show it
//! for ever. So after it was unmounted here, the process looks who uses it there. If no process does, it
//! ends: what still shows the file system gets ENOTCONN, and the overlay is free.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use lfsfs_common::backoff::Backoff;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::{END_TIMEOUT, Signals};
use crate::control::ControlError;
use crate::error::MountError;
use crate::kernel_mount;
use crate::mountinfo::{self, Device, MountEntry};
use crate::request::MountRequest;
use crate::session::ServedMount;
use crate::submounts;
use crate::users::{self, Use};
use crate::verbs::{Left, UmountOrder};

/// The mount table of this process, which the kernel says when it changes.
const MOUNT_TABLE: &str = "/proc/self/mountinfo";
/// Changes of the mount table come in crowds where containers start.
const TABLE_PERIOD: Duration = Duration::from_millis(500);
/// How often this process looks whether another still uses what was unmounted.
const LOOK_DELAYS: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// Whether this process may look at all who can use the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Whole,
    /// Other users may use it, and a user's process may not look at theirs.
    OwnProcesses,
}

/// What an order leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

impl View {
    pub(super) fn of(request: &MountRequest) -> Self {
        if kernel_mount::is_root() || !request.options.allow_other {
            Self::Whole
        } else {
            Self::OwnProcesses
        }
    }
}

/// Returns when the session has ended, or when this process is to end and the mount is gone from its
/// directory.
pub(super) async fn until_end(
    served: &ServedMount,
    mut signals: Signals,
    mut orders: mpsc::Receiver<UmountOrder>,
    view: View,
) {
    let mut changes = served.shown().changes();
    let until_unneeded = || until_unneeded(served.device(), served.dir(), view);
    let mut unneeded = pin!(until_unneeded());
    loop {
        tokio::select! {
            // After a switch in kernel mode another device is shown.
            Ok(()) = changes.changed() => unneeded.set(until_unneeded()),
            () = served.ended() => return,
            () = signals.received() => {
                info!("told to end");
                if let Err(error) = served.detach() {
                    error!(error = %error.full_text(), "the mount stays, dead");
                    return;
                }
                return end(served).await;
            }
            Some(order) = orders.recv() => {
                if obey(served, order).await == Next::End {
                    return end(served).await;
                }
            }
            () = &mut unneeded => return end(served).await,
        }
    }
}

/// Leaves the kernel a moment for its end of the session. Who still has files open gets errors from
/// here on: a process that was told to end must.
async fn end(served: &ServedMount) {
    if timeout(END_TIMEOUT, served.ended()).await.is_err() {
        warn!("ending while something still shows the mount; it gets errors from here on");
    }
}

async fn obey(served: &ServedMount, order: UmountOrder) -> Next {
    let unmounted = if order.lazy {
        unmount_lazily(served, order.is_flushed).await
    } else {
        unmount(served, order.is_flushed).await
    };
    let (told, next) = match unmounted {
        Ok((left, next)) => (Ok(left), next),
        Err(error) => (Err(error), Next::GoOn),
    };
    // The process that ordered it may have gone, and then needs no answer.
    let _ = order.done.send(told);
    next
}

/// Unmounts unless a process uses it, in any namespace.
async fn unmount(served: &ServedMount, is_flushed: bool) -> Result<(Left, Next), ControlError> {
    let elsewhere = look(served).await;
    let in_use = elsewhere.in_use_by();
    if !in_use.is_empty() {
        let users = in_use.join(", ");
        return Err(in_use_by(
            &served.dir(),
            &format!("in another mount namespace by {users}"),
        ));
    }
    if !elsewhere.copies.is_empty() && !is_flushed {
        return Err(unflushed(&served.dir()));
    }
    match served.unmount() {
        Ok(()) => {}
        Err(MountError::Busy { dir }) => return Err(busy(dir, served.device()).await),
        Err(error) => return Err(ControlError::failed(error.full_text())),
    }
    let shown_here = shown_here(served.device());
    let next = if is_flushed && shown_here.is_empty() {
        Next::End
    } else {
        Next::GoOn
    };
    let left = Left {
        shown_in: elsewhere.shown_in(),
        used_by: shown_here,
    };
    Ok((left, next))
}

/// Takes the mount from its directory; the process goes on for those who use it.
async fn unmount_lazily(
    served: &ServedMount,
    is_flushed: bool,
) -> Result<(Left, Next), ControlError> {
    let detached = served.detach();
    detached.map_err(|error| ControlError::failed(error.full_text()))?;
    let elsewhere = look(served).await;
    let mut used_by = shown_here(served.device());
    used_by.extend(elsewhere.in_use_by());
    if elsewhere.copies.is_empty() {
        used_by.extend(users_of(served.device()).await);
    }
    // Without copies the kernel ends the session by itself.
    let is_unneeded = used_by.is_empty() && is_flushed && !elsewhere.copies.is_empty();
    let left = Left {
        shown_in: elsewhere.shown_in(),
        used_by,
    };
    let next = if is_unneeded { Next::End } else { Next::GoOn };
    Ok((left, next))
}

/// Returns when the mount is gone from this namespace, other namespaces still show it, and no process
/// uses it there: nothing will ever end it.
async fn until_unneeded(device: Device, dir: PathBuf, view: View) {
    if view == View::OwnProcesses {
        return std::future::pending().await;
    }
    until_gone(device).await;
    let mut told = Vec::new();
    for delay in LOOK_DELAYS.delays(u64::from(device.minor)) {
        sleep(delay).await;
        let elsewhere = look_at(device, dir.clone()).await;
        let in_use = elsewhere.in_use_by();
        // Without copies it is used through our own mount, and the kernel knows when that ends.
        if !elsewhere.copies.is_empty() && in_use.is_empty() && shown_here(device).is_empty() {
            let shown_in = elsewhere.shown_in().join(", ");
            info!(shown_in, "unmounted here, and used nowhere else");
            return;
        }
        if in_use != told {
            info!(
                used_by = in_use.join(", "),
                "unmounted here, and used elsewhere"
            );
            told = in_use;
        }
    }
}

/// Waits until nothing in this namespace shows the file system.
async fn until_gone(device: Device) {
    let table = File::open(MOUNT_TABLE).and_then(watch);
    if let Err(error) = &table {
        warn!(%error, "changes of the mount table are not seen at once");
    }
    while !shown_here(device).is_empty() {
        let changed = async {
            match &table {
                Ok(table) => table.ready(Interest::PRIORITY).await?.clear_ready(),
                Err(_) => sleep(LOOK_DELAYS.ceiling(u32::MAX)).await,
            }
            io::Result::Ok(())
        };
        if let Err(error) = changed.await {
            warn!(%error, "changes of the mount table are not seen any more");
            return std::future::pending().await;
        }
        sleep(TABLE_PERIOD).await;
    }
}

#[expect(unsafe_code, reason = "tokio has no safe call for a file")]
fn watch(table: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: the descriptor is that of the file, which keeps it open and the same until it is dropped
    // with what watches it.
    let watched = unsafe { AsyncFd::register_with_interest(table, Interest::PRIORITY) };
    Ok(watched?)
}

/// Returns where this namespace shows the file system, in words. A table that cannot be read shows
/// that it is there.
fn shown_here(device: Device) -> Vec<String> {
    let Ok(mounts) = mountinfo::read() else {
        return vec!["an unknown mount".to_owned()];
    };
    let ours = mounts.iter().filter(|mount| mount.device == device);
    let text = |mount: &MountEntry| format!("the mount at {}", mount.dir.display());
    users::named(ours.map(text).collect())
}

async fn look(served: &ServedMount) -> Use {
    look_at(served.device(), served.dir()).await
}

async fn look_at(device: Device, dir: PathBuf) -> Use {
    let looked = spawn_blocking(move || Use::elsewhere(device, &dir)).await;
    // Fails only if it panicked, which was told.
    looked.unwrap_or_default()
}

async fn users_of(device: Device) -> Vec<String> {
    let looked = spawn_blocking(move || users::users(device)).await;
    let found = looked.unwrap_or_default();
    users::named(found.iter().map(ToString::to_string).collect())
}

/// Says who keeps the mount from going.
async fn busy(dir: PathBuf, device: Device) -> ControlError {
    let mut reasons = users_of(device).await;
    let below = submounts::inside(&dir);
    let below = below
        .iter()
        .map(|it| format!("the mount at {}", dir.join(it).display()));
    reasons.extend(users::named(below.collect()));
    if reasons.is_empty() {
        reasons.push("a process that cannot be seen from here".to_owned());
    }
    in_use_by(&dir, &format!("by {}", reasons.join(", ")))
}

fn in_use_by(dir: &Path, how: &str) -> ControlError {
    ControlError::failed(format!("{} is in use {how}", dir.display())).hint(
        "end that, or take the mount from its directory all the same with lfsfs umount --lazy",
    )
}

fn unflushed(dir: &Path) -> ControlError {
    ControlError::failed(format!(
        "the kernel could not be made to send what it holds of {}, and another mount namespace shows \
         it, so that would be lost",
        dir.display()
    ))
    .hint("try again; lfsfs status says where the log of the mount is")
}
