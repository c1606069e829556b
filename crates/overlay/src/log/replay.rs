//! Reading the log at the start.
//!
//! What follows the first damaged record is dropped only if nothing that counts can be there:
//! - After the death of a process everything that was acknowledged is in the page cache, in order.
//!   So the damage is a torn last write if no whole record follows it, else it is rot.
//! - After a power loss (the machine booted since) pages may have reached the disk in any order. What
//!   follows was promised only if a later record says that the damaged one was durable already.
//!
//! Rot is an error with its place: dropping what follows would lose changes in silence.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_common::PathError;
use lfsfs_common::durable::{is_temp_file_name, sync_dir};

use crate::Map;
use crate::durability::Durability;
use crate::error::{Damage, OverlayError};
use crate::extent::Location;
use crate::log::checkpoint_file;
use crate::log::files::{self, Identity};
use crate::log::record::{self, Record};
use crate::log::segment::{self, Segment, SegmentHeader, SegmentKind};
use crate::operation::Operation;
use crate::state::{State, carries_data};

/// What replaying the log gave.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) state: State,
    pub(crate) segments: Map<u32, Arc<Segment>>,
    /// All segments: the process that wrote them may not have synced them.
    pub(crate) unsynced: BTreeMap<u32, Arc<Segment>>,
    pub(crate) next_number: u32,
    pub(crate) next_sequence: u64,
}

/// The files of the log in a directory.
#[derive(Debug, Default)]
struct Listing {
    segments: Vec<u32>,
    checkpoints: Vec<u32>,
}

/// Where the log stopped making sense.
#[derive(Debug)]
struct Break {
    /// Position in the list of segments.
    index: usize,
    path: PathBuf,
    position: u64,
    header: Option<SegmentHeader>,
    /// The record that should have been there.
    sequence: u64,
}

/// Reads the whole log, repairs a torn end, and sweeps what is not used.
pub(crate) fn replay(
    dir: &Path,
    identity: &Identity,
    boot: [u8; 16],
    durability: Durability,
) -> Result<Replayed, OverlayError> {
    let current = files::read_current(dir)?;
    let listing = list(dir)?;
    let (mut state, mut sequence) = match current {
        None => (State::new(identity.source.base), 1),
        Some(number) => {
            let path = dir.join(SegmentKind::Checkpoint.file_name(number));
            checkpoint_file::read(&path, (number, identity.overlay), identity.source.base)?
        }
    };
    let after: Vec<_> = listing
        .segments
        .iter()
        .copied()
        .filter(|number| Some(*number) > current)
        .collect();
    let mut kept = after.len();
    for (index, number) in after.iter().enumerate() {
        let replay = SegmentReplay {
            dir,
            identity,
            number: *number,
            index,
        };
        if let Some(broken) = replay.run(&mut state, &mut sequence)? {
            check_droppable(dir, &after, &broken, boot)?;
            kept = drop_from(dir, &after, &broken, durability)?;
            break;
        }
    }
    state.reopen();
    let unsynced = open_all(dir, &after[..kept])?;
    let segments = sweep(dir, &listing, current, &state, &unsynced)?;
    let unsynced = segments
        .iter()
        .map(|(number, segment)| (*number, segment.clone()))
        .collect();
    let used = listing
        .segments
        .iter()
        .chain(&listing.checkpoints)
        .chain(&current);
    let next_number = used.max().map_or(1, |number| number + 1);
    Ok(Replayed {
        state,
        segments,
        unsynced,
        next_number,
        next_sequence: sequence,
    })
}

struct SegmentReplay<'a> {
    dir: &'a Path,
    identity: &'a Identity,
    number: u32,
    index: usize,
}

impl SegmentReplay<'_> {
    /// Applies the records of one segment, up to the first that is damaged.
    fn run(&self, state: &mut State, sequence: &mut u64) -> Result<Option<Break>, OverlayError> {
        let path = self
            .dir
            .join(SegmentKind::Operations.file_name(self.number));
        let bytes = fs::read(&path).map_err(PathError::wrap("read", &path))?;
        let header = SegmentHeader::parse(&bytes).filter(|it| {
            it.number == self.number
                && it.kind == SegmentKind::Operations
                && it.overlay == self.identity.overlay
        });
        let stop = |position, sequence| Break {
            index: self.index,
            path: path.clone(),
            position,
            header,
            sequence,
        };
        let Some(header) = header else {
            return Ok(Some(stop(0, *sequence)));
        };
        let mut at = segment::HEADER_LEN;
        while at < bytes.len() {
            let record = record::parse(header.seed(), &bytes[at..]);
            let Some(record) = record.filter(|record| record.sequence == *sequence) else {
                return Ok(Some(stop(at as u64, *sequence)));
            };
            apply(state, &record, self.number, at).map_err(|problem| OverlayError::Damaged {
                path: path.clone(),
                position: at as u64,
                problem,
            })?;
            at += record.len();
            *sequence += 1;
        }
        Ok(None)
    }
}

fn apply(state: &mut State, record: &Record<'_>, segment: u32, at: usize) -> Result<(), Damage> {
    let operation = Operation::decode(record.operation)?;
    let number = |value: usize| u32::try_from(value).map_err(|_| Damage::Record);
    let location = Location {
        segment,
        record: number(at)?,
        record_len: number(record.len())?,
        skip: number(record.data_at())?,
    };
    let data = carries_data(&operation).then_some((location, record.data.len() as u64));
    state.change(&operation, data)?;
    Ok(())
}

