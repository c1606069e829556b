//! The transport of tests: requests are calls in this process, and replies are values. There is no kernel,
//! so nothing is kept, checked or sent again.

use std::time::Duration;

use lfsfs_mount::operations::{Answer, Caller, DirectorySink, ListedEntry, Operations, Reply};
use lfsfs_vfs::Attr;
use rustix::io::Errno;

/// As good as for ever: what every reply says while no switch is under way.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);

/// Requests of root, which no signal ends.
pub(crate) const CALLER: Caller = Caller {
    pid: 0,
    uid: 0,
    gid: 0,
};

/// An entry with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) attr: Attr,
}

/// A reply with room for a few entries.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    room: usize,
    /// Where to go on; `None` if nothing was taken.
    next: Option<u64>,
    listed: Vec<Listed>,
}

impl DirectorySink for Entries {
    const HAVE_ATTRIBUTES: bool = true;

    fn add(&mut self, entry: &ListedEntry<'_>) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        self.next = Some(entry.offset);
        if let Some(attr) = entry.attr {
            assert_eq!(entry.lifetime, FOR_EVER);
            let name = String::from_utf8(entry.name.to_vec()).unwrap();
            self.listed.push(Listed { name, attr });
        }
        true
    }
}

/// Waits for an answer; a lost one is EIO.
pub(crate) async fn answered<T>(answer: Answer<T>) -> Result<T, Errno> {
    answer.value().await.unwrap_or(Err(Errno::IO))
}

/// Lists a directory as a kernel does, in replies with room for `room` entries. Each counts a lookup.
pub(crate) async fn list(
    operations: &Operations,
    ino: u64,
    room: usize,
) -> Result<Vec<Listed>, Errno> {
    let (mut listed, mut offset) = (Vec::new(), 0);
    loop {
        let sink = Entries {
            room,
            ..Entries::default()
        };
        let reply: Reply<_> = operations.readdir(CALLER, ino, offset, sink);
        let reply = reply.value().await.ok_or(Errno::IO)?;
        reply.result?;
        listed.extend(reply.sink.listed);
        match reply.sink.next {
            Some(next) => offset = next,
            None => return Ok(listed),
        }
    }
}
