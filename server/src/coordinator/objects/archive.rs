//! Objects as a tar archive that is compressed with zstd, made while it is sent.
//!
//! The headers are those of POSIX (ustar), with extended ones (PAX) for what does not fit them.

use std::io::{self, Write as _};

use lfsfs_types::{Kind, Record, XattrValue};
use zstd::stream::write::Encoder;

/// How much work is done for less bytes: contents are sent once, and were read a moment ago.
const LEVEL: i32 = 1;
/// All parts of an archive have a length that is a multiple of this.
const RECORD_LEN: usize = 512;
/// Bytes of a path or of the target of a link that fit a header.
const NAME_LEN: usize = 100;
/// The largest number that 11 octal digits hold, and the largest one of 7.
const NUMBER_MAX: u64 = 0o77_777_777_777;
const SMALL_NUMBER_MAX: u64 = 0o7_777_777;

/// An archive that is being made.
pub(super) struct Archive {
    encoder: Encoder<'static, Vec<u8>>,
    /// Bytes that went into it.
    len: usize,
}

impl Archive {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            encoder: Encoder::new(Vec::new(), LEVEL)?,
            len: 0,
        })
    }

    /// Returns how many bytes went into it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds the headers of an object. Of a file its bytes follow. Returns false for what archives cannot have.
    pub(super) fn begin(&mut self, path: &[u8], record: &Record) -> io::Result<bool> {
        let Some(flag) = type_flag(&record.kind) else {
            return Ok(false);
        };
        let extended = extended(path, record);
        if !extended.is_empty() {
            let header = header(
                b"PaxHeader",
                b'x',
                &Fields {
                    mode: 0o644,
                    size: extended.len() as u64,
                    ..Fields::default()
                },
            );
            self.write(&header)?;
            self.write(&extended)?;
            self.pad(extended.len() as u64)?;
        }
        self.write(&header(path, flag, &Fields::of(record)))?;
        Ok(true)
    }

    /// Adds bytes of a file.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len();
        self.encoder.write_all(bytes)
    }

    /// Ends a file of this size.
    pub(super) fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % RECORD_LEN as u64).unwrap_or_default();
        match rest {
            0 => Ok(()),
            rest => self.write(&[0; RECORD_LEN][rest..]),
        }
    }

    /// Returns what is compressed so far, if that is so much.
    pub(super) fn take(&mut self, least: usize) -> Option<Vec<u8>> {
        let bytes = self.encoder.get_mut();
        (bytes.len() >= least).then(|| std::mem::take(bytes))
    }

    /// Ends the archive, and returns the rest.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.write(&[0; 2 * RECORD_LEN])?;
        self.encoder.finish()
    }
}

/// A socket is nothing that an archive can have.
fn type_flag(kind: &Kind) -> Option<u8> {
    match kind {
        Kind::File { .. } => Some(b'0'),
        Kind::Symlink { .. } => Some(b'2'),
        Kind::CharDevice { .. } => Some(b'3'),
        Kind::BlockDevice { .. } => Some(b'4'),
        Kind::Directory { .. } => Some(b'5'),
        Kind::Fifo => Some(b'6'),
        Kind::Socket => None,
    }
}

/// What a header has beside path and type.
#[derive(Debug, Default)]
struct Fields<'a> {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    seconds: i64,
    target: &'a [u8],
    device: (u64, u64),
}

impl<'a> Fields<'a> {
    fn of(record: &'a Record) -> Self {
        let (size, target, rdev) = match &record.kind {
            Kind::File { size, .. } => (*size, &[][..], 0),
            Kind::Symlink { target } => (0, &target[..], 0),
            Kind::CharDevice { rdev } | Kind::BlockDevice { rdev } => (0, &[][..], *rdev),
            _ => (0, &[][..], 0),
        };
        Self {
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            size,
            seconds: record.mtime.secs,
            target,
            device: (u64::from(libc::major(rdev)), u64::from(libc::minor(rdev))),
        }
    }
}

