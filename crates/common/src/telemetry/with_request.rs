//! Lines of the log with the id of the request that they are about.
//!
//! A mount serves hundreds of thousands of requests that log nothing, and a span for each costs as much as
//! the rest of a short one. So it makes none unless spans of level DEBUG are wanted, and a line takes the id
//! from where it is kept for the calls that a request makes.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::request::RequestId;

/// Adds `request=ID` to the lines of another format, unless they have it from a span.
pub(super) struct WithRequest<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(id) = RequestId::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        if line.contains(&id.to_string()) {
            writeln!(writer, "{line}")
        } else {
            writeln!(writer, "{line} request={id}")
        }
    }
}
