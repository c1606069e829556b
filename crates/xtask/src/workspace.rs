//! Reads what the checks look at: cargo's view of the workspace and the text of its files.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::layers::CrateEdges;

/// The tree under check.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its top directory; all other paths are relative to it.
    pub(crate) root: PathBuf,
    pub(crate) crates: Vec<CrateEdges>,
    /// The root files of all targets.
    pub(crate) targets: HashSet<String>,
    pub(crate) files: Vec<SourceFile>,
}

/// A text file that is tracked, or would be with the next `git add`.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }
}

impl Workspace {
    /// Reads the workspace around the working directory.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let metadata = MetadataCommand::new()
            .no_deps()
            .exec()
            .context("run cargo metadata")?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let files = read_files(&root)?;
        Ok(Self {
            crates: edges(&metadata),
            targets: target_roots(&metadata),
            root,
            files,
        })
    }
}

fn edges(metadata: &Metadata) -> Vec<CrateEdges> {
    let uses = |package: &Package| {
        let shipped = package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development);
        shipped
            .filter(|d| d.path.is_some())
            .map(|d| d.name.clone())
            .collect()
    };
    let edges = |package: &Package| CrateEdges {
        name: package.name.to_string(),
        uses: uses(package),
    };
    metadata.packages.iter().map(edges).collect()
}

fn target_roots(metadata: &Metadata) -> HashSet<String> {
    let targets = metadata
        .packages
        .iter()
        .flat_map(|package| &package.targets);
    let relative = targets.filter_map(|t| t.src_path.strip_prefix(&metadata.workspace_root).ok());
    relative.map(ToString::to_string).collect()
}

/// Reads every file that git knows or would add; those that are no text are passed over.
fn read_files(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--deduplicate",
        ])
        .current_dir(root)
        .output()
        .context("run git")?;
    ensure!(
        output.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).context("read file names")?;
    let paths = names.split_terminator('\0');
    Ok(paths.filter_map(|path| read_text(root, path)).collect())
}

/// Returns `None` for what is no text, no file, or deleted but not yet committed so.
fn read_text(root: &Path, path: &str) -> Option<SourceFile> {
    let text = fs::read_to_string(root.join(path)).ok()?;
    Some(SourceFile {
        path: path.to_owned(),
        text,
    })
}
