//! The content of a file of the overlay: which bytes come from the log, which from the base.
//!
//! Owns the extent map. It reads nothing: a caller that wants bytes gets [`Piece`]s and fetches them.

mod extents;

use std::sync::Arc;

use lfsfs_types::ContentId;

use self::extents::Extents;
use crate::base::Base;
use crate::field::struct_field;

/// Where in the log the bytes of an extent lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The segment.
    pub segment: u32,
    /// Where the log record begins in it.
    pub record: u32,
    /// The length of the whole record, which is what a read fetches and verifies.
    pub record_len: u32,
    /// Where the first byte of the extent is, counted from the beginning of the record.
    pub skip: u32,
}
struct_field!(Location {
    segment,
    record,
    record_len,
    skip
});

impl Location {
    /// Returns true if so many bytes from here on lie within the record.
    pub(crate) fn holds(self, len: u64) -> bool {
        let end = u64::from(self.skip).checked_add(len);
        end.is_some_and(|end| end <= u64::from(self.record_len))
    }

    /// Returns where in the segment it begins.
    pub(crate) fn start(self) -> u64 {
        u64::from(self.record) + u64::from(self.skip)
    }

    pub(crate) fn advanced(self, by: u64) -> Self {
        let by = u32::try_from(by).expect("an extent lies within one log record");
        Self {
            skip: self.skip + by,
            ..self
        }
    }
}

/// A content of a version of which a file has a part, wherever that is in the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedContent {
    /// Names its bytes.
    pub content: ContentId,
    /// How many there are.
    pub size: u64,
    /// The base of the overlay when the part was taken. As long as it is that, the version has the content.
    pub base: Base,
}
struct_field!(SharedContent {
    content,
    size,
    base
});

/// Where the bytes of an extent come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtentSource {
    /// They are zeros.
    Zeros,
    /// They lie in the log.
    Log(Location),
    /// They are those of a content from an offset on.
    Content(Arc<SharedContent>, u64),
}

impl ExtentSource {
    fn advanced(&self, by: u64) -> Self {
        match self {
            Self::Zeros => Self::Zeros,
            Self::Log(location) => Self::Log(location.advanced(by)),
            Self::Content(content, offset) => Self::Content(Arc::clone(content), offset + by),
        }
    }

    /// Returns true if there are so many bytes.
    fn holds(&self, len: u64) -> bool {
        match self {
            Self::Zeros => true,
            Self::Log(location) => location.holds(len),
            Self::Content(content, offset) => offset
                .checked_add(len)
                .is_some_and(|end| end <= content.size),
        }
    }
}

/// A run of bytes that the overlay says something about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// How many bytes.
    pub len: u64,
    /// Where they come from.
    pub source: ExtentSource,
    /// The generation of the write, which tells what a seal holds from what came after it.
    pub written: u64,
}

impl Extent {
    /// Returns where its bytes lie in the log, if they do.
    #[must_use]
    pub fn location(&self) -> Option<Location> {
        match self.source {
            ExtentSource::Log(location) => Some(location),
            _ => None,
        }
    }

    /// Returns it without its first `len` bytes, if that leaves any.
    #[must_use]
    pub fn tail(&self, len: u64) -> Option<Self> {
        (len < self.len).then(|| self.part(0, len, self.len))
    }

    /// Returns how many of its bytes are in no hole.
    fn data_len(&self) -> u64 {
        match self.source {
            ExtentSource::Zeros => 0,
            _ => self.len,
        }
    }

    /// Returns how many of its bytes lie in the log.
    pub(crate) fn log_len(&self) -> u64 {
        self.location().map_or(0, |_| self.len)
    }

    /// Returns a part of it; it begins at `start` in the file.
    fn part(&self, start: u64, from: u64, to: u64) -> Self {
        Self {
            len: to - from,
            source: self.source.advanced(from - start),
            written: self.written,
        }
    }

