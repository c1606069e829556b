//! The calls of the seam and of administration, and which of them may be made again.

/// A call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`RemoteRead::resolve_source`](crate::RemoteRead::resolve_source)
    ResolveSource,
    /// [`RemoteRead::snapshot`](crate::RemoteRead::snapshot)
    Snapshot,
    /// [`RemoteRead::lookup`](crate::RemoteRead::lookup)
    Lookup,
    /// [`RemoteRead::list_directory`](crate::RemoteRead::list_directory)
    ListDirectory,
    /// [`RemoteRead::list_tree`](crate::RemoteRead::list_tree)
    ListTree,
    /// [`RemoteRead::changed_names`](crate::RemoteRead::changed_names)
    ChangedNames,
    /// [`RemoteRead::directory_places`](crate::RemoteRead::directory_places)
    DirectoryPlaces,
    /// [`RemoteRead::diff`](crate::RemoteRead::diff)
    Diff,
    /// [`RemoteContents::resolve`](crate::RemoteContents::resolve)
    Resolve,
    /// [`RemoteContents::read_chunk`](crate::RemoteContents::read_chunk)
    ReadChunk,
    /// [`RemoteWrite::find_missing`](crate::RemoteWrite::find_missing)
    FindMissing,
    /// [`RemoteWrite::put_pieces`](crate::RemoteWrite::put_pieces)
    PutPieces,
    /// [`RemoteWrite::store_chunk`](crate::RemoteWrite::store_chunk)
    StoreChunk,
    /// [`RemoteWrite::open_session`](crate::RemoteWrite::open_session)
    OpenSession,
    /// [`RemoteWrite::commit`](crate::RemoteWrite::commit)
    Commit,
    /// `Admin::cluster` of the client
    Cluster,
    /// `Admin::new_project` of the client
    NewProject,
    /// `Admin::delete_project` of the client
    DeleteProject,
    /// `Admin::undelete_project` of the client
    UndeleteProject,
    /// `Admin::rename_project` of the client
    RenameProject,
    /// `Admin::set_project` of the client
    SetProject,
    /// `Admin::list_projects` of the client
    ListProjects,
    /// `Admin::inspect` of the client
    Inspect,
    /// `Admin::usage` of the client
    Usage,
    /// `Admin::set_tag` of the client
    SetTag,
    /// `Admin::delete_tag` of the client
    DeleteTag,
    /// `Admin::list_tags` of the client
    ListTags,
    /// `Admin::log_of_path` of the client
    Log,
    /// `History::watch` of the client
    Watch,
    /// `Files::put` of the client
    PutFile,
    /// `Files::delete` of the client
    DeleteFile,
    /// `History::roll_back` of the client
    Rollback,
    /// `History::clone_version` of the client
    CloneVersion,
    /// `History::make_cache` of the client
    MakeCache,
    /// `Development::reset` of the client
    Reset,
    /// `Garbage` of the client
    Collect,
    /// `RemoteRead::hold_version`
    HoldVersion,
    /// `RemoteRead::release_version`
    ReleaseVersion,
    /// `Nodes::list` of the client
    ListNodes,
    /// `Nodes::set_draining` of the client
    DrainNode,
    /// `Nodes::remove` of the client
    RemoveNode,
    /// `Nodes::status` of the client
    ClusterStatus,
    /// `Nodes::unhealthy_chunks` of the client
    UnhealthyChunks,
}

impl Call {
    /// Returns true if the call does and answers the same when it is made again after an answer that was
    /// lost.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        match self {
            Self::ResolveSource
            | Self::Snapshot
            | Self::Lookup
            | Self::ListDirectory
            | Self::ListTree
            | Self::ChangedNames
            | Self::DirectoryPlaces
            | Self::Diff
            | Self::Resolve
            | Self::ReadChunk
            | Self::FindMissing
            | Self::Cluster
            | Self::ListProjects
            | Self::Inspect
            | Self::Usage
            | Self::ListTags
            | Self::ListNodes
            | Self::ClusterStatus
            | Self::UnhealthyChunks
            | Self::Log
            | Self::Watch => true,
            // Contents, pieces and chunks are named by their hashes.
            Self::PutPieces | Self::StoreChunk => true,
            // The random id of the version names the session.
            Self::OpenSession => true,
            // It names the version that the first call made.
            Self::PutFile
            | Self::DeleteFile
            | Self::Rollback
            | Self::CloneVersion
            | Self::MakeCache => true,
            // What is gone is gone, and what is held is held.
            Self::Collect | Self::HoldVersion | Self::ReleaseVersion => true,
            // A tag that is set twice names the same version.
            Self::SetTag => true,
            // Projects that are as they should be stay so.
            Self::Reset => true,
            // Settings that are set twice are what they are.
            Self::SetProject => true,
            // So is a datanode that is told twice to drain.
            Self::DrainNode => true,
            // The changes are a stream that is gone: its operation begins anew.
            Self::Commit => false,
            // The second call would find what the first one made, or not find what it removed.
            Self::NewProject
            | Self::DeleteProject
            | Self::UndeleteProject
            | Self::RenameProject
            | Self::DeleteTag
            | Self::RemoveNode => false,
        }
    }
}
