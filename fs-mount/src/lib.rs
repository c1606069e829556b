//! The FUSE adapter and the life of a mount process
