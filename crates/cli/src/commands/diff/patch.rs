//! `--patch`: what changed in files and symbolic links, in the form that git and patch(1) take.
//!
//! The form: <https://git-scm.com/docs/diff-format#generate_patch_text_with_p>.

mod object;
mod text;

use std::sync::Arc;

use lfsfs_mount::mountinfo::MountEntry;
use lfsfs_remote::{DiffEntry, RemoteRead, Snapshot};
use lfsfs_types::ObjectPath;

use self::object::{MountFiles, PatchObject, VersionFiles};
use super::DiffForm;
use super::found::{Found, path_of, write};
use crate::error::CommandError;
use crate::output::Output;

/// The two sides whose contents are compared.
pub(crate) struct Patch {
    old: VersionFiles,
    new: New,
}

enum New {
    Version(Box<VersionFiles>),
    Mount(MountFiles),
}

impl Patch {
    /// Compares two versions of one project.
    pub(crate) fn between(
        remote: Arc<dyn RemoteRead>,
        old: Snapshot,
        new: Snapshot,
    ) -> Result<Self, CommandError> {
        let new = VersionFiles::open(Arc::clone(&remote), new)?;
        Ok(Self {
            old: VersionFiles::open(remote, old)?,
            new: New::Version(Box::new(new)),
        })
    }

    /// Compares a mount with the version that it was made from.
    pub(crate) fn of_mount(
        remote: Arc<dyn RemoteRead>,
        base: Snapshot,
        mount: MountEntry,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            old: VersionFiles::open(remote, base)?,
            new: New::Mount(MountFiles::new(mount)),
        })
    }

    /// Writes all differences. What is no file and no symbolic link gets a line, as without a patch.
    pub(crate) async fn write(self, found: Found, out: &mut Output) -> Result<(), CommandError> {
        let entries = found.sorted();
        for entry in &entries {
            let old = old_path(entry, &entries)?;
            let files = text::Files {
                old_path: &old,
                new_path: path_of(entry),
                old: self.old_object(entry, &old).await?,
                new: self.new_object(entry).await?,
            };
            if !files.write(out)? {
                write(out, &DiffForm::default(), entry)?;
            }
        }
        self.old.close().await;
        if let New::Version(files) = self.new {
            files.close().await;
        }
        Ok(())
    }

    async fn old_object(
        &self,
        entry: &DiffEntry,
        path: &ObjectPath,
    ) -> Result<Option<PatchObject>, CommandError> {
        match entry {
            DiffEntry::Removed(_) | DiffEntry::Modified(_) => self.old.object(path).await,
            DiffEntry::Added(_) | DiffEntry::Touched(_) | DiffEntry::Renamed { .. } => Ok(None),
        }
    }

    async fn new_object(&self, entry: &DiffEntry) -> Result<Option<PatchObject>, CommandError> {
        match (entry, &self.new) {
            (DiffEntry::Added(path) | DiffEntry::Modified(path), New::Version(files)) => {
                files.object(path).await
            }
            (DiffEntry::Added(path) | DiffEntry::Modified(path), New::Mount(files)) => {
                files.object(path)
            }
            (
                DiffEntry::Removed(_) | DiffEntry::Touched(_) | DiffEntry::Renamed { .. },
                New::Version(_) | New::Mount(_),
            ) => Ok(None),
        }
    }
}

/// Returns where the object of a difference is on the old side: directories above it may have moved.
fn old_path(entry: &DiffEntry, entries: &[DiffEntry]) -> Result<ObjectPath, CommandError> {
    // Removals are named by their old path.
    let DiffEntry::Modified(path) = entry else {
        return Ok(path_of(entry).clone());
    };
    let moves = entries.iter().filter_map(|entry| match entry {
        DiffEntry::Renamed { old, new } => Some((old, below(path, new)?)),
        _ => None,
    });
    // The innermost directory that moved says it all.
    match moves.min_by_key(|(_, rest)| rest.len()) {
        Some((old, rest)) => Ok(ObjectPath::new([old.as_bytes(), rest].concat().as_slice())?),
        None => Ok(path.clone()),
    }
}

/// Returns what follows a directory in the path of something below it, with the slash.
fn below<'a>(path: &'a ObjectPath, dir: &ObjectPath) -> Option<&'a [u8]> {
    let rest = path.as_bytes().strip_prefix(dir.as_bytes())?;
    rest.starts_with(b"/").then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_where_its_directory_was() {
        let path = |text: &str| ObjectPath::new(text.as_bytes()).expect("a path");
        let renamed = |old, new| DiffEntry::Renamed {
            old: path(old),
            new: path(new),
        };
        let entries = [renamed("a", "b"), renamed("x/in", "b/c")];
        for (now, before) in [
            ("b/f", "a/f"),
            ("b/c/f", "x/in/f"),
            ("bc/f", "bc/f"),
            ("f", "f"),
        ] {
            let found = old_path(&DiffEntry::Modified(path(now)), &entries).expect("a path");
            assert_eq!(found, path(before), "{now}");
        }
        let removed = DiffEntry::Removed(path("b/f"));
        assert_eq!(old_path(&removed, &entries).expect("a path"), path("b/f"));
    }
}
