//! The error types of this crate: what a call, and what a single change, can be refused for.

use std::fmt;
use std::io;

use lfsfs_meta_store::MetaError;
use lfsfs_types::limits::PATH_LEN_MAX;
use lfsfs_types::{
    ChunkId, ContentId, DecodeError, DirId, LinkId, Name, NodeId, ObjectPath, ProjectId,
    ProjectName, RecordFault, TagName, VersionId, VersionNumber,
};

/// Why the metadata could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The store failed, or a row of it is damaged.
    #[error(transparent)]
    Store(#[from] MetaError),

    /// The operating system gave no random bytes for an id.
    #[error("draw a random id")]
    Random(#[source] io::Error),

    /// The store is laid out as another program version lays it out.
    #[error("the metadata has layout {found}, this program reads layout {expected}")]
    Layout {
        /// The layout found.
        found: u64,
        /// The layout of this program.
        expected: u64,
    },

    /// A project of that name is there.
    #[error("project {name} already exists")]
    ProjectExists {
        /// Its name.
        name: ProjectName,
    },

    /// The settings of a new project are out of range.
    #[error("the project cannot have these settings: {problem}")]
    InvalidSettings {
        /// What is wrong.
        problem: &'static str,
    },

    /// No project has that name.
    #[error("no project {name}")]
    UnknownProject {
        /// The name.
        name: ProjectName,
    },

    /// No project has that id.
    #[error("no project with id {id}")]
    UnknownProjectId {
        /// The id.
        id: ProjectId,
    },

    /// No deleted project that can be brought back has that name or id.
    #[error(
        "no deleted project {named}: `lfsfs project list --deleted` shows those that can be brought back"
    )]
    UnknownDeleted {
        /// The name or the id.
        named: String,
    },

    /// Several deleted projects had that name.
    #[error(
        "several deleted projects had the name {name}: name one of them by its id, {}",
        ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    )]
    AmbiguousDeleted {
        /// The name.
        name: String,
        /// The first twenty.
        ids: Vec<ProjectId>,
    },

    /// The project has no such version.
    #[error("project {project} has no version {version}")]
    UnknownVersion {
        /// The project.
        project: ProjectId,
        /// The version.
        version: VersionNumber,
    },

    /// The project that a source names has no such version.
    #[error("project {project} has no version {version}: its newest is {head}")]
    AbsentVersion {
        /// The project.
        project: ProjectName,
        /// The version.
        version: VersionNumber,
        /// The newest version.
        head: VersionNumber,
    },

    /// The version was there, and has expired.
    #[error(
        "version {version} of project {project} has expired: it was removed to make room; `lfsfs log {project}` shows \
         the versions that are there"
    )]
    ExpiredVersion {
        /// The project.
        project: ProjectName,
        /// The version.
        version: VersionNumber,
    },

    /// The pieces of a large content are not known, so that it cannot be told which others are not needed.
    #[error(
        "the pieces of content {content} are only known by their number: an earlier program stored it. Import its file \
         once more, with --force-hash, and garbage can be collected"
    )]
    UnknownPieces {
        /// The content.
        content: ContentId,
    },

    /// The version that a client knows by its random id is not there: the metadata is that of an older backup.
    #[error(
        "this version {version} of {project} is not on the server, whose metadata was restored from an older \
         backup; the newest version there is {head}"
    )]
    GoneVersion {
        /// The project.
        project: ProjectName,
        /// The version.
        version: VersionNumber,
        /// The newest version.
        head: VersionNumber,
    },

    /// The project has no such tag.
    #[error("project {project} has no tag {tag}")]
    UnknownTag {
        /// The project.
        project: ProjectName,
        /// The tag.
        tag: TagName,
    },

    /// The tag names another version and was not to be moved.
    #[error("tag {tag} already names {version}")]
    TagExists {
        /// The tag.
        tag: TagName,
        /// What it names.
        version: VersionNumber,
    },

    /// The version has no such directory.
    #[error("version {version} has no directory {dir}")]
    UnknownDirectory {
        /// The directory.
        dir: DirId,
        /// The version.
        version: VersionNumber,
    },

    /// Listings cannot go on behind a directory, because they do not come by it.
    #[error(
        "after is wrong: version {version} has no directory {dir} in or below directory {top}, with which the listings \
         begin"
    )]
    WrongCursor {
        /// The directory.
        dir: DirId,
        /// Where the listings begin.
        top: DirId,
        /// The version.
        version: VersionNumber,
    },

    /// Others changed what a commit changes, since its base.
    #[error("{count} path{} changed by others between {base} and {head} too, the first is \"{}\"", if *count == 1 { " was" } else { "s were" }, paths.first().map_or_else(String::new, |path| path.as_bytes().escape_ascii().to_string()))]
    Conflicts {
        /// The base of the commit.
        base: VersionNumber,
        /// The newest version.
        head: VersionNumber,
        /// The first 10,000 of what both changed, in order, each once: the path in the newest version
        /// if that has it, else the one in the base.
        paths: Vec<ObjectPath>,
        /// How many there are.
        count: u64,
    },

    /// Another version was published since a rollback began.
    #[error("the base {base} is not the newest version any more: that is {head}")]
    Stale {
        /// The base.
        base: VersionNumber,
        /// The newest version.
        head: VersionNumber,
    },

    /// The random id of a commit is none, or a version of another project has it.
    #[error("version id {id} cannot be used for this commit")]
    InvalidVersionId {
        /// The id.
        id: VersionId,
    },

    /// Author or message of a commit are too long.
    #[error("the {what} of the commit has more than {max} bytes")]
    TextTooLong {
        /// "author" or "message".
        what: &'static str,
        /// How many are possible.
        max: usize,
    },

    /// Author or message of a commit hold a character that they cannot have.
    #[error("the {what} of the commit holds the character {character:?}")]
    TextForbidden {
        /// "author" or "message".
        what: &'static str,
        /// The first such character.
        character: char,
    },

    /// Another coordinator publishes a version of the project.
    #[error("another coordinator is publishing a version of project {project}")]
    Busy {
        /// The project.
        project: ProjectId,
    },

    /// The lease expired and another coordinator took it: nothing was published.
    #[error("the lease of project {project} was lost while publishing")]
    LeaseLost {
        /// The project.
        project: ProjectId,
    },

    /// Contents that a commit names are not stored.
    #[error("{count} contents are missing, the first is {}", first.first().map_or_else(String::new, ToString::to_string))]
    MissingContents {
        /// The first twenty.
        first: Vec<ContentId>,
        /// How many.
        count: u64,
    },

    /// A change cannot be made.
    #[error("cannot change {place}")]
    Refused {
        /// Where.
        place: Place,
        /// Why.
        #[source]
        reason: Refusal,
    },

    /// An object of an update contradicts others of it.
    #[error("path is wrong: \"{path}\" cannot be updated, {problem}")]
    ObjectRefused {
        /// Its path, shortened for people.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// The layout of a content does not fit its id, or is none that a row can hold.
    #[error("the pieces of content {content} are refused: {problem}")]
    InvalidPieces {
        /// The content.
        content: ContentId,
        /// What is wrong.
        problem: &'static str,
    },

    /// A receipt contradicts itself.
    #[error("the receipt of a chunk is refused: {problem}")]
    InvalidReceipt {
        /// What is wrong.
        problem: &'static str,
    },

    /// A chunk is to be deleted that has the only place of a content.
    #[error("chunk {chunk} has contents that are nowhere else")]
    ChunkInUse {
        /// The chunk.
        chunk: ChunkId,
    },

    /// A version is said to come from one that is not there.
    #[error("the origin of the commit is wrong: {problem}")]
    InvalidOrigin {
        /// What is wrong.
        problem: String,
    },

    /// No node has that id.
    #[error("no node {node}")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },

    /// The address of a node is none.
    #[error("a node needs an address of 1 to 300 bytes")]
    InvalidAddress,

    /// The name of a node's zone is none.
    #[error("the name of a zone has at most 64 bytes")]
    InvalidZone,

    /// A path of the version is longer than paths can be.
    #[error("path \"{path}\" of the version is too long: {PATH_LEN_MAX} bytes are possible")]
    PathTooLong {
        /// The path, shortened for people.
        path: String,
    },
}

