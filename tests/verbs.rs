//! Verb by verb: what each does, prints and refuses.

#[path = "verbs/export.rs"]
mod export;
#[path = "verbs/history.rs"]
mod history;
#[path = "verbs/projects.rs"]
mod projects;
#[path = "verbs/tags.rs"]
mod tags;
