//! Tests that cross crates: processes, mounts, crashes
