//! `lfsfsd check`: everything in a data directory is read and verified.
//!
//! It needs the directory for itself, so the server must be stopped. What a crash left half done is
//! undone first, as after every start of the server; beyond that nothing changes. A damaged store is
//! read as far as it can be, so that the findings say what is lost.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use lfsfs_chunk_store::{ChunkStore, ChunkStoreError, DiskChunkStore};
use lfsfs_common::clock::SystemClock;
use lfsfs_common::full_text;
use lfsfs_meta_store::OpenOptions;
use lfsfs_metadata::{CheckSummary, ChunkHolders, Metadata};
use lfsfs_types::{ChunkId, NodeId};
use serde::Serialize;

use crate::data::DataDir;
use crate::error::ServerError;
use crate::meta_place::MetaPlace;

/// Chunks listed together.
const PAGE: usize = 1000;

/// Whether something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Clean,
    /// Something is wrong.
    Damaged,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Projects in the metadata.
    pub projects: u64,
    /// Versions in the metadata.
    pub versions: u64,
    /// Objects in the metadata, of all versions.
    pub objects: u64,
    /// Contents in the metadata.
    pub contents: u64,
    /// Chunk files.
    pub chunks: u64,
    /// Bytes in chunk files that are whole.
    pub bytes: u64,
    /// What is wrong.
    pub findings: u64,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// "metadata" or "chunk".
    pub kind: &'static str,
    /// The row's key, escaped, or the chunk's id.
    pub at: String,
    /// What is wrong.
    pub problem: String,
}

/// Checks a directory and prints what is wrong, and what was looked at.
pub fn execute(data: &Path, meta: Option<&MetaPlace>, json: bool) -> Result<Verdict, ServerError> {
    let mut stdout = io::stdout().lock();
    let mut broken = None;
    let summary = check(data, meta, &mut |finding| {
        if let Err(error) = print_finding(&mut stdout, &finding, json) {
            broken.get_or_insert(error);
        }
    })?;
    let printed = print_summary(&mut stdout, &summary, json);
    match broken.map_or(printed, Err) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ServerError::System {
            act: "print what was found",
            source: error,
        }),
        _ if summary.findings > 0 => Ok(Verdict::Damaged),
        _ => Ok(Verdict::Clean),
    }
}

fn print_finding(out: &mut impl Write, finding: &Finding, json: bool) -> io::Result<()> {
    if json {
        return writeln!(out, "{}", serde_json::to_string(finding)?);
    }
    let Finding { kind, at, problem } = finding;
    writeln!(out, "{kind} {at}: {problem}")
}

fn print_summary(out: &mut impl Write, summary: &Summary, json: bool) -> io::Result<()> {
    if json {
        let line = serde_json::json!({ "kind": "summary", "summary": summary });
        return writeln!(out, "{line}");
    }
    let Summary {
        projects,
        versions,
        objects,
        contents,
        chunks,
        bytes,
        findings,
    } = summary;
    writeln!(
        out,
        "{projects} projects, {versions} versions, {objects} objects, {contents} contents, \
         {chunks} chunks, {bytes} bytes: {findings} findings"
    )
}

/// Checks a directory and tells `report` what is wrong.
pub fn check(
    data: &Path,
    meta: Option<&MetaPlace>,
    report: &mut dyn FnMut(Finding),
) -> Result<Summary, ServerError> {
    let data = DataDir::open_existing(data)?;
    let mut summary = Summary::default();
    let mut damaged = 0;
    let metadata = open_metadata(&data, meta, &mut |finding| {
        damaged += 1;
        report(finding);
    })?;
    if let Some(metadata) = &metadata {
        let checked = metadata.check(&mut |finding| {
            report(Finding {
                kind: "metadata",
                at: finding.key.escape_ascii().to_string(),
                problem: finding.what,
            });
        });
        summary.add(checked.map_err(ServerError::Metadata)?);
        summary.findings += damaged;
    }
    if data.chunks().is_dir() {
        let store = DiskChunkStore::open_existing(&data.chunks());
        let store = store.map_err(ServerError::ChunkStore)?;
        let mut checker = ChunkChecker {
            store: &store,
            metadata: metadata.as_ref(),
            report,
            summary: &mut summary,
        };
        checker.check_chunks()?;
        if let Some(node) = data.node_id()? {
            checker.check_receipts(node)?;
        }
    }
    Ok(summary)
}

