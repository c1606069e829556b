//! Shell completions and manual pages, written from what a program says of its command line.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::Command;

use crate::PathError;

pub use clap_complete::Shell;

/// Writes the completions of a program for one shell.
pub fn write_completions(mut command: Command, shell: Shell, out: &mut dyn Write) {
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, out);
}

/// Writes the completions for all shells and a manual page for each command, in the places where
/// shells and man(1) look below `dir`. A file that is there is replaced.
///
/// # Errors
/// Fails where a file cannot be written.
pub fn write_all(command: &Command, dir: &Path) -> Result<(), PathError> {
    let name = command.get_name();
    for (shell, file) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (
            Shell::Fish,
            format!("fish/vendor_completions.d/{name}.fish"),
        ),
    ] {
        let mut text = Vec::new();
        write_completions(command.clone(), shell, &mut text);
        write_file(&dir.join(file), &text)?;
    }
    let man = dir.join("man/man1");
    fs::create_dir_all(&man).map_err(PathError::wrap("create", &man))?;
    clap_mangen::generate_to(command.clone(), &man).map_err(PathError::wrap("write", &man))
}

/// Writes a file, and makes the directory that it lies in.
///
/// # Errors
/// Fails where it cannot be written.
pub fn write_file(file: &Path, text: &[u8]) -> Result<(), PathError> {
    let dir = file.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(dir).map_err(PathError::wrap("create", dir))?;
    fs::write(file, text).map_err(PathError::wrap("write", file))
}
