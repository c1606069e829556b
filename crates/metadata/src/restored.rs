//! Metadata of a backup: what it takes that a coordinator can go on from an older state.
//!
//! Since the backup the old coordinator gave out numbers that the rows of the backup do not know. None of them
//! may be given out again, so each row that counts is raised while it is restored:
//!
//! - **Generations of nodes.** What the old process says to a datanode carries an old generation. It is refused
//!   once the datanode has registered with the new one. Generations begin at the time of the restore, for nodes
//!   that registered after the backup, too.
//! - **Ids of directories and links.** A mount may still show a version that came after the backup. The same id
//!   must not be another directory one day.
//!
//! Versions need nothing: each has a random id of its own, by which clients know it.

use std::io::{Read, Write};

use lfsfs_meta_store::{
    BackupError, BackupHead, BackupReader, BackupSummary, BackupWriter, Batch, MetaStore,
    MetaStoreExt as _, Row, Snapshot, Still,
};
use lfsfs_types::{ClusterId, DecodeError, DirId, LinkId, Reader, Timestamp, Writer};

use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{LAYOUT, Metadata, get_row};
use crate::node::raise_generation;
use crate::rows::{ClusterRow, CountersRow, RowValue, read_time, write_time};

/// Ids that may have been given in no time, and those of each second since the backup.
const IDS_AT_ONCE: u64 = 1 << 32;
const IDS_PER_SECOND: u64 = 1 << 20;

/// Why a backup of metadata was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file, or a store.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The rows are no metadata, or of another layout.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// There is no row that says of which cluster the metadata is.
    #[error("there is no metadata of a cluster in it")]
    NoCluster,
    /// The rows are of another cluster than the file says.
    #[error("the rows are of cluster {found}, and not of {expected}")]
    OtherCluster {
        /// The cluster of the rows.
        found: ClusterId,
        /// What the file says.
        expected: ClusterId,
    },
}

/// That metadata is that of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredFrom {
    /// When the backup was begun.
    pub backup: Timestamp,
    /// When it was restored.
    pub restored: Timestamp,
    /// Whether no coordinator has started with it yet.
    pub is_new: bool,
}

/// The row that notes a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestoredRow {
    backup: Timestamp,
    restored: Timestamp,
    /// Generations of all nodes are higher.
    pub(crate) generation: u64,
    is_new: bool,
}

impl RowValue for RestoredRow {
    const WHAT: &'static str = "row of a restore";

    fn write(&self, writer: &mut Writer) {
        write_time(self.backup, writer);
        write_time(self.restored, writer);
        writer.varint(self.generation).u8(u8::from(self.is_new));
    }

    fn read(reader: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        Ok(Self {
            backup: read_time(reader)?,
            restored: read_time(reader)?,
            generation: reader.varint()?,
            is_new: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(reader.error("neither yes nor no")),
            },
        })
    }
}

impl Metadata {
    /// Writes a backup of everything as it is now, while calls go on. What waits in memory is in it.
    ///
    /// `program` names the version of the program. `progress` is called with the number of rows so far.
    pub fn back_up(
        &self,
        out: impl Write,
        program: &str,
        progress: &mut dyn FnMut(u64),
    ) -> std::result::Result<BackupSummary, RestoreError> {
        // Before the snapshot: nothing that came before this moment is missing.
        let head = BackupHead {
            cluster: self.cluster_id(),
            time: self.now(),
            program: program.to_owned(),
        };
        let snapshot = self.store().snapshot().map_err(BackupError::Store)?;
        Ok(write_all(out, &head, snapshot.as_ref(), progress)?)
    }

    /// Tells whether the metadata is that of a backup, and from when.
    pub fn restored_from(&self) -> Result<Option<RestoredFrom>> {
        let row = get_row::<RestoredRow>(self.store(), &keys::restored())?;
        Ok(row.map(|row| RestoredFrom {
            backup: row.backup,
            restored: row.restored,
            is_new: row.is_new,
        }))
    }

    /// Notes that a coordinator has started with restored metadata. That is durable on return.
    pub fn note_restore_seen(&self) -> Result<()> {
        let key = keys::restored();
        if let Some(row) = get_row::<RestoredRow>(self.store(), &key)?
            && row.is_new
        {
            let mut batch = Batch::new();
            let seen = RestoredRow {
                is_new: false,
                ..row
            };
            batch.put(key, seen.encode());
            self.store().write(batch)?;
            self.store().flush()?;
        }
        Ok(())
    }

    /// Returns what the generations of all nodes are above.
    pub(crate) fn generation_floor(&self) -> Result<u64> {
        let row = get_row::<RestoredRow>(self.store(), &keys::restored())?;
        Ok(row.map_or(0, |row| row.generation))
    }
}

