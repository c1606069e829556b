//! The key of every row: one table byte, then fields in the order-preserving codec.
//!
//! docs/formats.md "Metadata keys" is the table of all of them. This module builds keys and takes
//! apart those that are found by a scan; it knows nothing of values.

use lfsfs_meta_store::{KeyBuilder, KeyReader, MetaError};
use lfsfs_types::{
    ChunkId, ContentId, DirId, LinkId, Name, NodeId, ProjectId, ProjectName, SessionId, TagName,
    VersionId, VersionNumber,
};

/// The first byte of a key.
pub(crate) mod table {
    pub(crate) const CLUSTER: u8 = 1;
    pub(crate) const PROJECT_NAME: u8 = 2;
    pub(crate) const PROJECT: u8 = 3;
    pub(crate) const HEAD: u8 = 4;
    pub(crate) const COUNTERS: u8 = 5;
    pub(crate) const LEASE: u8 = 6;
    pub(crate) const VERSION: u8 = 7;
    pub(crate) const VERSION_ID: u8 = 8;
    pub(crate) const TAG: u8 = 9;
    pub(crate) const LIVE: u8 = 10;
    pub(crate) const CLOSED: u8 = 11;
    pub(crate) const CLOSED_NAME: u8 = 12;
    pub(crate) const DIRECTORY: u8 = 13;
    pub(crate) const CHANGE: u8 = 14;
    pub(crate) const LINK: u8 = 15;
    pub(crate) const CONTENT: u8 = 16;
    pub(crate) const CHUNK: u8 = 17;
    pub(crate) const NODE: u8 = 18;
    pub(crate) const SESSION: u8 = 19;
    pub(crate) const STAGED: u8 = 20;
    pub(crate) const STAGED_LINK: u8 = 21;
    pub(crate) const DELETED: u8 = 22;
    pub(crate) const STAGED_LINK_RECORD: u8 = 23;
    pub(crate) const STORED: u8 = 24;
    pub(crate) const NODE_CHUNK: u8 = 25;
    pub(crate) const NODE_CHUNKS: u8 = 26;
    pub(crate) const RESTORED: u8 = 27;
    pub(crate) const ROOTS: u8 = 28;
    pub(crate) const HOLD: u8 = 29;
    pub(crate) const EXPIRING: u8 = 30;
    pub(crate) const PIECES: u8 = 31;
    pub(crate) const PACK: u8 = 32;
    pub(crate) const PACK_LISTING: u8 = 33;
    pub(crate) const PACK_LISTING_USE: u8 = 34;
    pub(crate) const PACKED_DIRS: u8 = 35;
    pub(crate) const REPACK: u8 = 36;
    pub(crate) const KEPT: u8 = 37;
}

/// The tables of what sessions have staged.
pub(crate) const STAGED_TABLES: [u8; 3] =
    [table::STAGED, table::STAGED_LINK, table::STAGED_LINK_RECORD];

/// Returns the bytes of a name; the root's own record has the empty one.
pub(crate) fn name_bytes(name: Option<&Name>) -> &[u8] {
    name.map_or(&[], Name::as_bytes)
}

/// Returns the name that the bytes of a key stand for.
pub(crate) fn name_of(bytes: &[u8], key: &[u8]) -> Result<Option<Name>, MetaError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    Name::new(bytes)
        .map(Some)
        .map_err(|error| MetaError::corrupt(error.to_string(), key))
}

fn of_project(table: u8, project: ProjectId) -> KeyBuilder {
    KeyBuilder::new(table).fixed(project.as_bytes())
}

/// The prefix of all rows of `project` in a table that begins with the project.
pub(crate) fn project_rows(table: u8, project: ProjectId) -> Vec<u8> {
    of_project(table, project).build()
}

pub(crate) fn cluster() -> Vec<u8> {
    KeyBuilder::new(table::CLUSTER).build()
}

pub(crate) fn restored() -> Vec<u8> {
    KeyBuilder::new(table::RESTORED).build()
}

pub(crate) fn project_name(name: &ProjectName) -> Vec<u8> {
    KeyBuilder::new(table::PROJECT_NAME).raw(name.as_str().as_bytes())
}

pub(crate) fn project(project: ProjectId) -> Vec<u8> {
    project_rows(table::PROJECT, project)
}

