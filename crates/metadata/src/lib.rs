//! Projects, versions, objects and publishing: policy over the key-value seam
