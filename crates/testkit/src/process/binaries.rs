//! The programs of the workspace, as built beside the running test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail, ensure};

/// Packages that make the programs.
const PACKAGES: [&str; 2] = ["lfsfs-cli", "lfsfs-server"];

/// Where the programs of the workspace are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// What a user types.
    pub lfsfs: PathBuf,
    /// The servers.
    pub lfsfsd: PathBuf,
}

/// Set to `built` where the programs were built together with the tests. Building them alone would
/// choose other features of shared dependencies, and compile those once more.
const BUILT_VARIABLE: &str = "LFSFS_TEST_PROGRAMS";

/// Returns the programs built with the profile of the running test.
///
/// # Errors
/// Fails where one is not built and says how to build it.
pub fn binaries() -> anyhow::Result<Binaries> {
    binaries_in(&profile_dir()?)
}

/// Builds the programs with the profile of the running test, once in each test executable, and
/// returns them. Cargo's own lock keeps parallel test executables apart.
///
/// # Errors
/// Fails with what cargo wrote.
pub fn ensure_built() -> anyhow::Result<&'static Binaries> {
    static BUILT: OnceLock<Result<Binaries, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> anyhow::Result<Binaries> {
    let profile_dir = profile_dir()?;
    if std::env::var_os(BUILT_VARIABLE).is_some_and(|value| value == "built") {
        return binaries_in(&profile_dir);
    }
    let output = build_command(&profile_dir)?
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!(
            "cargo build failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    binaries_in(&profile_dir)
}

fn build_command(profile_dir: &Path) -> anyhow::Result<Command> {
    let target_dir = profile_dir
        .parent()
        .context("a profile has a target directory")?;
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => bail!("no profile in {}", profile_dir.display()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .arg("build");
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    command
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target_dir);
    Ok(command)
}

/// Returns `target/<profile>`: test executables lie in `deps` below it, examples in `examples`.
fn profile_dir() -> anyhow::Result<PathBuf> {
    let executable = std::env::current_exe().context("find the test executable")?;
    let dir = executable.ancestors().nth(2);
    Ok(dir
        .with_context(|| format!("no profile above {}", executable.display()))?
        .to_owned())
}

fn binaries_in(dir: &Path) -> anyhow::Result<Binaries> {
    let find = |name: &str| {
        let path = dir.join(name);
        ensure!(
            path.is_file(),
            "{} is not built; run: cargo build -p {}",
            path.display(),
            PACKAGES.join(" -p ")
        );
        Ok(path)
    };
    Ok(Binaries {
        lfsfs: find("lfsfs")?,
        lfsfsd: find("lfsfsd")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tempdir::TempDir;

    #[test]
    fn a_program_that_is_not_built_is_named_with_the_command_that_builds_it() {
        let dir = TempDir::new().unwrap();
        let error = binaries_in(dir.path()).unwrap_err().to_string();
        assert!(error.contains("/lfsfs is not built"), "{error}");
        assert!(
            error.ends_with("run: cargo build -p lfsfs-cli -p lfsfs-server"),
            "{error}"
        );
        for name in ["lfsfs", "lfsfsd"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(
            binaries_in(dir.path()).unwrap().lfsfsd,
            dir.path().join("lfsfsd")
        );
    }

    #[test]
    fn the_build_uses_the_profile_of_the_test() {
        let arguments = |dir: &str| {
            let command = build_command(Path::new(dir)).unwrap();
            let words = command
                .get_args()
                .map(|word| word.to_str().unwrap().to_owned());
            words.collect::<Vec<_>>().join(" ")
        };
        let rest = "--target-dir /t";
        let packages = "build -p lfsfs-cli -p lfsfs-server";
        assert_eq!(
            arguments("/t/debug"),
            format!("{packages} --profile dev {rest}")
        );
        assert_eq!(
            arguments("/t/release"),
            format!("{packages} --profile release {rest}")
        );
        assert!(profile_dir().unwrap().join("deps").is_dir());
    }
}
