//! The ordered key-value seam under all metadata, and its engines
