//! The words of docs/glossary.md: each term is in use, and no second word stands for the same thing.
//!
//! The glossary is the rule: its tables have the terms, and the table under [`REFUSED`] the words
//! that are not written, with what is written instead. Read are Rust sources (comments, strings and
//! identifiers), proto files and documents. Decisions of the past stay as they were written:
//! documents in docs/design, and released parts of the changelog.

use crate::finding::Finding;
use crate::workspace::SourceFile;

/// The document with the tables.
const GLOSSARY: &str = "docs/glossary.md";
/// This file, whose exceptions name what is refused.
const OWN: &str = "crates/xtask/src/words.rs";
/// The heading above the words that are not written.
const REFUSED: &str = "## Words that are not used";

/// A refused word that stands in one file for good reason.
struct Exception {
    word: &'static str,
    path: &'static str,
    #[expect(dead_code, reason = "for the reader of this table")]
    reason: &'static str,
}

const fn exception(word: &'static str, path: &'static str, reason: &'static str) -> Exception {
    Exception { word, path, reason }
}

const EXCEPTIONS: &[Exception] = &[
    exception(
        "blob",
        "crates/meta-store/src/sled_store/place.rs",
        "a directory of sled",
    ),
    exception("blob", "tests/write/programs.rs", "a type of SQL"),
    exception("mountpoint", "docs/operations.md", "the name of a program"),
    exception(
        "revision",
        "fs-mount/tests/suite/privileges.rs",
        "of the kernel's format of capabilities",
    ),
];

/// What the tables of the glossary say.
#[derive(Debug, PartialEq, Eq)]
struct Glossary {
    terms: Vec<String>,
    refused: Vec<Refused>,
}

/// A word that is not written.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    word: String,
    instead: String,
}

impl Glossary {
    fn parse(text: &str) -> Self {
        let (terms, refused) = text.split_once(REFUSED).unwrap_or((text, ""));
        let terms = rows(terms).flat_map(|row| names(row.first)).collect();
        let refused = rows(refused).flat_map(|row| {
            let instead = row.second.to_owned();
            names(row.first).map(move |word| Refused {
                word,
                instead: instead.clone(),
            })
        });
        Self {
            terms,
            refused: refused.collect(),
        }
    }
}

/// A row of a table with two columns.
struct Row<'a> {
    first: &'a str,
    second: &'a str,
}

/// Returns the rows of the tables in a text, without their headings.
fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    let is_rule = |line: &str| line.starts_with("|---");
    let lines = text.lines().zip(text.lines().skip(1).chain([""]));
    lines.filter_map(move |(line, next)| {
        let cells = line.strip_prefix('|')?.strip_suffix('|')?;
        let (first, second) = cells.split_once('|')?;
        (!is_rule(line) && !is_rule(next)).then(|| Row {
            first: first.trim(),
            second: second.trim(),
        })
    })
}

/// Returns the names in a cell, which commas part.
fn names(cell: &str) -> impl Iterator<Item = String> + use<'_> {
    cell.split(',').map(|name| name.trim().to_lowercase())
}

/// Returns terms that are nowhere in use, refused words that are, and exceptions without a use.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    check_with(files, EXCEPTIONS)
}

fn check_with(files: &[SourceFile], exceptions: &[Exception]) -> Vec<Finding> {
    let Some(glossary) = files.iter().find(|file| file.path == GLOSSARY) else {
        return vec![Finding::new(GLOSSARY, "is not there")];
    };
    let glossary = Glossary::parse(&glossary.text);
    let read: Vec<_> = files.iter().filter(|file| is_read(&file.path)).collect();
    let mut findings = unused(&glossary.terms, &read);
    let mut is_used = vec![false; exceptions.len()];
    for file in &read {
        for (number, refused) in second_words(file, &glossary.refused) {
            let exception = exceptions
                .iter()
                .position(|it| it.word == refused.word && it.path == file.path);
            if let Some(at) = exception {
                is_used[at] = true;
            } else {
                let text = format!(
                    "\"{}\" is not written here: {}",
                    refused.word, refused.instead
                );
                findings.push(Finding::new(format!("{}:{number}", file.path), text));
            }
        }
    }
    let stale = exceptions.iter().zip(is_used).filter(|(_, used)| !used);
    findings.extend(stale.map(|(it, _)| {
        let text = format!(
            "an exception for \"{}\" that {} does not need",
            it.word, it.path
        );
        Finding::new(OWN, text)
    }));
    findings
}

/// Returns whether the words of a file count.
fn is_read(path: &str) -> bool {
    let is_text = [".rs", ".proto", ".md"]
        .iter()
        .any(|end| path.ends_with(end));
    is_text && path != GLOSSARY && path != OWN && !path.starts_with("docs/design/")
}

fn unused(terms: &[String], files: &[&SourceFile]) -> Vec<Finding> {
    let texts: Vec<_> = files.iter().map(|file| words(&file.text)).collect();
    let is_used = |term: &str| {
        let term = words(term);
        texts.iter().any(|text| has_phrase(text, &term))
    };
    let unused = terms.iter().filter(|term| !is_used(term));
    unused
        .map(|term| Finding::new(GLOSSARY, format!("\"{term}\" is a word that nothing uses")))
        .collect()
}

/// Returns the refused words of a file with their lines.
fn second_words<'a>(
    file: &'a SourceFile,
    refused: &'a [Refused],
) -> impl Iterator<Item = (usize, &'a Refused)> {
    let is_changelog = file.path == "CHANGELOG.md";
    let lines = (1..).zip(file.text.lines());
    let mut headings = 0;
    // The first part of a changelog is the one that is not released yet.
    let lines = lines.take_while(move |(_, line)| {
        headings += usize::from(line.starts_with("## "));
        !is_changelog || headings < 2
    });
    lines.flat_map(move |(number, line)| {
        let found = Line::new(line);
        refused
            .iter()
            .filter(move |it| found.has(&it.word))
            .map(move |it| (number, it))
    })
}

