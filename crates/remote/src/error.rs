//! How a server fails, as its clients see it.

use thiserror::Error;

/// Why a server did not give what was asked for.
#[derive(Debug, Clone, Error)]
pub enum RemoteError {
    /// No process listens there.
    #[error("no lfsfs server at {address}; start one with: lfsfsd all --data DIR")]
    NoServer {
        /// The address that was tried.
        address: String,
    },
    /// The coordinator named a datanode, and no process listens there.
    #[error(
        "no datanode at {address}, where the coordinator has one: start it again with: \
         lfsfsd datanode, or see why this machine does not reach it"
    )]
    NoDataNode {
        /// The address that was tried.
        address: String,
    },
    /// A process listens, but no answer came in time.
    #[error("the lfsfs server at {address} did not answer {what} within {seconds} s")]
    Deadline {
        /// The address that was asked.
        address: String,
        /// What was asked for.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// Neither the call nor a question whether the server is there was answered.
    #[error("the lfsfs server at {address} does not answer")]
    Silent {
        /// The address that was asked.
        address: String,
    },
    /// The server has answered nothing for so long that it was not asked.
    #[error("the lfsfs server at {address} has not answered for {seconds} s")]
    Away {
        /// Its address.
        address: String,
        /// How long nothing came from it.
        seconds: u64,
    },
    /// The connection broke, or the server cannot serve now.
    #[error("the lfsfs server at {address} is not available: {reason}")]
    Unavailable {
        /// The address that was asked.
        address: String,
        /// What the transport or the server said.
        reason: String,
    },
    /// Tried again and again, and given up.
    #[error("{last} ({tries} tries in {seconds} s)")]
    GaveUp {
        /// How often it was tried.
        tries: u32,
        /// For how long.
        seconds: u64,
        /// The last failure.
        last: Box<Self>,
    },
    /// Client and server speak no common protocol.
    #[error("{0}")]
    Incompatible(String),
    /// There is no such project, version, path, tag, content or chunk.
    #[error("{0}")]
    NotFound(String),
    /// The session of the call is over: the server was started again since, or gave its place to others. What
    /// the session belonged to begins anew.
    #[error("{0}")]
    SessionLost(String),
    /// Contents that a version is to have are not stored, or not any more. The operation that sent them asks again
    /// which are missing, and sends these.
    #[error("{0}")]
    ContentsMissing(String),
    /// There is one already.
    #[error("{0}")]
    AlreadyExists(String),
    /// The request was refused as wrong.
    #[error("{0}")]
    Invalid(String),
    /// Another version came first, and the changes touch.
    #[error("{message}")]
    Conflict {
        /// What the server said.
        message: String,
        /// The first of the paths that both changed, in order.
        paths: Vec<Vec<u8>>,
        /// How many there are.
        count: u64,
    },
    /// The server's disk is full, or below its reserve.
    #[error("the server is full: {0}")]
    Full(String),
    /// Bytes are not what their hash says, or an answer makes no sense.
    #[error("damaged data: {0}")]
    Corrupt(String),
    /// The server does not serve this call yet.
    #[error("not possible with this server: {0}")]
    Unimplemented(String),
    /// The server failed.
    #[error("the server failed: {0}")]
    Internal(String),
}

impl RemoteError {
    /// Returns true if the same call may succeed later, or at another node.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NoServer { .. }
                | Self::NoDataNode { .. }
                | Self::Deadline { .. }
                | Self::Silent { .. }
                | Self::Unavailable { .. }
        )
    }

    /// Returns true if the operation that the call is a part of may succeed when it begins anew.
    #[must_use]
    pub fn may_begin_anew(&self) -> bool {
        self.is_retryable() || matches!(self, Self::SessionLost(_) | Self::ContentsMissing(_))
    }

    /// Returns true if no server has said anything to the call.
    #[must_use]
    pub fn is_no_answer(&self) -> bool {
        match self {
            Self::GaveUp { last, .. } => last.is_no_answer(),
            Self::Away { .. } => true,
            error => error.is_retryable(),
        }
    }

    /// Returns the address of the server that gave no answer, if that is what happened.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        match self {
            Self::NoServer { address }
            | Self::NoDataNode { address }
            | Self::Deadline { address, .. }
            | Self::Silent { address }
            | Self::Away { address, .. }
            | Self::Unavailable { address, .. } => Some(address),
            Self::GaveUp { last, .. } => last.address(),
            _ => None,
        }
    }

    /// Says it of a server at another address, such as of one that has several.
    #[must_use]
    pub fn at(mut self, other: &str) -> Self {
        match &mut self {
            Self::NoServer { address }
            | Self::NoDataNode { address }
            | Self::Deadline { address, .. }
            | Self::Silent { address }
            | Self::Away { address, .. }
            | Self::Unavailable { address, .. } => other.clone_into(address),
            _ => {}
        }
        self
    }

    /// Returns true if what was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::ContentsMissing(_))
    }
}
