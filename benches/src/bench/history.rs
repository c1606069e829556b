//! Row o: twenty versions of a tree with small upgrades between them, against as many archives and against git.

use std::path::Path;
use std::process::Command;

use super::Row;
use super::edit_tree::change_directories;
use super::line::{Bar, Line, Unit};
use super::setting::{PROJECT, Setting};
use crate::{command, sizes};

const VERSIONS: usize = 20;
/// In each version one of so many directories changes.
const DIRECTORIES: usize = 50;
const ARCHIVE: &str = r#"tar -C "$1" -cf - . | zstd -q -3 -f -o "$2""#;
/// A repository of the same trees, packed as git packs it when it is idle.
const GIT: &str = r#"
    export GIT_CONFIG_NOSYSTEM=1 HOME=/nonexistent
    test -d "$2" || git init -q --bare "$2"
    git="git --git-dir=$2 --work-tree=$1 -c user.name=bench -c user.email=bench@localhost -c gc.auto=0"
    $git add -f -A . && $git commit -q -m version
"#;
const GIT_PACK: &str = r#"HOME=/nonexistent git --git-dir="$1" gc -q"#;

/// Bytes on disk of all versions.
pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let line = |what: &str| Line::new(Row::O, what, Unit::Bytes, Bar::None);
    let mut archives = line("stored, 20 versions / tar, zstd each");
    let mut git = line("stored, 20 versions / git");
    let has_git = command::run(Command::new("git").arg("--version")).is_ok();
    let (tars, repository) = (setting.place("archives"), setting.place("repository"));
    std::fs::create_dir(&tars)?;
    let instance = setting.start_server("server")?;
    for version in 0..VERSIONS {
        if version > 0 {
            change_directories(&setting.tree(), DIRECTORIES, version)?;
        }
        let archive = tars.join(format!("{version}.tar.zst"));
        shell(ARCHIVE, &setting.tree(), &archive)?;
        if has_git {
            shell(GIT, &setting.tree(), &repository)?;
        }
        instance.import(&setting.tree(), PROJECT)?;
    }
    let ours = sizes::disk_usage(&instance.data())?;
    archives.push(sizes::disk_usage(&tars)?, ours);
    if has_git {
        shell(GIT_PACK, &repository, &repository)?;
        git.push(sizes::disk_usage(&repository)?, ours);
    } else {
        git.push_ours(ours);
    }
    instance.stop()?;
    Ok(vec![archives, git])
}

fn shell(script: &str, first: &Path, second: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("/bin/sh");
    command.args(["-e", "-c", script, "sh"]);
    command::run(command.arg(first).arg(second)).map(drop)
}
