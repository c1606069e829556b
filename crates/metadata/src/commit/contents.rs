//! The contents that a commit names: they must be present, and as long as the commit says.

use std::collections::{BTreeSet, HashMap};

use lfsfs_types::{ContentId, DirId, Name, NamedContent, Record};

use crate::content::{Presence, Stored};
use crate::error::{Refusal, Result};
use crate::metadata::Metadata;

/// How many contents are looked at together, in the order of their ids: the more there are, the more of them
/// share a page of the store.
const LOOKED_AT_TOGETHER: usize = 32_768;

/// Looks at contents, many at once.
pub(super) struct ContentCheck<'a> {
    metadata: &'a Metadata,
    /// What is still to be looked at, and where it was named.
    named: Vec<(DirId, Option<Name>, NamedContent)>,
    unknown: BTreeSet<ContentId>,
    lost: BTreeSet<ContentId>,
    lengths: Lengths,
}

/// Whether the lengths that a record says are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lengths {
    Checked,
    /// The records come from a version that is there.
    Trusted,
}

impl<'a> ContentCheck<'a> {
    pub(super) fn new(metadata: &'a Metadata, lengths: Lengths) -> Self {
        Self {
            metadata,
            lengths,
            named: Vec::new(),
            unknown: BTreeSet::new(),
            lost: BTreeSet::new(),
        }
    }

    /// Adds what a record names that is staged for this place.
    pub(super) fn add(&mut self, dir: DirId, name: Option<&Name>, record: &Record) -> Result<()> {
        for named in record.named_contents() {
            self.named.push((dir, name.cloned(), named));
        }
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
        let contents: Vec<_> = self.named.iter().map(|(.., named)| named.content).collect();
        let mut found = HashMap::with_capacity(contents.len());
        self.metadata.look_up(&contents, |content, stored| {
            found.insert(content, stored);
        })?;
        for (dir, name, named) in std::mem::take(&mut self.named) {
            match found.get(&named.content) {
                Some(stored) if stored.presence != Presence::Unknown => {
                    if self.lengths == Lengths::Checked
                        && let Some(refusal) = wrong_length(&named, stored)
                    {
                        return Err(refusal.at(dir, name));
                    }
                    if stored.presence == Presence::Lost {
                        self.lost.insert(named.content);
                    }
                }
                _ => drop(self.unknown.insert(named.content)),
            }
        }
        Ok(())
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
