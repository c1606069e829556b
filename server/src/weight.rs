//! What a request costs in memory, known before it is decoded.
//!
//! Two bytes on the wire can become hundreds in memory: an element of a list that says nothing. So
//! the elements of a message are counted where they lie, and paid for before they are decoded.

use std::mem::size_of;

use lfsfs_proto::v1;
use prost::encoding::{WireType, decode_key, decode_varint};

/// Bytes that an allocation takes at least, with what the allocator keeps of it.
const ALLOCATION: usize = 32;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A field of a message that can be there many times, or that has such fields below it.
#[derive(Debug)]
pub(crate) struct Many {
    field: u32,
    /// Bytes of one element in memory, without what it points to.
    element: usize,
    /// Bytes in memory for each byte of a payload that has many elements: of packed numbers.
    byte: usize,
    below: &'static [Self],
}

/// What a call may ask for, and what it costs at least.
#[derive(Debug)]
pub(crate) struct Method {
    /// Longest message of the request.
    pub(crate) message_max: usize,
    /// What the answer to a question, or one step of making it, holds.
    pub(crate) cost: usize,
    /// Which fields of the request are lists.
    lists: &'static [Many],
    /// Whether the request is a stream.
    pub(crate) streams: bool,
}

const BYTES: usize = size_of::<Vec<u8>>() + ALLOCATION;

const fn list(field: u32, element: usize) -> Many {
    list_of(field, element, &[])
}

/// A list whose elements have lists, or a part of a message that has.
const fn list_of(field: u32, element: usize, below: &'static [Many]) -> Many {
    Many {
        field,
        element,
        byte: 0,
        below,
    }
}

/// A list of numbers, which may be packed: then each takes one byte of the message at least.
const fn numbers(field: u32) -> Many {
    Many {
        field,
        element: size_of::<u64>(),
        byte: size_of::<u64>(),
        below: &[],
    }
}

const fn unary(message_max: usize, cost: usize, lists: &'static [Many]) -> Method {
    Method {
        message_max,
        cost,
        lists,
        streams: false,
    }
}

const fn streaming(message_max: usize, lists: &'static [Many]) -> Method {
    Method {
        message_max,
        cost: 0,
        lists,
        streams: true,
    }
}

/// Calls with small requests and small answers.
const SMALL: Method = unary(64 * KIB, 16 * KIB, &[]);
/// Calls whose answer has a record or a project, which can have a megabyte of attributes or patterns.
const RECORD: Method = unary(64 * KIB, MIB, &[]);
/// What looking up the contents of a question takes at most, with the answers: their rows, twice as
/// many places as fit an answer, and the chunks of these.
const RESOLVE_COST: usize = 8 * MIB;
/// Calls whose answer is a page of a listing.
const PAGE: Method = unary(64 * KIB, 4 * MIB, &[]);

const PIECES: &[Many] = &[list(2, size_of::<v1::Piece>() + ALLOCATION)];
const XATTRS: &[Many] = &[list(16, size_of::<v1::Xattr>() + 2 * ALLOCATION)];
const CHANGE: usize = size_of::<v1::Change>() + 4 * ALLOCATION;
const CHANGES: &[Many] = &[list_of(1, CHANGE, &[list_of(3, 0, XATTRS)])];
const CHANGE_LISTS: &[Many] = &[list_of(2, 0, CHANGES)];
const QUERY: usize = size_of::<v1::ObjectQuery>() + ALLOCATION;
const QUERIES: &[Many] = &[list_of(4, QUERY, &[list(3, BYTES), list(4, BYTES)])];
const DIRS: &[Many] = &[numbers(3)];
const LOST: &[Many] = &[list(3, BYTES)];
const RELEASED: &[Many] = &[list(4, BYTES)];

