//! What goes into and comes out of a store: ranges, reads and batches. Plain data, no I/O.

use std::ops::Bound;

use crate::MetaError;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The keys from `start` up to, but not including, `end`; without `end` all keys from `start` on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key of the range.
    pub start: Vec<u8>,
    /// The first key behind the range.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Returns the range of every key there can be.
    pub fn all() -> Self {
        Self {
            start: Vec::new(),
            end: None,
        }
    }

    /// Returns the range from `start` up to, but not including, `end`.
    pub fn new(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self {
            start: start.into(),
            end: Some(end.into()),
        }
    }

    /// Returns the range of all keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self {
            start: prefix.to_vec(),
            end: prefix_end(prefix),
        }
    }

    /// Returns the keys that begin with `prefix` and come after `key`.
    pub fn after(key: &[u8], prefix: &[u8]) -> Self {
        Self {
            start: successor(key).max(prefix.to_vec()),
            end: prefix_end(prefix),
        }
    }

    /// Returns the keys that begin with `prefix` and are not before `key`.
    pub fn at_or_after(key: &[u8], prefix: &[u8]) -> Self {
        Self {
            start: key.max(prefix).to_vec(),
            end: prefix_end(prefix),
        }
    }

    /// Returns the keys that begin with `prefix` and come before `key`.
    pub fn before(key: &[u8], prefix: &[u8]) -> Self {
        let end = match prefix_end(prefix) {
            Some(end) if end.as_slice() < key => end,
            _ => key.to_vec(),
        };
        Self {
            start: prefix.to_vec(),
            end: Some(end),
        }
    }

    /// Returns true if no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Returns true if `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    /// Returns the range without what is at or before `key` (or at or behind it, in reverse).
    #[must_use]
    pub fn beyond(self, key: &[u8], reverse: bool) -> Self {
        if reverse {
            Self {
                end: Some(key.to_vec()),
                ..self
            }
        } else {
            Self {
                start: successor(key),
                ..self
            }
        }
    }

    /// Returns the range without the empty key, which stores keep for themselves.
    pub(crate) fn of_callers(&self) -> Self {
        /// The smallest key that callers can use.
        const FIRST: &[u8] = &[0];
        Self {
            start: self.start.as_slice().max(FIRST).to_vec(),
            end: self.end.clone(),
        }
    }

    /// Returns the two ends in the form that ordered maps take.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self
            .end
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(&self.start), end)
    }
}

/// Returns the smallest key behind all that begin with `prefix`, if there is one.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Returns the smallest key behind `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// One part of a read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Read {
    /// One key: its row, if it is there.
    Get(Vec<u8>),
    /// The first rows of a range; in `reverse` the last ones, the very last first.
    Scan {
        /// Where to look.
        range: KeyRange,
        /// How many rows to return at most; with 0 only [`Rows::more`] tells something.
        limit: usize,
        /// Whether to read from the end backwards.
        reverse: bool,
    },
}

impl Read {
    /// Reads one key.
    pub fn get(key: impl Into<Vec<u8>>) -> Self {
        Self::Get(key.into())
    }

    /// Reads up to `limit` rows from the start of `range`.
    pub fn scan(range: KeyRange, limit: usize) -> Self {
        Self::Scan {
            range,
            limit,
            reverse: false,
        }
    }

    /// Reads up to `limit` rows from the end of `range` backwards.
    pub fn scan_reverse(range: KeyRange, limit: usize) -> Self {
        Self::Scan {
            range,
            limit,
            reverse: true,
        }
    }
}

/// What one [`Read`] found, in the order it asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether the range holds further rows beyond these.
    pub more: bool,
}

impl Rows {
    /// Returns the answer to a [`Read::Get`].
    pub(crate) fn of(row: Option<Row>) -> Self {
        Self {
            rows: row.into_iter().collect(),
            more: false,
        }
    }

