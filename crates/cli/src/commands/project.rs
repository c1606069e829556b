//! `lfsfs project`: make, list, look at, change, rename, delete and bring back projects.

use clap::{ArgGroup, Args, Subcommand};
use lfsfs_client::{Inspected, NewProject, NewSettings};
use lfsfs_remote::{Project, RemoteError};
use lfsfs_types::{ProjectName, Source};
use serde::Serialize;

use super::log::JsonVersion;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{self, Output};
use crate::user;

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Make an empty project
    New(NewArgs),
    /// List all projects
    List(ListArgs),
    /// Show a project and its newest version
    Inspect(InspectArgs),
    /// Change the settings of a project
    Set(SetArgs),
    /// Give a project another name
    Rename(RenameArgs),
    /// Delete a project with all of its versions
    Delete(DeleteArgs),
    /// Bring a deleted project back
    Undelete(UndeleteArgs),
}

/// Directories that package managers fill with one package each.
const PACKAGES: [&str; 3] = [
    r"(^|/)node_modules/([^@./][^/]*|@[^/]+/[^/]+)/$",
    r"(^|/)site-packages/[^/]+/$",
    r"(^|/)vendor/[^/]+/[^/]+/$",
];

#[derive(Debug, Args)]
#[command(
    after_help = "Prints the name. A directory whose path, with a slash behind it, matches a pattern of packs is kept \
    as one row with all that lies in it, which costs less than a row for each file; no version shows a difference. \
    Without --pack these are packages: in node_modules, site-packages and vendor.\n\n\
    Examples:\n  \
    lfsfs project new docs\n  \
    lfsfs project new site --pack '^assets/[^/]+/$'\n  \
    lfsfs project new tool --ignore target/ --ignore '*.o'\n  \
    lfsfs project new trial --template app@v2\n  \
    lfsfs project new scratch --replication 1"
)]
pub(crate) struct NewArgs {
    /// Name: letters, digits, '.', '_' and '-', at most 63 characters
    name: String,
    /// Do nothing if there is a project of that name
    #[arg(long)]
    if_missing: bool,
    /// Regular expression of directories that are kept as packs; may be repeated
    #[arg(long = "pack", value_name = "PATTERN")]
    pack_patterns: Vec<String>,
    /// Keep no directory as a pack
    #[arg(long, conflicts_with_all = ["pack_patterns", "template"])]
    pack_nothing: bool,
    /// Paths that stay out of versions, as a line of gitignore(5); may be repeated
    #[arg(long = "ignore", value_name = "PATTERN")]
    ignore_patterns: Vec<String>,
    /// Commits of mounts ignore times: as `lfsfs commit --ignore-times`
    #[arg(long)]
    ignore_times: bool,
    /// Version that it begins with: PROJECT, PROJECT@vN, PROJECT@TAG; its settings count where none are given
    #[arg(long, value_name = "SOURCE")]
    template: Option<Source>,
    /// Copies of each of its chunks, 1 to 16 (default: as many as the coordinator is told to make)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=16))]
    replication: Option<u32>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "With --deleted each line has the id, the name that the project had, when it was deleted, and until when \
    it can be brought back.\n\n\
    Examples:\n  \
    lfsfs project list\n  \
    lfsfs project list --deleted"
)]
pub(crate) struct ListArgs {
    /// List the deleted projects that can be brought back
    #[arg(long)]
    deleted: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lfsfs project inspect app\n  \
    lfsfs project inspect app --json      for scripts")]
pub(crate) struct InspectArgs {
    /// Name of the project
    name: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("settings")
        .args(["ignore_patterns", "ignore_nothing", "pack_patterns", "pack_nothing", "ignore_times", "keep_times"])
        .required(true)
        .multiple(true),
    after_help = "Imports, updates and commits leave new paths that match a pattern out of versions; what a \
    version has stays in it. The patterns replace those that the project has. Files .lfsfsignore in the tree say \
    more, and win where they say something else. A mount takes them when it is made, commits or switches, and so it does whether times are ignored.\n\n\
    After --pack the server keeps the newest version anew, as another version that shows the same.\n\n\
    Examples:\n  \
    lfsfs project set app --ignore target/ --ignore '*.o'\n  \
    lfsfs project set app --ignore-nothing\n  \
    lfsfs project set app --pack '(^|/)node_modules/[^/]+/$'\n  \
    lfsfs project set app --ignore-times      a repeated job makes no version"
)]
pub(crate) struct SetArgs {
    /// Name of the project
    name: String,
    /// Paths that stay out of versions, as a line of gitignore(5); may be repeated
    #[arg(long = "ignore", value_name = "PATTERN")]
    ignore_patterns: Vec<String>,
    /// Take the patterns of such paths away
    #[arg(long, conflicts_with = "ignore_patterns")]
    ignore_nothing: bool,
    /// Regular expression of directories that are kept as packs; may be repeated
    #[arg(long = "pack", value_name = "PATTERN")]
    pack_patterns: Vec<String>,
    /// Keep no directory as a pack
    #[arg(long, conflicts_with = "pack_patterns")]
    pack_nothing: bool,
    /// Commits of mounts ignore times: as `lfsfs commit --ignore-times`
    #[arg(long)]
    ignore_times: bool,
    /// Commits of mounts keep the times of files again
    #[arg(long, conflicts_with = "ignore_times")]
    keep_times: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Versions, tags and mounts of the project stay. The old name is free then.\n\n\
    Example:\n  lfsfs project rename app web"
)]
pub(crate) struct RenameArgs {
    /// Name that it has
    old: String,
    /// Name that it gets
    new: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The command asks first; without a terminal it needs --yes. Mounts of the project fail afterwards. The name \
    is free at once. `lfsfs project undelete` brings the project back for as long as the server keeps it, a week if it is \
    not configured otherwise; until then it takes space.\n\n\
    Examples:\n  \
    lfsfs project delete app --yes\n  \
    lfsfs project delete app --yes --purge      nothing brings it back"
)]
pub(crate) struct DeleteArgs {
    /// Name of the project
    name: String,
    /// Remove it at once, so that nothing can bring it back; if no project has the name, one that is deleted already,
    /// by its name or id
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Prints the name. All versions, tags and settings are as they were, and mounts of the project go on. \
    `lfsfs project list --deleted` shows what can be brought back. If several deleted projects had the name, it takes \
    the id.\n\n\
    Examples:\n  \
    lfsfs project undelete app\n  \
    lfsfs project undelete app --as app-of-before"
)]
pub(crate) struct UndeleteArgs {
    /// Name that it had, or its id
    project: String,
    /// Name that it gets
    #[arg(long = "as", value_name = "NEW-NAME")]
    new_name: Option<String>,
}

