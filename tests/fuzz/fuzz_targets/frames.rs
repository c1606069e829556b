//! Frames of a chunk: what clients send a datanode, and what datanodes send their readers.
//!
//! The input is a stream: each frame has its length in one byte in front. No fuzzer guesses a SHA-256, so
//! that a frame whose checksum is empty gets the right one.

#![no_main]

use lfsfs_proto::v1;
use lfsfs_transfer::{DownloadReceiver, Frame, Received, UploadReceiver};
use lfsfs_types::Sha256;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use sha2::Digest;

fn frame(message: v1::ChunkFrame) -> Option<Frame> {
    let checksum = match message.partial_checksum.as_slice() {
        [] => Sha256(sha2::Sha256::digest(&message.data).into()),
        told => Sha256::from_slice(told)?,
    };
    Some(Frame {
        offset: message.offset,
        is_final: message.is_final,
        checksum,
        data: message.data,
    })
}

fn frames(mut stream: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [len, rest @ ..] = stream {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        frames.extend(v1::ChunkFrame::decode(bytes).ok().and_then(frame));
        stream = rest;
    }
    frames
}

fn upload(len: u64, frames: &[Frame]) {
    let mut receiver = UploadReceiver::with_window(len, 64);
    let mut bytes = 0;
    for frame in frames {
        match receiver.receive(frame.clone()) {
            Ok(Received::Bytes(data)) => bytes += data.len() as u64,
            Ok(Received::Repeated) => {}
            Err(_) => return,
        }
        assert_eq!(receiver.bytes_received(), bytes);
        assert!(bytes <= len, "more than was announced");
        receiver.wrote_up_to(frame.offset);
        let _ = receiver.pace();
    }
    assert_eq!(receiver.finish().is_ok(), bytes == len);
}

fn download(len: u64, frames: &[Frame]) {
    let start = len / 3;
    let mut receiver = DownloadReceiver::new(start..len);
    let mut next = start;
    for frame in frames {
        let Ok(data) = receiver.receive(frame.clone()) else {
            return;
        };
        next += data.len() as u64;
        assert!(next <= len, "more than was asked for");
    }
    assert_eq!(receiver.finish().is_ok(), next == len);
}

fuzz_target!(|input: (u16, &[u8])| {
    let (len, stream) = input;
    let frames = frames(stream);
    upload(u64::from(len), &frames);
    download(u64::from(len), &frames);
});
