//! Finding an object of a version by a path in which symbolic links are followed.
//!
//! A link leads to what a mount of the version would show, as long as it stays in the version. One
//! that leaves it is refused: what it means depends on the machine.

use std::collections::VecDeque;
use std::sync::Arc;

use lfsfs_remote::{RemoteRead, Snapshot, Subdirectory};
use lfsfs_types::{Kind, Name, ObjectPath, Record, SourceDirectory, VersionCounts};

use crate::error::{CommandError, no_such_path};
use crate::output::quoted;

/// As the kernel's limit.
const LINKS_MAX: usize = 40;

/// Whether a link at the end of a path is followed, or is what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLink {
    Follow,
    Keep,
}

/// Returns an object and its path without links.
pub(crate) async fn find(
    remote: &dyn RemoteRead,
    snapshot: &Snapshot,
    path: &ObjectPath,
    last: LastLink,
) -> Result<(ObjectPath, Record), CommandError> {
    // Most paths have no link in them, and one question is enough.
    if let Some(record) = lookup(remote, snapshot, path).await?
        && (last == LastLink::Keep || target(&record).is_none())
    {
        return Ok((path.clone(), record));
    }
    let mut walk = Walk::new(path);
    let mut record = snapshot.root.clone();
    while let Some(next) = walk.next()? {
        let found = lookup(remote, snapshot, &next).await?;
        record = found.ok_or_else(|| no_such_path(path))?;
        match target(&record) {
            Some(target) if last == LastLink::Follow || !walk.is_at_end() => {
                walk.follow(&next, target)?;
            }
            _ => walk.at = next,
        }
    }
    Ok((walk.at, record))
}

async fn lookup(
    remote: &dyn RemoteRead,
    snapshot: &Snapshot,
    path: &ObjectPath,
) -> Result<Option<Record>, CommandError> {
    if path.is_root() {
        return Ok(Some(snapshot.root.clone()));
    }
    let (project, version) = (snapshot.project.id, snapshot.version.number);
    match remote.lookup(project, version, path).await {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.is_not_found() => {
            // The version itself may have expired since it was found.
            let _ = remote.snapshot(project, version).await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn target(record: &Record) -> Option<&[u8]> {
    match &record.kind {
        Kind::Symlink { target } => Some(target),
        _ => None,
    }
}

/// A path on its way from link to link.
#[derive(Debug)]
struct Walk<'a> {
    typed: &'a ObjectPath,
    /// Where it is, without links.
    at: ObjectPath,
    /// The names that are left.
    rest: VecDeque<Vec<u8>>,
    links: usize,
}

impl<'a> Walk<'a> {
    fn new(typed: &'a ObjectPath) -> Self {
        Self {
            typed,
            at: ObjectPath::ROOT,
            rest: typed.names().map(|name| name.as_bytes().to_vec()).collect(),
            links: 0,
        }
    }

    /// Returns the next place, or `None` at the end.
    fn next(&mut self) -> Result<Option<ObjectPath>, CommandError> {
        match self.rest.pop_front().as_deref() {
            None => Ok(None),
            Some(b"" | b".") => Ok(Some(self.at.clone())),
            Some(b"..") => match self.at.split_last() {
                Some((above, _)) => Ok(Some(above)),
                None => Err(self.leaves("a symbolic link on the way")),
            },
            Some(name) => {
                let name =
                    Name::new(name).map_err(|error| CommandError::failed(error.to_string()))?;
                Ok(Some(self.at.join(&name)?))
            }
        }
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Goes on with the target of a link, from the directory that the link is in.
    fn follow(&mut self, link: &ObjectPath, target: &[u8]) -> Result<(), CommandError> {
        self.links += 1;
        if self.links > LINKS_MAX {
            let typed = quoted(self.typed.as_bytes());
            return Err(CommandError::failed(format!(
                "{typed} leads through more than {LINKS_MAX} symbolic links"
            )));
        }
        let what = format!("{} -> {}", quoted(link.as_bytes()), quoted(target));
        if target.starts_with(b"/") {
            return Err(self.leaves(&what));
        }
        for name in target.split(|byte| *byte == b'/').rev() {
            self.rest.push_front(name.to_vec());
        }
        Ok(())
    }

    fn leaves(&self, what: &str) -> CommandError {
        let typed = quoted(self.typed.as_bytes());
        CommandError::failed(format!("{typed} leads out of the version: {what}"))
            .hint("mount the version to follow such a link")
    }
}

/// A directory of a version, or all of it, as what is asked for its objects.
pub(crate) struct Directory {
    pub(crate) remote: Arc<dyn RemoteRead>,
    pub(crate) snapshot: Snapshot,
    /// What is in it; not known of a directory alone.
    pub(crate) counts: Option<VersionCounts>,
}

/// Finds the version of a source, and the directory of it that is named.
pub(crate) async fn find_directory(
    remote: Arc<dyn RemoteRead>,
    source: SourceDirectory,
) -> Result<Directory, CommandError> {
    let SourceDirectory { source, path } = source;
    let snapshot = remote.resolve_source(&source).await?;
    if path.is_root() {
        return Ok(Directory {
            counts: Some(snapshot.version.counts),
            remote,
            snapshot,
        });
    }
    let inside = Subdirectory::new(remote, path);
    Ok(Directory {
        snapshot: inside.of(snapshot).await?,
        remote: Arc::new(inside),
        counts: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ObjectPath {
        ObjectPath::new(text.as_bytes()).expect("a path")
    }

    /// Walks where every name is a directory, but for one link.
    fn walked(typed: &str, link: &str, target: &str) -> Result<String, CommandError> {
        let typed = path(typed);
        let mut walk = Walk::new(&typed);
        while let Some(next) = walk.next()? {
            if next == path(link) {
                walk.follow(&next, target.as_bytes())?;
            } else {
                walk.at = next;
            }
        }
        Ok(String::from_utf8_lossy(walk.at.as_bytes()).into_owned())
    }

    #[test]
    fn a_target_begins_where_its_link_is() {
        let target = |text| walked("a/link/b", "a/link", text).expect(text);
        assert_eq!(target("dir"), "a/dir/b");
        assert_eq!(target("./x//y/"), "a/x/y/b");
        assert_eq!(target("../c"), "c/b");
        assert_eq!(target(".."), "b");
    }

    #[test]
    fn links_that_leave_or_never_end_are_refused() {
        for (target, words) in [
            ("/etc/passwd", "out of the version: a/link -> /etc/passwd"),
            ("../../x", "out of the version"),
            ("link", "more than 40 symbolic links"),
        ] {
            let error = walked("a/link", "a/link", target).expect_err(target);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
