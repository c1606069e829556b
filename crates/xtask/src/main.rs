//! Checks of the source tree that no compiler makes: `cargo run -p xtask -- tidy`.
//!
//! Each check is a pure function from what was read to findings; [`workspace`] alone reads.

#![forbid(unsafe_code)]

mod circles;
mod finding;
mod layers;
mod links;
mod sources;
mod targets;
mod words;
mod workspace;

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::finding::Finding;
use crate::workspace::Workspace;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if arguments != ["tidy"] {
        bail!("usage: cargo run -p xtask -- tidy");
    }
    let findings = tidy(&Workspace::read()?);
    report(&findings).context("print the findings")?;
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs every check, in the order in which a reader would fix what they find.
fn tidy(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = layers::check(&workspace.crates, layers::TABLE);
    findings.extend(targets::check(&workspace.files, &workspace.targets));
    findings.extend(circles::check(&workspace.files));
    findings.extend(workspace.files.iter().flat_map(sources::check));
    findings.extend(words::check(&workspace.files));
    let exists = |path: &Path| workspace.root.join(path).exists();
    findings.extend(
        workspace
            .files
            .iter()
            .flat_map(|file| links::check(file, exists)),
    );
    findings
}

fn report(findings: &[Finding]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    match findings.len() {
        0 => writeln!(out, "tidy: nothing to mend"),
        count => writeln!(out, "tidy: {count} to mend"),
    }
}
