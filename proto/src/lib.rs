//! The wire: proto files, generated code, conversions, status mapping.
//!
//! Domain types (`lfsfs_types`) are not prost types: what arrives is checked once, here, by
//! `TryFrom`, and what leaves is made by `From`. Only client and server know this crate.

#![forbid(unsafe_code)]

pub mod address;
pub mod convert;
pub mod headers;
pub mod status;

/// The generated messages, clients and servers of package `lfsfs.v1`.
#[expect(
    missing_docs,
    clippy::too_many_lines,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("lfsfs.v1");
}

/// The encoded file descriptors, for gRPC reflection.
pub const FILE_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
