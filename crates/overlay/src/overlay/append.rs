//! Making changes: in the log first, then in the state that readers see.
//!
//! Most changes are simple ones of one object, of which it is known beforehand that they can be made
//! ([`State::surely_takes`]). They go to the log and are then made in the state itself, which copies nothing
//! unless a reader has the state. All others are tried on a copy of the state, which shares what does not
//! change; the copy takes the place of the state when the log has them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{ApplyError, OverlayError};
use crate::extent::Location;
use crate::log::record::{DATA_LEN_MAX, HEADER_LEN, RECORD_LEN_MAX, Record};
use crate::log::segment::Segment;
use crate::log::writer::LogWriter;
use crate::operation::{Change, Operation};
use crate::overlay::{Overlay, View};
use crate::state::{State, carries_data};

/// Most bytes of one call's records; places in a segment have 32 bits.
const BATCH_LEN_MAX: u64 = 1024 * 1024 * 1024;

/// Records that are ready to be written.
struct Batch<'a> {
    records: Vec<Part<'a>>,
    bytes: Vec<u8>,
    segment: Arc<Segment>,
}

/// An operation, a part of its data that fits a record, and where that will lie.
struct Part<'a> {
    operation: Cow<'a, Operation>,
    data: &'a [u8],
    place: Option<(Location, u64)>,
}

impl Overlay {
    /// Makes changes that may turn out to be impossible, or not to be liked by `accept`.
    pub(super) fn append<R, E: From<OverlayError>>(
        &self,
        writer: &mut LogWriter,
        view: Arc<View>,
        changes: &[Change<'_>],
        accept: impl FnOnce(&State, &State) -> Result<R, E>,
    ) -> Result<R, E> {
        // What replay finds after another process's records must not meet its leftovers.
        let reopen = (!writer.begun).then(|| Change::from(Operation::Reopen {}));
        let all = reopen.iter().chain(changes);
        let batch = Batch::new(writer, all)?;
        let mut next = (*view).clone();
        batch.apply(&mut next).map_err(OverlayError::from)?;
        let accepted = accept(&view.state, &next.state)?;
        writer.append(&batch.bytes, batch.records.len() as u64)?;
        writer.begun = true;
        *self.shown() = Arc::new(next);
        self.touched.note(changes);
        if changes.iter().any(is_share) {
            self.may_share.store(true, Ordering::Release);
        }
        Ok(accepted)
    }

    /// Makes changes that are known to be possible.
    pub(super) fn append_in_place(
        &self,
        writer: &mut LogWriter,
        view: Arc<View>,
        changes: &[Change<'_>],
    ) -> Result<(), OverlayError> {
        let batch = Batch::new(writer, changes)?;
        // This was the writer's own look at the state: without it there may be no other.
        drop(view);
        writer.append(&batch.bytes, batch.records.len() as u64)?;
        let applied = batch.apply(Arc::make_mut(&mut self.shown()));
        self.touched.note(changes);
        Ok(applied.inspect_err(|_| writer.give_up())?)
    }
}

fn is_share(change: &Change<'_>) -> bool {
    matches!(change.operation, Operation::Share { .. })
}

impl<'a> Batch<'a> {
    /// Puts changes into the form of the log; nothing is written.
    fn new(
        writer: &mut LogWriter,
        changes: impl IntoIterator<Item = &'a Change<'a>>,
    ) -> Result<Self, OverlayError> {
        let mut records: Vec<_> = changes.into_iter().flat_map(parts).collect();
        let operations: Vec<_> = records.iter().map(|part| part.operation.encode()).collect();
        let lens = records.iter().zip(&operations);
        let lens = lens.map(|(part, bytes)| HEADER_LEN + bytes.len() + part.data.len());
        let (total, longest) = lens.fold((0, 0), |(sum, max), len| (sum + len, len.max(max)));
        if longest > RECORD_LEN_MAX || total as u64 > BATCH_LEN_MAX {
            return Err(OverlayError::TooLarge { len: total });
        }
        let (segment, position) = writer.prepare(total as u64)?;
        let mut bytes = Vec::with_capacity(total);
        let numbered = (writer.next_sequence..).zip(&mut records).zip(&operations);
        for ((sequence, part), operation) in numbered {
            let record = Record {
                sequence,
                synced: writer.synced,
                operation,
                data: part.data,
            };
            part.place = part.place(&segment, position + bytes.len() as u64, &record)?;
            record.put(segment.seed, &mut bytes);
        }
        Ok(Self {
            records,
            bytes,
            segment,
        })
    }

    /// Makes the changes in a view.
    fn apply(&self, view: &mut View) -> Result<(), ApplyError> {
        let Segment { number, .. } = *self.segment;
        if !view.segments.contains_key(&number) {
            view.segments.insert_mut(number, Arc::clone(&self.segment));
        }
        for part in &self.records {
            view.state.change(&part.operation, part.place)?;
        }
        Ok(())
    }
}

impl Part<'_> {
    /// Returns where the data will lie, and how long it is.
    fn place(
        &self,
        segment: &Segment,
        position: u64,
        record: &Record<'_>,
    ) -> Result<Option<(Location, u64)>, OverlayError> {
        if !carries_data(&self.operation) {
            // Data that has no place is the caller's mistake, not to be dropped in silence.
            let stray = (!self.data.is_empty()).then_some(ApplyError::Data);
            return stray.map_or(Ok(None), |error| Err(error.into()));
        }
        let too_large = |_| OverlayError::TooLarge { len: record.len() };
        let location = Location {
            segment: segment.number,
            record: u32::try_from(position).map_err(too_large)?,
            record_len: u32::try_from(record.len()).map_err(too_large)?,
            skip: u32::try_from(record.data_at()).map_err(too_large)?,
        };
        Ok(Some((location, self.data.len() as u64)))
    }
}

/// Returns the parts of a change: a long write becomes several records, which only a crash can part.
fn parts<'a>(change: &'a Change<'a>) -> Vec<Part<'a>> {
    let part = |operation, data| Part {
        operation,
        data,
        place: None,
    };
    match change.operation {
        Operation::Write {
            ino,
            offset,
            time,
            mode,
        } if change.data.len() > DATA_LEN_MAX => {
            let write = |offset| Operation::Write {
                ino,
                offset,
                time,
                mode,
            };
            let writes = (offset..).step_by(DATA_LEN_MAX).map(write);
            let data = change.data.chunks(DATA_LEN_MAX);
            let writes = writes.zip(data);
            let parts = writes.map(|(write, data)| part(Cow::Owned(write), data));
            parts.collect()
        }
        _ => vec![part(Cow::Borrowed(&change.operation), change.data)],
    }
}
