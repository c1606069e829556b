//! Holds docs/cli.md equal to the help of the program.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use super::Cli;

const MARKER: &str = "<!-- Below here the program writes";

/// Appends the help of a command and of those below it.
fn write_help(command: &mut Command, name: &str, page: &mut String) {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        lines.join("\n").trim_end()
    ));
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for sub in names.iter().filter(|sub| *sub != "help") {
        if let Some(sub_command) = command.find_subcommand_mut(sub) {
            write_help(sub_command, &format!("{name} {sub}"), page);
        }
    }
}

#[test]
fn the_page_says_what_the_help_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let page = fs::read_to_string(&path).expect("docs/cli.md");
    let marker = page.find(MARKER).expect("the marker");
    let end_of_line = page[marker..].find('\n').expect("a line") + marker + 1;
    let mut expected = page[..end_of_line].to_owned();
    let mut command = Cli::command().term_width(100);
    command.build();
    write_help(&mut command, "lfsfs", &mut expected);
    if std::env::var_os("LFSFS_WRITE_DOCS").is_some() {
        fs::write(&path, &expected).expect("docs/cli.md");
        return;
    }
    assert!(
        page == expected,
        "docs/cli.md is old: LFSFS_WRITE_DOCS=1 cargo test -p lfsfs-cli"
    );
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}