/// A deleted project in JSON.
#[derive(Debug, Serialize)]
struct JsonDeleted {
    id: String,
    name: String,
    head: u64,
    created: String,
    deleted: String,
    kept_until: String,
}

/// A project in JSON.
#[derive(Debug, Serialize)]
struct JsonProject {
    name: String,
    id: String,
    head: u64,
    created: String,
    replication: u32,
    pack_patterns: Vec<String>,
    ignore_patterns: Vec<String>,
    ignore_times: bool,
    repacking: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<JsonVersion>,
}

impl JsonProject {
    fn new(project: &Project) -> Self {
        Self {
            name: project.name.to_string(),
            id: project.id.to_string(),
            head: project.head.0.0,
            created: output::time(project.created),
            replication: project.replication,
            pack_patterns: project.pack_patterns.clone(),
            ignore_patterns: project.ignore_patterns.clone(),
            ignore_times: project.ignore_times,
            repacking: project.repacking,
            stored_bytes: None,
            version: None,
        }
    }

    fn inspected(inspected: &Inspected) -> Self {
        Self {
            stored_bytes: inspected.stored_bytes,
            version: inspected.head.as_ref().map(JsonVersion::new),
            ..Self::new(&inspected.project)
        }
    }
}

pub(crate) async fn run(server: ServerArgs, command: ProjectCommand) -> Result<(), CommandError> {
    match command {
        ProjectCommand::New(args) => new(&server, args).await,
        ProjectCommand::List(args) => list(&server, args).await,
        ProjectCommand::Inspect(args) => inspect(&server, args).await,
        ProjectCommand::Set(args) => set(&server, &args).await,
        ProjectCommand::Rename(args) => rename(&server, &args).await,
        ProjectCommand::Delete(args) => delete(&server, &args).await,
        ProjectCommand::Undelete(args) => undelete(&server, &args).await,
    }
}

async fn new(server: &ServerArgs, args: NewArgs) -> Result<(), CommandError> {
    let name = name(&args.name)?;
    let new = NewProject {
        name: name.clone(),
        pack_patterns: pack_patterns(&args),
        ignore_patterns: args.ignore_patterns,
        ignore_times: args.ignore_times.then_some(true),
        replication: args.replication,
        template: args.template,
        author: user::author(),
    };
    match server.client()?.admin.new_project(&new).await {
        Ok(_) => {}
        Err(RemoteError::AlreadyExists(_)) if args.if_missing => {}
        Err(error) => return Err(error.into()),
    }
    let mut out = Output::new();
    out.line(name.as_str())?;
    out.finish()
}

async fn list(server: &ServerArgs, args: ListArgs) -> Result<(), CommandError> {
    if args.deleted {
        return list_deleted(server, &args).await;
    }
    let projects = server.client()?.admin.list_projects().await?;
    let width = projects
        .iter()
        .map(|project| project.name.as_str().len())
        .max()
        .unwrap_or(0);
    let mut out = Output::new();
    for project in &projects {
        if args.json {
            out.json(&JsonProject::new(project))?;
        } else {
            let head = project.head.0.to_string();
            out.line(format!(
                "{:width$}  {head:>6}  {}",
                project.name,
                output::time(project.created)
            ))?;
        }
    }
    out.finish()
}