/// The mark of a project that was deleted and of which rows may be left.
pub(crate) fn deleted(project: ProjectId) -> Vec<u8> {
    project_rows(table::DELETED, project)
}

/// What is kept of a deleted project that can be brought back.
pub(crate) fn kept(project: ProjectId) -> Vec<u8> {
    project_rows(table::KEPT, project)
}

/// What keeps versions of a project has changed so often.
pub(crate) fn roots(project: ProjectId) -> Vec<u8> {
    project_rows(table::ROOTS, project)
}

/// The mark of a project in which rows of expired versions may be left.
pub(crate) fn expiring(project: ProjectId) -> Vec<u8> {
    project_rows(table::EXPIRING, project)
}

pub(crate) fn hold(project: ProjectId, version: VersionNumber, holder: SessionId) -> Vec<u8> {
    of_project(table::HOLD, project)
        .number(version.0)
        .fixed(holder.as_bytes())
        .build()
}

/// Returns the version that the key of a hold names.
pub(crate) fn decode_hold(key: &[u8]) -> Result<VersionNumber, MetaError> {
    let (mut reader, _) = reader_of(key, table::HOLD)?;
    let version = VersionNumber(reader.number()?);
    reader.fixed::<{ SessionId::LEN }>()?;
    reader.finish()?;
    Ok(version)
}

/// The mark of a project whose packs do not follow its patterns yet.
pub(crate) fn repack(project: ProjectId) -> Vec<u8> {
    project_rows(table::REPACK, project)
}

pub(crate) fn head(project: ProjectId) -> Vec<u8> {
    project_rows(table::HEAD, project)
}

pub(crate) fn counters(project: ProjectId) -> Vec<u8> {
    project_rows(table::COUNTERS, project)
}

pub(crate) fn stored(project: ProjectId) -> Vec<u8> {
    project_rows(table::STORED, project)
}

pub(crate) fn lease(project: ProjectId) -> Vec<u8> {
    project_rows(table::LEASE, project)
}

pub(crate) fn version(project: ProjectId, version: VersionNumber) -> Vec<u8> {
    of_project(table::VERSION, project)
        .number(version.0)
        .build()
}

pub(crate) fn version_id(id: VersionId) -> Vec<u8> {
    KeyBuilder::new(table::VERSION_ID)
        .fixed(id.as_bytes())
        .build()
}

pub(crate) fn tag(project: ProjectId, tag: &TagName) -> Vec<u8> {
    of_project(table::TAG, project).raw(tag.as_str().as_bytes())
}

/// The prefix of all rows of one directory in the tables of objects and directories.
pub(crate) fn directory_rows(table: u8, project: ProjectId, dir: DirId) -> Vec<u8> {
    of_project(table, project).number(dir.0).build()
}

pub(crate) fn live(project: ProjectId, dir: DirId, name: &[u8]) -> Vec<u8> {
    of_project(table::LIVE, project)
        .number(dir.0)
        .name(name)
        .build()
}

pub(crate) fn closed(project: ProjectId, dir: DirId, stop: VersionNumber, name: &[u8]) -> Vec<u8> {
    of_project(table::CLOSED, project)
        .number(dir.0)
        .number(stop.0)
        .name(name)
        .build()
}

/// The first key of the closed rows of a directory that stop at `stop` or later.
pub(crate) fn closed_from(project: ProjectId, dir: DirId, stop: VersionNumber) -> Vec<u8> {
    of_project(table::CLOSED, project)
        .number(dir.0)
        .number(stop.0)
        .build()
}

pub(crate) fn closed_name(
    project: ProjectId,
    dir: DirId,
    name: &[u8],
    stop: VersionNumber,
) -> Vec<u8> {
    of_project(table::CLOSED_NAME, project)
        .number(dir.0)
        .name(name)
        .number(stop.0)
        .build()
}

/// The prefix of the closed names of one name.
pub(crate) fn closed_names_of(project: ProjectId, dir: DirId, name: &[u8]) -> Vec<u8> {
    of_project(table::CLOSED_NAME, project)
        .number(dir.0)
        .name(name)
        .build()
}

pub(crate) fn directory(project: ProjectId, dir: DirId, version: VersionNumber) -> Vec<u8> {
    of_project(table::DIRECTORY, project)
        .number(dir.0)
        .inverted(version.0)
        .build()
}

