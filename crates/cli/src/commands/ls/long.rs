//! The columns of a long listing.

use indicatif::HumanBytes;
use lfsfs_types::{Kind, Record};

use crate::output::{Clock, TimeStyle};
use crate::owners::Owners;

/// Columns as wide as the widest entry so far.
#[derive(Debug)]
pub(super) struct Long {
    is_human: bool,
    owners: Owners,
    clock: Clock,
    /// Of links, user, group, size and time.
    widths: [usize; 5],
}

impl Long {
    pub(super) fn new(is_human: bool, is_numeric: bool, time: TimeStyle) -> Self {
        Self {
            is_human,
            owners: Owners::new(is_numeric),
            clock: Clock::new(time),
            widths: [0; 5],
        }
    }

    /// Makes the columns wide enough for these entries. They never become narrower, so one
    /// directory stays straight.
    pub(super) fn fit<'a>(&mut self, records: impl Iterator<Item = &'a Record>) {
        for record in records {
            let fields = self.fields(record);
            for (width, field) in self.widths.iter_mut().zip(&fields) {
                *width = (*width).max(field.chars().count());
            }
        }
    }

    /// Returns what stands before the path.
    pub(super) fn columns(&mut self, record: &Record) -> String {
        let [links, user, group, size, time] = self.fields(record);
        let [a, b, c, d, e] = self.widths;
        let mode = mode(&record.kind, record.mode);
        format!("{mode} {links:>a$} {user:<b$} {group:<c$} {size:>d$} {time:>e$} ")
    }

    fn fields(&mut self, record: &Record) -> [String; 5] {
        let links = record.link.map_or(1, |link| link.nlink);
        let size = if self.is_human {
            HumanBytes(record.size()).to_string()
        } else {
            record.size().to_string()
        };
        [
            links.to_string(),
            self.owners.user(record.uid),
            self.owners.group(record.gid),
            size,
            self.clock.show(record.mtime),
        ]
    }
}

/// Returns kind and mode as ls(1) shows them.
fn mode(kind: &Kind, mode: u32) -> String {
    let mut text = String::from(letter(kind));
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (false, false) => '-',
            (true, false) => 'x',
            (true, true) => set,
            (false, true) => set.to_ascii_uppercase(),
        });
    }
    text
}

const fn letter(kind: &Kind) -> char {
    match kind {
        Kind::File { .. } => '-',
        Kind::Directory { .. } => 'd',
        Kind::Symlink { .. } => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::BlockDevice { .. } => 'b',
        Kind::CharDevice { .. } => 'c',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_ls() {
        for (bits, text) in [
            (0o644, "prw-r--r--"),
            (0o7777, "prwsrwsrwt"),
            (0o7000, "p--S--S--T"),
            (0o751, "prwxr-x--x"),
        ] {
            assert_eq!(mode(&Kind::Fifo, bits), text);
        }
        assert_eq!(mode(&Kind::Socket, 0o1777), "srwxrwxrwt");
    }
}
