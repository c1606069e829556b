//! Names as packages and their files have them.

use std::collections::BTreeSet;

use rand::RngExt;

use super::Random;

const SCOPES: &[&str] = &[
    "babel",
    "types",
    "jest",
    "esbuild",
    "aws-sdk",
    "testing-library",
];
const FIRST: &[&str] = &[
    "is", "to", "has", "get", "lodash", "es", "array", "string", "object", "stream", "http",
    "path", "file", "micro", "safe", "fast", "deep", "async", "event", "color", "ansi", "node",
    "regexp", "source", "json", "yaml", "fs", "glob", "parse", "type",
];
const SECOND: &[&str] = &[
    "number",
    "extra",
    "merge",
    "equal",
    "utils",
    "helpers",
    "core",
    "stringify",
    "parser",
    "walker",
    "emitter",
    "buffer",
    "loader",
    "resolver",
    "regex",
    "map",
    "support",
    "styles",
    "width",
    "wrap",
    "match",
    "types",
    "proto",
    "symbols",
    "keys",
    "from",
    "path",
    "exists",
];
const FILES: &[&str] = &[
    "index",
    "utils",
    "types",
    "parser",
    "helpers",
    "constants",
    "errors",
    "stream",
    "encode",
    "decode",
    "cache",
    "visitor",
    "scope",
    "events",
    "client",
    "server",
    "request",
    "response",
];

/// Returns a package name that is not in `taken`, one in seven below a scope, and takes it.
pub(crate) fn package(random: &mut Random, taken: &mut BTreeSet<String>) -> String {
    let first = FIRST[random.random_range(0..FIRST.len())];
    let second = SECOND[random.random_range(0..SECOND.len())];
    let mut name = format!("{first}-{second}");
    if random.random_range(0..7) == 0 {
        let scope = SCOPES[random.random_range(0..SCOPES.len())];
        name = format!("@{scope}/{name}");
    }
    let mut number = 2;
    let base = name.clone();
    while !taken.insert(name.clone()) {
        name = format!("{base}{number}");
        number += 1;
    }
    name
}

/// Returns the stem of the `number`th source file of a package; no two are the same.
pub(crate) fn source(number: usize) -> String {
    let stem = FILES[number % FILES.len()];
    match number / FILES.len() {
        0 => stem.to_owned(),
        round => format!("{stem}-{round}"),
    }
}
