//! What the owner of a project decides.

use crate::error::{MetadataError, Result};

/// Most replicas that a project can ask for.
const REPLICATION_MAX: u32 = 16;
/// Longest pack pattern that is kept.
pub(crate) const PATTERN_LEN_MAX: usize = 4096;
/// Most pack patterns of one project.
pub(crate) const PATTERNS_MAX: usize = 256;

/// What the owner of a project decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectSettings {
    /// How many datanodes keep each of its chunks: 1 to 16.
    pub replication: u32,
    /// Which directories are packed.
    pub pack_patterns: Vec<String>,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self {
            replication: 1,
            pack_patterns: Vec::new(),
        }
    }
}

impl ProjectSettings {
    /// Refuses settings that no project can have.
    pub fn check(&self) -> Result<()> {
        let patterns = &self.pack_patterns;
        let problem = if !(1..=REPLICATION_MAX).contains(&self.replication) {
            "replication is 1 to 16"
        } else if patterns.len() > PATTERNS_MAX {
            "at most 256 pack patterns are possible"
        } else if patterns.iter().any(|p| p.len() > PATTERN_LEN_MAX) {
            "a pack pattern has at most 4,096 bytes"
        } else {
            return Ok(());
        };
        Err(MetadataError::InvalidSettings { problem })
    }
}
