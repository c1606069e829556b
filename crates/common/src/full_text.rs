//! The text of an error with its causes.

use std::error::Error;

/// Returns the text of an error and of its sources in one line, joined by `": "`, the innermost cause
/// last.
///
/// A source is left out where the text before it ends in the same words: a transparent error has the
/// text of its source, and some libraries append it.
#[must_use]
pub fn full_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    enum Outer {
        #[error("cannot open the store")]
        Open(#[source] Middle),
        #[error(transparent)]
        Transparent(#[from] Middle),
        #[error("failed: {0}")]
        Repeating(#[source] io::Error),
    }

    #[derive(Debug, Error)]
    #[error("cannot read it")]
    struct Middle(#[source] io::Error);

    fn middle() -> Middle {
        Middle(io::Error::other("no"))
    }

    #[test]
    fn every_cause_is_told_once() {
        for (error, expected) in [
            (
                Outer::Open(middle()),
                "cannot open the store: cannot read it: no",
            ),
            (Outer::Transparent(middle()), "cannot read it: no"),
            (Outer::Repeating(io::Error::other("no")), "failed: no"),
        ] {
            assert_eq!(full_text(&error), expected);
        }
    }
}
