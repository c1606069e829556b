//! How large a tree is: in files, in bytes, on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;

const BLOCK_LEN: u64 = 512;

/// What a tree consists of.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Count {
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) bytes: f64,
}

/// Counts what `tree` holds, on its own file system.
pub(crate) fn count(tree: &Path) -> anyhow::Result<Count> {
    let mut count = Count::default();
    visit(tree, &mut |metadata| {
        count.files += u64::from(metadata.is_file());
        count.directories += u64::from(metadata.is_dir());
        if metadata.is_file() {
            count.bytes += to_float(metadata.len());
        }
    })?;
    Ok(count)
}

/// Returns how many bytes of disk `tree` takes.
pub(crate) fn disk_usage(tree: &Path) -> anyhow::Result<f64> {
    let mut bytes = 0.0;
    visit(tree, &mut |metadata| {
        bytes += to_float(metadata.blocks() * BLOCK_LEN);
    })?;
    Ok(bytes)
}

fn visit(dir: &Path, visitor: &mut impl FnMut(&fs::Metadata)) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        // What vanishes meanwhile is not counted: a server may work in there.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        visitor(&metadata);
        if metadata.is_dir() {
            visit(&entry.path(), visitor)?;
        }
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of trees, shown with three digits"
)]
pub(crate) fn to_float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::tempdir::TempDir;
    use lfsfs_testkit::tree::TreeSpec;

    #[test]
    fn every_name_counts() {
        let dir = TempDir::new().unwrap();
        let tree = dir.path().join("tree");
        let made = TreeSpec::small().generate(&tree).unwrap();
        let count = count(&tree).unwrap();
        assert_eq!(count.files, made.files + made.hard_links);
        assert_eq!(count.directories, made.directories);
        assert!(disk_usage(&tree).unwrap() > count.bytes / 2.0);
    }
}
