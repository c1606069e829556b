//! `lfsfs sync once`: passes until both sides are in step, and then the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use lfsfs_client::Client;
use lfsfs_sync::directory_sync::{
    Act, Action, Haste, PassOutcome, PassParams, SyncError, SyncFigures, SyncProgress, SyncedRoot,
    Trouble,
};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{SettingsArgs, is_project, roots};
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{JsonPath, Output, counted, quoted};
use crate::{progress, user};

/// How long a file may be written to before it is taken as it is.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// Files that were written a moment ago are waited for so many times the debounce before all else is done without them.
const DEBOUNCES_MAX: u32 = 10;
/// Passes that follow each other because something was changed meanwhile.
const PASSES_MAX: u32 = 5;
/// Paths that a message names.
const NAMED_MAX: usize = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Compares each directory, and the one of its name below the remote root, with what both had after the last \
    sync, and brings both to one state. A file that both changed is kept twice, one of them under a conflict name. Files \
    that are being written are waited for, a minute at most. Prints a line for each directory: what was sent and received, and \
    the version that it made. Paths that were left as they are go to standard error, and the exit code is 1 then.\n\n\
    Examples:\n  \
    lfsfs sync once --dir ./notes --remote work\n  \
    lfsfs sync once --dir ./notes --remote work:backup --set direction=push\n  \
    lfsfs sync once --config /etc/lfsfs/sync.toml --dry-run"
)]
pub(crate) struct OnceArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Only tell what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// One JSON object a line, one for each directory
    #[arg(long)]
    json: bool,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonOnce<'a> {
    dir: String,
    remote: &'a str,
    version: Option<&'a str>,
    sent: u64,
    received: u64,
    looked_at: u64,
    hashed: u64,
    bytes: u64,
    conflicts: Vec<JsonPath>,
    busy: u64,
    unconfirmed_root: u64,
    unconfirmed_far: u64,
    troubles: Vec<JsonTrouble<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<JsonAction>,
}

#[derive(Debug, Serialize)]
struct JsonTrouble<'a> {
    #[serde(flatten)]
    path: JsonPath,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct JsonAction {
    side: &'static str,
    act: &'static str,
    #[serde(flatten)]
    path: JsonPath,
}

/// All passes over a root.
#[derive(Debug, Default)]
struct Passes {
    last: PassOutcome,
    actions: Vec<Action>,
    conflicts: Vec<lfsfs_types::ObjectPath>,
    version: Option<String>,
    figures: SyncFigures,
}

pub(crate) async fn run(server: ServerArgs, args: OnceArgs) -> Result<(), CommandError> {
    let settings = args.settings.settings()?;
    if !settings.is_enabled {
        return Err(CommandError::failed("enabled is false: nothing was synced"));
    }
    let (roots, client) = roots(&settings, &server, args.dry_run)?;
    debug_assert!(
        client.is_some() == is_project(&settings),
        "only a project needs a server"
    );
    let (mut out, mut failures) = (Output::new(), Vec::new());
    for root in roots {
        let debounce = settings.debounce;
        let rate = settings.bandwidth;
        match sync(root.clone(), client.as_ref(), (debounce, rate)).await {
            Ok(passes) => {
                print(&root, &passes, &args, &mut out)?;
                failures.extend(failure(&root, &passes));
            }
            Err(error) => failures.push(CommandError::from(error)),
        }
    }
    out.finish()?;
    CommandError::all(failures, "directories are not in step")
}

async fn sync(
    params: PassParams,
    client: Option<&Client>,
    (debounce, rate): (Duration, Option<u64>),
) -> Result<Passes, SyncError> {
    let is_dry_run = params.is_dry_run;
    let stopped = |_| SyncError::Stopped("a pass panicked");
    let root = spawn_blocking(move || SyncedRoot::open(params)).await;
    let root = Arc::new(root.map_err(stopped)??);
    if root.is_paused() {
        let dir = root.params().dir.clone();
        return Err(SyncError::Paused { dir });
    }
    let progress = Arc::new(SyncProgress::with_rate(rate));
    let bar = progress::spinner();
    let shown = Arc::clone(&progress);
    progress::watch(&bar, move |bar| bar.set_message(message(&shown.figures())));
    let began = Instant::now();
    let (mut passes, mut more) = (Passes::default(), 0);
    let mut haste = if is_dry_run {
        Haste::Hurried
    } else {
        Haste::Patient
    };
    loop {
        let remote = client.map(|client| Arc::clone(&client.remote));
        let (root, progress) = (Arc::clone(&root), Arc::clone(&progress));
        let done = spawn_blocking(move || root.pass(remote, haste, &progress)).await;
        passes.add(done.map_err(stopped)??);
        let is_busy = !passes.last.busy.is_empty() && haste != Haste::Hurried;
        more += u32::from(passes.last.is_more);
        if is_dry_run || !(is_busy || passes.last.is_more && more <= PASSES_MAX) {
            break;
        }
        haste = match began.elapsed() {
            busy if busy >= QUIET_MAX => Haste::Hurried,
            busy if busy >= debounce * DEBOUNCES_MAX => Haste::Usual,
            _ => Haste::Patient,
        };
        sleep(debounce).await;
    }
    bar.finish_and_clear();
    passes.figures = progress.figures();
    Ok(passes)
}

