//! What a crash may cost an overlay.

/// What a crash may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A killed process loses nothing acknowledged, a power loss nothing synced.
    Synced,
    /// The disk is never waited for; a power loss may cost everything.
    Volatile,
}
