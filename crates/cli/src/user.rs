//! Who types, and what is told to them beside the results.

use std::io::Write as _;

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
