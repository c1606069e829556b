//! lfsfs: everything a user types
