//! How many requests of each kind the kernel has sent: exact, so that tests hold budgets on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! opcodes {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// A kind of request, named as in the kernel's protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Opcode {
            $($(#[$doc])* $variant,)*
        }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

opcodes! {
    /// Find a name in a directory.
    Lookup "LOOKUP",
    /// Give back lookups; one for each node, also where the kernel sends many in one message.
    Forget "FORGET",
    /// Show attributes.
    Getattr "GETATTR",
    /// Set attributes.
    Setattr "SETATTR",
    /// Where a link points.
    Readlink "READLINK",
    /// Make a symbolic link.
    Symlink "SYMLINK",
    /// Make a file.
    Mknod "MKNOD",
    /// Make a directory.
    Mkdir "MKDIR",
    /// Remove a name.
    Unlink "UNLINK",
    /// Remove a directory.
    Rmdir "RMDIR",
    /// Move a name; RENAME2 too.
    Rename "RENAME",
    /// Give a file another name.
    Link "LINK",
    /// Make and open a file.
    Create "CREATE",
    /// Open a file.
    Open "OPEN",
    /// Read from a file.
    Read "READ",
    /// Write to a file.
    Write "WRITE",
    /// A descriptor of a file was closed.
    Flush "FLUSH",
    /// The last descriptor of an open file was closed.
    Release "RELEASE",
    /// Make a file durable.
    Fsync "FSYNC",
    /// Open a directory.
    Opendir "OPENDIR",
    /// List a directory.
    Readdir "READDIR",
    /// List a directory with attributes.
    Readdirplus "READDIRPLUS",
    /// The last descriptor of an open directory was closed.
    Releasedir "RELEASEDIR",
    /// Make a directory durable.
    Fsyncdir "FSYNCDIR",
    /// Show the size of the file system.
    Statfs "STATFS",
    /// Read an extended attribute.
    Getxattr "GETXATTR",
    /// List extended attributes.
    Listxattr "LISTXATTR",
    /// Set an extended attribute.
    Setxattr "SETXATTR",
    /// Remove an extended attribute.
    Removexattr "REMOVEXATTR",
    /// Check permissions.
    Access "ACCESS",
    /// Find data or holes.
    Lseek "LSEEK",
    /// Make room in a file, or holes.
    Fallocate "FALLOCATE",
    /// Copy from file to file.
    CopyFileRange "COPY_FILE_RANGE",
    /// Control a device.
    Ioctl "IOCTL",
    /// Wait for readiness.
    Poll "POLL",
}

/// Counts requests by opcode.
#[derive(Debug)]
pub struct Counters {
    counts: Vec<AtomicU64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: NAMES.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Counters {
    pub(crate) fn add(&self, opcode: Opcode) {
        self.counts[opcode as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts that are not zero.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        NAMES
            .iter()
            .zip(&self.counts)
            .map(|(name, count)| ((*name).to_owned(), count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_opcode_counts_under_its_own_name() {
        let counters = Counters::default();
        for opcode in [
            Opcode::Lookup,
            Opcode::Readdirplus,
            Opcode::Readdirplus,
            Opcode::Poll,
        ] {
            counters.add(opcode);
        }
        let expected = [("LOOKUP", 1), ("POLL", 1), ("READDIRPLUS", 2)];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(counters.snapshot(), BTreeMap::from(expected));
    }
}