impl Summary {
    fn add(&mut self, checked: CheckSummary) {
        self.projects = checked.projects;
        self.versions = checked.versions;
        self.objects = checked.objects;
        self.contents = checked.contents;
        self.findings = checked.findings;
    }
}

/// Opens the metadata, if there is any. Tells `report` what is wrong with the store as a whole, as long as rows
/// can be read.
fn open_metadata(
    data: &DataDir,
    chosen: Option<&MetaPlace>,
    report: &mut dyn FnMut(Finding),
) -> Result<Option<Metadata>, ServerError> {
    let place = MetaPlace::find(chosen, &data.meta())?;
    if !place.dir.is_dir() {
        return Ok(None);
    }
    let mut tell = |problem: String| {
        report(Finding {
            kind: "metadata",
            at: place.to_string(),
            problem,
        });
    };
    let store = match place.open(OpenOptions::default()) {
        Err(ServerError::MetaStore(error)) if error.is_corrupt() => {
            let problem = full_text(&error);
            let options = OpenOptions {
                check_max: 0,
                ..OpenOptions::default()
            };
            let unchecked = place.open(options);
            // What the check found says more than what comes of going on.
            let unchecked = unchecked.map_err(|_| ServerError::MetaStore(error))?;
            tell(problem);
            unchecked
        }
        opened => opened?,
    };
    let metadata = Metadata::open(store, Arc::new(SystemClock)).map_err(ServerError::Metadata)?;
    match metadata.recover() {
        Err(error) if error.is_corrupt() => tell(full_text(&error)),
        recovered => recovered.map_err(ServerError::Metadata)?,
    }
    Ok(Some(metadata))
}

/// The check of the chunk files.
struct ChunkChecker<'a> {
    store: &'a dyn ChunkStore,
    metadata: Option<&'a Metadata>,
    report: &'a mut dyn FnMut(Finding),
    summary: &'a mut Summary,
}

impl ChunkChecker<'_> {
    fn check_chunks(&mut self) -> Result<(), ServerError> {
        let mut after = None;
        loop {
            let ids = self.store.list(after, PAGE);
            let ids = ids.map_err(ServerError::ChunkStore)?;
            for id in &ids {
                self.check_chunk(*id)?;
            }
            if ids.len() < PAGE {
                return Ok(());
            }
            after = ids.last().copied();
        }
    }

    /// Verifies a chunk file from end to end.
    fn check_chunk(&mut self, id: ChunkId) -> Result<(), ServerError> {
        self.summary.chunks += 1;
        match self.store.verify(id) {
            Ok(stored) => {
                self.summary.bytes += stored.info.len;
                Ok(())
            }
            Err(error @ ChunkStoreError::Damaged { .. }) => {
                self.find(id, full_text(&error));
                Ok(())
            }
            Err(error) => Err(ServerError::ChunkStore(error)),
        }
    }

    /// Every chunk that was reported from here must be here, as it was reported. A chunk without a
    /// receipt is what a crash leaves: the datanode reports it when it starts.
    fn check_receipts(&mut self, node: NodeId) -> Result<(), ServerError> {
        let Some(metadata) = self.metadata else {
            return Ok(());
        };
        let mut after = None;
        loop {
            let page = metadata.chunk_holders(after, PAGE);
            let page = page.map_err(ServerError::Metadata)?;
            for chunk in &page.items {
                after = Some(chunk.chunk);
                match chunk.nodes.first() {
                    _ if chunk.nodes.contains(&node) => self.check_receipt(chunk)?,
                    // A server that has metadata and chunks has no other datanodes.
                    Some(other) => {
                        let text =
                            format!("only node {other} is said to have it, which is unknown here");
                        self.find(chunk.chunk, text);
                    }
                    None => {}
                }
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    fn check_receipt(&mut self, known: &ChunkHolders) -> Result<(), ServerError> {
        let ChunkHolders { chunk, len, .. } = *known;
        match self.store.open(chunk) {
            Ok(reader) if reader.chunk_len() == len => Ok(()),
            Ok(_) => {
                self.find(chunk, "its receipt names another length".to_owned());
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                self.find(chunk, "it was reported and is missing".to_owned());
                Ok(())
            }
            Err(error) => Err(ServerError::ChunkStore(error)),
        }
    }

    fn find(&mut self, id: ChunkId, problem: String) {
        self.summary.findings += 1;
        (self.report)(Finding {
            kind: "chunk",
            at: id.to_string(),
            problem,
        });
    }
}
