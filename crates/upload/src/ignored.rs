//! Which new paths stay out of a version: those that the owner of a project names, or a user in a file [`IGNORE_FILE`]
//! of the tree, such as build output and caches.
//!
//! The one place of the decision, for imports, updates and commits. Pure: the caller says which paths there are
//! and what the files hold. A path that the version has already is never ignored, and only the caller knows
//! which those are, so it asks for the others alone.
//!
//! The patterns are those of gitignore(5). A walk takes one [`IgnoreScope`] down with it: [`IgnoreScope::enter`]
//! gives that of a directory, with its own file.

mod bracket;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use lfsfs_types::{ObjectPath, path_text};
use thiserror::Error;

use self::pattern::Pattern;

/// The name of the files that say what is ignored in their directory and below.
pub const IGNORE_FILE: &str = ".lfsfsignore";
/// Most bytes of such a file that are read; a longer one counts for nothing.
pub const IGNORE_FILE_LEN_MAX: u64 = 64 * 1024;

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{pattern:?} is not a pattern of gitignore(5): {problem}")]
pub struct IgnorePatternError {
    /// What was given.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Something in a file that says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreWarning {
    /// The file.
    pub file: ObjectPath,
    /// The line, from 1; `None` for the whole file.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl fmt::Display for IgnoreWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = path_text(self.file.as_bytes().split(|byte| *byte == b'/'));
        let Self { line, problem, .. } = self;
        match line {
            Some(line) => write!(f, "{file}, line {line}: {problem}; the line is not used"),
            None => write!(f, "{file}: {problem}; the file is not used"),
        }
    }
}

/// What becomes of new paths that are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IgnoredPaths {
    /// They stay out of the version.
    #[default]
    LeftOut,
    /// They are taken as any other.
    Taken,
}

/// What a file [`IGNORE_FILE`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IgnoreFile<'a> {
    /// There is none, or what is there is no regular file.
    None,
    /// Its bytes.
    Bytes(&'a [u8]),
    /// It has more than [`IGNORE_FILE_LEN_MAX`] bytes.
    TooLong,
    /// Its bytes cannot be had.
    Unreadable,
}

/// What is ignored in one directory. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct IgnoreScope {
    rules: Option<Arc<Rules>>,
    /// True in a directory that is ignored itself: then all in it is.
    all: bool,
}

/// The patterns of one file, or of the project, and those that count where they say nothing.
#[derive(Debug)]
struct Rules {
    above: Option<Arc<Self>>,
    /// The last one that matches counts.
    patterns: Vec<Pattern>,
    from: Place,
}

/// What the paths of patterns begin at.
#[derive(Debug)]
enum Place {
    /// The root of the project, of which the walk's root is this directory.
    Project(ObjectPath),
    /// A directory of the walk.
    Directory(ObjectPath),
}

impl IgnoreScope {
    /// Returns the scope of a walk's root, which is the directory `at` of a project with these patterns.
    ///
    /// # Errors
    ///
    /// The first pattern that is none. An empty one and a comment are none either: nothing would come of them.
    pub fn of_project(patterns: &[String], at: &ObjectPath) -> Result<Self, IgnorePatternError> {
        let mut read = Vec::new();
        for text in patterns {
            let pattern = if text.contains(['\n', '\r', '\0']) {
                Err("it has more than one line")
            } else {
                Pattern::read(text.as_bytes())
            };
            let pattern = pattern.and_then(|it| it.ok_or("it is empty or a comment"));
            read.push(pattern.map_err(|problem| IgnorePatternError {
                pattern: text.clone(),
                problem,
            })?);
        }
        let patterns = read;
        Ok(Self::default().with(patterns, Place::Project(at.clone())))
    }

    /// Returns the scope of a walk's root, and what is wrong with patterns that a server should have refused.
    #[must_use]
    pub fn of_settings(patterns: &[String], at: &ObjectPath) -> (Self, Option<IgnorePatternError>) {
        match Self::of_project(patterns, at) {
            Ok(scope) => (scope, None),
            Err(error) => {
                let valid = patterns
                    .iter()
                    .filter(|pattern| Self::of_project(std::slice::from_ref(pattern), at).is_ok());
                let valid: Vec<_> = valid.cloned().collect();
                let scope = Self::of_project(&valid, at).unwrap_or_default();
                (scope, Some(error))
            }
        }
    }

