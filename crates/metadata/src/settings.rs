//! What the owner of a project decides.

use crate::error::{MetadataError, Result};

/// Most replicas that a project can ask for.
const REPLICATION_MAX: u32 = 16;
/// Longest pattern that is kept.
pub(crate) const PATTERN_LEN_MAX: usize = 4096;
/// Most patterns of one kind of one project.
pub(crate) const PATTERNS_MAX: usize = 256;

/// What the owner of a project decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectSettings {
    /// How many datanodes keep each of its chunks: 1 to 16.
    pub replication: u32,
    /// Which directories are packed.
    pub pack_patterns: Vec<String>,
    /// Which new paths no client takes into a version, as lines of gitignore(5).
    pub ignore_patterns: Vec<String>,
    /// Whether commits of mounts let what differs in its times alone keep those that it has.
    pub ignore_times: bool,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self {
            replication: 1,
            pack_patterns: Vec::new(),
            ignore_patterns: Vec::new(),
            ignore_times: false,
        }
    }
}

impl ProjectSettings {
    /// Refuses settings that no project can have.
    pub fn check(&self) -> Result<()> {
        let is_too_long = |pattern: &String| pattern.len() > PATTERN_LEN_MAX;
        let problem = if !(1..=REPLICATION_MAX).contains(&self.replication) {
            "replication is 1 to 16"
        } else if self.pack_patterns.len() > PATTERNS_MAX {
            "at most 256 pack patterns are possible"
        } else if self.pack_patterns.iter().any(&is_too_long) {
            "a pack pattern has at most 4,096 bytes"
        } else if self.ignore_patterns.len() > PATTERNS_MAX {
            "at most 256 patterns of ignored paths are possible; more fit into a file .lfsfsignore"
        } else if self.ignore_patterns.iter().any(&is_too_long) {
            "a pattern of ignored paths has at most 4,096 bytes"
        } else {
            return Ok(());
        };
        Err(MetadataError::InvalidSettings { problem })
    }
}