/// Fails if something that counts may follow the damage.
fn check_droppable(
    dir: &Path,
    segments: &[u32],
    broken: &Break,
    boot: [u8; 16],
) -> Result<(), OverlayError> {
    // Without a header it is not known when it was written: as strict as can be.
    let same_boot = broken.header.is_none_or(|header| header.boot == boot);
    let counts = |record: &Record<'_>| {
        record.sequence >= broken.sequence && (same_boot || record.synced >= broken.sequence)
    };
    for (index, number) in segments.iter().enumerate().skip(broken.index) {
        let path = dir.join(SegmentKind::Operations.file_name(*number));
        let bytes = fs::read(&path).map_err(PathError::wrap("read", &path))?;
        let (seed, from) = if index == broken.index {
            let Some(header) = broken.header else {
                // Torn when it was begun, unless it has more than a header.
                if bytes.len() > segment::HEADER_LEN {
                    return Err(rot(broken, Damage::Header));
                }
                continue;
            };
            (header.seed(), usize::try_from(broken.position).unwrap_or(0))
        } else {
            match SegmentHeader::parse(&bytes) {
                Some(header) => (header.seed(), segment::HEADER_LEN),
                None => continue,
            }
        };
        let found = (from..bytes.len())
            .any(|at| record::parse(seed, &bytes[at..]).is_some_and(|record| counts(&record)));
        if found {
            return Err(rot(broken, Damage::Record));
        }
    }
    Ok(())
}

fn rot(broken: &Break, problem: Damage) -> OverlayError {
    OverlayError::Damaged {
        path: broken.path.clone(),
        position: broken.position,
        problem,
    }
}

/// Cuts the log where it is torn, durably. Returns how many segments are left.
fn drop_from(
    dir: &Path,
    segments: &[u32],
    broken: &Break,
    durability: Durability,
) -> Result<usize, OverlayError> {
    tracing::warn!(
        path = %broken.path.display(), position = broken.position,
        "the overlay log ends in a torn write, which is cut off"
    );
    // The last first, so that a crash in between leaves no gap.
    let keep = if broken.header.is_some() {
        broken.index + 1
    } else {
        broken.index
    };
    for number in segments[keep..].iter().rev() {
        remove(&dir.join(SegmentKind::Operations.file_name(*number)))?;
    }
    if broken.header.is_some() {
        let path = &broken.path;
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(PathError::wrap("open", path))?;
        file.set_len(broken.position)
            .map_err(PathError::wrap("cut", path))?;
        if durability == Durability::Synced {
            file.sync_all().map_err(PathError::wrap("sync", path))?;
        }
    }
    if durability == Durability::Synced {
        sync_dir(dir)?;
    }
    Ok(keep)
}

fn open_all(dir: &Path, numbers: &[u32]) -> Result<BTreeMap<u32, Arc<Segment>>, OverlayError> {
    let open = |number: &u32| Ok((*number, Arc::new(Segment::open(dir, *number)?)));
    numbers.iter().map(open).collect()
}

/// Opens the segments that hold data only, and removes what an interrupted compaction left.
fn sweep(
    dir: &Path,
    listing: &Listing,
    current: Option<u32>,
    state: &State,
    replayed: &BTreeMap<u32, Arc<Segment>>,
) -> Result<Map<u32, Arc<Segment>>, OverlayError> {
    let mut segments: Map<_, _> = replayed
        .iter()
        .map(|(number, segment)| (*number, segment.clone()))
        .collect();
    let used = state.segments_in_use();
    for number in used.keys().filter(|number| !replayed.contains_key(*number)) {
        segments.insert_mut(*number, Arc::new(Segment::open(dir, *number)?));
    }
    for number in listing
        .segments
        .iter()
        .filter(|number| Some(**number) < current)
    {
        if !used.contains_key(number) {
            remove(&dir.join(SegmentKind::Operations.file_name(*number)))?;
        }
    }
    for number in listing
        .checkpoints
        .iter()
        .filter(|number| Some(**number) != current)
    {
        remove(&dir.join(SegmentKind::Checkpoint.file_name(*number)))?;
    }
    Ok(segments)
}

/// Lists the files of the log and removes what interrupted writes of small files left.
fn list(dir: &Path) -> Result<Listing, OverlayError> {
    let mut listing = Listing::default();
    let entries = fs::read_dir(dir).map_err(PathError::wrap("list", dir))?;
    for entry in entries {
        let name = entry.map_err(PathError::wrap("list", dir))?.file_name();
        if is_temp_file_name(&name) {
            remove(&dir.join(&name))?;
        }
        let Some(name) = name.to_str() else { continue };
        if let Some(number) = number_of(name, ".log") {
            listing.segments.push(number);
        } else if let Some(number) = number_of(name, ".checkpoint") {
            listing.checkpoints.push(number);
        }
    }
    listing.segments.sort_unstable();
    Ok(listing)
}

fn number_of(name: &str, ending: &str) -> Option<u32> {
    let digits = name.strip_suffix(ending)?;
    let number = digits.parse().ok()?;
    (format!("{number:08}") == digits).then_some(number)
}

fn remove(path: &Path) -> Result<(), PathError> {
    fs::remove_file(path).map_err(PathError::wrap("remove", path))
}
