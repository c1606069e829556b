//! Blocks of entries: in each the heads first, then the names, and no name crosses a block.

use crate::BLOCK_LEN;

const HEAD_LEN: usize = 12;

/// An entry of a directory, `.` and `..` among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dirent<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) inode: u64,
    pub(crate) file_type: u8,
}

/// Returns how many bytes the entries take: whole blocks, and what the last one holds.
pub(crate) fn len_of<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let (mut full, mut used) = (0, 0);
    for name in names {
        let len = HEAD_LEN + name.len();
        if used + len > BLOCK_LEN {
            full += BLOCK_LEN as u64;
            used = 0;
        }
        used += len;
    }
    full + used as u64
}

/// Returns the blocks of entries, which are in the order of their names; the last one without its end.
pub(crate) fn encode(entries: &[Dirent<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(BLOCK_LEN), 0);
        let (block, behind) = rest.split_at(fitting(rest));
        add_block(&mut bytes, block);
        rest = behind;
    }
    bytes
}

/// Returns how many entries fit into one block.
fn fitting(entries: &[Dirent<'_>]) -> usize {
    let mut used = 0;
    let fits = |entry: &&Dirent<'_>| {
        used += HEAD_LEN + entry.name.len();
        used <= BLOCK_LEN
    };
    entries.iter().take_while(fits).count()
}

fn add_block(bytes: &mut Vec<u8>, entries: &[Dirent<'_>]) {
    let mut name_at = HEAD_LEN * entries.len();
    for entry in entries {
        bytes.extend_from_slice(&entry.inode.to_le_bytes());
        // A block has 4,096 bytes.
        bytes.extend_from_slice(&u16::try_from(name_at).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&[entry.file_type, 0]);
        name_at += entry.name.len();
    }
    for entry in entries {
        bytes.extend_from_slice(entry.name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_length_is_known_before_the_bytes(names in vec(vec(1_u8.., 1..=255), 0..200)) {
            let entries: Vec<_> = names
                .iter()
                .map(|name| Dirent { name, inode: 1, file_type: 1 })
                .collect();
            let bytes = encode(&entries);
            prop_assert_eq!(bytes.len() as u64, len_of(names.iter().map(Vec::as_slice)));
            prop_assert_eq!(decode(&bytes), names);
        }
    }

    /// Reads names as the kernel does.
    fn decode(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for block in bytes.chunks(BLOCK_LEN) {
            let name_at = |entry: usize| {
                let at = entry * HEAD_LEN + 8;
                usize::from(u16::from_le_bytes([block[at], block[at + 1]]))
            };
            let count = name_at(0) / HEAD_LEN;
            for entry in 0..count {
                let end = if entry + 1 < count {
                    name_at(entry + 1)
                } else {
                    block.len()
                };
                let name = &block[name_at(entry)..end];
                let end = name.iter().position(|byte| *byte == 0);
                names.push(name[..end.unwrap_or(name.len())].to_vec());
            }
        }
        names
    }
}
