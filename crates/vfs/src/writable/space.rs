//! How much room there is: the version's size, and what the disk of the overlay has left.

use std::path::Path;

use rustix::fs::{StatVfs, statvfs};

use crate::attr::BLOCK_LEN;
use crate::stats::Statfs;
use crate::writable::Vfs;

impl Vfs {
    /// Returns the size of the version and the free space of the disk that changes go to, or what is left
    /// of their limit. Never touches the network.
    #[must_use]
    pub fn statfs(&self) -> Statfs {
        let view = self.stack.view();
        let version = view.base().statfs();
        let disk = self.place.as_ref().and_then(|place| disk_of(&place.dir));
        let Some(disk) = disk else {
            return version;
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let room = self.stack.overlay().and_then(|overlay| overlay.room());
        let room = room.or(self.place.as_ref().and_then(|place| place.options.size_max));
        let blocks_free = room.unwrap_or(free).min(free) / u64::from(BLOCK_LEN);
        let changed = view.state().log_bytes().div_ceil(u64::from(BLOCK_LEN));
        Statfs {
            blocks: version
                .blocks
                .saturating_add(changed)
                .saturating_add(blocks_free),
            blocks_free,
            files: version.files.saturating_add(disk.f_favail),
            files_free: disk.f_favail,
            ..version
        }
    }
}

/// Returns the state of the disk that has a directory, or will have it.
fn disk_of(dir: &Path) -> Option<StatVfs> {
    dir.ancestors().find_map(|dir| statvfs(dir).ok())
}
