//! What is wrong, for people and for scripts.

use std::collections::HashMap;

use lfsfs_client::{ChunkDifference, ChunkFinding, ChunkHealth, ClusterNode, UnhealthyChunk};
use lfsfs_types::{ChunkId, NodeId, ObjectPath, ProjectName};
use serde::Serialize;

use crate::output::{JsonPath, quoted};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// No datanode that answers has the chunk.
    Missing,
    UnderReplicated,
    OverReplicated,
    /// A datanode has a chunk of which the coordinator does not know.
    Orphaned,
    /// A datanode lost a chunk that the coordinator believes to be there.
    LostCopy,
    Corrupt,
    /// The disk does not give the chunk.
    Unreadable,
    /// A file of a newest version cannot be read.
    LostFile,
    /// A datanode does not answer.
    Offline,
    /// A datanode could not be checked to the end.
    Unchecked,
}

impl What {
    const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UnderReplicated => "under-replicated",
            Self::OverReplicated => "over-replicated",
            Self::Orphaned => "orphaned",
            Self::LostCopy => "lost copy",
            Self::Corrupt => "corrupt",
            Self::Unreadable => "unreadable",
            Self::LostFile => "lost file",
            Self::Offline => "offline",
            Self::Unchecked => "unchecked",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) what: What,
    pub(super) is_repaired: bool,
    chunk: Option<ChunkId>,
    /// host:port of datanodes.
    nodes: Vec<String>,
    /// Copies that there are and that there should be.
    copies: Option<(usize, u32)>,
    file: Option<(ProjectName, ObjectPath)>,
}

impl Finding {
    const fn new(what: What) -> Self {
        Self {
            what,
            is_repaired: false,
            chunk: None,
            nodes: Vec::new(),
            copies: None,
            file: None,
        }
    }

    pub(super) fn of_node(node: &ClusterNode, what: What) -> Self {
        Self {
            nodes: vec![node.address.clone()],
            ..Self::new(what)
        }
    }

    pub(super) fn of_copy(node: &ClusterNode, found: &ChunkFinding) -> Self {
        let what = match found.difference {
            ChunkDifference::Missing => What::LostCopy,
            ChunkDifference::Unknown => What::Orphaned,
            ChunkDifference::Damaged => What::Corrupt,
            ChunkDifference::Unreadable => What::Unreadable,
        };
        Self {
            is_repaired: found.is_repaired,
            chunk: Some(found.id),
            ..Self::of_node(node, what)
        }
    }

    pub(super) fn of_chunk(chunk: &UnhealthyChunk, addresses: &HashMap<NodeId, &str>) -> Self {
        let what = match chunk.health {
            ChunkHealth::Missing => What::Missing,
            ChunkHealth::UnderReplicated => What::UnderReplicated,
            ChunkHealth::OverReplicated => What::OverReplicated,
        };
        let address = |id: &NodeId| {
            let known = addresses.get(id).map(|address| (*address).to_owned());
            known.unwrap_or_else(|| id.to_string())
        };
        Self {
            chunk: Some(chunk.id),
            nodes: chunk.holders.iter().map(address).collect(),
            copies: Some((chunk.holders.len(), chunk.wanted)),
            ..Self::new(what)
        }
    }

    pub(super) fn of_file(project: &ProjectName, path: &ObjectPath) -> Self {
        Self {
            file: Some((project.clone(), path.clone())),
            ..Self::new(What::LostFile)
        }
    }

    /// Returns the line for people: what is wrong first.
    pub(super) fn line(&self) -> String {
        let mut words = vec![format!("{:<16}", self.what.word())];
        words.extend(self.chunk.map(|chunk| chunk.to_string()));
        if let Some((project, path)) = &self.file {
            words.push(format!("{project}:{}", quoted(path.as_bytes())));
        }
        if let Some((copies, wanted)) = self.copies {
            words.push(format!("{copies} of {wanted} copies"));
        }
        if !self.nodes.is_empty() {
            words.push(self.nodes.join(" "));
        }
        if self.is_repaired {
            words.push("(repaired)".to_owned());
        }
        words.join("  ")
    }
}

/// A finding in JSON.
#[derive(Debug, Serialize)]
pub(super) struct JsonFinding<'a> {
    finding: What,
    repaired: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    nodes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copies_wanted: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(flatten)]
    path: Option<JsonPath>,
}

impl<'a> JsonFinding<'a> {
    pub(super) fn new(finding: &'a Finding) -> Self {
        let file = finding.file.as_ref();
        Self {
            finding: finding.what,
            repaired: finding.is_repaired,
            chunk: finding.chunk.map(|chunk| chunk.to_string()),
            nodes: &finding.nodes,
            copies: finding.copies.map(|(copies, _)| copies),
            copies_wanted: finding.copies.map(|(_, wanted)| wanted),
            project: file.map(|(project, _)| project.to_string()),
            path: file.map(|(_, path)| JsonPath::new(path.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_wrong_first() {
        let chunk = UnhealthyChunk {
            id: ChunkId([0xab; 32]),
            len: 5,
            health: ChunkHealth::UnderReplicated,
            wanted: 3,
            holders: vec![NodeId([1; 16]), NodeId([2; 16])],
        };
        let addresses = HashMap::from([(NodeId([1; 16]), "host1:5051")]);
        let finding = Finding::of_chunk(&chunk, &addresses);
        let (chunk, gone) = ("ab".repeat(32), NodeId([2; 16]));
        assert_eq!(
            finding.line(),
            format!("under-replicated  {chunk}  2 of 3 copies  host1:5051 {gone}")
        );
        let json = serde_json::to_value(JsonFinding::new(&finding)).unwrap();
        assert_eq!(json["finding"], "under_replicated");
        assert_eq!(json["copies"], 2);
        assert!(json.get("path").is_none(), "{json}");
    }

    #[test]
    fn a_file_is_told_by_project_and_path() {
        let (project, path) = (
            ProjectName::new("app").unwrap(),
            ObjectPath::new(b"a b").unwrap(),
        );
        let finding = Finding::of_file(&project, &path);
        assert!(finding.line().starts_with("lost file"));
        let json = serde_json::to_value(JsonFinding::new(&finding)).unwrap();
        assert_eq!(
            (&json["project"], &json["path"]),
            (&"app".into(), &"a b".into())
        );
    }
}