/// What lies in the pack that a directory is the root of, from one version on.
pub(crate) fn pack(project: ProjectId, root: DirId, version: VersionNumber) -> Vec<u8> {
    of_project(table::PACK, project)
        .number(root.0)
        .inverted(version.0)
        .build()
}

/// Takes the key of a pack's row apart.
pub(crate) fn decode_pack(key: &[u8]) -> Result<(ProjectId, DirId, VersionNumber), MetaError> {
    decode_of_directory(table::PACK, key)
}

pub(crate) fn pack_listing(listing: ContentId) -> Vec<u8> {
    KeyBuilder::new(table::PACK_LISTING)
        .fixed(listing.as_bytes())
        .build()
}

/// A number that changes each time a publisher uses a listing.
pub(crate) fn pack_listing_use(listing: ContentId) -> Vec<u8> {
    KeyBuilder::new(table::PACK_LISTING_USE)
        .fixed(listing.as_bytes())
        .build()
}

/// Directories with ids one behind the other, by the first: the row of any of them is the first one at or behind
/// its own key.
pub(crate) fn packed_dirs(project: ProjectId, first: DirId) -> Vec<u8> {
    of_project(table::PACKED_DIRS, project)
        .inverted(first.0)
        .build()
}

/// Returns the first of the directories whose row has this key.
pub(crate) fn decode_packed_dirs(key: &[u8]) -> Result<DirId, MetaError> {
    let (mut reader, _) = reader_of(key, table::PACKED_DIRS)?;
    let first = DirId(reader.inverted()?);
    reader.finish()?;
    Ok(first)
}

/// The change row of a pack: something in it changed that is no row of its own.
pub(crate) fn change_of_pack(project: ProjectId, version: VersionNumber, root: DirId) -> Vec<u8> {
    of_project(table::CHANGE, project)
        .number(version.0)
        .number(DirId::ABOVE_ROOT.0)
        .number(root.0)
        .build()
}

pub(crate) fn change(
    project: ProjectId,
    version: VersionNumber,
    dir: DirId,
    name: &[u8],
) -> Vec<u8> {
    of_project(table::CHANGE, project)
        .number(version.0)
        .number(dir.0)
        .name(name)
        .build()
}

/// The mark that stands for a change row of everything there is, and the prefix of the change
/// rows of a version.
pub(crate) fn changes_of(project: ProjectId, version: VersionNumber) -> Vec<u8> {
    of_project(table::CHANGE, project).number(version.0).build()
}

pub(crate) fn link(project: ProjectId, link: LinkId, dir: DirId, name: &[u8]) -> Vec<u8> {
    of_project(table::LINK, project)
        .number(link.0)
        .number(dir.0)
        .name(name)
        .build()
}

/// The prefix of the live names of one link.
pub(crate) fn links_of(project: ProjectId, link: LinkId) -> Vec<u8> {
    of_project(table::LINK, project).number(link.0).build()
}

pub(crate) fn content(content: ContentId) -> Vec<u8> {
    KeyBuilder::new(table::CONTENT)
        .fixed(content.as_bytes())
        .build()
}

/// A page of the pieces of a content that has more than one row holds.
pub(crate) fn pieces(content: ContentId, page: u64) -> Vec<u8> {
    KeyBuilder::new(table::PIECES)
        .fixed(content.as_bytes())
        .number(page)
        .build()
}

/// The prefix of all pages of a content.
pub(crate) fn pieces_of(content: ContentId) -> Vec<u8> {
    KeyBuilder::new(table::PIECES)
        .fixed(content.as_bytes())
        .build()
}

/// Returns the content whose pieces the key of a page names.
pub(crate) fn content_of_page(key: &[u8]) -> Result<ContentId, MetaError> {
    let mut reader = KeyReader::new(key);
    reader.expect_tag(table::PIECES)?;
    let content = ContentId(reader.fixed()?);
    reader.number()?;
    reader.finish()?;
    Ok(content)
}

pub(crate) fn chunk(chunk: ChunkId) -> Vec<u8> {
    KeyBuilder::new(table::CHUNK)
        .fixed(chunk.as_bytes())
        .build()
}

pub(crate) fn node(node: NodeId) -> Vec<u8> {
    KeyBuilder::new(table::NODE).fixed(node.as_bytes()).build()
}

