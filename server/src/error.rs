//! Why a server does not start, or stops.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use lfsfs_chunk_store::ChunkStoreError;
use lfsfs_common::PathError;
use lfsfs_meta_store::MetaError;
use lfsfs_metadata::MetadataError;
use lfsfs_types::NodeId;

/// Why a server does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another server uses the directory.
    #[error("{} is in use by another lfsfsd; stop that one, or use another --data", data.display())]
    InUse {
        /// The directory.
        data: PathBuf,
    },
    /// Other users can look into the directory.
    #[error(
        "other users can look into {} (mode {mode:o}), and what is stored there may be private; \
         run: chmod 700 {}", data.display(), data.display()
    )]
    NotPrivate {
        /// The directory.
        data: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no data where a check was asked for.
    #[error("{} holds no data of lfsfsd", data.display())]
    NoData {
        /// The directory.
        data: PathBuf,
    },
    /// The address can be reached from other machines.
    #[error(
        "{address} can be reached from other machines, and without TLS and tokens every user \
         of those could read and write everything; listen on 127.0.0.1, or say --insecure-listen if the \
         network is yours alone"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address of the metrics can be reached from other machines.
    #[error(
        "{address} can be reached from other machines, and without TLS and tokens every user of those \
         could read the metrics; serve them on 127.0.0.1, or say --insecure-listen if the network is \
         yours alone"
    )]
    MetricsNotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// Clients cannot be told the address that the server listens on.
    #[error("clients cannot connect to {address}; name an address that they can with --advertise")]
    NoAdvertise {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The directory's node id is none.
    #[error("{} holds no node id; restore it, or remove it to start as a new datanode", path.display())]
    NodeId {
        /// The file.
        path: PathBuf,
    },
    /// A directory belongs to another datanode.
    #[error(
        "{} belongs to datanode {found}, and the other directories to {expected}; give it a directory of its \
         own, or one that is empty", data.display()
    )]
    OtherNode {
        /// The directory.
        data: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose the others are.
        expected: NodeId,
    },
    /// The address of a coordinator is none.
    #[error("{address:?} is not the address of a coordinator")]
    CoordinatorAddress {
        /// The address.
        address: String,
    },
    /// A file or directory could not be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The store of the metadata could not be opened.
    #[error("cannot open the metadata")]
    MetaStore(#[source] MetaError),
    /// A new place was chosen for the metadata, and the data directory has some.
    #[error(
        "there is no metadata at {chosen}, but at {found}: copy it first with \
         lfsfsd meta copy {found} {chosen}, or leave --meta out"
    )]
    OtherMeta {
        /// The place that was chosen.
        chosen: String,
        /// The place in the data directory.
        found: String,
    },
    /// There is no metadata to copy.
    #[error("there is no metadata at {place}")]
    NoMeta {
        /// The place.
        place: String,
    },
    /// Metadata would be copied onto other metadata.
    #[error("there is metadata at {place} already; take an empty directory")]
    NotEmpty {
        /// The place.
        place: String,
    },
    /// Metadata was copied in part.
    #[error("the copy to {place} is not finished: run lfsfsd meta copy again")]
    UnfinishedCopy {
        /// The place.
        place: String,
    },
    /// Metadata was restored in part.
    #[error("the restore to {place} is not finished: run lfsfsd restore again")]
    UnfinishedRestore {
        /// The place.
        place: String,
    },
    /// The metadata was changed between two parts of a copy.
    #[error("{reason}; remove {place} and copy again")]
    CopyDiffers {
        /// The place of the copy.
        place: String,
        /// What differs.
        reason: String,
    },
    /// The metadata could not be read or written.
    #[error("the metadata failed")]
    Metadata(#[source] MetadataError),
    /// The chunks could not be opened.
    #[error("cannot open the store of chunks")]
    ChunkStore(#[source] ChunkStoreError),
    /// A server that was asked for its health does not serve.
    #[error("the server at {address} does not serve: {reason}")]
    NotServing {
        /// The address.
        address: String,
        /// Why it is thought so.
        reason: String,
    },
    /// No process listens where a server was to be asked.
    #[error("no lfsfs server at {address}; start one with: lfsfsd all --data DIR")]
    NoServer {
        /// The address.
        address: String,
    },
    /// A server that was asked for its figures does not know the question.
    #[error("the server at {address} is lfsfsd {version} and keeps no figures; upgrade it to {}", env!("CARGO_PKG_VERSION"))]
    OldServer {
        /// The address.
        address: String,
        /// The version of its program.
        version: String,
    },
    /// A server that was asked for its figures is no coordinator.
    #[error(
        "the server at {address} is no coordinator of lfsfs; name the address of one with --server"
    )]
    NoCoordinator {
        /// The address.
        address: String,
    },
    /// A server did not tell its figures.
    #[error("the server at {address} does not tell its figures: {reason}")]
    NoFigures {
        /// The address.
        address: String,
        /// Why it is thought so.
        reason: String,
    },
    /// Something of the operating system failed.
    #[error("{act}")]
    System {
        /// What was tried.
        act: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The description of the services could not be read.
    #[error("cannot read the descriptions of the services")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the listener failed")]
    Transport(#[source] tonic::transport::Error),
}

impl ServerError {
    /// Returns true if stored metadata is damaged.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::MetaStore(error) => error.is_corrupt(),
            Self::Metadata(error) => error.is_corrupt(),
            _ => false,
        }
    }
}
