//! Events of the operating system: they tell when to look, never what there is.
//!
//! An event that is lost costs time until the next poll, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::filter::STATE_DIR;

/// A watch of directories, ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    _watcher: RecommendedWatcher,
}

impl Monitor {
    /// Watches directories and all below them; `changed` is woken by each event. Returns why that is not possible. Blocks.
    pub(crate) fn start(dirs: &[PathBuf], changed: &Arc<Notify>) -> Result<Self, String> {
        let own: Vec<PathBuf> = dirs.iter().map(|dir| dir.join(STATE_DIR)).collect();
        let wake = Arc::clone(changed);
        let take = move |event: notify::Result<Event>| {
            if event.map_or(true, |event| is_change(&event, &own)) {
                wake.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(take).map_err(|error| text(&error))?;
        for dir in dirs {
            watcher
                .watch(dir, RecursiveMode::Recursive)
                .map_err(|error| text(&error))?;
        }
        Ok(Self { _watcher: watcher })
    }
}

/// Returns true if an event tells that something may have changed that is synced.
fn is_change(event: &Event, own: &[PathBuf]) -> bool {
    // Events were lost.
    if event.need_rescan() {
        return true;
    }
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    let is_own = |path: &PathBuf| own.iter().any(|own| path.starts_with(own));
    event.paths.is_empty() || !event.paths.iter().all(is_own)
}

fn text(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the limit on watches of this user is reached; raise it with: sysctl \
             fs.inotify.max_user_watches=1048576"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// Returns the directories to watch for a root and its far side.
pub(crate) fn watched(dir: &Path, far: &super::pass::FarPlace) -> Vec<PathBuf> {
    let mut dirs = vec![dir.to_owned()];
    if let super::pass::FarPlace::Directory(far) = far {
        dirs.push(far.clone());
    }
    dirs
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, Flag};

    use super::*;

    #[test]
    fn own_files_and_reads_are_no_changes() {
        let own = [PathBuf::from("/r/.lfsfs")];
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let create = EventKind::Create(CreateKind::File);
        assert!(is_change(&event(create, "/r/a"), &own));
        assert!(is_change(&event(create, "/r/.lfsfsignore"), &own));
        assert!(!is_change(&event(create, "/r/.lfsfs/staging/x"), &own));
        let read = EventKind::Access(AccessKind::Read);
        assert!(!is_change(&event(read, "/r/a"), &own));
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(is_change(&lost, &own));
    }
}