fn header(path: &[u8], flag: u8, fields: &Fields<'_>) -> [u8; RECORD_LEN] {
    let mut header = [0; RECORD_LEN];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path[..path.len().min(NAME_LEN)]);
    put(100, &octal(u64::from(fields.mode), 7));
    put(108, &octal(u64::from(fields.uid).min(SMALL_NUMBER_MAX), 7));
    put(116, &octal(u64::from(fields.gid).min(SMALL_NUMBER_MAX), 7));
    put(124, &octal(fields.size.min(NUMBER_MAX), 11));
    let seconds = u64::try_from(fields.seconds).unwrap_or_default();
    put(136, &octal(seconds.min(NUMBER_MAX), 11));
    put(148, b"        ");
    put(156, &[flag]);
    put(157, &fields.target[..fields.target.len().min(NAME_LEN)]);
    put(257, b"ustar\x0000");
    put(329, &octal(fields.device.0.min(SMALL_NUMBER_MAX), 7));
    put(337, &octal(fields.device.1.min(SMALL_NUMBER_MAX), 7));
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(sum.as_bytes());
    header
}

fn octal(number: u64, digits: usize) -> Vec<u8> {
    format!("{number:0digits$o}\0").into_bytes()
}

/// Returns the extended header of what does not fit the plain one.
fn extended(path: &[u8], record: &Record) -> Vec<u8> {
    let mut lines = Vec::new();
    let fields = Fields::of(record);
    if path.len() > NAME_LEN || !path.is_ascii() {
        lines.push(line("path", path));
    }
    if fields.target.len() > NAME_LEN || !fields.target.is_ascii() {
        lines.push(line("linkpath", fields.target));
    }
    if fields.size > NUMBER_MAX {
        lines.push(line("size", fields.size.to_string().as_bytes()));
    }
    for (name, id) in [("uid", fields.uid), ("gid", fields.gid)] {
        if u64::from(id) > SMALL_NUMBER_MAX {
            lines.push(line(name, id.to_string().as_bytes()));
        }
    }
    let (seconds, nanos) = (record.mtime.secs, record.mtime.nanos);
    if nanos != 0 || !u64::try_from(seconds).is_ok_and(|seconds| seconds <= NUMBER_MAX) {
        lines.push(line("mtime", time_text(seconds, nanos).as_bytes()));
    }
    for xattr in &record.xattrs {
        // A long value is a content of its own, which only Get tells of.
        if let XattrValue::Inline(value) = &xattr.value
            && let Ok(name) = std::str::from_utf8(xattr.name.as_bytes())
        {
            lines.push(line(&format!("SCHILY.xattr.{name}"), value));
        }
    }
    lines.concat()
}

/// Returns a point in time as a decimal number of seconds; the parts of a second count upwards in a record.
fn time_text(seconds: i64, nanos: u32) -> String {
    if seconds < 0 && nanos > 0 {
        let (whole, part) = (-(i128::from(seconds) + 1), 1_000_000_000 - nanos);
        return format!("-{whole}.{part:09}");
    }
    format!("{seconds}.{nanos:09}")
}

/// Returns a line of an extended header, which begins with its own length.
fn line(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    let mut line = format!("{len} {key}=").into_bytes();
    line.extend_from_slice(value);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_its_own_length() {
        assert_eq!(line("path", b"x"), b"9 path=x\n");
        assert_eq!(line("path", b"xy"), b"11 path=xy\n");
        assert_eq!(line("a", b"bc"), b"7 a=bc\n");
        for len in 0..1200 {
            let made = line("key", &vec![b'v'; len]);
            let text = String::from_utf8(made.clone()).unwrap();
            let told: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, made.len());
        }
    }

    #[test]
    fn times_before_1970_have_their_sign() {
        assert_eq!(time_text(1, 5), "1.000000005");
        assert_eq!(time_text(-1, 0), "-1.000000000");
        assert_eq!(time_text(-1, 250_000_000), "-0.750000000");
        assert_eq!(time_text(-2, 1), "-1.999999999");
    }
}
