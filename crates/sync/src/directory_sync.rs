//! Directories that are kept in step with a project, or with another directory: docs/sync.md.
//!
//! `pass` makes one pass over a root: both sides (`view`) are compared with what was agreed (`compare`, `store`),
//! `reconcile` decides, and each side makes its changes. What is decided is pure, and what is kept can be lost: then both
//! sides are joined again.

mod compare;
mod conflict_name;
mod error;
mod ignore;
mod item;
mod monitor;
mod pass;
mod plain;
mod project;
mod reconcile;
mod root;
mod service;
mod settings;
mod status;
mod store;
mod view;

pub use self::error::{SyncError, Trouble};
pub use self::pass::{Act, Action, FarPlace, Haste, PassOutcome, PassParams, SyncedRoot};
pub use self::reconcile::{ConflictRule, Direction};
pub use self::service::{ServiceParams, SyncService};
pub use self::settings::{
    Origin, RemoteRoot, SETTINGS_KEYS, SettingsError, SettingsKey, SettingsLayer, SyncSettings,
};
pub use self::status::{ErrorStatus, RootControl, RootStatus, SyncState, TroubleStatus};
pub use self::view::{SyncFigures, SyncProgress};