impl MetadataError {
    /// Returns true if the same call may succeed later without a change by the caller or the
    /// operator.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Busy { .. } | Self::LeaseLost { .. } => true,
            _ => false,
        }
    }

    /// Returns true if what was named is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::UnknownProject { .. }
                | Self::UnknownProjectId { .. }
                | Self::UnknownDeleted { .. }
                | Self::UnknownVersion { .. }
                | Self::AbsentVersion { .. }
                | Self::GoneVersion { .. }
                | Self::ExpiredVersion { .. }
                | Self::UnknownTag { .. }
                | Self::UnknownDirectory { .. }
                | Self::UnknownNode { .. }
        )
    }

    /// Returns true if stored data was found damaged.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_corrupt())
    }
}

/// An entry as changes name it: a directory and a name in it, or the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The directory.
    pub dir: DirId,
    /// The name; none for the root's own record.
    pub name: Option<Name>,
    /// The path, shortened for people, where it could be found.
    pub path: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            return write!(f, "\"{path}\"");
        }
        match &self.name {
            Some(name) => write!(
                f,
                "\"{}\" in directory {}",
                name.as_bytes().escape_ascii(),
                self.dir
            ),
            None if self.dir == DirId::ABOVE_ROOT => f.write_str("the root"),
            None => write!(f, "directory {}", self.dir),
        }
    }
}

