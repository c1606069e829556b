//! What has to be done to a directory, decided from what it remembers.

use super::state::{KnownVersion, Part, Standing, State};
use lfsfs_types::{ObjectPath, VersionNumber};
use thiserror::Error;

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The directory has the version.
    Nothing,
    /// Every entry is compared, and what is not in the version goes.
    Replace,
    /// Every entry is compared; what is in none of these versions stays.
    Repair(Vec<KnownVersion>),
    /// The directory has this version: what differs is written.
    Update(KnownVersion),
}

/// Why a directory is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Something is in it that no rebuild has written.
    #[error("it is not empty, and no rebuild made it")]
    NotEmpty,
    /// To compare everything would remove what is of something else. The caller has to allow that.
    #[error("{0}")]
    Replaces(Box<Self>),
    /// It has no state.
    #[error("no rebuild made it")]
    NotRebuilt,
    /// It may have entries of several versions.
    #[error("a rebuild of it did not come to its end")]
    Unfinished,
    /// It has another project.
    #[error("it has another project, or one of another server")]
    OtherProject,
    /// It has another directory of the version, or all of it, as its root.
    #[error("{}", other_root(has))]
    OtherSubdirectory {
        /// The directory that it has; the root for the whole version.
        has: ObjectPath,
    },
    /// It was made with other patterns to ignore, or other subpaths.
    #[error("it was made with other --ignore or --subpath")]
    OtherPart,
    /// What it remembers cannot be read.
    #[error("its state is damaged: {0}")]
    Damaged(String),
    /// The server does not have the version that the directory has.
    #[error("it has {0}, which the server does not have any more")]
    VersionGone(VersionNumber),
}

fn other_root(has: &ObjectPath) -> String {
    if has.is_root() {
        "it has the whole version, and not a directory of it".to_owned()
    } else {
        format!("it has the directory {has:?} of the version")
    }
}

/// Decides what has to be done to bring a directory to `version`. `found` is what it remembers, if anything;
/// `is_empty` says whether anything else is in it.
pub(crate) fn decide(
    found: Result<Option<State>, String>,
    is_empty: bool,
    wanted: &Part,
    version: KnownVersion,
) -> Result<Plan, Refusal> {
    let Some(State { part, standing }) = found.map_err(Refusal::Damaged)? else {
        let fresh = is_empty.then(|| Plan::Repair(Vec::new()));
        return fresh.ok_or(Refusal::NotEmpty);
    };
    if (part.cluster, part.project) != (wanted.cluster, wanted.project) {
        return Err(Refusal::OtherProject);
    }
    if part.subdirectory != wanted.subdirectory {
        return Err(Refusal::OtherSubdirectory {
            has: part.subdirectory,
        });
    }
    if part != *wanted {
        return Err(Refusal::OtherPart);
    }
    Ok(match standing {
        Standing::At(at) if at == version => Plan::Nothing,
        // The empty version has nothing to compare with.
        Standing::At(at) if at.number == VersionNumber::ZERO => Plan::Repair(Vec::new()),
        Standing::At(at) => Plan::Update(at),
        Standing::UnderWay { replaces: true, .. } => Plan::Replace,
        Standing::UnderWay { mut versions, .. } => {
            versions.retain(|known| *known != version && known.number != VersionNumber::ZERO);
            Plan::Repair(versions)
        }
    })
}

/// Returns what the directory remembers while the plan is carried out.
pub(crate) fn under_way(plan: &Plan, part: Part, version: KnownVersion) -> State {
    let mut versions = match plan {
        Plan::Nothing | Plan::Replace => Vec::new(),
        Plan::Repair(versions) => versions.clone(),
        Plan::Update(at) => vec![*at],
    };
    versions.push(version);
    State {
        part,
        standing: Standing::UnderWay {
            versions,
            replaces: *plan == Plan::Replace,
        },
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::{ClusterId, ProjectId, VersionId};

    use super::*;

    fn version(number: u64) -> KnownVersion {
        KnownVersion {
            number: VersionNumber(number),
            id: VersionId([1; 16]),
        }
    }

    fn part(project: u8, subpath: &str) -> Part {
        let path = ObjectPath::new(subpath.as_bytes()).expect("a path");
        let ids = (ClusterId([1; 16]), ProjectId([project; 16]));
        Part::new(ids, ObjectPath::ROOT, Vec::new(), vec![path])
    }

    fn at(number: u64) -> State {
        State {
            part: part(1, "a"),
            standing: Standing::At(version(number)),
        }
    }

    fn decided(found: Option<State>, is_empty: bool) -> Result<Plan, Refusal> {
        decide(Ok(found), is_empty, &part(1, "a"), version(5))
    }

    #[test]
    fn a_directory_without_state_must_be_empty() {
        assert_eq!(decided(None, true), Ok(Plan::Repair(Vec::new())));
        assert_eq!(decided(None, false), Err(Refusal::NotEmpty));
        let damaged = decide(Err("no".to_owned()), false, &part(1, "a"), version(5));
        assert_eq!(damaged, Err(Refusal::Damaged("no".to_owned())));
    }

    #[test]
    fn a_version_is_brought_up_and_down() {
        assert_eq!(decided(Some(at(5)), false), Ok(Plan::Nothing));
        assert_eq!(decided(Some(at(4)), false), Ok(Plan::Update(version(4))));
        assert_eq!(decided(Some(at(9)), false), Ok(Plan::Update(version(9))));
        assert_eq!(decided(Some(at(0)), false), Ok(Plan::Repair(Vec::new())));
        let other = KnownVersion {
            id: VersionId([2; 16]),
            ..version(5)
        };
        let same_number = State {
            standing: Standing::At(other),
            ..at(5)
        };
        assert_eq!(decided(Some(same_number), false), Ok(Plan::Update(other)));
    }

    #[test]
    fn another_project_and_another_part_are_refused() {
        let decided = |wanted| decide(Ok(Some(at(5))), false, &wanted, version(5));
        assert_eq!(decided(part(2, "a")), Err(Refusal::OtherProject));
        assert_eq!(decided(part(1, "b")), Err(Refusal::OtherPart));
        let subdirectory = ObjectPath::new(b"dir").expect("a path");
        let of_it = Part {
            subdirectory: subdirectory.clone(),
            ..part(1, "a")
        };
        let has = ObjectPath::ROOT;
        assert_eq!(
            decided(of_it.clone()),
            Err(Refusal::OtherSubdirectory { has })
        );
        let of_dir = State {
            part: of_it.clone(),
            ..at(5)
        };
        let refused = decide(Ok(Some(of_dir.clone())), false, &part(1, "a"), version(5));
        let has = subdirectory;
        assert_eq!(refused, Err(Refusal::OtherSubdirectory { has }));
        let same = decide(Ok(Some(of_dir)), false, &of_it, version(5));
        assert_eq!(same, Ok(Plan::Nothing));
    }

    #[test]
    fn what_was_interrupted_is_repaired_until_it_succeeds() {
        let first = under_way(&Plan::Update(version(3)), part(1, "a"), version(4));
        let plan = decided(Some(first), false).expect("a plan");
        assert_eq!(plan, Plan::Repair(vec![version(3), version(4)]));
        let second = under_way(&plan, part(1, "a"), version(5));
        let plan = decided(Some(second), false).expect("a plan");
        assert_eq!(plan, Plan::Repair(vec![version(3), version(4)]));
        let replacing = under_way(&Plan::Replace, part(1, "a"), version(4));
        assert_eq!(decided(Some(replacing), false), Ok(Plan::Replace));
    }
}
