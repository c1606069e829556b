//! The bytes of generated files: described by a few numbers, written as a stream.

use std::io::{self, Write};

use rand::{Rng, RngExt, SeedableRng};

use super::Random;

const BLOCK_BYTES: usize = 256 * 1024;

/// What a file holds.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// Words and punctuation like program text; compresses about as program text does.
    Text { seed: u64, bytes: u64 },
    /// Bytes that do not compress.
    Noise { seed: u64, bytes: u64 },
}

impl Content {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Text { bytes, .. } | Self::Noise { bytes, .. } => *bytes,
        }
    }

    /// Writes the whole content.
    pub(crate) fn write_to(&self, target: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => target.write_all(bytes),
            Self::Text { seed, bytes } => write_blocks(target, *seed, *bytes, fill_with_text),
            Self::Noise { seed, bytes } => write_blocks(target, *seed, *bytes, fill_with_noise),
        }
    }
}

/// Returns program text of at least `bytes` bytes that ends with a line.
pub(crate) fn comment_lines(random: &mut Random, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 128);
    while text.len() < bytes {
        text.push_str("//");
        for _ in 0..random.random_range(3..14) {
            text.push(' ');
            text.push_str(WORDS[random.random_range(0..WORDS.len())]);
        }
        text.push('\n');
    }
    text
}

fn write_blocks(
    target: &mut impl Write,
    seed: u64,
    bytes: u64,
    fill: impl Fn(&mut Random, &mut [u8]),
) -> io::Result<()> {
    let mut random = Random::seed_from_u64(seed);
    let mut left = bytes;
    let mut block = vec![0; BLOCK_BYTES.min(usize::try_from(bytes).unwrap_or(BLOCK_BYTES))];
    while left > 0 {
        let len = block
            .len()
            .min(usize::try_from(left).unwrap_or(BLOCK_BYTES));
        fill(&mut random, &mut block[..len]);
        target.write_all(&block[..len])?;
        left -= len as u64;
    }
    Ok(())
}

fn fill_with_noise(random: &mut Random, block: &mut [u8]) {
    random.fill_bytes(block);
}

fn fill_with_text(random: &mut Random, block: &mut [u8]) {
    let mut at = 0;
    while at < block.len() {
        // One random number chooses a word, a separator and a number of two digits.
        let choice = random.next_u64();
        let word = WORDS[pick(choice, WORDS.len())];
        let separator = SEPARATORS[pick(choice >> 20, SEPARATORS.len())];
        for part in [word, separator] {
            let len = part.len().min(block.len() - at);
            block[at..at + len].copy_from_slice(&part.as_bytes()[..len]);
            at += len;
        }
    }
}

fn pick(choice: u64, count: usize) -> usize {
    usize::try_from(choice % (1 << 20)).expect("20 bits fit") % count
}

const SEPARATORS: &[&str] = &[
    " ",
    " ",
    " ",
    " ",
    ".",
    ".",
    "(",
    ")",
    ");\n  ",
    ";\n",
    " = ",
    ", ",
    ", ",
    " => {\n    ",
    "\n  }\n",
    "['",
    "']",
    "0x",
    " + 1",
    " !== ",
];

const WORDS: &[&str] = &[
    "const",
    "let",
    "return",
    "function",
    "if",
    "else",
    "for",
    "while",
    "new",
    "this",
    "typeof",
    "require",
    "module",
    "exports",
    "options",
    "callback",
    "error",
    "value",
    "index",
    "length",
    "prototype",
    "string",
    "number",
    "object",
    "array",
    "buffer",
    "stream",
    "path",
    "file",
    "directory",
    "version",
    "package",
    "request",
    "response",
    "header",
    "content",
    "encode",
    "decode",
    "parse",
    "stringify",
    "resolve",
    "reject",
    "promise",
    "async",
    "await",
    "listener",
    "emit",
    "event",
    "handler",
    "context",
    "config",
    "default",
    "undefined",
    "null",
    "true",
    "false",
    "regex",
    "match",
    "replace",
    "split",
    "join",
    "slice",
    "splice",
    "concat",
    "filter",
    "reduce",
    "assign",
    "freeze",
    "keys",
    "entries",
    "symbol",
    "iterator",
    "generator",
    "cache",
    "token",
    "node",
    "parent",
    "children",
    "visitor",
    "scope",
    "binding",
    "transform",
    "plugin",
    "loader",
    "bundle",
    "source",
    "column",
    "line",
    "comment",
    "warning",
    "deprecated",
    "internal",
    "public",
    "private",
    "static",
    "factory",
    "adapter",
    "wrapper",
    "proxy",
    "queue",
    "worker",
];
