//! What a command of a user works with: one set of connections, one retry policy.

use std::sync::Arc;

use lfsfs_remote::{Remote, RemoteError, Retry, Retrying};

use crate::admin::Admin;
use crate::config::ClientConfig;
use crate::development::Development;
use crate::files::Files;
use crate::garbage::Garbage;
use crate::history::History;
use crate::nodes::Nodes;
use crate::servers::Servers;

/// A system, as one operation of a user asks it.
#[derive(Debug, Clone)]
pub struct Client {
    /// Versions, contents, commits.
    pub remote: Arc<dyn Remote>,
    /// Projects, tags, history.
    pub admin: Admin,
    /// Single files as versions.
    pub files: Files,
    /// Versions made of versions.
    pub history: History,
    /// What no version needs any more.
    pub garbage: Garbage,
    /// Where all projects are, and back there.
    pub development: Development,
    /// Datanodes and copies.
    pub nodes: Nodes,
    /// When calls are made again.
    pub retry: Retry,
}

impl Client {
    /// Checks the configuration; nothing is sent yet.
    pub fn new(config: ClientConfig, retry: Retry) -> Result<Self, RemoteError> {
        let servers = Servers::new(config)?;
        Ok(Self {
            admin: Admin::new(&servers, retry.clone()),
            files: Files::new(&servers, retry.clone()),
            history: History::new(&servers, retry.clone()),
            garbage: Garbage::new(&servers, retry.clone()),
            development: Development::new(&servers, retry.clone()),
            nodes: Nodes::new(&servers, retry.clone()),
            remote: Retrying::around(servers.remote(), retry.clone()),
            retry,
        })
    }
}
