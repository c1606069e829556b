//! Who types, and what is told to them beside the results.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use crate::error::CommandError;

/// Returns user@host.
pub(crate) fn author() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("uid{}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{user}@{host}")
}

/// Tells something on stderr. That nobody reads it is no reason to fail.
pub(crate) fn tell(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Tells what is odd but no failure.
pub(crate) fn warn(message: &str) {
    tell(&format!("lfsfs: {message}"));
}

/// Asks whether something is to be done that cannot be taken back. Where nobody can be asked, only
/// `--yes` is an answer.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), CommandError> {
    if yes {
        return Ok(());
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(
            CommandError::usage(format!("nobody is there to answer: {question}"))
                .hint("to do it without asking, say --yes"),
        );
    }
    let mut err = std::io::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CommandError::failed("nothing was done")),
    }
}