    /// Returns a part of it as a piece of the file in which it begins at `start`.
    fn piece(&self, start: u64, from: u64, to: u64) -> Piece {
        Piece {
            offset: from,
            len: to - from,
            source: match self.source.advanced(from - start) {
                ExtentSource::Zeros => PieceSource::Zeros,
                ExtentSource::Log(location) => PieceSource::Log(location),
                ExtentSource::Content(content, offset) => PieceSource::Content(content, offset),
            },
        }
    }
}

/// What a run of bytes of a file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceSource {
    /// Bytes in the log.
    Log(Location),
    /// Bytes of the base's content at the same offset.
    Base,
    /// Bytes of another content of a version, from an offset on.
    Content(Arc<SharedContent>, u64),
    /// Zeros.
    Zeros,
}

/// A run of bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
    /// What they are.
    pub source: PieceSource,
}

/// The shortest length that a file had since a seal: what lay above it then is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shrunk {
    /// How many seals there had been.
    seals: u64,
    len: u64,
}
struct_field!(Shrunk { seals, len });

/// The content of a file.
///
/// Where there is no extent, the base shows through below `base_len`, and zeros above it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileData {
    size: u64,
    base_len: u64,
    shrunk: Shrunk,
    extents: Extents,
    /// How many bytes are no holes. It follows from the rest.
    data_len: u64,
    /// What the remote has, if it has the bytes as they are now.
    uploaded: Option<ContentId>,
}

