//! Checks what datanodes say: no number in it is larger than it can be.

use lfsfs_metadata::ChunkReceipt;
use lfsfs_proto::convert::{ProtocolError, id, ids, optional_id, required};
use lfsfs_proto::v1;
use lfsfs_types::chunk::TRAILER_LEN;
use lfsfs_types::limits::{
    BLOCK_RAW_LEN_MAX, CHUNK_BLOCKS_MAX, CHUNK_CONTENTS_MAX, CHUNK_LEN_MAX, PIECE_LEN_MAX,
};
use lfsfs_types::{ChunkId, ChunkInfo, ContentPlace, NodeId, SessionId};

/// Most chunks of one message.
const CHUNKS_PER_MESSAGE_MAX: usize = 4096;
/// Longest address: a DNS name and a port.
const ADDRESS_LEN_MAX: usize = 300;

/// The receipt of a chunk.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) receipt: ChunkReceipt,
    pub(super) generation: u64,
    /// A chunk that is reported again, because a receipt was lost, is in no slot.
    pub(super) slot: Option<SessionId>,
}

impl TryFrom<v1::ReportChunkRequest> for Report {
    type Error = ProtocolError;

    fn try_from(request: v1::ReportChunkRequest) -> Result<Self, ProtocolError> {
        if request.contents.len() > CHUNK_CONTENTS_MAX as usize {
            return Err(ProtocolError::invalid("contents", "too many"));
        }
        let info = ChunkInfo::try_from(required("info", request.info)?)?;
        check_info(&info)?;
        let places = request.contents.into_iter().map(|place| {
            let place = ContentPlace::try_from(place)?;
            check_place(&place).map(|()| place)
        });
        Ok(Self {
            receipt: ChunkReceipt {
                node: id("node_id", &request.node_id, NodeId::from_slice)?,
                info,
                places: places.collect::<Result<_, _>>()?,
            },
            generation: request.generation,
            slot: optional_id("slot_id", &request.slot_id, SessionId::from_slice)?,
        })
    }
}

/// Takes the ids of chunks.
pub(super) fn chunks(list: &[Vec<u8>]) -> Result<Vec<ChunkId>, ProtocolError> {
    if list.len() > CHUNKS_PER_MESSAGE_MAX {
        return Err(ProtocolError::invalid("chunk_ids", "too many"));
    }
    ids("chunk_ids", list, ChunkId::from_slice)
}

/// Checks what a datanode says of itself.
pub(super) fn check_node(node: &v1::NodeInfo) -> Result<(), ProtocolError> {
    let port = node
        .address
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse::<u16>()));
    match port {
        Some((host, Ok(1..))) if !host.is_empty() && node.address.len() <= ADDRESS_LEN_MAX => {}
        _ => {
            return Err(ProtocolError::invalid(
                "address",
                "it is not of the form host:port",
            ));
        }
    }
    if node.used_bytes > node.capacity_bytes {
        let reason = format!("{} of {} bytes", node.used_bytes, node.capacity_bytes);
        return Err(ProtocolError::invalid("used_bytes", reason));
    }
    Ok(())
}

fn check_info(info: &ChunkInfo) -> Result<(), ProtocolError> {
    if !(1..=CHUNK_LEN_MAX).contains(&info.len) {
        return Err(ProtocolError::invalid(
            "len",
            format!("a chunk of {} bytes", info.len),
        ));
    }
    if u64::from(info.footer_len) + TRAILER_LEN as u64 > info.len {
        return Err(ProtocolError::invalid(
            "footer_len",
            "longer than the chunk",
        ));
    }
    Ok(())
}

fn check_place(place: &ContentPlace) -> Result<(), ProtocolError> {
    let fields = [
        ("block", place.block, 0, CHUNK_BLOCKS_MAX - 1),
        ("offset", place.offset, 0, BLOCK_RAW_LEN_MAX - 1),
        ("len", place.len, 1, PIECE_LEN_MAX),
    ];
    for (field, value, least, most) in fields {
        if !(least..=most).contains(&value) {
            let reason = format!("{value} is not from {least} to {most}");
            return Err(ProtocolError::invalid(field, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> v1::ReportChunkRequest {
        v1::ReportChunkRequest {
            node_id: vec![1; 16],
            generation: 1,
            slot_id: Vec::new(),
            info: Some(v1::ChunkInfo {
                id: vec![2; 32],
                len: 1000,
                footer_len: 100,
                footer_sha256: vec![3; 32],
            }),
            contents: vec![v1::ContentPlace {
                content: vec![4; 32],
                chunk: vec![2; 32],
                block: 0,
                offset: 0,
                len: 1,
            }],
        }
    }

    #[test]
    fn each_number_of_a_receipt_that_cannot_be_is_refused_by_name() {
        type Break = fn(&mut v1::ReportChunkRequest);
        fn info(report: &mut v1::ReportChunkRequest) -> &mut v1::ChunkInfo {
            report.info.as_mut().expect("it has one")
        }
        assert!(Report::try_from(report()).is_ok());
        let breaks: [(&str, Break); 10] = [
            ("slot_id", |it| it.slot_id = vec![1; 15]),
            ("node_id", |it| it.node_id = Vec::new()),
            ("info", |it| it.info = None),
            ("len", |it| info(it).len = 0),
            ("len", |it| info(it).len = CHUNK_LEN_MAX + 1),
            ("footer_len", |it| info(it).footer_len = 961),
            ("block", |it| it.contents[0].block = CHUNK_BLOCKS_MAX),
            ("offset", |it| it.contents[0].offset = BLOCK_RAW_LEN_MAX),
            ("len", |it| it.contents[0].len = 0),
            ("len", |it| it.contents[0].len = PIECE_LEN_MAX + 1),
        ];
        for (field, make_wrong) in breaks {
            let mut wrong = report();
            make_wrong(&mut wrong);
            let error = Report::try_from(wrong).unwrap_err().to_string();
            assert!(error.starts_with(field), "{field}: {error}");
        }
    }

    #[test]
    fn a_node_has_an_address_and_uses_what_it_has() {
        let node = |address: &str, used_bytes| v1::NodeInfo {
            address: address.to_owned(),
            capacity_bytes: 10,
            used_bytes,
            ..v1::NodeInfo::default()
        };
        for good in ["127.0.0.1:5051", "[::1]:1", "node.example:65535"] {
            assert!(check_node(&node(good, 10)).is_ok(), "{good}");
        }
        for wrong in ["", ":1", "host", "host:0", "host:65536", "host:x"] {
            assert!(check_node(&node(wrong, 0)).is_err(), "{wrong}");
        }
        assert!(check_node(&node("host:1", 11)).is_err());
    }
}
