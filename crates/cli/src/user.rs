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
    if !can_be_asked() {
        return Err(
            CommandError::usage(format!("nobody is there to answer: {question}"))
                .hint("to do it without asking, say --yes"),
        );
    }
    match ask(question)? {
        true => Ok(()),
        false => Err(CommandError::failed("nothing was done")),
    }
}

/// Returns true if somebody can be asked.
pub(crate) fn can_be_asked() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a question, and returns true if the answer is yes.
pub(crate) fn ask(question: &str) -> std::io::Result<bool> {
    let mut err = std::io::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