/// Writes a backup of a store that its caller alone has open. Returns of what it is, too.
pub fn back_up_store(
    store: &dyn MetaStore,
    time: Timestamp,
    out: impl Write,
    program: &str,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<(BackupHead, BackupSummary), RestoreError> {
    let row = get_row::<ClusterRow>(store, &keys::cluster())?.ok_or(RestoreError::NoCluster)?;
    expect_layout(&row)?;
    let head = BackupHead {
        cluster: row.cluster,
        time,
        program: program.to_owned(),
    };
    let summary = write_all(out, &head, &Still(store), progress)?;
    Ok((head, summary))
}

fn write_all(
    out: impl Write,
    head: &BackupHead,
    snapshot: &dyn Snapshot,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<BackupSummary, BackupError> {
    let mut writer = BackupWriter::new(out, head)?;
    writer.rows_of(snapshot, progress)?;
    writer.finish()
}

/// Reads a backup to its end, and checks that it is one of metadata. Returns of what it is, and what is in it.
pub fn verify_backup(
    file: impl Read,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<(BackupHead, BackupSummary), RestoreError> {
    let mut reader = BackupReader::open(file)?;
    let head = reader.head().clone();
    let mut expected = Expected::new(&head);
    while let Some(rows) = reader.next_rows()? {
        for (key, value) in &rows {
            expected.look_at(key, value)?;
        }
        progress(reader.summary().rows);
    }
    expected.end()?;
    Ok((head, reader.summary()))
}

/// Writes the rows of a backup to an empty store, raised as this module says, and makes them durable.
///
/// Verifies what it reads, and fails at the first damage: then the store has a part of the rows and must not be
/// used.
pub fn restore_backup(
    file: impl Read,
    store: &dyn MetaStore,
    now: Timestamp,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<(BackupHead, BackupSummary), RestoreError> {
    let mut reader = BackupReader::open(file)?;
    let head = reader.head().clone();
    let mut expected = Expected::new(&head);
    let raise = Raise::new(head.time, now);
    while let Some(rows) = reader.next_rows()? {
        for page in rows.chunks(store.batch_ops_max()) {
            let mut batch = Batch::new();
            for (key, value) in page {
                expected.look_at(key, value)?;
                if let Some((key, value)) = raise.row(key, value)? {
                    batch.put(key, value);
                }
            }
            store.write(batch).map_err(BackupError::Store)?;
        }
        progress(reader.summary().rows);
    }
    expected.end()?;
    let mut batch = Batch::new();
    batch.put(keys::restored(), raise.note().encode());
    store.write(batch).map_err(BackupError::Store)?;
    store.flush().map_err(BackupError::Store)?;
    Ok((head, reader.summary()))
}

/// What the rows of a backup must say.
struct Expected {
    cluster: ClusterId,
    found: Option<ClusterId>,
}

impl Expected {
    const fn new(head: &BackupHead) -> Self {
        Self {
            cluster: head.cluster,
            found: None,
        }
    }

    fn look_at(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), RestoreError> {
        if key != keys::cluster() {
            return Ok(());
        }
        let row = ClusterRow::decode(key, value).map_err(BackupError::Store)?;
        expect_layout(&row)?;
        self.found = Some(row.cluster);
        Ok(())
    }

    fn end(self) -> std::result::Result<(), RestoreError> {
        let found = self.found.ok_or(RestoreError::NoCluster)?;
        if found == self.cluster {
            return Ok(());
        }
        Err(RestoreError::OtherCluster {
            found,
            expected: self.cluster,
        })
    }
}

fn expect_layout(row: &ClusterRow) -> Result<()> {
    match row.layout {
        LAYOUT => Ok(()),
        found => Err(MetadataError::Layout {
            found,
            expected: LAYOUT,
        }),
    }
}

/// By how much numbers are raised.
#[derive(Debug, Clone, Copy)]
struct Raise {
    backup: Timestamp,
    restored: Timestamp,
    generation: u64,
    ids: u64,
}

impl Raise {
    fn new(backup: Timestamp, now: Timestamp) -> Self {
        // A clock that was set back must not lead to numbers of before.
        let restored = now.max(backup);
        let passed = u64::try_from(restored.secs.saturating_sub(backup.secs)).unwrap_or(0);
        let millis = i128::from(restored.secs) * 1000 + i128::from(restored.nanos / 1_000_000);
        Self {
            backup,
            restored,
            generation: u64::try_from(millis).unwrap_or(0),
            ids: IDS_AT_ONCE
                .saturating_add(passed.saturating_add(1).saturating_mul(IDS_PER_SECOND)),
        }
    }

    /// Returns a row as it is to be restored, or `None` if it is not.
    fn row(self, key: &[u8], value: &[u8]) -> std::result::Result<Option<Row>, RestoreError> {
        let value = match key.first() {
            Some(&table::NODE) => raise_generation(key, value, self.generation)?,
            Some(&table::COUNTERS) => self.counters(key, value)?,
            Some(&table::RESTORED) => return Ok(None),
            _ => value.to_vec(),
        };
        Ok(Some((key.to_vec(), value)))
    }

    fn counters(self, key: &[u8], value: &[u8]) -> Result<Vec<u8>> {
        let row = CountersRow::decode(key, value)?;
        let raised = CountersRow {
            next_dir: DirId(row.next_dir.0.saturating_add(self.ids)),
            next_link: LinkId(row.next_link.0.saturating_add(self.ids)),
        };
        Ok(raised.encode())
    }

    const fn note(self) -> RestoredRow {
        RestoredRow {
            backup: self.backup,
            restored: self.restored,
            generation: self.generation,
            is_new: true,
        }
    }
}