/// Why a single change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only the root has no name, and only the root lies in directory 0.
    #[error("only the root has no name")]
    InvalidPlace,

    /// The root is no directory after the commit, or has another place.
    #[error("the root stays a directory at its place")]
    RootReplaced,

    /// The record breaks a limit.
    #[error("the record is invalid")]
    InvalidRecord(#[source] DecodeError),

    /// A field of the record has a value that it cannot have.
    #[error("a field of the record is wrong")]
    InvalidField(#[source] RecordFault),

    /// The record says another length of a content than that has.
    #[error("{field} is {said}, but content {content} has {len} bytes")]
    WrongLength {
        /// The field.
        field: &'static str,
        /// The length that it says.
        said: u64,
        /// The content.
        content: ContentId,
        /// The length of the content.
        len: u64,
    },

    /// All files of the version together would be longer than can be counted.
    #[error("size is {size}: all files of a version together have at most 2^63 - 1 bytes")]
    TooManyBytes {
        /// The size of the file.
        size: u64,
    },

    /// The base has no such directory.
    #[error("directory {dir} is not in the base")]
    UnknownDirectory {
        /// The directory.
        dir: DirId,
    },

    /// The directory is used, but the commit makes it nowhere.
    #[error("directory {dir} is made nowhere")]
    NeverMade {
        /// The directory.
        dir: DirId,
    },

    /// The directory has two places after the commit.
    #[error("directory {dir} has two places")]
    TwoPlaces {
        /// The directory.
        dir: DirId,
    },

    /// The directory got a new place and is still at its old one.
    #[error("directory {dir} is moved, but its old place is not removed")]
    NotRemoved {
        /// The directory.
        dir: DirId,
    },

    /// The directory comes to lie in itself.
    #[error("directory {dir} would lie in itself")]
    Cycle {
        /// The directory.
        dir: DirId,
    },

    /// The entry is put into a directory that the commit removes.
    #[error("directory {dir} is removed")]
    DirectoryRemoved {
        /// The directory.
        dir: DirId,
    },

    /// A directory cannot have several names.
    #[error("a directory has no link id")]
    LinkedDirectory,

    /// No name of the link is in the base.
    #[error("link {link} is not in the base")]
    UnknownLink {
        /// The link.
        link: LinkId,
    },

    /// Two names of a link have different records after the commit.
    #[error("link {link} has another record at another name")]
    UnequalLink {
        /// The link.
        link: LinkId,
    },

    /// The link has more names than its count says.
    #[error("link {link} has {names} names, its count says {nlink}")]
    LinkCount {
        /// The link.
        link: LinkId,
        /// The names found.
        names: u64,
        /// The count in the record.
        nlink: u32,
    },

    /// The path is longer than paths can be.
    #[error("the path would have {len} bytes: {PATH_LEN_MAX} are possible")]
    PathTooLong {
        /// The bytes that it would have.
        len: usize,
    },
}

impl Refusal {
    /// Makes the error that names the place.
    pub(crate) fn at(self, dir: DirId, name: Option<Name>) -> MetadataError {
        MetadataError::Refused {
            place: Place {
                dir,
                name,
                path: None,
            },
            reason: self,
        }
    }
}

/// The result of every call.
pub type Result<T, E = MetadataError> = std::result::Result<T, E>;