/// Returns what is known of a call by its path.
pub(crate) fn method(path: &str) -> Method {
    const CONTENTS: &[Many] = &[list(1, BYTES)];
    const PATTERNS: &[Many] = &[list(2, BYTES), list(6, BYTES)];
    const NEW_PATTERNS: &[Many] = &[
        list_of(2, 0, &[list(1, BYTES)]),
        list_of(3, 0, &[list(1, BYTES)]),
    ];
    let Some(name) = path.strip_prefix("/lfsfs.v1.") else {
        // Reflection and health, whose requests are short and come in streams.
        return streaming(64 * KIB, &[]);
    };
    match name {
        "Fs/NewProject" => unary(2 * MIB, MIB, PATTERNS),
        "Fs/SetProject" => unary(2 * MIB, MIB, NEW_PATTERNS),
        "Fs/ListProjects" | "Fs/ListDirectory" | "Coordinator/ListFiles" => PAGE,
        "Coordinator/GetStats" | "Coordinator/GetClusterStatus" => PAGE,
        "Coordinator/DownloadFile" | "Coordinator/UploadFile" => PAGE,
        "Fs/Inspect" | "Fs/UndeleteProject" | "Fs/ResolveSource" | "Fs/Lookup" => RECORD,
        "Fs/ListTags" => RECORD,
        "Fs/Snapshot" | "Fs/ListTree" => PAGE,
        "Fs/GetUsage" => unary(64 * KIB, MIB, CONTENTS),
        "Fs/PlanUpload" => {
            const AVOID: &[Many] = &[list(4, BYTES)];
            // A slot names a handful of nodes.
            unary(64 * KIB, MIB, AVOID)
        }
        "Fs/DirectoryPlaces" => unary(64 * KIB, MIB, DIRS),
        "Fs/Log" | "Fs/Diff" | "Fs/ChangedNames" => RECORD,
        "Coordinator/GetChunksForNode" | "Coordinator/ListUnhealthyChunks" => RECORD,
        "Fs/FindMissing" => unary(256 * KIB, MIB, CONTENTS),
        "Fs/Resolve" => Method {
            cost: RESOLVE_COST,
            ..streaming(256 * KIB, CONTENTS)
        },
        "Fs/PutPieces" => streaming(MIB, PIECES),
        "Fs/Commit" => streaming(2560 * KIB, CHANGE_LISTS),
        "Coordinator/ReportChunk" => {
            const PLACES: &[Many] = &[list(5, size_of::<v1::ContentPlace>() + 2 * ALLOCATION)];
            unary(MIB, MIB, PLACES)
        }
        "Coordinator/ConfirmUpload" => {
            const LISTS: &[Many] = &[
                list(2, size_of::<v1::UploadedChunk>() + 2 * ALLOCATION),
                list(4, size_of::<v1::Piece>() + ALLOCATION),
            ];
            unary(2560 * KIB, 16 * KIB, LISTS)
        }
        "DataNode/PrepareChunkUpload" => {
            const NODES: &[Many] = &[list(5, size_of::<v1::NodeInfo>() + 2 * ALLOCATION)];
            // A chunk that is here already is paid for when it is read.
            unary(64 * KIB, 16 * KIB, NODES)
        }
        "DataNode/UploadChunkStream" => streaming(MIB + 64 * KIB, &[]),
        "DataNode/CopyChunk" => {
            const NODES: &[Many] = &[list(3, size_of::<v1::NodeInfo>() + 2 * ALLOCATION)];
            // What is copied is paid for as it comes.
            unary(64 * KIB, 16 * KIB, NODES)
        }
        "DataNode/BulkDeleteChunk" => unary(256 * KIB, 512 * KIB, CONTENTS),
        // All contents of a chunk: 65,536 of 34 bytes at most.
        "Coordinator/ReleaseChunk" => unary(2560 * KIB, 16 * KIB, RELEASED),
        "Coordinator/ReportLostChunks" => unary(256 * KIB, MIB, LOST),
        "Fs/Get" | "Fs/GetUnary" | "Fs/GetCompress" => unary(64 * KIB, 16 * KIB, QUERIES),
        "Fs/Reset" => {
            const STATES: &[Many] = &[list(1, size_of::<v1::ProjectState>() + ALLOCATION)];
            unary(MIB, 16 * KIB, STATES)
        }
        "Fs/Update" => {
            const OBJECT: &[Many] = &[list_of(2, 0, &[list_of(2, 0, XATTRS)])];
            // A part of a content, and what is said of the object.
            streaming(576 * KIB, OBJECT)
        }
        _ => SMALL,
    }
}

