//! Seeded trees: the same specification makes the same tree, to the nanosecond.
//!
//! A tree is an application with a `node_modules` of package-like names and sizes whose scripts
//! really `require` each other (`node index.js` runs), and beside it one directory for each
//! switched-on feature with the odd objects of that kind. A tree is first planned in memory and
//! then made, so that no step depends on what the disk answers. [`mutate()`] changes an existing
//! tree at random for a second import.

mod application;
mod content;
mod features;
mod make;
mod mutate;
mod names;
mod plan;
mod sizes;

use std::path::Path;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

pub use mutate::{Change, ChangeKind, mutate};

/// The generator behind all trees: named, so that an update of rand keeps the trees.
pub(crate) type Random = Xoshiro256PlusPlus;

/// What a tree consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeSpec {
    /// Same seed, same tree.
    pub seed: u64,
    /// Regular files of the application; the files of the features come on top.
    pub files: usize,
    /// The odd objects beside the application.
    pub features: Features,
}

/// Which odd objects a tree has; each makes one directory of its own name in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// Relative, absolute, dangling, looping and `../` symlinks, and targets that are not UTF-8.
    pub symlinks: bool,
    /// Directories without entries, also one in another.
    pub empty_directories: bool,
    /// Setuid, setgid, sticky and 0000, on files and directories.
    pub unusual_modes: bool,
    /// Files with the same bytes, small and of several pieces, and files of 0 bytes.
    pub equal_files: bool,
    /// Several names of one file, in one directory and across directories.
    pub hard_links: bool,
    /// Extended attributes: text, binary, empty, large, many; on files and directories.
    pub xattrs: bool,
    /// Named pipes.
    pub fifos: bool,
    /// Names of 255 bytes.
    pub long_names: bool,
    /// Names that are not UTF-8.
    pub names_not_utf8: bool,
    /// Names with spaces, newlines, quotes, backslashes, leading dashes and Unicode.
    pub awkward_names: bool,
    /// 30 levels of directories.
    pub deep: bool,
    /// A path of 4,095 bytes relative to the root.
    pub long_path: bool,
    /// Modification times with nanoseconds before 1970, at 0 and after 2038.
    pub unusual_times: bool,
    /// Files of other users; only root can make these, for others the switch does nothing.
    pub owners: bool,
    /// One large file.
    pub large_file: Option<LargeFile>,
}

/// The one large file of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeFile {
    /// Its length.
    pub bytes: u64,
    /// Text that compresses well, or noise that does not.
    pub compressible: bool,
}

impl Default for LargeFile {
    fn default() -> Self {
        Self {
            bytes: 200_000_000,
            compressible: false,
        }
    }
}

impl Features {
    /// No odd objects: the application alone.
    #[must_use]
    pub fn none() -> Self {
        Self {
            symlinks: false,
            empty_directories: false,
            unusual_modes: false,
            equal_files: false,
            hard_links: false,
            xattrs: false,
            fifos: false,
            long_names: false,
            names_not_utf8: false,
            awkward_names: false,
            deep: false,
            long_path: false,
            unusual_times: false,
            owners: false,
            large_file: None,
        }
    }

    /// Every odd object, with a large file of 200 MB.
    #[must_use]
    pub fn all() -> Self {
        Self {
            symlinks: true,
            empty_directories: true,
            unusual_modes: true,
            equal_files: true,
            hard_links: true,
            xattrs: true,
            fifos: true,
            long_names: true,
            names_not_utf8: true,
            awkward_names: true,
            deep: true,
            long_path: true,
            unusual_times: true,
            owners: true,
            large_file: Some(LargeFile::default()),
        }
    }
}

impl TreeSpec {
    /// About 300 entries with the odd objects that any user can make on any filesystem.
    #[must_use]
    pub fn small() -> Self {
        let features = Features {
            symlinks: true,
            empty_directories: true,
            equal_files: true,
            hard_links: true,
            awkward_names: true,
            ..Features::none()
        };
        Self {
            seed: 1,
            files: 200,
            features,
        }
    }

    /// An application of `files` files and nothing odd.
    #[must_use]
    pub fn app(files: usize) -> Self {
        Self {
            seed: 1,
            files,
            features: Features::none(),
        }
    }

    /// Everything at once: 1,500 files, every odd object, a large file of 200 MB.
    #[must_use]
    pub fn torture() -> Self {
        Self {
            seed: 1,
            files: 1_500,
            features: Features::all(),
        }
    }

    /// Makes the tree in `dir`, which is created where it is missing and must be empty.
    ///
    /// # Errors
    /// Where `dir` cannot hold such objects (extended attributes on some filesystems), the error
    /// names the object.
    pub fn generate(&self, dir: &Path) -> anyhow::Result<TreeSummary> {
        let mut random = Random::seed_from_u64(self.seed);
        let mut plan = plan::Plan::new(&mut random);
        application::plan(&mut plan, self.files, &mut random);
        features::plan(&mut plan, &self.features, &mut random);
        make::make(&plan, dir)
    }
}

/// What was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeSummary {
    /// Regular files; a file of three names counts once.
    pub files: u64,
    /// Further names of files that have several.
    pub hard_links: u64,
    /// Directories without the root.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Named pipes.
    pub fifos: u64,
    /// Bytes in regular files, each file once.
    pub bytes: u64,
}

impl TreeSummary {
    /// Returns how many names the tree has, without the root.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.files + self.hard_links + self.directories + self.symlinks + self.fifos
    }
}