    /// Returns true if a path directly in this directory is ignored, unless the version has it.
    #[must_use]
    pub fn ignores(&self, path: &ObjectPath, is_directory: bool) -> bool {
        self.all || self.matches(path, is_directory)
    }

    fn matches(&self, path: &ObjectPath, is_directory: bool) -> bool {
        let mut rules = self.rules.as_deref();
        while let Some(at) = rules {
            if let Some(is_ignored) = at.says(path, is_directory) {
                return is_ignored;
            }
            rules = at.above.as_deref();
        }
        false
    }

    /// Returns the scope of a directory directly in this one, which has this file, and what of the file says
    /// nothing.
    #[must_use]
    pub fn enter(&self, path: &ObjectPath, file: IgnoreFile<'_>) -> (Self, Vec<IgnoreWarning>) {
        let entered = Self {
            rules: self.rules.clone(),
            all: self.ignores(path, true),
        };
        entered.with_file(path, file)
    }

    /// Returns true if a file in a directory directly in this one says anything: not in an ignored one.
    #[must_use]
    pub fn reads_file_in(&self, path: &ObjectPath) -> bool {
        !self.ignores(path, true)
    }

    /// Returns the scope with the file of its own directory, and what of the file says nothing.
    #[must_use]
    pub fn with_file(self, path: &ObjectPath, file: IgnoreFile<'_>) -> (Self, Vec<IgnoreWarning>) {
        let mut warnings = Warnings::of(path);
        let bytes = match file {
            _ if self.all => return (self, Vec::new()),
            IgnoreFile::None => return (self, Vec::new()),
            IgnoreFile::Bytes(bytes) => bytes,
            IgnoreFile::TooLong => {
                warnings.add(None, "it has more than 65,536 bytes");
                return (self, warnings.found);
            }
            IgnoreFile::Unreadable => {
                warnings.add(None, "it cannot be read");
                return (self, warnings.found);
            }
        };
        let mut patterns = Vec::new();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            match Pattern::read(line.strip_suffix(b"\r").unwrap_or(line)) {
                Ok(pattern) => patterns.extend(pattern),
                Err(problem) => warnings.add(Some(index + 1), problem),
            }
        }
        let scope = self.with(patterns, Place::Directory(path.clone()));
        (scope, warnings.found)
    }

    fn with(self, patterns: Vec<Pattern>, from: Place) -> Self {
        if patterns.is_empty() {
            return self;
        }
        let rules = Rules {
            above: self.rules,
            patterns,
            from,
        };
        Self {
            rules: Some(Arc::new(rules)),
            all: self.all,
        }
    }
}

impl Rules {
    /// Returns whether these patterns alone ignore a path; `None` if they say nothing of it.
    fn says(&self, path: &ObjectPath, is_directory: bool) -> Option<bool> {
        let joined;
        let relative = match &self.from {
            Place::Project(at) if at.is_root() => path.as_bytes(),
            Place::Project(at) => {
                joined = [at.as_bytes(), b"/", path.as_bytes()].concat();
                &joined
            }
            Place::Directory(at) if at.is_root() => path.as_bytes(),
            Place::Directory(at) => {
                let below = path.as_bytes().strip_prefix(at.as_bytes());
                below.and_then(|below| below.strip_prefix(b"/"))?
            }
        };
        let mut patterns = self.patterns.iter().rev();
        let last = patterns.find(|it| it.matches(relative, is_directory));
        last.map(|it| !it.is_negated)
    }
}

/// Collects what a file says in vain.
struct Warnings {
    file: ObjectPath,
    found: Vec<IgnoreWarning>,
}

impl Warnings {
    fn of(dir: &ObjectPath) -> Self {
        let name = [dir.as_bytes(), b"/", IGNORE_FILE.as_bytes()].concat();
        let name = name.strip_prefix(b"/").unwrap_or(&name);
        Self {
            // A directory whose path is as long as can be has no file with a path.
            file: ObjectPath::new(name).unwrap_or_else(|_| dir.clone()),
            found: Vec::new(),
        }
    }

    fn add(&mut self, line: Option<usize>, problem: &'static str) {
        let file = self.file.clone();
        self.found.push(IgnoreWarning {
            file,
            line,
            problem,
        });
    }
}
