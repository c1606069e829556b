//! Numbers that the kernel and this program agree on.

/// The largest read or write in one request.
pub(crate) const REQUEST_BYTES_MAX: u32 = 1024 * 1024;
/// The generation of each node: node numbers are never used again for something else.
pub(crate) const NODE_GENERATION: u32 = 0;
