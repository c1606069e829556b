//! Both ends of a transfer against each other, and against frames that lie.

use bytes::Bytes;
use lfsfs_transfer::{
    DownloadReceiver, Frame, Pace, Received, SendWindow, TransferError, UploadReceiver, cut_frames,
};
use lfsfs_types::limits::FRAME_LEN_MAX;
use proptest::prelude::*;

fn frames(data: &'static [u8], frame_len: usize) -> Vec<Frame> {
    cut_frames(0, Bytes::from_static(data), frame_len).collect()
}

fn receive_all(receiver: &mut UploadReceiver, frames: &[Frame]) -> Result<Vec<u8>, TransferError> {
    let mut all = Vec::new();
    for frame in frames {
        if let Received::Bytes(data) = receiver.receive(frame.clone())? {
            all.extend_from_slice(&data);
        }
    }
    receiver.finish()?;
    Ok(all)
}

proptest! {
    #[test]
    fn what_is_sent_arrives_whatever_the_frames(
        data in proptest::collection::vec(any::<u8>(), 1..5000),
        frame_len in 1_usize..700,
    ) {
        let frames: Vec<_> = cut_frames(0, Bytes::from(data.clone()), frame_len).collect();
        let mut receiver = UploadReceiver::new(data.len() as u64);
        prop_assert_eq!(receive_all(&mut receiver, &frames).unwrap(), data);
    }

    #[test]
    fn repeated_frames_change_nothing(
        data in proptest::collection::vec(any::<u8>(), 1..2000),
        frame_len in 1_usize..300,
        repeats in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut frames: Vec<_> = cut_frames(0, Bytes::from(data.clone()), frame_len).collect();
        for index in repeats {
            // A repetition of what went before, at some later place.
            let at = index.index(frames.len());
            let again = frames[at].clone();
            frames.push(again);
        }
        let mut receiver = UploadReceiver::new(data.len() as u64);
        prop_assert_eq!(receive_all(&mut receiver, &frames).unwrap(), data);
    }

    #[test]
    fn a_flipped_bit_is_found_by_both_receivers(
        data in proptest::collection::vec(any::<u8>(), 1..2000),
        frame_len in 1_usize..300,
        which in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut frames: Vec<_> = cut_frames(0, Bytes::from(data.clone()), frame_len).collect();
        let at = which.index(frames.len());
        let mut bytes = frames[at].data.to_vec();
        let byte = which.index(bytes.len());
        bytes[byte] ^= 1 << bit;
        frames[at].data = bytes.into();

        let expected = TransferError::Checksum { offset: frames[at].offset };
        let mut upload = UploadReceiver::new(data.len() as u64);
        prop_assert_eq!(receive_all(&mut upload, &frames), Err(expected));
        let mut download = DownloadReceiver::new(0..data.len() as u64);
        let answers: Result<Vec<_>, _> =
            frames.into_iter().map(|frame| download.receive(frame)).collect();
        prop_assert_eq!(answers, Err(expected));
    }

    #[test]
    fn a_range_arrives_whole_and_a_cut_one_is_noticed(
        data in proptest::collection::vec(any::<u8>(), 1..2000),
        frame_len in 1_usize..300,
        offset in 0_u64..1 << 40,
        lost in any::<prop::sample::Index>(),
    ) {
        let range = offset..offset + data.len() as u64;
        let frames: Vec<_> = cut_frames(offset, Bytes::from(data.clone()), frame_len).collect();
        let mut receiver = DownloadReceiver::new(range.clone());
        let mut all = Vec::new();
        for frame in frames.clone() {
            all.extend_from_slice(&receiver.receive(frame).unwrap());
        }
        receiver.finish().unwrap();
        prop_assert_eq!(all, data);

        let mut receiver = DownloadReceiver::new(range);
        for frame in frames.iter().take(lost.index(frames.len())) {
            receiver.receive(frame.clone()).unwrap();
        }
        let cut = matches!(receiver.finish(), Err(TransferError::Cut { .. }));
        prop_assert!(cut);
    }

    #[test]
    fn a_sender_never_runs_ahead_of_its_window(
        lens in proptest::collection::vec(1_usize..500, 1..200),
        window in 1_u64..1000,
    ) {
        let mut sender = SendWindow::with_window(window);
        let (mut sent, mut acknowledged) = (0_u64, 0_u64);
        for len in lens {
            if !sender.may_send(len) {
                prop_assert!(sent > acknowledged, "a sender that waits for nothing");
                acknowledged = sent;
                sender.acknowledged(acknowledged, Pace::GoOn).unwrap();
            }
            prop_assert!(sender.may_send(len));
            sender.sent(len);
            sent += len as u64;
            prop_assert!(sent - acknowledged <= window.max(len as u64));
        }
    }
}

