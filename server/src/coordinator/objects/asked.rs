//! What a client asks for, checked.

use lfsfs_metadata::{MetadataError, ObjectQuery, Project, QueryFault, Selection};
use lfsfs_proto::status::Fault;
use lfsfs_proto::v1;
use lfsfs_types::{ProjectId, VersionNumber};

use super::super::Coordinator;
use super::super::request::project_name;
use super::invalid;
use crate::blocking::IntoFault as _;

/// Most questions of one call.
const QUERIES_MAX: usize = 1024;
/// What it takes to walk a version, in bytes.
const WALK_COST: usize = 1 << 20;
/// What it takes to compare two versions, in bytes: paths that wait for their order.
const COMPARE_COST: usize = 9 << 19;

/// The objects that a client asks for.
#[derive(Debug)]
pub(in super::super) struct Asked {
    pub(super) project: ProjectId,
    pub(super) from: VersionNumber,
    pub(super) to: VersionNumber,
    pub(super) selection: Selection,
}

impl Asked {
    /// Checks a request. Absent versions are 0 and the newest one.
    pub(in super::super) async fn check(
        coordinator: &Coordinator,
        project: &str,
        versions: (Option<u64>, Option<u64>),
        queries: Vec<v1::ObjectQuery>,
    ) -> Result<Self, Fault> {
        let name = project_name(project)?;
        let selection = selection(queries)?;
        let project = coordinator.metadata(move |m| m.project(&name)).await?;
        let (from, to) = range(&project, versions)?;
        Ok(Self {
            project: project.id,
            from,
            to,
            selection,
        })
    }

    /// Returns the bytes of memory that it takes to find the objects.
    pub(super) fn memory(&self) -> usize {
        match self.from {
            VersionNumber::ZERO => WALK_COST,
            _ => COMPARE_COST,
        }
    }
}

fn range(
    project: &Project,
    (from, to): (Option<u64>, Option<u64>),
) -> Result<(VersionNumber, VersionNumber), Fault> {
    let head = project.head.number;
    let from = VersionNumber(from.unwrap_or_default());
    let to = to.map_or(head, VersionNumber);
    if let Some(version) = [from, to].into_iter().find(|version| *version > head) {
        let absent = MetadataError::AbsentVersion {
            project: project.name.clone(),
            version,
            head,
        };
        return Err(absent.into_fault());
    }
    if from > to {
        let problem = format!("{from} is above {to}: what a version has is asked for from 0 on");
        return Err(invalid("from_version", problem));
    }
    Ok((from, to))
}

fn selection(queries: Vec<v1::ObjectQuery>) -> Result<Selection, Fault> {
    if queries.len() > QUERIES_MAX {
        let problem = format!("one call has at most {QUERIES_MAX}");
        return Err(invalid("queries", problem));
    }
    let queries = queries.into_iter().map(query);
    Ok(Selection::new(queries.collect::<Result<_, _>>()?))
}

fn query(message: v1::ObjectQuery) -> Result<ObjectQuery, Fault> {
    let query = match message.is_prefix {
        true => ObjectQuery::prefix(message.path),
        false => ObjectQuery::exact(message.path),
    };
    let wrong = |field: &'static str| move |fault: QueryFault| invalid(field, fault);
    let query = query
        .without(message.ignores)
        .map_err(wrong("queries.ignores"))?;
    query
        .within(message.subpaths)
        .map_err(wrong("queries.subpaths"))
}

#[cfg(test)]
mod tests {
    use lfsfs_proto::status::FaultKind;

    use super::*;

    #[test]
    fn a_query_that_is_none_is_refused_by_the_name_of_its_field() {
        let ask = |is_prefix, ignores: &[&str], subpaths: &[&str]| {
            let bytes =
                |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            selection(vec![v1::ObjectQuery {
                path: b"a/".to_vec(),
                is_prefix,
                ignores: bytes(ignores),
                subpaths: bytes(subpaths),
            }])
        };
        assert!(ask(true, &["a/b"], &["c"]).is_ok());
        for (asked, field) in [
            (ask(false, &["a/b"], &[]), "queries.ignores"),
            (ask(true, &["b"], &[]), "queries.ignores"),
            (ask(false, &[], &["a/b"]), "queries.subpaths"),
            (
                selection(vec![v1::ObjectQuery::default(); QUERIES_MAX + 1]),
                "queries",
            ),
        ] {
            let fault = asked.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Invalid);
            assert!(fault.message.starts_with(field), "{}", fault.message);
        }
    }
}
