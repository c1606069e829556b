//! Which chunks are rewritten.
//!
//! Two kinds of chunks are: those in which little of what was put into them is still needed, and small ones, if so many
//! are there that far fewer come of them. A rewriting must end: each either frees a good part of the bytes that it
//! reads, or leaves at most half as many chunks, of which none is smaller than twice the largest of before. So no content
//! is gathered more often than its chunk can double.
//!
//! Pure: what is known of chunks goes in, what is to be gathered comes out.

use std::collections::BTreeMap;

use lfsfs_types::{ChunkId, ProjectId};

/// So many small chunks of one project are gathered at least.
const SMALL_MIN: usize = 8;
/// How many times as many chunks go as come of them, at least.
const FEWER: u64 = 2;
/// A chunk is rewritten if less than one part in so many of it is needed.
const NEEDED_PARTS: u64 = 2;
/// Chunks are rewritten while those of a project have more than so many percent of what is needed of them.
const STORED_PERCENT_MAX: u64 = 120;

/// A chunk, and how much of it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkUse {
    /// The chunk.
    pub chunk: ChunkId,
    /// The project for which it was stored, if one is known.
    pub project: Option<ProjectId>,
    /// How many nodes should have it; 0 for as many as the cluster says.
    pub wanted: u32,
    /// How many have it.
    pub copies: u64,
    /// Its bytes.
    pub len: u64,
    /// Bytes of the contents that were put into it, not compressed; 0 if that is not known.
    pub raw_len: u64,
    /// Bytes of the contents that have their place in it, not compressed.
    pub needed_len: u64,
    /// How many contents these are.
    pub needed: u64,
}

impl ChunkUse {
    /// Returns how many bytes were put into it. Where that is not known, they are at least as many as were stored.
    fn raw_len(&self) -> u64 {
        let known = if self.raw_len == 0 {
            self.len
        } else {
            self.raw_len
        };
        known.max(self.needed_len).max(1)
    }

    /// Returns the bytes of all of its copies.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.len.saturating_mul(self.copies)
    }

    fn is_mostly_unneeded(&self) -> bool {
        self.needed_len.saturating_mul(NEEDED_PARTS) < self.raw_len()
    }

    /// Returns about how many bytes it would have with only what is needed.
    fn needed_stored(&self) -> u64 {
        scaled(self.len, self.needed_len, self.raw_len())
    }
}

/// Returns `len * part / whole`.
fn scaled(len: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(len) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// What bounds a rewriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactLimits {
    /// Bytes of a new chunk.
    pub chunk_len: u64,
    /// Contents of chunks that are gathered together: they are in memory.
    pub contents_max: u64,
}

/// Chunks of one project whose contents go into new ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gathering {
    /// The project for which they were stored.
    pub project: Option<ProjectId>,
    /// How many nodes should have the new ones, at least; 0 for as many as the cluster says.
    pub wanted: u32,
    /// The chunks, in the order of their ids.
    pub chunks: Vec<ChunkUse>,
    /// How many contents are needed of them.
    pub contents: u64,
    /// Bytes of all of their copies.
    pub stored: u64,
    /// About how many of these bytes come back.
    pub returned: u64,
}

impl Gathering {
    fn add(&mut self, chunk: &ChunkUse) {
        self.project = chunk.project;
        self.wanted = self.wanted.max(chunk.wanted);
        self.chunks.push(chunk.clone());
        self.contents += chunk.needed;
        self.stored += chunk.stored();
        self.returned += (chunk.len - chunk.needed_stored().min(chunk.len)) * chunk.copies;
    }
}

/// Returns what is to be gathered of these chunks.
#[must_use]
pub fn gatherings(chunks: Vec<ChunkUse>, limits: &CompactLimits) -> Vec<Gathering> {
    let mut projects: BTreeMap<Option<ProjectId>, Vec<ChunkUse>> = BTreeMap::new();
    // What nothing is needed of goes as it is; what no node has cannot be read.
    for chunk in chunks
        .into_iter()
        .filter(|it| it.needed > 0 && it.copies > 0)
    {
        projects.entry(chunk.project).or_default().push(chunk);
    }
    let chosen = projects.into_values().map(|all| chosen(all, limits));
    chosen.flat_map(|chosen| divided(&chosen, limits)).collect()
}