/// A line as refused words are looked for in it.
struct Line {
    words: Vec<String>,
    /// Without the borders of words inside of identifiers: a name such as `LogEntry` may be the
    /// standard's, where "log entry" in a sentence is not.
    spaced: String,
}

impl Line {
    fn new(line: &str) -> Self {
        let plain = |c: char| {
            if c.is_alphanumeric() || c == '_' {
                c
            } else {
                ' '
            }
        };
        let spaced: String = line.to_lowercase().chars().map(plain).collect();
        Self {
            words: words(line),
            spaced: format!(" {spaced} "),
        }
    }

    fn has(&self, refused: &str) -> bool {
        if refused.contains(' ') {
            [" ", "s "]
                .iter()
                .any(|end| self.spaced.contains(&format!(" {refused}{end}")))
        } else {
            self.words.iter().any(|word| is_form_of(word, refused))
        }
    }
}

/// Returns whether a text has the words of a term one after the other.
fn has_phrase(text: &[String], term: &[String]) -> bool {
    let is_here = |window: &[String]| window.iter().zip(term).all(|(a, b)| is_form_of(a, b));
    !term.is_empty() && text.windows(term.len()).any(is_here)
}

/// Returns whether a word is another one or its plural.
fn is_form_of(word: &str, base: &str) -> bool {
    word.strip_prefix(base)
        .is_some_and(|end| matches!(end, "" | "s" | "es"))
}

/// Returns the words of a text in lower case; identifiers are taken apart.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in text.chars() {
        let begins = c.is_uppercase() && was_small;
        if begins || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        was_small = c.is_lowercase() || c.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "# Glossary\n\n| word | meaning |\n|---|---|\n| piece | a cut |\n\
        | content id, head | names |\n\n| act | meaning |\n|---|---|\n| cut | to part |\n\n## Words that are not used\n\n| not | but |\n|---|---|\n\
        | lump, big lump | piece |\n| no one | who acts |\n";
    /// Uses all terms.
    const CLEAN: (&str, &str) = (
        "a/src/lib.rs",
        "struct ContentId;\n// cut pieces of the head\n",
    );

    fn file((path, text): (&str, &str)) -> SourceFile {
        SourceFile {
            path: path.into(),
            text: text.into(),
        }
    }

    fn found_with(files: &[(&str, &str)], exceptions: &[Exception]) -> Vec<String> {
        let files = [(GLOSSARY, TABLES)].iter().chain(files).copied();
        let files: Vec<_> = files.map(file).collect();
        let findings = check_with(&files, exceptions);
        findings.iter().map(ToString::to_string).collect()
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        found_with(files, &[])
    }

    #[test]
    fn a_term_that_nothing_uses_is_found() {
        assert_eq!(found(&[CLEAN]), [""; 0]);
        let unused = found(&[("docs/a.md", "Pieces have a head. Cut the content. An id.")]);
        assert_eq!(unused.len(), 1, "{unused:?}");
        assert!(unused[0].contains("\"content id\""), "{unused:?}");
    }

    #[test]
    fn second_words_are_found_in_comments_strings_and_identifiers() {
        for line in [
            "// the Lump's end",
            "let text = \"two lumps\";",
            "fn lump_of() {}",
            "struct BigLump;",
            "const LUMP: u8 = 0;",
        ] {
            let lines = found(&[CLEAN, ("b/src/c.rs", &format!("\n{line}\n"))]);
            assert_eq!(lines.len(), 1, "{line}: {lines:?}");
            assert!(lines[0].starts_with("b/src/c.rs:2: "), "{lines:?}");
            assert!(lines[0].ends_with("piece"), "{lines:?}");
        }
        assert_eq!(
            found(&[CLEAN, ("b.proto", "// plump, lumpy, clump")]),
            [""; 0]
        );
    }

    #[test]
    fn words_apart_are_found_in_sentences_and_not_in_identifiers() {
        assert_eq!(found(&[CLEAN, ("b.md", "No one waits.")]).len(), 1);
        assert_eq!(found(&[CLEAN, ("b.md", "no-one")]).len(), 1);
        assert_eq!(found(&[CLEAN, ("b.rs", "fn no_one() {}")]), [""; 0]);
    }

    #[test]
    fn what_was_decided_or_released_stays_as_it_was_written() {
        let changelog = "# C\n\n## Unreleased\n\nA lump.\n\n## 0.1\n\nA lump.\n";
        assert_eq!(found(&[CLEAN, ("CHANGELOG.md", changelog)]).len(), 1);
        assert_eq!(found(&[CLEAN, ("docs/design/a.md", "A lump.")]), [""; 0]);
        assert_eq!(found(&[CLEAN, ("a.toml", "# a lump")]), [""; 0]);
    }

    #[test]
    fn an_exception_holds_for_its_file_and_must_be_needed() {
        let exception = |path| Exception {
            word: "lump",
            path,
            reason: "a name of the standard",
        };
        let files = [CLEAN, ("b.rs", "// lump"), ("c.rs", "// lump")];
        let found = found_with(&files, &[exception("b.rs"), exception("d.rs")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("c.rs:1"), "{found:?}");
        assert!(found[1].contains("d.rs"), "{found:?}");
    }

    #[test]
    fn without_a_glossary_there_is_no_rule() {
        assert_eq!(check(&[file(CLEAN)]).len(), 1);
    }
}
