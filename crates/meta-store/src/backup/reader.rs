//! Reading a backup: nothing of a block is told before its hash was compared.

use std::io::{self, Read};

use lfsfs_types::{ClusterId, DecodeError, Reader, Timestamp};

use super::block::{FIRST, Kind, PREFIX_LEN, Prefix, RAW_LEN_MAX, SUM_LEN, Sum};
use super::{BackupError, BackupHead, BackupSummary, FORMAT_AT, MAGIC, PROGRAM_LEN_MAX};
use crate::Row;

/// Reads a backup from its beginning to its end.
#[derive(Debug)]
pub struct BackupReader<R> {
    file: Counting<R>,
    head: BackupHead,
    sum: Sum,
    last: Vec<u8>,
    summary: BackupSummary,
    is_ended: bool,
}

/// A file, and how far it was read.
#[derive(Debug)]
struct Counting<R> {
    file: R,
    offset: u64,
}

/// A block that is what was written.
struct Block {
    kind: Kind,
    raw: Vec<u8>,
    /// Where it begins.
    at: u64,
}

impl<R: Read> BackupReader<R> {
    /// Reads the beginning of a backup.
    pub fn open(file: R) -> Result<Self, BackupError> {
        let mut file = Counting { file, offset: 0 };
        let mut magic = [0; MAGIC.len()];
        match file.fill(&mut magic) {
            Err(BackupError::Cut { .. }) => return Err(BackupError::NotABackup),
            filled => filled?,
        }
        if magic != MAGIC {
            let is_ours = magic[..FORMAT_AT] == MAGIC[..FORMAT_AT];
            return Err(match is_ours && magic[FORMAT_AT] != MAGIC[FORMAT_AT] {
                true => BackupError::Format {
                    found: magic[FORMAT_AT],
                },
                false => BackupError::NotABackup,
            });
        }
        let mut sum = FIRST;
        let first = next_block(&mut file, &mut sum)?;
        if first.kind != Kind::Head {
            return Err(damaged(first.at, "it does not begin with what it is of"));
        }
        let head = decode_head(&first.raw).map_err(|error| damaged(first.at, error.problem))?;
        Ok(Self {
            file,
            head,
            sum,
            last: Vec::new(),
            summary: BackupSummary::default(),
            is_ended: false,
        })
    }

    /// Returns of what and of when the backup is.
    pub const fn head(&self) -> &BackupHead {
        &self.head
    }

    /// Returns the next rows, or `None` at the end of a backup that is whole.
    pub fn next_rows(&mut self) -> Result<Option<Vec<Row>>, BackupError> {
        if self.is_ended {
            return Ok(None);
        }
        let block = next_block(&mut self.file, &mut self.sum)?;
        match block.kind {
            Kind::Head => Err(damaged(block.at, "it begins a second time")),
            Kind::Rows => self.rows(&block).map(Some),
            Kind::End => {
                self.end(&block)?;
                self.is_ended = true;
                Ok(None)
            }
        }
    }

    /// Reads to the end, and returns what is in the backup. Nothing is kept.
    pub fn verify(mut self) -> Result<BackupSummary, BackupError> {
        while self.next_rows()?.is_some() {}
        Ok(self.summary)
    }

    /// Returns what was read so far; at the end, what is in the backup.
    pub const fn summary(&self) -> BackupSummary {
        self.summary
    }

    fn rows(&mut self, block: &Block) -> Result<Vec<Row>, BackupError> {
        let wrong = |error: DecodeError| damaged(block.at, error.problem);
        let mut reader = Reader::new("rows of a backup", &block.raw);
        let mut rows = Vec::new();
        while reader.remaining() > 0 {
            let key = reader.bytes(RAW_LEN_MAX).map_err(wrong)?.to_vec();
            let value = reader.bytes(RAW_LEN_MAX).map_err(wrong)?.to_vec();
            if key <= self.last {
                return Err(damaged(block.at, "rows are out of order"));
            }
            self.summary.row_bytes += (key.len() + value.len()) as u64;
            self.last.clone_from(&key);
            rows.push((key, value));
        }
        if rows.is_empty() {
            return Err(damaged(block.at, "a block without rows"));
        }
        self.summary.rows += rows.len() as u64;
        self.summary.blocks += 1;
        Ok(rows)
    }

    fn end(&mut self, block: &Block) -> Result<(), BackupError> {
        let mut reader = Reader::new("end of a backup", &block.raw);
        let mut decode = || {
            let summary = BackupSummary {
                rows: reader.varint()?,
                row_bytes: reader.varint()?,
                blocks: reader.varint()?,
            };
            reader.clone().finish().map(|()| summary)
        };
        let said = decode().map_err(|error| damaged(block.at, error.problem))?;
        if said != self.summary {
            return Err(damaged(block.at, "it has other rows than it says"));
        }
        if self.file.is_at_end()? {
            Ok(())
        } else {
            Err(damaged(block.at, "there are bytes behind its end"))
        }
    }
}

impl<R: Read> Counting<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read(&mut bytes[filled..]) {
                Ok(0) => {
                    let offset = self.offset + filled as u64;
                    return Err(BackupError::Cut { offset });
                }
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BackupError::Read(error)),
            }
        }
        self.offset += filled as u64;
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, BackupError> {
        match self.fill(&mut [0]) {
            Ok(()) => Ok(false),
            Err(BackupError::Cut { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Reads a block, and compares its hash, which becomes `sum`.
fn next_block<R: Read>(file: &mut Counting<R>, sum: &mut Sum) -> Result<Block, BackupError> {
    let at = file.offset;
    let (mut prefix, mut said) = ([0; PREFIX_LEN], [0; SUM_LEN]);
    file.fill(&mut prefix)?;
    let prefix = Prefix::decode(prefix).map_err(|problem| damaged(at, problem))?;
    file.fill(&mut said)?;
    let mut stored = vec![0; prefix.stored_len()];
    file.fill(&mut stored)?;
    if prefix.sum(sum, &stored) != said {
        return Err(damaged(at, "a block does not have its hash"));
    }
    *sum = said;
    let raw = prefix
        .unpack(stored)
        .map_err(|problem| damaged(at, problem))?;
    let kind = prefix.kind;
    Ok(Block { kind, raw, at })
}

fn decode_head(raw: &[u8]) -> Result<BackupHead, DecodeError> {
    let mut reader = Reader::new("head of a backup", raw);
    let cluster = ClusterId(reader.array()?);
    let (secs, nanos) = (reader.signed()?, reader.varint32()?);
    let time = Timestamp::new(secs, nanos).ok_or_else(|| reader.error("no time"))?;
    let program = reader.bytes(PROGRAM_LEN_MAX)?.to_vec();
    let program = String::from_utf8(program).map_err(|_| reader.error("text is not UTF-8"))?;
    reader.finish()?;
    Ok(BackupHead {
        cluster,
        time,
        program,
    })
}

const fn damaged(offset: u64, problem: &'static str) -> BackupError {
    BackupError::Damaged { offset, problem }
}