    /// Takes the first `limit` rows of a scan, each made by `row`.
    pub(crate) fn take<E>(
        found: impl IntoIterator<Item = Result<E, MetaError>>,
        limit: usize,
        mut row: impl FnMut(E) -> Result<Row, MetaError>,
    ) -> Result<Self, MetaError> {
        let mut found = found.into_iter();
        let rows = found.by_ref().take(limit).map(|entry| row(entry?));
        let rows = rows.collect::<Result<_, _>>()?;
        let more = found.next().transpose()?.is_some();
        Ok(Self { rows, more })
    }

    /// Takes the first rows, each made by `row`, until they have `bytes` bytes together.
    pub(crate) fn take_bytes<E>(
        found: impl IntoIterator<Item = Result<E, MetaError>>,
        bytes: usize,
        mut row: impl FnMut(E) -> Result<Row, MetaError>,
    ) -> Result<Self, MetaError> {
        let mut found = found.into_iter();
        let (mut rows, mut len) = (Vec::new(), 0);
        for entry in found.by_ref() {
            let (key, value) = row(entry?)?;
            len += key.len() + value.len();
            rows.push((key, value));
            if len >= bytes {
                break;
            }
        }
        let more = found.next().transpose()?.is_some();
        Ok(Self { rows, more })
    }

    /// Returns how many bytes the values have.
    fn value_bytes(&self) -> usize {
        self.rows.iter().map(|(_, value)| value.len()).sum()
    }

    /// Makes reads, each by `read`, until they have `bytes` bytes together.
    pub(crate) fn within(
        reads: &[Read],
        bytes: usize,
        mut read: impl FnMut(&Read) -> Result<Self, MetaError>,
    ) -> Result<Vec<Self>, MetaError> {
        let mut found = Vec::with_capacity(reads.len());
        let mut len = 0;
        for one in reads {
            let rows = read(one)?;
            len += rows.value_bytes();
            found.push(rows);
            if len >= bytes {
                break;
            }
        }
        Ok(found)
    }

    /// Returns the first row.
    pub fn into_first(self) -> Option<Row> {
        self.rows.into_iter().next()
    }

    /// Returns the value of the first row: the answer to a [`Read::Get`].
    pub fn into_value(self) -> Option<Vec<u8>> {
        self.into_first().map(|(_, value)| value)
    }
}

/// Something that must be true of the store before a batch is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The key has exactly this value.
    Equals(Vec<u8>, Vec<u8>),
    /// There is no such key.
    Absent(Vec<u8>),
    /// There is such a key, whatever its value.
    Present(Vec<u8>),
}

impl Precondition {
    /// Returns the key that is looked at.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Equals(key, _) | Self::Absent(key) | Self::Present(key) => key,
        }
    }

    /// Returns true if the precondition holds where its key has the value `found`.
    pub fn holds(&self, found: Option<&[u8]>) -> bool {
        match self {
            Self::Equals(_, value) => found == Some(value),
            Self::Absent(_) => found.is_none(),
            Self::Present(_) => found.is_some(),
        }
    }
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Gives the key this value, whether it was there or not.
    Put(Vec<u8>, Vec<u8>),
    /// Removes the key; nothing happens if it is not there.
    Delete(Vec<u8>),
}

impl Write {
    /// Returns the key that is changed.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Writes that are made together, if all preconditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// What must be true.
    pub preconditions: Vec<Precondition>,
    /// What is then changed, in this order.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Returns a batch that asks nothing and changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that `key` has exactly this value.
    pub fn require_equals(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.preconditions
            .push(Precondition::Equals(key.into(), value.into()));
        self
    }

    /// Requires that `key` is not there.
    pub fn require_absent(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.preconditions.push(Precondition::Absent(key.into()));
        self
    }

    /// Requires that `key` is there.
    pub fn require_present(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.preconditions.push(Precondition::Present(key.into()));
        self
    }

