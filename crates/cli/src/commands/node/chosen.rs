//! Which datanode a word means.

use lfsfs_client::ClusterNode;
use lfsfs_types::NodeId;

use super::shown;
use crate::error::CommandError;

/// Digits of an id that name it at least.
const PREFIX_LEN_MIN: usize = 4;
/// Digits of an id that are shown at least.
const SHORT_LEN_MIN: usize = 8;
/// Datanodes that an error lists at most.
const CANDIDATES_MAX: usize = 20;

/// What an operator typed for a datanode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeName {
    /// host:port.
    Address(String),
    /// Its id or the beginning of it, in lower case.
    Id(String),
}

impl NodeName {
    pub(super) fn parse(text: &str) -> Result<Self, CommandError> {
        if text.contains(':') {
            return Ok(Self::Address(text.to_owned()));
        }
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && (PREFIX_LEN_MIN..=2 * NodeId::LEN).contains(&text.len()) {
            return Ok(Self::Id(text.to_ascii_lowercase()));
        }
        let error = CommandError::usage(format!("{text:?} names no datanode"));
        Err(error.hint(format!(
            "name it by its id, by at least {PREFIX_LEN_MIN} digits that the id begins with, or by HOST:PORT"
        )))
    }

    /// Returns the one datanode that it names.
    pub(super) fn find<'a>(
        &self,
        nodes: &'a [ClusterNode],
    ) -> Result<&'a ClusterNode, CommandError> {
        let found: Vec<_> = nodes.iter().filter(|node| self.fits(node)).collect();
        match found[..] {
            [node] => Ok(node),
            [] => Err(self.unknown(nodes)),
            _ => Err(self.ambiguous(&found)),
        }
    }

    fn fits(&self, node: &ClusterNode) -> bool {
        match self {
            Self::Address(address) => node.address == *address,
            Self::Id(digits) => node.id.to_string().starts_with(digits),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Address(text) | Self::Id(text) => text,
        }
    }

    fn unknown(&self, nodes: &[ClusterNode]) -> CommandError {
        let text = format!("the cluster has no datanode {}", self.text());
        let nodes: Vec<_> = nodes.iter().collect();
        with_candidates(CommandError::failed(text), &nodes)
            .hint("see all of them with: lfsfs node list")
    }

    fn ambiguous(&self, found: &[&ClusterNode]) -> CommandError {
        let count = found.len();
        let text = format!("{} names {count} datanodes", self.text());
        with_candidates(CommandError::usage(text), found).hint("name one of them by its whole id")
    }
}

/// Lists datanodes below a message.
fn with_candidates(error: CommandError, nodes: &[&ClusterNode]) -> CommandError {
    let line = |node: &&ClusterNode| {
        let (id, address) = (node.id, &node.address);
        format!("{id}  {address}  {}", shown::state(node))
    };
    let error = nodes
        .iter()
        .take(CANDIDATES_MAX)
        .map(line)
        .fold(error, CommandError::detail);
    match nodes.len().saturating_sub(CANDIDATES_MAX) {
        0 => error,
        more => error.detail(format!("and {more} more")),
    }
}

/// Returns how many digits tell all ids apart.
pub(super) fn short_len(nodes: &[ClusterNode]) -> usize {
    let mut ids: Vec<_> = nodes.iter().map(|node| node.id.to_string()).collect();
    ids.sort();
    ids.dedup();
    let same = |pair: &[String]| {
        let pairs = pair[0].bytes().zip(pair[1].bytes());
        pairs.take_while(|(one, other)| one == other).count()
    };
    let longest = ids.windows(2).map(same).max();
    longest.map_or(SHORT_LEN_MIN, |len| SHORT_LEN_MIN.max(len + 1))
}

#[cfg(test)]
mod tests {
    use lfsfs_client::NodeState;
    use lfsfs_types::Timestamp;

    use super::*;

    fn node(first: [u8; 3], address: &str) -> ClusterNode {
        let mut id = [7; 16];
        id[..3].copy_from_slice(&first);
        ClusterNode {
            id: NodeId(id),
            address: address.to_owned(),
            zone: String::new(),
            state: NodeState::Available,
            is_draining: false,
            generation: 1,
            chunks: 0,
            stored_bytes: 0,
            capacity_bytes: 0,
            used_bytes: 0,
            last_seen: Timestamp { secs: 0, nanos: 0 },
        }
    }

    fn nodes() -> Vec<ClusterNode> {
        vec![
            node([0xab, 0xcd, 1], "a:1"),
            node([0xab, 0xcd, 2], "a:1"),
            node([0xab, 0xce, 2], "b:1"),
        ]
    }

    fn find(text: &str) -> Result<String, CommandError> {
        let nodes = nodes();
        let node = NodeName::parse(text)?.find(&nodes)?;
        Ok(node.id.to_string()[..6].to_owned())
    }

    #[test]
    fn a_beginning_or_an_address_names_the_one_that_has_it() {
        for (text, id) in [
            ("abce", "abce02"),
            ("ABCD01", "abcd01"),
            ("b:1", "abce02"),
            ("abcd0207070707070707070707070707", "abcd02"),
        ] {
            assert_eq!(find(text).expect(text), id);
        }
    }

    #[test]
    fn what_names_several_or_none_is_told_with_candidates() {
        for (text, code, words) in [
            ("abcd", 2, ["abcd01", "abcd02", "2 datanodes"]),
            ("a:1", 2, ["abcd01", "abcd02", "whole id"]),
            ("beef", 1, ["abcd01", "abce02", "no datanode beef"]),
            ("c:1", 1, ["abcd01", "abce02", "no datanode c:1"]),
            ("abc", 2, ["\"abc\"", "4 digits", "HOST:PORT"]),
            ("host", 2, ["\"host\"", "4 digits", "HOST:PORT"]),
        ] {
            let error = find(text).expect_err(text);
            assert_eq!(error.exit_code(), code, "{text}");
            for word in words {
                assert!(error.to_string().contains(word), "{text}: {error}");
            }
        }
    }

    #[test]
    fn as_many_digits_are_shown_as_tell_ids_apart() {
        assert_eq!(short_len(&nodes()), 8);
        let mut twins = nodes();
        let mut twin = twins[0].clone();
        twin.id.0[15] = 8;
        twins.push(twin);
        assert_eq!(short_len(&twins), 32);
        assert_eq!(short_len(&[]), 8);
    }
}
