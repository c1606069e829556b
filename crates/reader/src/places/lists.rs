//! Contents of so many pieces that the server tells where their list is instead of where they are.
//!
//! The list is read like any content, must have the content's id, and its pieces are asked for in
//! groups, so that no message and no answer grows with the file. The table does: 48 bytes a piece,
//! about as many for each file of a mebibyte. A file of 1 TiB has a million pieces: 50 MB while its
//! directory is in use, 80 MB more (the list as it came and decoded) while they are looked up.

use std::collections::BTreeSet;
use std::sync::Arc;

use lfsfs_remote::{RemoteError, Resolved, StoredList};
use lfsfs_types::ContentId;
use lfsfs_types::content::{Piece, PieceList};
use lfsfs_types::limits::CONTENTS_PER_MESSAGE_MAX;

use super::{ACTION, Places, located, names_content, pieces_at};
use crate::deadline::{Deadline, Progress};
use crate::error::ReadError;
use crate::located::{Wanted, missing, read_located};
use crate::place_table::{LocatedPart, PlaceTable};

impl Places {
    /// Returns what a large content is cut into. The coordinator is asked, and what it says has the id
    /// of the content.
    pub(crate) async fn piece_list(
        &self,
        content: ContentId,
        mut deadline: Deadline,
    ) -> Result<PieceList, ReadError> {
        let resolved = self.backend.resolve(&[content], deadline).await?;
        let pieces = match (
            resolved.lists.get(&content),
            resolved.contents.get(&content),
        ) {
            (Some(list), _) => self.read_list(*list, &mut deadline).await?,
            (None, Some(places)) => {
                pieces_at(places).map_err(|error| damaged(&content, &error.to_string()))?
            }
            (None, None) => return Err(missing(&content)),
        };
        if pieces.content_id() != content {
            return Err(damaged(&content, "its pieces make up another content"));
        }
        Ok(pieces)
    }

    /// Adds the contents that have a list. One whose list or pieces are wrong is left out.
    pub(super) async fn take_lists(
        &self,
        table: &mut PlaceTable,
        resolved: &Resolved,
        deadline: &mut Deadline,
    ) -> Result<(), ReadError> {
        for (content, list) in &resolved.lists {
            match self.take_list(table, *content, *list, deadline).await {
                Err(error) if error.is_corrupt() => self.note_damage(content, &error.to_string()),
                taken => taken?,
            }
        }
        Ok(())
    }

    async fn take_list(
        &self,
        table: &mut PlaceTable,
        content: ContentId,
        list: StoredList,
        deadline: &mut Deadline,
    ) -> Result<(), ReadError> {
        let pieces = self.read_list(list, deadline).await?;
        if pieces.content_id() != content {
            return Err(ReadError::corrupt(ACTION, "its list is that of another"));
        }
        table.open(content);
        for group in pieces.pieces().chunks(CONTENTS_PER_MESSAGE_MAX) {
            let ids: BTreeSet<ContentId> = group.iter().map(|piece| piece.hash).collect();
            let ids: Vec<_> = ids.into_iter().collect();
            let parts = match self.backend.resolve(&ids, *deadline).await {
                Ok(resolved) => parts_of(group, &resolved),
                Err(error) => Err(error),
            };
            match parts {
                Ok(parts) => table.extend(parts),
                Err(error) => {
                    table.withdraw();
                    return Err(error);
                }
            }
            deadline.renew();
        }
        Ok(())
    }

    async fn read_list(
        &self,
        list: StoredList,
        deadline: &mut Deadline,
    ) -> Result<PieceList, ReadError> {
        let resolved = self.backend.resolve(&[list.content], *deadline).await?;
        let places = resolved.contents.get(&list.content);
        let parts = places
            .filter(|places| names_content(places, &list.content))
            .and_then(|places| located(places, &resolved))
            .ok_or_else(|| ReadError::corrupt(ACTION, "its list is nowhere"))?;
        let mut lists = PlaceTable::default();
        lists.add(list.content, parts);
        let size = PieceList::encoded_len(list.count);
        let wanted = Wanted {
            content: list.content,
            size,
            range: 0..size,
        };
        let mut progress = Progress::within(*deadline);
        let bytes = read_located(&self.chunks, &lists, &wanted, &mut progress).await?;
        *deadline = progress.deadline();
        PieceList::decode(&bytes).map_err(|error| ReadError::corrupt(ACTION, error.to_string()))
    }
}

/// Returns where each piece is, in order.
fn parts_of(pieces: &[Piece], resolved: &Resolved) -> Result<Vec<LocatedPart>, ReadError> {
    let part = |piece: &Piece| {
        let [place] = resolved.contents.get(&piece.hash)?.as_slice() else {
            return None;
        };
        let is_it = place.content == piece.hash && place.len == piece.len;
        let location = resolved.chunks.get(&place.chunk).filter(|_| is_it)?;
        let is_there = location.info.id == place.chunk;
        is_there.then(|| LocatedPart {
            id: piece.hash,
            len: piece.len,
            location: Arc::clone(location),
        })
    };
    let parts = pieces.iter().map(part).collect::<Option<_>>();
    parts.ok_or_else(|| ReadError::corrupt(ACTION, "a piece is not where it should be"))
}

fn damaged(content: &ContentId, problem: &str) -> ReadError {
    ReadError::remote(ACTION)(RemoteError::Corrupt(format!(
        "content {content}: {problem}"
    )))
}