/// Chooses those chunks of one project that are rewritten, in the order of their ids.
fn chosen(all: Vec<ChunkUse>, limits: &CompactLimits) -> Vec<ChunkUse> {
    let (mut chosen, full) = unneeded_and_others(all);
    let is_small = |it: &ChunkUse| it.len < limits.chunk_len / 2;
    let small = full.into_iter().filter(is_small).collect();
    let small = worth_gathering(small, &chosen, limits);
    chosen.extend(small);
    chosen.sort_by_key(|it| it.chunk);
    chosen
}

/// Divides chunks into those of which so little is needed that they are rewritten, and the others.
fn unneeded_and_others(mut all: Vec<ChunkUse>) -> (Vec<ChunkUse>, Vec<ChunkUse>) {
    // The one of which the least is needed comes last.
    let share = |it: &ChunkUse| scaled(1 << 20, it.needed_len, it.raw_len());
    all.sort_by_key(|it| (std::cmp::Reverse(share(it)), it.chunk));
    let needed: u64 = all.iter().map(|it| it.needed_len).sum();
    let mut stored: u64 = all.iter().map(ChunkUse::raw_len).sum();
    let mut rewritten = Vec::new();
    while let Some(last) = all.last() {
        let is_too_much = stored > scaled(needed, STORED_PERCENT_MAX, 100);
        if !last.is_mostly_unneeded() && !is_too_much {
            break;
        }
        stored -= last.raw_len() - last.needed_len;
        rewritten.extend(all.pop());
    }
    (rewritten, all)
}

/// Returns those of the small chunks that are worth gathering, with others that are rewritten in any case.
fn worth_gathering(
    mut small: Vec<ChunkUse>,
    others: &[ChunkUse],
    limits: &CompactLimits,
) -> Vec<ChunkUse> {
    small.sort_by_key(|it| (it.needed_stored(), it.chunk));
    let stored = |all: &[ChunkUse]| all.iter().map(ChunkUse::needed_stored).sum::<u64>();
    let mut len = stored(others) + stored(&small);
    // One that is longer than all the others together would be written again for little.
    while let Some(longest) = small.last().map(ChunkUse::needed_stored)
        && longest > len - longest
    {
        len -= longest;
        small.pop();
    }
    let count = small.len() + others.len();
    let new_chunks = len.div_ceil(limits.chunk_len.max(1)).max(1);
    if count < SMALL_MIN || new_chunks * FEWER > count as u64 {
        return Vec::new();
    }
    small
}

