//! Circles between the modules of a crate: `a` uses `b`, which uses `a`, so neither is read alone.
//!
//! Looked at are the modules below the root of each crate, with all that lies in them. What only tests
//! use does not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::Finding;
use crate::workspace::SourceFile;

/// A circle that is there, and why it stays for now.
struct Known {
    source: &'static str,
    modules: &'static [&'static str],
    #[expect(dead_code, reason = "for the reader of this table")]
    reason: &'static str,
}

const fn known(
    source: &'static str,
    modules: &'static [&'static str],
    reason: &'static str,
) -> Known {
    Known {
        source,
        modules,
        reason,
    }
}

const KNOWN: &[Known] = &[
    known(
        "crates/cli",
        &["cli", "commands", "named"],
        "clap's derive names the arguments of each command, and a command its shared arguments",
    ),
    known(
        "crates/cli",
        &["error", "output", "progress", "settings", "user"],
        "an error is written to the user, and what writes can fail",
    ),
    known(
        "tests",
        &["mounted", "world"],
        "a world makes mounts, and a mount runs the programs of its world",
    ),
];

/// Which modules of a crate use which others.
type Uses<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Returns the circles that are not known, and known ones that are gone.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Uses<'_>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        if let Some((source, module)) = place(&file.path) {
            let uses = crates.entry(source).or_default();
            let used = used_by(&file.text).filter(|used| *used != module);
            uses.entry(module).or_default().extend(used);
        }
    }
    let mut findings = Vec::new();
    for (source, uses) in &crates {
        let circles = circles(uses);
        let is_known = |circle: &BTreeSet<&str>| {
            let mut of_crate = KNOWN.iter().filter(|known| known.source == *source);
            of_crate.any(|known| circle.iter().eq(known.modules))
        };
        findings.extend(circles.iter().filter(|it| !is_known(it)).map(|circle| {
            let names: Vec<_> = circle.iter().copied().collect();
            let text = format!("a circle of modules: {}", names.join(", "));
            Finding::new(*source, text)
        }));
        let gone = KNOWN.iter().filter(|known| {
            let is_there = circles.iter().any(|it| it.iter().eq(known.modules));
            known.source == *source && !is_there
        });
        findings.extend(gone.map(|known| {
            let names = known.modules.join(", ");
            let text = format!("no circle any more, take it out of the table: {names}");
            Finding::new(known.source, text)
        }));
    }
    findings
}

/// Returns the sources of a crate, and the module below its root that a file belongs to.
fn place(path: &str) -> Option<(&str, &str)> {
    let (source, rest) = path.split_once("/src/")?;
    let module = rest.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    let is_test = rest
        .split('/')
        .any(|name| matches!(name, "tests" | "tests.rs"));
    (!is_test && !matches!(module, "lib" | "main" | "bin")).then_some((source, module))
}

/// Returns the modules below the root that a text names.
fn used_by(text: &str) -> impl Iterator<Item = &str> {
    let product = text.split("#[cfg(test)]\nmod tests {").next();
    let lines = product.unwrap_or_default().lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        })
}

/// Returns the sets of modules each of which leads to all others of its set.
fn circles<'a>(uses: &Uses<'a>) -> BTreeSet<BTreeSet<&'a str>> {
    let reached: BTreeMap<_, _> = uses
        .keys()
        .map(|it| (*it, reached_from(it, uses)))
        .collect();
    let circle_of = |module: &'a str| -> BTreeSet<&'a str> {
        let others = reached[module].iter().copied();
        others
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(module)))
            .collect()
    };
    let circles = uses.keys().map(|module| circle_of(module));
    circles.filter(|circle| circle.len() > 1).collect()
}

fn reached_from<'a>(module: &str, uses: &Uses<'a>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut rest: Vec<&str> = vec![module];
    while let Some(next) = rest.pop() {
        for used in uses.get(next).into_iter().flatten() {
            if uses.contains_key(used) && reached.insert(*used) {
                rest.push(used);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| SourceFile {
                path: (*path).into(),
                text: (*text).into(),
            })
            .collect();
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_circle_is_found_over_any_way() {
        let found = findings(&[
            ("x/src/a.rs", "use crate::b::B;"),
            ("x/src/b/in.rs", "fn f() { crate::c::g() }"),
            ("x/src/c.rs", "use crate::{a, b};\nuse crate::a::A;"),
            ("x/src/d.rs", "use crate::a::A;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a, b, c"), "{found:?}");
    }

    #[test]
    fn roots_tests_and_comments_make_no_circle() {
        let found = findings(&[
            ("x/src/lib.rs", "use crate::a::A;"),
            (
                "x/src/a.rs",
                "// crate::b\n#[cfg(test)]\nmod tests {\nuse crate::b::B; }",
            ),
            ("x/src/a/tests.rs", "use crate::b::B;"),
            ("x/src/b.rs", "use crate::a::A;\nuse crate::Root;"),
            ("y/src/a.rs", "use crate::b::B;"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