/// The row that says that a node has a chunk.
pub(crate) fn node_chunk(node: NodeId, chunk: ChunkId) -> Vec<u8> {
    KeyBuilder::new(table::NODE_CHUNK)
        .fixed(node.as_bytes())
        .fixed(chunk.as_bytes())
        .build()
}

/// The prefix of the rows of the chunks that a node has.
pub(crate) fn node_chunks(node: NodeId) -> Vec<u8> {
    KeyBuilder::new(table::NODE_CHUNK)
        .fixed(node.as_bytes())
        .build()
}

/// Returns the node and the chunk that the row of a node's chunk is about.
pub(crate) fn decode_node_chunk(key: &[u8]) -> Result<(NodeId, ChunkId), MetaError> {
    let mut reader = KeyReader::new(key);
    reader.expect_tag(table::NODE_CHUNK)?;
    let node = NodeId(reader.fixed()?);
    let chunk = ChunkId(reader.fixed()?);
    reader.finish()?;
    Ok((node, chunk))
}

/// The mark of a store in which each node has the rows of its chunks.
pub(crate) fn node_chunks_mark() -> Vec<u8> {
    KeyBuilder::new(table::NODE_CHUNKS).build()
}

/// The row of a commit session, and in the tables of staged rows the prefix of all of its rows.
pub(crate) fn session(table: u8, session: SessionId) -> Vec<u8> {
    KeyBuilder::new(table).fixed(session.as_bytes()).build()
}

pub(crate) fn staged(session: SessionId, dir: DirId, name: &[u8]) -> Vec<u8> {
    KeyBuilder::new(table::STAGED)
        .fixed(session.as_bytes())
        .number(dir.0)
        .name(name)
        .build()
}

/// The prefix of the changes that a session staged in one directory.
pub(crate) fn staged_in(session: SessionId, dir: DirId) -> Vec<u8> {
    KeyBuilder::new(table::STAGED)
        .fixed(session.as_bytes())
        .number(dir.0)
        .build()
}

/// The prefix of the names that a session staged with one link.
pub(crate) fn staged_links_of(session: SessionId, link: LinkId) -> Vec<u8> {
    KeyBuilder::new(table::STAGED_LINK)
        .fixed(session.as_bytes())
        .number(link.0)
        .build()
}

pub(crate) fn staged_link(session: SessionId, link: LinkId, dir: DirId, name: &[u8]) -> Vec<u8> {
    KeyBuilder::new(table::STAGED_LINK)
        .fixed(session.as_bytes())
        .number(link.0)
        .number(dir.0)
        .name(name)
        .build()
}

pub(crate) fn staged_link_record(session: SessionId, link: LinkId) -> Vec<u8> {
    KeyBuilder::new(table::STAGED_LINK_RECORD)
        .fixed(session.as_bytes())
        .number(link.0)
        .build()
}

/// A key of one of the project's tables, taken apart up to the project.
fn reader_of(key: &[u8], table: u8) -> Result<(KeyReader<'_>, ProjectId), MetaError> {
    let mut reader = KeyReader::new(key);
    reader.expect_tag(table)?;
    let project = ProjectId(reader.fixed()?);
    Ok((reader, project))
}

/// A live or closed row, a closed name or a change, as its key names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectKey {
    pub(crate) project: ProjectId,
    pub(crate) dir: DirId,
    pub(crate) name: Option<Name>,
    /// The stop version of what is closed, the version of a change; absent in live rows.
    pub(crate) version: Option<VersionNumber>,
}

impl ObjectKey {
    pub(crate) fn live(key: &[u8]) -> Result<Self, MetaError> {
        let (mut reader, project) = reader_of(key, table::LIVE)?;
        let dir = DirId(reader.number()?);
        let name = name_of(reader.name()?, key)?;
        reader.finish()?;
        Ok(Self {
            project,
            dir,
            name,
            version: None,
        })
    }

    pub(crate) fn closed(key: &[u8]) -> Result<Self, MetaError> {
        let (mut reader, project) = reader_of(key, table::CLOSED)?;
        let dir = DirId(reader.number()?);
        let version = Some(VersionNumber(reader.number()?));
        let name = name_of(reader.name()?, key)?;
        reader.finish()?;
        Ok(Self {
            project,
            dir,
            name,
            version,
        })
    }