impl Method {
    /// Returns what a message takes, as far as its length tells: its bytes as they came and as they
    /// are decoded, and what they are copied into.
    pub(crate) const fn hold(&self, len: usize) -> usize {
        2 * len + self.decoded(len)
    }

    /// Returns what the elements of a message take beyond that.
    pub(crate) fn more_than_held(&self, message: &[u8]) -> usize {
        self.weigh(message)
            .saturating_sub(self.decoded(message.len()))
    }

    const fn decoded(&self, len: usize) -> usize {
        match self.lists {
            [] => len,
            _ => 4 * len,
        }
    }

    /// Returns what the elements of a message take once they are decoded.
    fn weigh(&self, message: &[u8]) -> usize {
        // A list that grows has its old and its new place for a moment.
        2 * weigh(self.lists, message)
    }
}

/// Counts until the bytes are no message any more: what decodes them stops there too.
fn weigh(lists: &[Many], mut message: &[u8]) -> usize {
    let mut weight: usize = 0;
    while let Some((field, payload)) = next_field(&mut message) {
        if let Some(many) = lists.iter().find(|many| many.field == field) {
            let below = weigh(many.below, payload) + many.byte * payload.len();
            weight = weight.saturating_add(many.element).saturating_add(below);
        }
    }
    weight
}

