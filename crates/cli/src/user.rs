//! The user: their name, and what the program tells them beside the results.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::error::CommandError;
use crate::output::safe;
use crate::progress;
use crate::settings::settings;

/// Returns the author of the settings, else user@host.
pub(crate) fn author() -> String {
    let set = settings().ok().and_then(|settings| settings.author.clone());
    set.unwrap_or_else(|| {
        let host = rustix::system::uname();
        format!("{}@{}", user(), host.nodename().to_string_lossy())
    })
}

/// Returns the user's name: of the session, else of the user database, else the number.
fn user() -> String {
    let named = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    let id = nix::unistd::getuid();
    named("USER")
        .or_else(|| named("LOGNAME"))
        .or_else(|| {
            nix::unistd::User::from_uid(id)
                .ok()
                .flatten()
                .map(|user| user.name)
        })
        .unwrap_or_else(|| format!("uid{id}"))
}

/// Writes one line to stderr, made safe. That the reader went away is no reason to fail.
pub(crate) fn tell(line: &str) {
    progress::above(|| {
        let _ = writeln!(std::io::stderr(), "{}", safe(line));
    });
}

/// Warns the user of something that is no failure.
pub(crate) fn warn(message: &str) {
    tell(&format!("lfsfs: {message}"));
}

/// Asks the user whether to do something that cannot be taken back. Without a terminal only `--yes`
/// is an answer.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), CommandError> {
    if yes {
        return Ok(());
    }
    if !can_be_asked() {
        return Err(CommandError::usage(format!(
            "this needs an answer, and there is no terminal: {question}"
        ))
        .hint("to do it without a question, add --yes"));
    }
    if ask(question)? {
        Ok(())
    } else {
        Err(CommandError::failed("nothing was done"))
    }
}

/// Returns true if there is a user at a terminal, who can be asked.
pub(crate) fn can_be_asked() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a question, and returns true if the answer is yes.
pub(crate) fn ask(question: &str) -> std::io::Result<bool> {
    let mut err = std::io::stderr();
    write!(err, "{} [y/N] ", safe(question))?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