async fn list_deleted(server: &ServerArgs, args: &ListArgs) -> Result<(), CommandError> {
    let deleted = server.client()?.admin.list_deleted().await?;
    let width = deleted
        .iter()
        .map(|it| it.project.name.as_str().len())
        .max();
    let width = width.unwrap_or(0);
    let mut out = Output::new();
    for it in &deleted {
        let (id, name) = (it.project.id, &it.project.name);
        let (since, until) = (output::time(it.deleted), output::time(it.kept_until));
        if args.json {
            out.json(&JsonDeleted {
                id: id.to_string(),
                name: name.to_string(),
                head: it.project.head.0.0,
                created: output::time(it.project.created),
                deleted: since,
                kept_until: until,
            })?;
        } else {
            out.line(format!("{id}  {name:width$}  {since}  {until}"))?;
        }
    }
    out.finish()
}

async fn inspect(server: &ServerArgs, args: InspectArgs) -> Result<(), CommandError> {
    let inspected = server.client()?.admin.inspect(&name(&args.name)?).await?;
    let mut out = Output::new();
    if args.json {
        out.json(&JsonProject::inspected(&inspected))?;
        return out.finish();
    }
    let Inspected {
        project,
        head,
        stored_bytes,
    } = inspected;
    out.line(format!("project      {}", project.name))?;
    out.line(format!("id           {}", project.id))?;
    out.line(format!("created      {}", output::time(project.created)))?;
    out.line(format!("replication  {}", project.replication))?;
    for pattern in &project.pack_patterns {
        out.line(format!("pack         {pattern}"))?;
    }
    if project.repacking {
        out.line("packs        do not follow these patterns yet")?;
    }
    for pattern in &project.ignore_patterns {
        out.line(format!("ignore       {pattern}"))?;
    }
    if project.ignore_times {
        out.line("times        are ignored by commits")?;
    }
    if let Some(stored) = stored_bytes {
        out.line(format!("stored       {stored}"))?;
    }
    out.line(format!("head         {}", project.head.0))?;
    if let Some(head) = head {
        out.line(format!("objects      {}", head.counts.objects))?;
        out.line(format!("bytes        {}", head.counts.bytes))?;
        out.line(format!(
            "published    {} by {}",
            output::time(head.time),
            head.author
        ))?;
    }
    out.finish()
}

async fn set(server: &ServerArgs, args: &SetArgs) -> Result<(), CommandError> {
    let name = name(&args.name)?;
    let told = |patterns: &[String], nothing: bool| {
        (nothing || !patterns.is_empty()).then(|| patterns.to_vec())
    };
    let settings = NewSettings {
        ignore_patterns: told(&args.ignore_patterns, args.ignore_nothing),
        pack_patterns: told(&args.pack_patterns, args.pack_nothing),
        ignore_times: match (args.ignore_times, args.keep_times) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
    };
    let admin = server.client()?.admin;
    admin.set_project(&name, &settings).await.map(drop)?;
    Ok(())
}

/// Returns the pack patterns of a new project; those of a template count where none are given.
fn pack_patterns(args: &NewArgs) -> Vec<String> {
    let given = args.pack_nothing || args.template.is_some() || !args.pack_patterns.is_empty();
    if given {
        return args.pack_patterns.clone();
    }
    PACKAGES.map(str::to_owned).to_vec()
}

async fn rename(server: &ServerArgs, args: &RenameArgs) -> Result<(), CommandError> {
    let (old, new) = (name(&args.old)?, name(&args.new)?);
    Ok(server.client()?.admin.rename_project(&old, &new).await?)
}

async fn delete(server: &ServerArgs, args: &DeleteArgs) -> Result<(), CommandError> {
    let name = name(&args.name)?;
    let admin = server.client()?.admin;
    // A name that is wrong is no question.
    let question = match admin.inspect(&name).await {
        Ok(inspected) => {
            let head = inspected.project.head.0;
            let end = match args.purge {
                true => "This cannot be undone.",
                false => "For a time `lfsfs project undelete` brings it back.",
            };
            format!("delete {name} and all of its versions up to {head}? {end}")
        }
        Err(RemoteError::NotFound(_)) if args.purge => {
            format!("remove the deleted project {name}? This cannot be undone.")
        }
        Err(error) => return Err(error.into()),
    };
    user::confirm(&question, args.yes)?;
    Ok(admin.delete_project(&name, args.purge).await?)
}

async fn undelete(server: &ServerArgs, args: &UndeleteArgs) -> Result<(), CommandError> {
    let new_name = args.new_name.as_deref().map(name).transpose()?;
    let admin = server.client()?.admin;
    let back = admin
        .undelete_project(&args.project, new_name.as_ref())
        .await;
    let back = back.map_err(|error| {
        let is_taken = matches!(error, RemoteError::AlreadyExists(_));
        match (CommandError::from(error), is_taken) {
            (error, true) => error.hint("bring it back under another name: --as NEW-NAME"),
            (error, false) => error,
        }
    })?;
    let mut out = Output::new();
    out.line(back.name.as_str())?;
    out.finish()
}

/// Checks a project's name.
pub(crate) fn name(text: &str) -> Result<ProjectName, CommandError> {
    ProjectName::new(text).map_err(|error| CommandError::usage(error.to_string()))
}
