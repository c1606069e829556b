//! Counts the calls in what a client sends, without keeping any of it.
//!
//! Knows of HTTP/2 only where frames begin and end, and that a call begins with one frame of
//! headers. What does not begin as HTTP/2 has no calls.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_LEN: usize = 9;
const TYPE_AT: usize = 3;
const TYPE_HEADERS: u8 = 1;

/// Where in the stream of one connection a counter is.
#[derive(Debug)]
enum Position {
    Preface(usize),
    Header(Vec<u8>),
    Payload(usize),
    /// Something else than HTTP/2.
    Unknown,
}

/// Counts the calls of one connection.
#[derive(Debug)]
pub(super) struct CallCounter(Position);

impl Default for CallCounter {
    fn default() -> Self {
        Self(Position::Preface(0))
    }
}

impl CallCounter {
    /// Returns how many calls begin in these bytes, which follow those of the last time.
    pub(super) fn count(&mut self, bytes: &[u8]) -> u64 {
        let mut calls = 0;
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            at += match &mut self.0 {
                Position::Unknown => rest.len(),
                Position::Preface(seen) => {
                    let is_it = rest[0] == PREFACE[*seen];
                    *seen += 1;
                    if !is_it {
                        self.0 = Position::Unknown;
                    } else if *seen == PREFACE.len() {
                        self.0 = Position::Header(Vec::with_capacity(HEADER_LEN));
                    }
                    1
                }
                Position::Header(header) => {
                    header.push(rest[0]);
                    if header.len() == HEADER_LEN {
                        calls += u64::from(header[TYPE_AT] == TYPE_HEADERS);
                        self.0 = Position::after_header(header);
                    }
                    1
                }
                Position::Payload(left) => {
                    let len = rest.len().min(*left);
                    *left -= len;
                    if *left == 0 {
                        self.0 = Position::Header(Vec::with_capacity(HEADER_LEN));
                    }
                    len
                }
            };
        }
        calls
    }
}

impl Position {
    fn after_header(header: &[u8]) -> Self {
        let len = header[..TYPE_AT].iter();
        match len.fold(0, |len, byte| len << 8 | usize::from(*byte)) {
            0 => Self::Header(Vec::with_capacity(HEADER_LEN)),
            len => Self::Payload(len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload_len: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, payload_len, kind, 0, 0, 0, 0, 1];
        // Looks like headers of frames of headers.
        frame.extend((0..payload_len).map(|_| TYPE_HEADERS));
        frame
    }

    #[test]
    fn calls_are_counted_however_the_stream_is_cut() {
        let settings = frame(4, 0);
        let frames = [
            PREFACE.to_vec(),
            settings,
            frame(1, 20),
            frame(0, 200),
            frame(1, 9),
        ];
        let stream = frames.concat();
        for part_len in 1..stream.len() {
            let mut counter = CallCounter::default();
            let calls: u64 = stream
                .chunks(part_len)
                .map(|part| counter.count(part))
                .sum();
            assert_eq!(calls, 2, "in parts of {part_len}");
        }
    }

    #[test]
    fn other_protocols_have_no_calls() {
        let mut counter = CallCounter::default();
        assert_eq!(counter.count(&frame(1, 20)), 0);
        assert_eq!(counter.count(PREFACE), 0);
    }
}