impl FileData {
    /// Returns the content of a file of the base.
    pub(crate) fn of_base(size: u64) -> Self {
        Self {
            size,
            base_len: size,
            data_len: size,
            ..Self::default()
        }
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the length below which the base shows through where there is no extent.
    #[must_use]
    pub fn base_len(&self) -> u64 {
        self.base_len
    }

    /// Returns how many bytes are no holes: what the log or the base has. A hole is what was made zeros
    /// without a write.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Returns what the file is made of from `offset` on, as far as that is one thing; `None` at its end.
    #[must_use]
    pub fn piece_at(&self, offset: u64) -> Option<Piece> {
        if offset >= self.size {
            return None;
        }
        if let Some((start, extent)) = self.covering(offset) {
            return Some(extent.piece(start, offset, start + extent.len));
        }
        let next = self.extents.from(offset, u64::MAX).next();
        let end = next.map_or(self.size, |(start, _)| start);
        let (end, source) = if offset < self.base_len {
            (end.min(self.base_len), PieceSource::Base)
        } else {
            (end, PieceSource::Zeros)
        };
        Some(Piece {
            offset,
            len: end - offset,
            source,
        })
    }

    /// Returns how many bytes of `[start, end)` are no holes.
    fn data_within(&self, start: u64, end: u64) -> u64 {
        let pieces = self.pieces(start, end.saturating_sub(start));
        let data = pieces
            .iter()
            .filter(|piece| piece.source != PieceSource::Zeros);
        data.map(|piece| piece.len).sum()
    }

    /// Returns true if every byte is that of the base's content, and none is missing but at the end.
    #[must_use]
    pub fn is_base(&self) -> bool {
        self.extents.is_empty() && self.base_len == self.size
    }

    /// Returns by which name the remote has the bytes as they are now, if it does.
    #[must_use]
    pub const fn uploaded(&self) -> Option<ContentId> {
        self.uploaded
    }

    pub(crate) const fn mark_uploaded(&mut self, content: ContentId) {
        self.uploaded = Some(content);
    }

    /// Returns true if nothing was written to one of the two that was not written to the other, so that their bytes
    /// are the same above the same base. Where in the log they lie does not count.
    #[must_use]
    pub fn has_writes_of(&self, other: &Self) -> bool {
        let written = |(offset, extent): (u64, &Extent)| (offset, extent.len, extent.written);
        (self.size, self.base_len) == (other.size, other.base_len)
            && self.extents().map(written).eq(other.extents().map(written))
    }

    /// Returns the extents in the order of their offsets.
    pub fn extents(&self) -> impl Iterator<Item = (u64, &Extent)> {
        self.extents.iter()
    }

    /// Returns the extent that has a byte, if one has it.
    fn covering(&self, offset: u64) -> Option<(u64, &Extent)> {
        let before = self.extents.last_before(offset.saturating_add(1));
        before.filter(|(start, extent)| start + extent.len > offset)
    }

    /// Returns the generation of the write that a byte is of, if an extent has it.
    pub(crate) fn written_at(&self, offset: u64) -> Option<u64> {
        self.covering(offset).map(|(_, extent)| extent.written)
    }

    pub(crate) fn extent_at(&self, offset: u64) -> Option<&Extent> {
        self.extents.get(offset)
    }

    /// Returns what the file is made of from `offset` on, in order and without gaps, up to `len`
    /// bytes or the end of the file.
    #[must_use]
    pub fn pieces(&self, offset: u64, len: u64) -> Vec<Piece> {
        let end = offset.saturating_add(len).min(self.size);
        let mut pieces = Vec::new();
        let mut at = offset;
        for (start, extent) in self.overlapping(offset, end) {
            self.gap(&mut pieces, at, start.max(at));
            let from = start.max(at);
            let to = (start + extent.len).min(end);
            pieces.push(extent.piece(start, from, to));
            at = to;
        }
        self.gap(&mut pieces, at, end);
        pieces
    }

    /// Adds what no extent covers in `[start, end)`.
    fn gap(&self, pieces: &mut Vec<Piece>, start: u64, end: u64) {
        let middle = self.base_len.clamp(start, end.max(start));
        for (from, to, source) in [
            (start, middle, PieceSource::Base),
            (middle, end, PieceSource::Zeros),
        ] {
            if from < to {
                pieces.push(Piece {
                    offset: from,
                    len: to - from,
                    source,
                });
            }
        }
    }

    fn overlapping(&self, start: u64, end: u64) -> Vec<(u64, Extent)> {
        if start >= end {
            return Vec::new();
        }
        let before = self.extents.last_before(start);
        before
            .filter(|(offset, extent)| offset + extent.len > start)
            .into_iter()
            .chain(self.extents.from(start, end))
            .map(|(offset, extent)| (offset, extent.clone()))
            .collect()
    }

    /// Puts an extent over what was there. Returns how many bytes of the log are not needed any more.
    pub(crate) fn put(&mut self, offset: u64, extent: Extent) -> u64 {
        if extent.len == 0 {
            return 0;
        }
        self.uploaded = None;
        let end = offset + extent.len;
        self.data_len -= self.data_within(offset, end);
        self.data_len += extent.data_len();
        let dropped = self.cut(offset, end);
        self.extents.insert_mut(offset, extent);
        self.size = self.size.max(end);
        dropped
    }

    /// Sets the size. Returns how many bytes of the log are not needed any more.
    pub(crate) fn resize(&mut self, size: u64, seals: u64) -> u64 {
        if size != self.size {
            self.uploaded = None;
        }
        self.data_len -= self.data_within(size, self.size);
        let dropped = self.cut(size, u64::MAX);
        if size < self.size {
            let before = if self.shrunk.seals == seals {
                self.shrunk.len
            } else {
                u64::MAX
            };
            self.shrunk = Shrunk {
                seals,
                len: before.min(size),
            };
        }
        self.size = size;
        self.base_len = self.base_len.min(size);
        dropped
    }

    /// Removes extents from `[start, end)`.
    fn cut(&mut self, start: u64, end: u64) -> u64 {
        let mut dropped = 0;
        for (offset, extent) in self.overlapping(start, end) {
            let extent_end = offset + extent.len;
            self.extents.remove_mut(offset);
            if offset < start {
                let before = extent.part(offset, offset, start);
                self.extents.insert_mut(offset, before);
            }
            if extent_end > end {
                let rest = extent.part(offset, end, extent_end);
                self.extents.insert_mut(end, rest);
            }
            if extent.location().is_some() {
                dropped += extent_end.min(end) - offset.max(start);
            }
        }
        dropped
    }

    /// Points an extent at a copy of its bytes.
    pub(crate) fn relocate(&mut self, offset: u64, location: Location) {
        if let Some(extent) = self.extents.get_mut(offset) {
            extent.source = ExtentSource::Log(location);
        }
    }

    /// Returns the content that the file is as a whole, if it has nothing else.
    pub(crate) fn whole_content(&self) -> Option<ContentId> {
        let first = self.extents.iter().next()?.1;
        let ExtentSource::Content(whole, 0) = &first.source else {
            return None;
        };
        let mut at = 0;
        let is_next = |(start, extent): (u64, &Extent)| {
            let ExtentSource::Content(of, offset) = &extent.source else {
                return false;
            };
            let is_it = (of.content, start, *offset) == (whole.content, at, at);
            at += extent.len;
            is_it
        };
        let is_whole = self.size == whole.size && self.extents.iter().all(is_next);
        (is_whole && at == self.size).then_some(whole.content)
    }

    /// Returns the parts of contents that the file has.
    pub fn shared(&self) -> impl Iterator<Item = (u64, &Extent)> {
        self.extents()
            .filter(|(_, extent)| matches!(extent.source, ExtentSource::Content(..)))
    }

    /// Drops what the base holds since a commit: extents up to the generation of its seal. Returns
    /// how many bytes of the log are not needed any more.
    pub(crate) fn rebase(&mut self, sealed_size: u64, sealed_at: u64, seals: u64) -> u64 {
        let old: Vec<_> = self
            .extents
            .iter()
            .filter(|(_, extent)| extent.written <= sealed_at)
            .map(|(offset, extent)| (offset, extent.log_len()))
            .collect();
        let mut dropped = 0;
        self.uploaded = None;
        for (offset, log_len) in old {
            self.extents.remove_mut(offset);
            dropped += log_len;
        }
        self.base_len = if self.shrunk.seals == seals {
            sealed_size.min(self.shrunk.len)
        } else {
            sealed_size
        };
        self.data_len = self.data_within(0, self.size);
        dropped
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.extents().map(|(_, extent)| extent.log_len()).sum()
    }

    /// Returns how many bytes of a range lie in the log.
    pub(crate) fn log_bytes_within(&self, offset: u64, len: u64) -> u64 {
        let pieces = self.pieces(offset, len);
        let logged = pieces
            .iter()
            .filter(|piece| matches!(piece.source, PieceSource::Log(_)));
        logged.map(|piece| piece.len).sum()
    }

    /// Returns what a checkpoint says about the file apart from its extents.
    pub(crate) fn lengths(&self) -> FileLengths {
        FileLengths {
            size: self.size,
            base_len: self.base_len,
            shrunk: self.shrunk,
        }
    }

    /// Returns a file without extents from what a checkpoint says.
    pub(crate) fn with_lengths(lengths: FileLengths) -> Self {
        let FileLengths {
            size,
            base_len,
            shrunk,
        } = lengths;
        Self {
            size,
            base_len,
            shrunk,
            extents: Extents::default(),
            data_len: base_len.min(size),
            uploaded: None,
        }
    }

    /// Adds an extent of a checkpoint; false if it lies over another one, or not in the record or content that
    /// it names.
    pub(crate) fn restore(&mut self, offset: u64, extent: Extent) -> bool {
        let end = offset.checked_add(extent.len);
        let end = end.filter(|end| *end <= self.size && extent.source.holds(extent.len));
        let Some(end) = end.filter(|end| self.overlapping(offset, *end).is_empty()) else {
            return false;
        };
        self.data_len -= self.data_within(offset, end);
        self.data_len += extent.data_len();
        self.extents.insert_mut(offset, extent);
        true
    }
}

/// The lengths of a file in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileLengths {
    size: u64,
    base_len: u64,
    shrunk: Shrunk,
}
struct_field!(FileLengths {
    size,
    base_len,
    shrunk
});

#[cfg(test)]
mod tests;
