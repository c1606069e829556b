//! Figures that every role has: the program, its connections, and the memory of its calls.

use std::fmt;
use std::sync::Arc;

use super::MetricsParts;
use crate::budget::Budget;
use crate::connections::Connections;
use crate::figures::{Figures, Page};

/// Figures of a server, whatever it is.
#[derive(Debug)]
pub(super) struct ServerFigures {
    role: &'static str,
    memory: u64,
    budget: Budget,
    connections: Arc<Connections>,
}

impl ServerFigures {
    pub(super) fn new(parts: &MetricsParts<'_>) -> Self {
        Self {
            role: parts.config.role.word(),
            memory: parts.config.memory,
            budget: parts.budget.clone(),
            connections: Arc::clone(&parts.connections),
        }
    }
}

impl Figures for ServerFigures {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.info(
            "lfsfs_build_info",
            "The program, and what it is.",
            [("version", env!("CARGO_PKG_VERSION")), ("role", self.role)],
        )?;
        let connections = self.connections.figures();
        page.gauge(
            "lfsfs_connections",
            "Connections that are open.",
            connections.open,
        )?;
        page.gauge(
            "lfsfs_connections_limit",
            "Connections that may be open at the same time.",
            connections.max,
        )?;
        page.counter(
            "lfsfs_connections_accepted_total",
            "Connections that were taken in.",
            connections.accepted,
        )?;
        page.counter(
            "lfsfs_connections_refused_total",
            "Connections that were refused, because all others served calls.",
            connections.refused,
        )?;
        let memory = self.budget.figures();
        page.gauge(
            "lfsfs_call_memory_used_bytes",
            "Bytes that calls have of their budget.",
            memory.used_bytes,
        )?;
        page.gauge(
            "lfsfs_call_memory_limit_bytes",
            "Bytes that all calls together may have.",
            memory.limit_bytes,
        )?;
        page.gauge(
            "lfsfs_memory_limit_bytes",
            "Bytes that the server may take in all.",
            self.memory,
        )
    }
}
