//! Checks of the source tree: layering, file sizes, dead files