/// Takes a field, whose payload is empty unless it has a length.
fn next_field<'a>(message: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    if message.is_empty() {
        return None;
    }
    let (field, kind) = decode_key(message).ok()?;
    let len = match kind {
        WireType::Varint => {
            decode_varint(message).ok()?;
            return Some((field, &[]));
        }
        WireType::LengthDelimited => usize::try_from(decode_varint(message).ok()?).ok()?,
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::StartGroup | WireType::EndGroup => 0,
    };
    let (payload, rest) = message.split_at_checked(len)?;
    *message = rest;
    Some((field, payload))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::Message as _;
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{
        DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    };

    use super::*;
    use crate::budget::Budget;
    use crate::calls::CALL_COST;
    use crate::config::{MEMORY_MIN, ServerConfig};

    fn files() -> Vec<FileDescriptorProto> {
        let files = FileDescriptorSet::decode(lfsfs_proto::FILE_DESCRIPTORS).unwrap();
        let ours = files.file.into_iter();
        ours.filter(|file| file.package() == "lfsfs.v1").collect()
    }

    /// Returns every call with its path.
    fn calls(files: &[FileDescriptorProto]) -> Vec<(String, &MethodDescriptorProto)> {
        let services = files.iter().flat_map(|file| &file.service);
        let calls = services.flat_map(|service| {
            let calls = service.method.iter();
            calls.map(|call| {
                (
                    format!("/lfsfs.v1.{}/{}", service.name(), call.name()),
                    call,
                )
            })
        });
        calls.collect()
    }

    #[test]
    fn every_list_of_every_request_is_paid_for() {
        let files = files();
        let messages = files.iter().flat_map(|file| &file.message_type);
        let messages: HashMap<_, _> = messages
            .map(|message| (format!(".lfsfs.v1.{}", message.name()), message))
            .collect();
        let calls = calls(&files);
        assert!(calls.len() > 40, "{}", calls.len());
        for (path, call) in calls {
            let known = method(&path);
            assert_eq!(known.streams, call.client_streaming(), "{path}");
            assert_lists_are_known(&messages, call.input_type(), known.lists, &path);
        }
    }

    #[test]
    fn the_longest_message_of_every_call_fits_the_least_memory() {
        let config = ServerConfig {
            memory: MEMORY_MIN,
            ..ServerConfig::all("data")
        };
        let share = Budget::new(config.memory_plan().calls).share_of_newcomer();
        for (path, _) in calls(&files()) {
            let known = method(&path);
            let needed = CALL_COST + known.hold(known.message_max) + known.cost;
            assert!(needed <= share, "{path} needs {needed} of {share}");
        }
    }

    fn assert_lists_are_known(
        messages: &HashMap<String, &DescriptorProto>,
        message: &str,
        lists: &[Many],
        at: &str,
    ) {
        for field in &messages[message].field {
            let at = format!("{at} {}", field.name());
            let number = u32::try_from(field.number()).unwrap();
            let many = lists.iter().find(|many| many.field == number);
            let has_length = matches!(field.r#type(), Type::Message | Type::Bytes | Type::String);
            if field.label() == Label::Repeated {
                let many = many.unwrap_or_else(|| panic!("{at} is not known"));
                assert!(many.element > 0, "{at}");
                assert!(has_length || many.byte > 0, "{at}");
            }
            if field.r#type() == Type::Message {
                let below = many.map_or(&[][..], |many| many.below);
                assert_lists_are_known(messages, field.type_name(), below, &at);
            }
        }
    }

    #[test]
    fn packed_numbers_are_paid_for() {
        let dirs = vec![1; 10_000];
        let request = v1::DirectoryPlacesRequest {
            dirs,
            ..Default::default()
        };
        let bytes = request.encode_to_vec();
        assert!(bytes.len() < 11_000);
        let weight = method("/lfsfs.v1.Fs/DirectoryPlaces").weigh(&bytes);
        assert!(weight >= 10_000 * size_of::<u64>(), "{weight}");
    }

    #[test]
    fn lists_of_the_most_elements_that_are_taken_fit_their_message() {
        let id = || vec![7; 32];
        let released = v1::ReleaseChunkRequest {
            contents: vec![id(); lfsfs_types::limits::CHUNK_CONTENTS_MAX as usize],
            ..Default::default()
        };
        let lost = v1::ReportLostChunksRequest {
            chunk_ids: vec![id(); 4096],
            ..Default::default()
        };
        let max = |call| method(call).message_max;
        assert!(released.encoded_len() <= max("/lfsfs.v1.Coordinator/ReleaseChunk") - 100);
        assert!(lost.encoded_len() <= max("/lfsfs.v1.Coordinator/ReportLostChunks") - 100);
    }

    #[test]
    fn elements_that_say_nothing_are_paid_for() {
        let batch = v1::ChangeBatch {
            changes: vec![v1::Change::default(); 1000],
        };
        let part = Some(v1::commit_request::Part::Changes(batch));
        let bytes = v1::CommitRequest { part }.encode_to_vec();
        assert!(bytes.len() < 3000);
        let weight = method("/lfsfs.v1.Fs/Commit").weigh(&bytes);
        assert!(weight >= 1000 * size_of::<v1::Change>(), "{weight}");

        let contents = vec![Vec::new(); 1000];
        let question = v1::ResolveRequest {
            contents,
            ..Default::default()
        };
        let bytes = question.encode_to_vec();
        let weight = method("/lfsfs.v1.Fs/Resolve").weigh(&bytes);
        assert!(weight >= 1000 * size_of::<Vec<u8>>(), "{weight}");
    }

    #[test]
    fn attributes_below_a_change_are_paid_for() {
        let record = v1::Record {
            xattrs: vec![v1::Xattr::default(); 5000],
            ..Default::default()
        };
        let change = v1::Change {
            record: Some(record),
            ..Default::default()
        };
        let changes = vec![change];
        let part = v1::commit_request::Part::Changes(v1::ChangeBatch { changes });
        let bytes = v1::CommitRequest { part: Some(part) }.encode_to_vec();
        let weight = method("/lfsfs.v1.Fs/Commit").weigh(&bytes);
        assert!(weight >= 5000 * size_of::<v1::Xattr>(), "{weight}");
    }

    #[test]
    fn bytes_that_are_no_message_weigh_what_can_be_decoded_of_them() {
        let method = method("/lfsfs.v1.Fs/Resolve");
        for bytes in [&b""[..], b"\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a"] {
            assert!(method.weigh(bytes) <= 2 * BYTES, "{bytes:?}");
        }
        assert_eq!(method.weigh(b"\x0a\x00\x0a\x00\xff"), 4 * BYTES);
    }
}