#[test]
fn gaps_overlaps_and_bytes_behind_the_end_are_refused() {
    let frame = |offset, data: &'static [u8], last| Frame::new(offset, data.into(), last);
    let mut receiver = UploadReceiver::new(6);
    receiver.receive(frame(0, b"abc", false)).unwrap();

    assert_eq!(
        receiver.receive(frame(4, b"e", false)),
        Err(TransferError::OutOfOrder {
            offset: 4,
            expected: 3
        })
    );
    assert_eq!(
        receiver.receive(frame(2, b"cd", false)),
        Err(TransferError::OutOfOrder {
            offset: 2,
            expected: 3
        })
    );
    assert_eq!(
        receiver.receive(frame(3, b"defg", true)),
        Err(TransferError::TooLong { end: 7, len: 6 })
    );
    assert_eq!(
        receiver.receive(frame(u64::MAX, b"x", true)),
        Err(TransferError::TooLong {
            end: u64::MAX,
            len: 6
        })
    );
    assert_eq!(
        receiver.bytes_received(),
        3,
        "a refused frame changes nothing"
    );
}

#[test]
fn the_last_frame_and_only_the_last_one_says_so() {
    let mut receiver = UploadReceiver::new(6);
    assert_eq!(
        receiver.receive(Frame::new(0, Bytes::from_static(b"abc"), true)),
        Err(TransferError::WrongFinal { end: 3, len: 6 })
    );
    assert_eq!(
        receiver.receive(Frame::new(0, Bytes::from_static(b"abcdef"), false)),
        Err(TransferError::WrongFinal { end: 6, len: 6 })
    );
}

#[test]
fn frames_without_bytes_or_with_too_many_are_refused() {
    let mut receiver = UploadReceiver::new(u64::MAX);
    let long = Bytes::from(vec![0; FRAME_LEN_MAX + 1]);
    assert_eq!(
        receiver.receive(Frame::new(0, Bytes::new(), false)),
        Err(TransferError::EmptyFrame { offset: 0 })
    );
    assert!(matches!(
        receiver.receive(Frame::new(0, long, false)),
        Err(TransferError::FrameTooLong { .. })
    ));
}

#[test]
fn a_cut_upload_is_noticed_and_may_be_repeated() {
    let mut receiver = UploadReceiver::new(6);
    let error = receive_all(&mut receiver, &frames(b"abcdef", 2)[..2]).unwrap_err();
    assert_eq!(
        error,
        TransferError::Cut {
            received: 4,
            len: 6
        }
    );
    assert!(error.is_retryable());
}

#[test]
fn a_full_window_asks_the_sender_to_wait_until_the_disk_has_caught_up() {
    let mut receiver = UploadReceiver::with_window(6, 4);
    let parts = frames(b"abcdef", 2);
    receiver.receive(parts[0].clone()).unwrap();
    assert_eq!(receiver.pace(), Pace::GoOn);
    receiver.receive(parts[1].clone()).unwrap();
    assert_eq!(receiver.pace(), Pace::Wait);
    receiver.wrote_up_to(2);
    assert_eq!(receiver.pace(), Pace::GoOn);
}

#[test]
fn a_sender_obeys_a_receiver_that_asks_it_to_wait() {
    let mut sender = SendWindow::new();
    sender.sent(10);
    sender.acknowledged(10, Pace::Wait).unwrap();
    assert!(!sender.may_send(1));
    sender.acknowledged(10, Pace::GoOn).unwrap();
    assert!(sender.may_send(1));
}

#[test]
fn acknowledgements_of_unsent_or_earlier_bytes_are_refused() {
    let mut sender = SendWindow::new();
    sender.sent(10);
    sender.acknowledged(5, Pace::GoOn).unwrap();
    for wrong in [4, 11] {
        assert_eq!(
            sender.acknowledged(wrong, Pace::GoOn),
            Err(TransferError::WrongAck {
                acknowledged: wrong,
                from: 5,
                to: 10
            })
        );
    }
}
