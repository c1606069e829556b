//! The socket by which other processes talk to the process of a mount.
//!
//! Only root and the owner of the mount process are heard.

mod changing;
mod client;
mod messages;
mod socket;
mod verbs;

pub use self::client::AnswerSink;
pub(crate) use self::client::{Address, call, call_with};
pub use self::messages::{
    ChangeItem, ChangeKind, Committed, ControlError, ControlErrorKind, ControlPhase,
    ControlProgress, ControlRequest, Counted, MountStats, MountStatus, ServerMoved, Switched,
    Unmounted, VersionInfo,
};
pub(crate) use self::socket::ControlSocket;
pub(crate) use self::verbs::{Control, FixedStatus, Left, UmountOrder, orders};
