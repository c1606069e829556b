//! Writing a backup.

use std::io::Write;

use lfsfs_types::Writer;

use super::block::{self, FIRST, Kind, RAW_LEN, RAW_LEN_MAX, Sum};
use super::{BackupError, BackupHead, BackupSummary, MAGIC};
use crate::{KeyRange, Snapshot};

/// Bytes that a row takes beside its key and its value, at most: two lengths.
const ROW_OVERHEAD: usize = 20;

/// Writes the rows of a store, in the order of their keys.
#[derive(Debug)]
pub struct BackupWriter<W> {
    out: W,
    sum: Sum,
    rows: Writer,
    last: Vec<u8>,
    summary: BackupSummary,
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup.
    pub fn new(out: W, head: &BackupHead) -> Result<Self, BackupError> {
        let mut writer = Self {
            out,
            sum: FIRST,
            rows: Writer::new(),
            last: Vec::new(),
            summary: BackupSummary::default(),
        };
        writer.out.write_all(&MAGIC).map_err(BackupError::Write)?;
        let mut bytes = Writer::new();
        bytes.raw(head.cluster.as_bytes());
        bytes.signed(head.time.secs).varint(head.time.nanos.into());
        bytes.bytes(head.program.as_bytes());
        writer.block(Kind::Head, &bytes.finish())?;
        Ok(writer)
    }

    /// Adds a row, whose key must come behind that of the last one.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        assert!(self.last.as_slice() < key, "rows come in order");
        let len = key.len() + value.len();
        if len + ROW_OVERHEAD > RAW_LEN_MAX {
            return Err(BackupError::TooLarge { len });
        }
        if !self.rows.is_empty() && self.rows.len() + len > RAW_LEN {
            self.end_block()?;
        }
        self.rows.bytes(key).bytes(value);
        self.summary.rows += 1;
        self.summary.row_bytes += len as u64;
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(())
    }

    /// Adds all rows of a snapshot. `progress` is called with the number of rows so far.
    pub fn rows_of(
        &mut self,
        snapshot: &dyn Snapshot,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackupError> {
        let mut range = KeyRange::all();
        loop {
            let page = snapshot.page(range.clone(), RAW_LEN)?;
            for (key, value) in &page.rows {
                self.row(key, value)?;
            }
            progress(self.summary.rows);
            match page.rows.last() {
                Some((last, _)) if page.more => range = range.beyond(last, false),
                _ => return Ok(()),
            }
        }
    }

    /// Writes the end, without which a backup is cut off. Returns what is in it.
    pub fn finish(mut self) -> Result<BackupSummary, BackupError> {
        if !self.rows.is_empty() {
            self.end_block()?;
        }
        let BackupSummary {
            rows,
            row_bytes,
            blocks,
        } = self.summary;
        let mut bytes = Writer::new();
        bytes.varint(rows).varint(row_bytes).varint(blocks);
        self.block(Kind::End, &bytes.finish())?;
        self.out.flush().map_err(BackupError::Write)?;
        Ok(self.summary)
    }

    fn end_block(&mut self) -> Result<(), BackupError> {
        let rows = std::mem::take(&mut self.rows).finish();
        self.summary.blocks += 1;
        self.block(Kind::Rows, &rows)
    }

    fn block(&mut self, kind: Kind, raw: &[u8]) -> Result<(), BackupError> {
        let packed = block::pack(kind, raw, &self.sum);
        self.sum = packed.sum;
        for part in [&packed.prefix[..], &packed.sum, &packed.stored] {
            self.out.write_all(part).map_err(BackupError::Write)?;
        }
        Ok(())
    }
}