    /// Requires that `key` is as it was read: has this value, or is not there.
    pub fn require_unchanged(
        &mut self,
        key: impl Into<Vec<u8>>,
        seen: Option<Vec<u8>>,
    ) -> &mut Self {
        match seen {
            Some(value) => self.require_equals(key, value),
            None => self.require_absent(key),
        }
    }

    /// Gives `key` this value.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.writes.push(Write::Put(key.into(), value.into()));
        self
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }

    /// Returns the number of writes, the one that [`crate::MetaStore::batch_ops_max`] bounds.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Returns true if the batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Returns which precondition fails first, where `find` returns the value of a key.
    pub(crate) fn first_failed<V: AsRef<[u8]>>(
        &self,
        find: impl FnMut(&[u8]) -> Result<Option<V>, MetaError>,
    ) -> Result<Option<usize>, MetaError> {
        self.first_failed_of(|_| true, find)
    }

    /// As [`first_failed`](Self::first_failed), of those preconditions that `is_asked` takes.
    pub(crate) fn first_failed_of<V: AsRef<[u8]>>(
        &self,
        is_asked: impl Fn(&usize) -> bool,
        mut find: impl FnMut(&[u8]) -> Result<Option<V>, MetaError>,
    ) -> Result<Option<usize>, MetaError> {
        let asked = self.preconditions.iter().enumerate();
        for (index, condition) in asked.filter(|(index, _)| is_asked(index)) {
            let found = find(condition.key())?;
            if !condition.holds(found.as_ref().map(AsRef::as_ref)) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Fails if an engine that takes `max` operations at once cannot take this batch.
    pub fn check(&self, max: usize) -> Result<(), MetaError> {
        if self.writes.iter().any(|write| write.key().is_empty()) {
            return Err(MetaError::EmptyKey);
        }
        let counts = [
            ("writes", self.writes.len()),
            ("preconditions", self.preconditions.len()),
        ];
        match counts.into_iter().find(|(_, len)| *len > max) {
            Some((what, len)) => Err(MetaError::TooLarge { what, len, max }),
            None => Ok(()),
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// All preconditions held and all writes were made.
    Done,
    /// A precondition failed and nothing was written.
    Conflict {
        /// Where the first precondition that failed stands in [`Batch::preconditions`].
        index: usize,
    },
}

impl Applied {
    /// Returns true if the batch was made.
    pub fn is_done(self) -> bool {
        self == Self::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_range_ends_behind_its_last_key() {
        assert_eq!(
            KeyRange::prefix(b"a\xff\xff"),
            KeyRange::new(*b"a\xff\xff", *b"b")
        );
        assert_eq!(KeyRange::prefix(b"\xff").end, None);
        assert_eq!(KeyRange::prefix(b""), KeyRange::all());
    }

    #[test]
    fn neighbours_of_a_key_stay_inside_the_prefix() {
        assert_eq!(KeyRange::after(b"pa", b"p"), KeyRange::new(*b"pa\0", *b"q"));
        assert_eq!(KeyRange::after(b"a", b"p"), KeyRange::prefix(b"p"));
        assert!(KeyRange::after(b"z", b"p").is_empty());
        assert_eq!(
            KeyRange::at_or_after(b"pa", b"p"),
            KeyRange::new(*b"pa", *b"q")
        );
        assert_eq!(KeyRange::before(b"pa", b"p"), KeyRange::new(*b"p", *b"pa"));
        assert_eq!(KeyRange::before(b"z", b"p"), KeyRange::prefix(b"p"));
        assert!(KeyRange::before(b"a", b"p").is_empty());
    }

    #[test]
    fn size_bounds_writes_and_preconditions_apart() {
        let mut batch = Batch::new();
        batch.require_absent(*b"a").put(*b"a", *b"1").delete(*b"b");
        assert!(batch.check(2).is_ok());
        assert!(matches!(
            batch.check(1),
            Err(MetaError::TooLarge {
                what: "writes",
                len: 2,
                max: 1
            })
        ));
    }
}
