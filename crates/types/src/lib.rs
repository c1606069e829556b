//! Identity, paths, records and the durable formats of lfsfs.
//!
//! Everything here is plain data and pure functions: no file, no socket, no clock. What is encoded
//! here is written to disks and wires and stays readable for ever; docs/formats.md has the byte
//! tables and `tests/golden.rs` holds the bytes.

mod access_list;
pub mod chunk;
pub mod codec;
pub mod content;
pub mod id;
pub mod limits;
pub mod name;
pub mod nodeid;
pub mod object;
pub mod pack;
pub mod path_text;
mod place;
pub mod source;
pub mod source_directory;
pub mod timestamp;
pub mod version;
mod xattr_name;

pub use access_list::{
    ACCESS_LIST, AccessList, DEFAULT_LIST, InheritedList, access_list_with_mode, inherited_list,
};
pub use codec::{DecodeError, Reader, Writer};
pub use content::{Content, Layout, Piece, PieceList};
pub use id::{
    ChunkId, ClusterId, ContentId, DirId, LinkId, NodeId, ProjectId, SessionId, Sha256, VersionId,
    VersionNumber,
};
pub use name::{LabelError, Name, NameError, ObjectPath, PathError, ProjectName, TagName};
pub use object::{
    Aspect, Differences, Kind, Link, NamedContent, Record, RecordFault, Xattr, XattrValue,
};
pub use path_text::path_text;
pub use place::{ChunkInfo, ContentPlace};
pub use source::{Source, SourceError, VersionRef};
pub use source_directory::{SourceDirectory, SourceDirectoryError};
pub use timestamp::Timestamp;
pub use version::{Origin, VersionCounts, VersionRecord};
pub use xattr_name::{NamespaceError, XattrName, XattrNameError, XattrNamespace};
