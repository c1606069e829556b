//! Stable node ids: the inode numbers of a mount, the same for unchanged content in every mount,
//! on every machine, after every remount.
//!
//! git's index and the kernel's page cache both go by the inode number: new content must be a new
//! number and unchanged content must keep its own. Collisions are possible in 63 bits; the code
//! that holds the table of numbers in use probes onward with [`next_on_collision`].

use sha2::{Digest, Sha256 as Hasher};

use crate::codec::Writer;
use crate::id::{ContentId, DirId, LinkId, ProjectId};
use crate::name::Name;
use crate::object::{Kind, Record};

/// The node id of the root of every mount (FUSE_ROOT_ID).
pub const ROOT: u64 = 1;

const MASK: u64 = (1 << 63) - 1;

/// Returns the node id of the entry `name` of `dir`, before any probing.
#[must_use]
pub fn of_entry(project: &ProjectId, dir: DirId, name: &Name, record: &Record) -> u64 {
    match (&record.kind, record.link) {
        (Kind::Directory { dir }, _) => of_directory(project, *dir),
        (Kind::File { content, .. }, Some(link)) => of_link(project, link.id, content),
        (_, Some(link)) => of_link(project, link.id, &ContentId::EMPTY),
        (kind, _) => {
            let mut writer = start(b"entry", project);
            writer.u64(dir.0).bytes(name.as_bytes()).u8(kind.tag());
            kind.encode(&mut writer);
            finish(writer)
        }
    }
}

/// Returns the node id of a directory. It survives renames.
#[must_use]
pub fn of_directory(project: &ProjectId, dir: DirId) -> u64 {
    if dir == DirId::ROOT {
        return ROOT;
    }
    let mut writer = start(b"directory", project);
    writer.u64(dir.0);
    finish(writer)
}

/// Returns the number to try after `nodeid`, which another object has.
#[must_use]
pub fn next_on_collision(nodeid: u64) -> u64 {
    clamp(nodeid.wrapping_add(1))
}

fn of_link(project: &ProjectId, link: LinkId, content: &ContentId) -> u64 {
    let mut writer = start(b"link", project);
    writer.u64(link.0).raw(content.as_bytes());
    finish(writer)
}

fn start(domain: &[u8], project: &ProjectId) -> Writer {
    let mut writer = Writer::new();
    writer.bytes(domain).raw(project.as_bytes());
    writer
}

fn finish(writer: Writer) -> u64 {
    let digest = Hasher::digest(writer.finish());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    clamp(u64::from_be_bytes(first))
}

/// Keeps clear of 0, which is no node, and 1, which is the root.
fn clamp(nodeid: u64) -> u64 {
    (nodeid & MASK).max(ROOT + 1)
}