/// Divides what is gathered so that the contents of each part fit into memory. A chunk that has more is a part of its
/// own.
fn divided(chosen: &[ChunkUse], limits: &CompactLimits) -> Vec<Gathering> {
    let mut parts: Vec<Gathering> = Vec::new();
    for chunk in chosen {
        match parts.last_mut() {
            Some(part) if part.contents + chunk.needed <= limits.contents_max => part.add(chunk),
            _ => {
                let mut part = Gathering::default();
                part.add(chunk);
                parts.push(part);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LIMITS: CompactLimits = CompactLimits {
        chunk_len: 8 * MIB,
        contents_max: 1000,
    };

    /// A chunk that compresses to half, with so many percent of it needed.
    fn chunk(number: u8, len: u64, percent: u64) -> ChunkUse {
        ChunkUse {
            chunk: ChunkId([number; 32]),
            project: Some(ProjectId([1; 16])),
            wanted: 0,
            copies: 1,
            len,
            raw_len: 2 * len,
            needed_len: 2 * len * percent / 100,
            needed: u64::from(percent > 0),
        }
    }

    fn numbers(chunks: Vec<ChunkUse>) -> Vec<u8> {
        let gathered = gatherings(chunks, &LIMITS).into_iter();
        let chunks = gathered.flat_map(|it| it.chunks);
        chunks.map(|it| it.chunk.0[0]).collect()
    }

    #[test]
    fn chunks_of_which_less_than_half_is_needed_are_rewritten() {
        let chunks = || vec![chunk(1, 8 * MIB, 49), chunk(2, 800 * MIB, 100)];
        assert_eq!(numbers(chunks()), [1]);
        let half = vec![chunk(1, 8 * MIB, 50), chunk(2, 800 * MIB, 100)];
        assert_eq!(numbers(half), []);
        let none = vec![chunk(1, 8 * MIB, 0), chunk(2, 800 * MIB, 100)];
        assert_eq!(numbers(none), [], "it goes as it is");
        let away = ChunkUse {
            copies: 0,
            ..chunk(1, 8 * MIB, 10)
        };
        assert_eq!(numbers(vec![away]), [], "it cannot be read");
        let gathered = gatherings(chunks(), &LIMITS);
        assert_eq!(gathered[0].returned, 8 * MIB - 8 * MIB * 49 / 100);
    }

    #[test]
    fn a_project_stores_little_more_than_it_needs() {
        let chunks = vec![
            chunk(1, 8 * MIB, 90),
            chunk(2, 8 * MIB, 70),
            chunk(3, 8 * MIB, 60),
            chunk(4, 8 * MIB, 95),
        ];
        assert_eq!(numbers(chunks), [3]);
        let near = (1..=10).map(|number| chunk(number, 8 * MIB, 84)).collect();
        assert_eq!(numbers(near), []);
    }

    #[test]
    fn small_chunks_are_gathered_if_there_are_many() {
        let small = |count| (1..=count).map(|number| chunk(number, 1400, 100)).collect();
        assert_eq!(numbers(small(7)), []);
        assert_eq!(numbers(small(8)), [1, 2, 3, 4, 5, 6, 7, 8]);
        let other = |number| ChunkUse {
            project: Some(ProjectId([number; 16])),
            ..chunk(number, 1400, 100)
        };
        assert_eq!(numbers((1..=20).map(other).collect()), [], "of projects");
        let large = (1..=20).map(|number| chunk(number, 4 * MIB, 100));
        assert_eq!(numbers(large.collect()), [], "not small");
    }

    /// A commit of a few files after each collection: what was gathered is written again each time that it doubles.
    #[test]
    fn what_was_gathered_is_not_gathered_each_time() {
        let mut chunks: Vec<ChunkUse> = Vec::new();
        let (mut written, mut most) = (0, 0);
        let commits: u64 = 2000;
        for number in 0..commits {
            let mut new = chunk(0, 1400, 100);
            new.chunk.0[..8].copy_from_slice(&number.to_be_bytes());
            chunks.push(new);
            for gathered in gatherings(chunks.clone(), &LIMITS) {
                chunks.retain(|it| !gathered.chunks.contains(it));
                let mut new = chunk(1, gathered.stored, 100);
                new.chunk.0[..8].copy_from_slice(&number.to_be_bytes());
                new.needed = gathered.contents;
                chunks.push(new);
                written += gathered.stored;
            }
            most = most.max(chunks.len());
        }
        assert!(most < 24, "{most} chunks");
        assert!(written < 1400 * commits * 12, "{written} bytes");
        let again = gatherings(chunks.clone(), &LIMITS);
        assert_eq!(again, [], "nothing changed");
    }

    #[test]
    fn rewriting_comes_to_an_end() {
        for percent in [1, 20, 49, 60, 83, 84, 100] {
            let mut chunks: Vec<_> = (1..=40).map(|it| chunk(it, 100_000, percent)).collect();
            for round in 0.. {
                assert!(round < 3, "{percent} percent");
                let gathered = gatherings(chunks.clone(), &LIMITS);
                let Some(first) = gathered.first() else { break };
                chunks.retain(|it| !first.chunks.contains(it));
                let len = first.stored - first.returned;
                chunks.push(ChunkUse {
                    needed: first.contents,
                    ..chunk(100 + round, len, 100)
                });
            }
        }
    }

    #[test]
    fn what_is_gathered_fits_into_memory_and_keeps_its_copies() {
        let many = |number| ChunkUse {
            needed: 400,
            wanted: u32::from(number),
            ..chunk(number, 1400, 100)
        };
        let gathered = gatherings((1..=9).map(many).collect(), &LIMITS);
        let parts: Vec<_> = gathered
            .iter()
            .map(|it| (it.chunks.len(), it.contents, it.wanted))
            .collect();
        let expected = [
            (2, 800, 2),
            (2, 800, 4),
            (2, 800, 6),
            (2, 800, 8),
            (1, 400, 9),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn chunks_of_earlier_programs_are_judged_by_their_length() {
        let unknown = |needed_len| ChunkUse {
            raw_len: 0,
            needed_len,
            ..chunk(1, MIB, 100)
        };
        let other = || chunk(2, 80 * MIB, 100);
        assert_eq!(numbers(vec![unknown(MIB / 3), other()]), [1]);
        assert_eq!(numbers(vec![unknown(3 * MIB), other()]), []);
    }
}