impl Passes {
    fn add(&mut self, mut outcome: PassOutcome) {
        self.actions.append(&mut outcome.actions);
        self.conflicts.append(&mut outcome.conflicts);
        if outcome.version.is_some() {
            self.version.clone_from(&outcome.version);
        }
        self.last = outcome;
    }

    fn count(&self, is_root: bool) -> u64 {
        let actions = self
            .actions
            .iter()
            .filter(|action| action.is_root == is_root);
        actions.count() as u64
    }
}

fn message(figures: &SyncFigures) -> String {
    let SyncFigures {
        looked_at,
        files,
        files_all,
        bytes,
        bytes_all,
        ..
    } = *figures;
    if files_all == 0 {
        return format!("looking: {} entries", HumanCount(looked_at));
    }
    format!(
        "{} of {} files, {} of {}",
        HumanCount(files),
        HumanCount(files_all),
        HumanBytes(bytes),
        HumanBytes(bytes_all)
    )
}

fn print(
    root: &PassParams,
    passes: &Passes,
    args: &OnceArgs,
    out: &mut Output,
) -> Result<(), CommandError> {
    for warning in &passes.last.warnings {
        user::warn(warning);
    }
    if args.json {
        return out.json(&json(root, passes));
    }
    if root.is_dry_run {
        for action in &passes.actions {
            let (side, act) = (side(action), act(action.act));
            out.line(format!("{side} {act} {}", quoted(action.path.as_bytes())))?;
        }
    }
    let mut line = format!(
        "{}: {} sent, {} received",
        root.dir.display(),
        passes.count(false),
        passes.count(true)
    );
    if !passes.conflicts.is_empty() {
        let conflicts = counted(passes.conflicts.len() as u64, "conflict");
        line.push_str(&format!(", {conflicts}"));
    }
    if let Some(version) = &passes.version {
        line.push_str(&format!(", {version}"));
    }
    out.line(line)?;
    for path in passes.conflicts.iter().take(NAMED_MAX) {
        user::tell(&format!("conflict: {}", quoted(path.as_bytes())));
    }
    Ok(())
}

/// Says what is not in step.
fn failure(root: &PassParams, passes: &Passes) -> Option<CommandError> {
    let PassOutcome {
        troubles,
        unconfirmed: [on_root, on_far],
        busy,
        ..
    } = &passes.last;
    let dir = root.dir.display();
    if on_root + on_far > 0 {
        let (count, side) = match on_far {
            0 => (on_root, format!("in {dir}")),
            _ => (on_far, format!("in {}", root.remote)),
        };
        let failed = CommandError::failed(format!(
            "{count} removals {side} wait, since they are so many"
        ));
        return Some(
            failed.hint(
                "if they are meant: lfsfs sync confirm, with the same options, and sync again",
            ),
        );
    }
    let count = troubles.len() + busy.len();
    if count == 0 || root.is_dry_run {
        return None;
    }
    let mut failed = CommandError::failed(format!("{count} paths of {dir} were left as they are"));
    for Trouble { path, reason } in troubles.iter().take(NAMED_MAX) {
        failed = failed.detail(format!("{}: {reason}", quoted(path.as_bytes())));
    }
    for path in busy.iter().take(NAMED_MAX) {
        failed = failed.detail(format!(
            "{}: it cannot be read, or is being written",
            quoted(path.as_bytes())
        ));
    }
    Some(failed)
}

const fn side(action: &Action) -> &'static str {
    if action.is_root { "receive" } else { "send" }
}

const fn act(act: Act) -> &'static str {
    match act {
        Act::Create => "create",
        Act::Update => "update",
        Act::Touch => "touch",
        Act::Remove => "remove",
        Act::Keep => "keep",
    }
}

fn json<'a>(root: &'a PassParams, passes: &'a Passes) -> JsonOnce<'a> {
    let path = |path: &lfsfs_types::ObjectPath| JsonPath::new(path.as_bytes());
    let trouble = |trouble: &'a Trouble| JsonTrouble {
        path: path(&trouble.path),
        reason: &trouble.reason,
    };
    let action = |action: &Action| JsonAction {
        side: side(action),
        act: act(action.act),
        path: path(&action.path),
    };
    let actions = passes.actions.iter().filter(|_| root.is_dry_run);
    JsonOnce {
        dir: root.dir.display().to_string(),
        remote: &root.remote,
        version: passes.version.as_deref(),
        sent: passes.count(false),
        received: passes.count(true),
        looked_at: passes.figures.looked_at,
        hashed: passes.figures.hashed,
        bytes: passes.figures.bytes,
        conflicts: passes.conflicts.iter().map(path).collect(),
        busy: passes.last.busy.len() as u64,
        unconfirmed_root: passes.last.unconfirmed[0],
        unconfirmed_far: passes.last.unconfirmed[1],
        troubles: passes.last.troubles.iter().map(trouble).collect(),
        actions: actions.map(action).collect(),
    }
}