    pub(crate) fn closed_name(key: &[u8]) -> Result<Self, MetaError> {
        let (mut reader, project) = reader_of(key, table::CLOSED_NAME)?;
        let dir = DirId(reader.number()?);
        let name = name_of(reader.name()?, key)?;
        let version = Some(VersionNumber(reader.number()?));
        reader.finish()?;
        Ok(Self {
            project,
            dir,
            name,
            version,
        })
    }

    pub(crate) fn name_bytes(&self) -> &[u8] {
        name_bytes(self.name.as_ref())
    }
}

/// What the key of a change row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangeKey {
    /// The mark of a first version: everything changed.
    Everything(VersionNumber),
    /// Something in a pack changed; the directory is its root.
    Pack(VersionNumber, DirId),
    /// One name changed.
    Name(VersionNumber, DirId, Option<Name>),
}

impl ChangeKey {
    pub(crate) fn decode(key: &[u8]) -> Result<Self, MetaError> {
        let (mut reader, _) = reader_of(key, table::CHANGE)?;
        let version = VersionNumber(reader.number()?);
        if reader.clone().raw().is_empty() {
            return Ok(Self::Everything(version));
        }
        let dir = DirId(reader.number()?);
        if dir == DirId::ABOVE_ROOT && reader.clone().raw().len() == size_of::<u64>() {
            let root = DirId(reader.number()?);
            reader.finish()?;
            return Ok(Self::Pack(version, root));
        }
        let name = name_of(reader.name()?, key)?;
        reader.finish()?;
        Ok(Self::Name(version, dir, name))
    }

    pub(crate) fn version(&self) -> VersionNumber {
        match self {
            Self::Everything(version) | Self::Pack(version, _) | Self::Name(version, ..) => {
                *version
            }
        }
    }
}

/// Takes the key of a directory row apart.
pub(crate) fn decode_directory(key: &[u8]) -> Result<(ProjectId, DirId, VersionNumber), MetaError> {
    decode_of_directory(table::DIRECTORY, key)
}

fn decode_of_directory(
    table: u8,
    key: &[u8],
) -> Result<(ProjectId, DirId, VersionNumber), MetaError> {
    let (mut reader, project) = reader_of(key, table)?;
    let dir = DirId(reader.number()?);
    let version = VersionNumber(reader.inverted()?);
    reader.finish()?;
    Ok((project, dir, version))
}

/// Takes the key of a link row apart.
pub(crate) fn decode_link(
    key: &[u8],
) -> Result<(ProjectId, LinkId, DirId, Option<Name>), MetaError> {
    let (mut reader, project) = reader_of(key, table::LINK)?;
    let link = LinkId(reader.number()?);
    let dir = DirId(reader.number()?);
    let name = name_of(reader.name()?, key)?;
    reader.finish()?;
    Ok((project, link, dir, name))
}

/// Takes the key of a staged change apart.
pub(crate) fn decode_staged(key: &[u8]) -> Result<(DirId, Option<Name>), MetaError> {
    let mut reader = KeyReader::new(key);
    reader.expect_tag(table::STAGED)?;
    reader.fixed::<{ SessionId::LEN }>()?;
    let dir = DirId(reader.number()?);
    let name = name_of(reader.name()?, key)?;
    reader.finish()?;
    Ok((dir, name))
}

/// Takes the key of a staged link apart.
pub(crate) fn decode_staged_link(key: &[u8]) -> Result<(LinkId, DirId, Option<Name>), MetaError> {
    let mut reader = KeyReader::new(key);
    reader.expect_tag(table::STAGED_LINK)?;
    reader.fixed::<{ SessionId::LEN }>()?;
    let link = LinkId(reader.number()?);
    let dir = DirId(reader.number()?);
    let name = name_of(reader.name()?, key)?;
    reader.finish()?;
    Ok((link, dir, name))
}

/// Takes the key of a row apart that a table byte and one id of `LEN` bytes make up.
pub(crate) fn decode_id<const LEN: usize>(table: u8, key: &[u8]) -> Result<[u8; LEN], MetaError> {
    let mut reader = KeyReader::new(key);
    reader.expect_tag(table)?;
    let id = reader.fixed()?;
    reader.finish()?;
    Ok(id)
}
