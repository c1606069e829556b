//! Directories that are kept in step with a project, or with another directory.

#[path = "sync/guards.rs"]
mod guards;
#[path = "sync/model.rs"]
mod model;
#[path = "sync/once.rs"]
mod once;
#[path = "sync/patterns.rs"]
mod patterns;
#[path = "sync/service.rs"]
mod service;
#[path = "sync/settings.rs"]
mod settings;
#[path = "sync/support.rs"]
mod support;
