//! The contents that a commit names: they must be present, and as long as the commit says.

use std::collections::BTreeSet;

use lfsfs_types::{ContentId, DirId, NamedContent, Record};

use super::Change;
use super::staging::Staging;
use crate::content::{Presence, Stored};
use crate::error::{MetadataError, Refusal, Result};
use crate::metadata::Metadata;

/// How many contents are looked at together, in the order of their ids: the more there are, the more of them
/// share a page of the store.
const LOOKED_AT_TOGETHER: usize = 65_536;

/// Looks at contents, many at once.
pub(super) struct ContentCheck<'a> {
    metadata: &'a Metadata,
    staging: Staging<'a>,
    /// What is still to be looked at.
    named: Vec<Named>,
    unknown: BTreeSet<ContentId>,
    lost: BTreeSet<ContentId>,
    lengths: Lengths,
}

/// A content that a change names, and the directory of the change. Its name is looked for when it must be told.
struct Named {
    dir: DirId,
    named: NamedContent,
}

/// Whether the lengths that a record says are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lengths {
    Checked,
    /// The records come from a version that is there.
    Trusted,
}

impl<'a> ContentCheck<'a> {
    pub(super) fn new(metadata: &'a Metadata, staging: Staging<'a>, lengths: Lengths) -> Self {
        Self {
            metadata,
            staging,
            lengths,
            named: Vec::new(),
            unknown: BTreeSet::new(),
            lost: BTreeSet::new(),
        }
    }

    /// Adds what a record names that is staged in this directory.
    pub(super) fn add(&mut self, dir: DirId, record: &Record) -> Result<()> {
        let named = record.named_contents();
        self.named.extend(named.map(|named| Named { dir, named }));
        if self.named.len() < LOOKED_AT_TOGETHER {
            Ok(())
        } else {
            self.look()
        }
    }

    /// Fails if a content was never stored. Returns those that were, and are lost.
    pub(super) fn finish(mut self) -> Result<BTreeSet<ContentId>> {
        self.look()?;
        let unknown: Vec<_> = self.unknown.into_iter().collect();
        self.metadata.refuse_missing(unknown)?;
        Ok(self.lost)
    }

    fn look(&mut self) -> Result<()> {
        let mut named = std::mem::take(&mut self.named);
        named.sort_unstable_by_key(|it| it.named.content);
        let mut contents: Vec<_> = named.iter().map(|it| it.named.content).collect();
        contents.dedup();
        let mut wrong = None;
        let mut rest = named.as_slice();
        self.metadata.look_up(&contents, |content, stored| {
            let same = rest.iter().take_while(|it| it.named.content == content);
            let (named, behind) = rest.split_at(same.count());
            rest = behind;
            match stored.presence {
                Presence::Unknown => drop(self.unknown.insert(content)),
                Presence::Lost => drop(self.lost.insert(content)),
                Presence::Present => {}
            }
            if stored.presence != Presence::Unknown && self.lengths == Lengths::Checked {
                let refused = |it: &Named| Some((it.dir, wrong_length(&it.named, &stored)?));
                wrong = wrong.take().or_else(|| named.iter().find_map(refused));
            }
        })?;
        match wrong {
            None => Ok(()),
            Some((dir, refusal)) => Err(self.refused(dir, refusal)),
        }
    }

    /// Returns the error of a refused change of a directory, with the name of the first one that names the
    /// content with this length.
    fn refused(&self, dir: DirId, refusal: Refusal) -> MetadataError {
        let names_it = |change: &Change| {
            let mut named = change.state.iter().flat_map(Record::named_contents);
            named.any(|named| is_refused(&named, &refusal))
        };
        let mut changes = self.staging.in_directory(dir).filter_map(Result::ok);
        let name = changes.find(names_it).and_then(|change| change.name);
        refusal.at(dir, name)
    }
}

/// Returns true if a content is named with the length that is refused.
fn is_refused(named: &NamedContent, refusal: &Refusal) -> bool {
    match refusal {
        Refusal::WrongLength { said, content, .. } => {
            named.content == *content && named.len == Some(*said)
        }
        _ => false,
    }
}

fn wrong_length(named: &NamedContent, stored: &Stored) -> Option<Refusal> {
    let said = named.len?;
    (said != stored.len).then_some(Refusal::WrongLength {
        field: named.field,
        said,
        content: named.content,
        len: stored.len,
    })
}
