//! `lfsfs du`: what projects take.

use clap::Args;
use indicatif::HumanBytes;
use lfsfs_client::ProjectUsage;
use serde::Serialize;

use super::project::name;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::Output;
use crate::progress::spinner;

#[derive(Debug, Args)]
#[command(
    after_help = "LOGICAL is what the files of the newest version have. All versions together name CONTENTS, \
    each counted once, which take STORED bytes in chunks, compressed, for one copy. SHARED is the part of these that \
    other projects name, too: what is left comes back when the project is deleted and garbage is collected.\n\n\
    The server reads all its metadata to answer.\n\n\
    Examples:\n  \
    lfsfs du                              all projects\n  \
    lfsfs du app deps                     two of them\n  \
    lfsfs du --json                       for scripts"
)]
pub(crate) struct DuArgs {
    /// Projects to show; all without one
    #[arg(value_name = "PROJECT")]
    projects: Vec<String>,
    /// Exact numbers of bytes
    #[arg(short, long)]
    bytes: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What a project takes, in JSON.
#[derive(Debug, Serialize)]
struct JsonUsage<'a> {
    name: &'a str,
    logical_bytes: u64,
    contents: u64,
    content_bytes: u64,
    stored_bytes: u64,
    shared_bytes: u64,
}

impl<'a> JsonUsage<'a> {
    fn new(usage: &'a ProjectUsage) -> Self {
        Self {
            name: usage.name.as_str(),
            logical_bytes: usage.logical_bytes,
            contents: usage.contents,
            content_bytes: usage.content_bytes,
            stored_bytes: usage.stored_bytes,
            shared_bytes: usage.shared_bytes,
        }
    }
}

pub(crate) async fn run(server: ServerArgs, args: DuArgs) -> Result<(), CommandError> {
    let names = args.projects.iter().map(|text| name(text));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let admin = server.client()?.admin;
    let waiting = spinner();
    waiting.set_message("counting");
    let usages = admin.usage(&names).await;
    waiting.finish_and_clear();
    let usages = usages?;
    let mut out = Output::new();
    if args.json {
        usages
            .iter()
            .try_for_each(|usage| out.json(&JsonUsage::new(usage)))?;
        return out.finish();
    }
    let width = usages.iter().map(|it| it.name.as_str().len()).max();
    let width = width.unwrap_or(0).max("PROJECT".len());
    let titles = ["LOGICAL", "CONTENTS", "STORED", "SHARED"].map(str::to_owned);
    out.line(line("PROJECT", &titles, width))?;
    for usage in &usages {
        let numbers = [
            usage.logical_bytes,
            usage.content_bytes,
            usage.stored_bytes,
            usage.shared_bytes,
        ];
        let numbers = numbers.map(|number| shown(number, args.bytes));
        out.line(line(usage.name.as_str(), &numbers, width))?;
    }
    out.finish()
}

fn line(name: &str, columns: &[String; 4], width: usize) -> String {
    let columns = columns.iter().map(|text| format!("{text:>14}"));
    format!("{name:width$}{}", columns.collect::<String>())
}

fn shown(number: u64, is_exact: bool) -> String {
    match is_exact {
        true => number.to_string(),
        false => HumanBytes(number).to_string(),
    }
}
