//! Verb by verb: what each does, prints and refuses.

#[path = "verbs/cache.rs"]
mod cache;
#[path = "verbs/cluster.rs"]
mod cluster;
#[path = "verbs/commit.rs"]
mod commit;
#[path = "verbs/config.rs"]
mod config;
#[path = "verbs/dev.rs"]
mod dev;
#[path = "verbs/diff.rs"]
mod diff;
#[path = "verbs/discard.rs"]
mod discard;
#[path = "verbs/export.rs"]
mod export;
#[path = "verbs/failures.rs"]
mod failures;
#[path = "verbs/fsck.rs"]
mod fsck;
#[path = "verbs/fsdiff.rs"]
mod fsdiff;
#[path = "verbs/gc.rs"]
mod gc;
#[path = "verbs/histories.rs"]
mod histories;
#[path = "verbs/history.rs"]
mod history;
#[path = "verbs/holders.rs"]
mod holders;
#[path = "verbs/ignored.rs"]
mod ignored;
#[path = "verbs/metrics.rs"]
mod metrics;
#[path = "verbs/mounts.rs"]
mod mounts;
#[path = "verbs/named.rs"]
mod named;
#[path = "verbs/nodes.rs"]
mod nodes;
#[path = "verbs/owners.rs"]
mod owners;
#[path = "verbs/packs.rs"]
mod packs;
#[path = "verbs/patch.rs"]
mod patch;
#[path = "verbs/projects.rs"]
mod projects;
#[path = "verbs/rebuild.rs"]
mod rebuild;
#[path = "verbs/rebuild_broken.rs"]
mod rebuild_broken;
#[path = "verbs/rebuild_link.rs"]
mod rebuild_link;
#[path = "verbs/rebuild_versions.rs"]
mod rebuild_versions;
#[path = "verbs/restore.rs"]
mod restore;
#[path = "verbs/rollback.rs"]
mod rollback;
#[path = "verbs/single_files.rs"]
mod single_files;
#[path = "verbs/single_files_broken.rs"]
mod single_files_broken;
#[path = "verbs/single_files_refused.rs"]
mod single_files_refused;
#[path = "verbs/stats.rs"]
mod stats;
#[path = "verbs/subdirectories.rs"]
mod subdirectories;
#[path = "verbs/subdirectory_mounts.rs"]
mod subdirectory_mounts;
#[path = "verbs/support.rs"]
mod support;
#[path = "verbs/switch.rs"]
mod switch;
#[path = "verbs/tags.rs"]
mod tags;
#[path = "verbs/update.rs"]
mod update;
#[path = "verbs/update_broken.rs"]
mod update_broken;
#[path = "verbs/update_shared.rs"]
mod update_shared;
#[path = "verbs/usage.rs"]
mod usage;
#[path = "verbs/watch.rs"]
mod watch;
