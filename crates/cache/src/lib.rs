//! The on-disk cache that all mounts of a machine share
