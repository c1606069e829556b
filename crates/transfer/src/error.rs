//! Why a transfer failed.

/// Why a frame, an acknowledgement or the end of a stream was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The bytes do not have the SHA-256 that came with them.
    #[error("the frame at offset {offset} does not have the SHA-256 that came with it")]
    Checksum {
        /// Where the frame starts.
        offset: u64,
    },
    /// The stream ended before everything had arrived.
    #[error("the stream ended after {received} of {len} bytes")]
    Cut {
        /// How much had arrived.
        received: u64,
        /// How much was announced.
        len: u64,
    },
    /// A frame has more bytes than a frame may have.
    #[error("a frame of {len} bytes, at most {max} are possible")]
    FrameTooLong {
        /// Bytes in the frame.
        len: usize,
        /// Most bytes of a frame.
        max: usize,
    },
    /// A frame has no bytes.
    #[error("a frame without bytes at offset {offset}")]
    EmptyFrame {
        /// Where the frame starts.
        offset: u64,
    },
    /// A frame does not start where the bytes so far end.
    #[error("a frame at offset {offset}, expected {expected}")]
    OutOfOrder {
        /// Where the frame starts.
        offset: u64,
        /// Where it had to start.
        expected: u64,
    },
    /// A frame goes on behind the announced end.
    #[error("a frame ends at {end}, behind the announced length of {len}")]
    TooLong {
        /// Where the frame ends.
        end: u64,
        /// How much was announced.
        len: u64,
    },
    /// A frame says that it is the last one and is not, or the other way round.
    #[error("a frame that ends at {end} of {len} bytes is marked wrongly as last or not last")]
    WrongFinal {
        /// Where the frame ends.
        end: u64,
        /// How much was announced.
        len: u64,
    },
    /// An acknowledgement is about bytes that were not sent, or takes an earlier one back.
    #[error("acknowledged up to {acknowledged}, possible is {from} to {to}")]
    WrongAck {
        /// What the acknowledgement says.
        acknowledged: u64,
        /// What was acknowledged before.
        from: u64,
        /// What was sent.
        to: u64,
    },
}

impl TransferError {
    /// Returns true if the bytes were damaged or lost on their way, so that the same transfer may
    /// succeed when it is repeated. Anything else is a mistake of the other end.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Checksum { .. } | Self::Cut { .. })
    }
}
