//! Catches panics of the engine, and keeps them out of the program's standard error.
//!
//! The panic hook is global and installed once; it passes every panic on to the hook that was there
//! before, except those inside [`catch`] and those of sled's own threads.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::thread;

/// How the names of sled's threads begin.
const ENGINE_THREADS: &str = "sled-io-";

thread_local! {
    static IN_CATCH: Cell<bool> = const { Cell::new(false) };
    static LAST_MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `call`; if it panics, returns the message with its place in the source.
///
/// What `call` was working on must not be used after a panic.
pub(super) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static INSTALLED: Once = Once::new();
    // The hook cannot be changed by a thread that unwinds.
    if !thread::panicking() {
        INSTALLED.call_once(install);
    }
    let outer = IN_CATCH.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    IN_CATCH.set(outer);
    result.map_err(|_payload| {
        let message = LAST_MESSAGE
            .take()
            .unwrap_or_else(|| "no message".to_owned());
        format!("the engine panicked: {message}")
    })
}

fn install() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if IN_CATCH.get() {
            LAST_MESSAGE.set(Some(describe(info)));
        } else if thread::current()
            .name()
            .is_some_and(|name| name.starts_with(ENGINE_THREADS))
        {
            tracing::error!(
                message = describe(info),
                "a thread of the metadata engine panicked"
            );
        } else {
            previous(info);
        }
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("no message");
    match info.location() {
        Some(location) => format!(
            "{message} ({}:{})",
            file_name(location.file()),
            location.line()
        ),
        None => message.to_owned(),
    }
}

/// Returns the last name of a path. The directory is one of the machine that built the program, and
/// means nothing to the reader of the message.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        let message = catch(|| panic!("page {} is bad", 7)).unwrap_err();
        assert!(message.contains("page 7 is bad (panics.rs:"), "{message}");
        assert_eq!(catch(|| 1), Ok(1));
    }
}
