//! Which crate may depend on which.
//!
//! [`TABLE`] is the whole rule. Tests and benchmarks are free; what is shipped is not. Only
//! dependencies that reach a user's program count: dev-dependencies are no part of the architecture.

use crate::finding::Finding;

/// One crate's place.
#[derive(Debug)]
pub(crate) struct Rule {
    name: &'static str,
    layer: Layer,
    uses: Uses,
}

/// How far above the bottom a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// Shipped, counted from the bottom.
    Product(u8),
    /// Never shipped, and above everything that is.
    Development,
}

/// Which crates of this workspace a crate may depend on.
#[derive(Debug)]
pub(crate) enum Uses {
    /// These, and all of them lie in lower layers.
    Only(&'static [&'static str]),
    /// Every shipped crate of a lower layer.
    AnyBelow,
    /// Everything.
    Anything,
}

use Layer::{Development, Product};
use Uses::{AnyBelow, Anything, Only};

const fn rule(layer: Layer, name: &'static str, uses: Uses) -> Rule {
    Rule { name, layer, uses }
}

/// The table that docs/architecture.md explains.
///
/// Two lines to know: only the server uses `metadata` (the policy above the key-value seam), and
/// the server uses nothing that stands on the client's side. The seam `remote`, and `upload` and `reader`
/// above it, are on neither side: a server may read and pack contents by a remote of its own.
#[rustfmt::skip]
pub(crate) const TABLE: &[Rule] = &[
    rule(Product(0), "lfsfs-types", Only(&[])),
    rule(Product(0), "lfsfs-common", Only(&[])),

    rule(Product(1), "lfsfs-proto", Only(&["lfsfs-types", "lfsfs-common"])),
    rule(Product(1), "lfsfs-transfer", Only(&["lfsfs-types", "lfsfs-common"])),
    rule(Product(1), "lfsfs-cluster", Only(&["lfsfs-types"])),
    rule(Product(1), "lfsfs-chunk-store", Only(&["lfsfs-types", "lfsfs-common"])),
    rule(Product(1), "lfsfs-meta-store", Only(&["lfsfs-types", "lfsfs-common"])),
    rule(Product(1), "lfsfs-cache", Only(&["lfsfs-types", "lfsfs-common"])),
    rule(Product(1), "lfsfs-erofs", Only(&["lfsfs-types"])),
    rule(Product(1), "lfsfs-overlay", Only(&["lfsfs-types", "lfsfs-common"])),

    rule(Product(2), "lfsfs-metadata", Only(&["lfsfs-types", "lfsfs-common", "lfsfs-meta-store"])),
    rule(Product(2), "lfsfs-remote", Only(&["lfsfs-types", "lfsfs-common"])),
    rule(Product(2), "lfsfs-queue", Only(&["lfsfs-common", "lfsfs-meta-store"])),

    rule(Product(3), "lfsfs-client", Only(&["lfsfs-types", "lfsfs-common", "lfsfs-proto", "lfsfs-transfer", "lfsfs-remote",
                                            "lfsfs-cluster"])),
    rule(Product(3), "lfsfs-upload", Only(&["lfsfs-types", "lfsfs-common", "lfsfs-remote"])),
    rule(Product(3), "lfsfs-reader", Only(&["lfsfs-types", "lfsfs-common", "lfsfs-remote", "lfsfs-cache"])),

    rule(Product(4), "lfsfs-sync", Only(&["lfsfs-types", "lfsfs-common", "lfsfs-client", "lfsfs-remote", "lfsfs-cache", "lfsfs-upload",
                                          "lfsfs-reader", "lfsfs-meta-store"])),
    rule(Product(4), "lfsfs-vfs", Only(&["lfsfs-types", "lfsfs-common", "lfsfs-remote", "lfsfs-cache",
                                         "lfsfs-erofs", "lfsfs-overlay", "lfsfs-upload", "lfsfs-reader", "lfsfs-queue"])),

    rule(Product(5), "lfsfs-mount", Only(&["lfsfs-types", "lfsfs-common", "lfsfs-client", "lfsfs-cache", "lfsfs-vfs",
                                           "lfsfs-overlay", "lfsfs-upload", "lfsfs-remote", "lfsfs-queue"])),
    rule(Product(5), "lfsfs-server", Only(&["lfsfs-types", "lfsfs-common", "lfsfs-proto", "lfsfs-transfer",
                                            "lfsfs-chunk-store", "lfsfs-meta-store", "lfsfs-metadata", "lfsfs-remote", "lfsfs-cluster",
                                            "lfsfs-upload", "lfsfs-reader"])),

    rule(Product(6), "lfsfs-cli", AnyBelow),

    rule(Development, "lfsfs-testkit", Anything),
    rule(Development, "lfsfs-tests", Anything),
    rule(Development, "lfsfs-benches", Anything),
    rule(Development, "xtask", Anything),
];

/// A crate of the workspace and the crates of the workspace that it is built from.
#[derive(Debug)]
pub(crate) struct CrateEdges {
    pub(crate) name: String,
    pub(crate) uses: Vec<String>,
}

/// Returns every crate without a row, row without a crate, and dependency that no row allows.
pub(crate) fn check(crates: &[CrateEdges], table: &[Rule]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in table
        .iter()
        .filter(|rule| !crates.iter().any(|c| c.name == rule.name))
    {
        findings.push(Finding::new(
            rule.name,
            "is in the layer table but not in the workspace",
        ));
    }
    for user in crates {
        match find(table, &user.name) {
            None => findings.push(Finding::new(&user.name, "has no row in the layer table")),
            Some(rule) => findings.extend(check_crate(user, rule, table)),
        }
    }
    findings
}

fn check_crate(user: &CrateEdges, rule: &Rule, table: &[Rule]) -> Vec<Finding> {
    user.uses
        .iter()
        .filter(|used| !allows(rule, used, table))
        .map(|used| Finding::new(&user.name, format!("must not depend on {used} (layers.rs)")))
        .collect()
}

fn allows(rule: &Rule, used: &str, table: &[Rule]) -> bool {
    match rule.uses {
        Only(names) => names.contains(&used),
        AnyBelow => find(table, used).is_some_and(|used| used.layer < rule.layer),
        Anything => true,
    }
}

fn find<'a>(table: &'a [Rule], name: &str) -> Option<&'a Rule> {
    table.iter().find(|rule| rule.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(name: &str, uses: &[&str]) -> CrateEdges {
        CrateEdges {
            name: name.into(),
            uses: uses.iter().map(|&u| u.into()).collect(),
        }
    }

    /// Checks one crate against the real table, ignoring that the others are absent.
    fn complaints(name: &str, uses: &[&str]) -> Vec<String> {
        let findings = check(&[edges(name, uses)], TABLE);
        let lines = findings.iter().map(ToString::to_string);
        lines
            .filter(|line| !line.contains("not in the workspace"))
            .collect()
    }

    #[test]
    fn the_table_itself_points_downwards_only() {
        for rule in TABLE {
            let Only(names) = rule.uses else { continue };
            for name in names {
                let used = find(TABLE, name).unwrap_or_else(|| panic!("{name} has no row"));
                assert!(used.layer < rule.layer, "{} -> {name}", rule.name);
            }
        }
    }

    #[test]
    fn the_server_knows_nothing_of_the_clients_side() {
        for client_side in [
            "lfsfs-client",
            "lfsfs-cache",
            "lfsfs-vfs",
            "lfsfs-sync",
            "lfsfs-mount",
        ] {
            assert_eq!(
                complaints("lfsfs-server", &[client_side]).len(),
                1,
                "{client_side}"
            );
        }
        assert!(complaints("lfsfs-server", &["lfsfs-metadata", "lfsfs-chunk-store"]).is_empty());
    }

    #[test]
    fn only_the_server_uses_metadata() {
        for rule in TABLE {
            let Only(names) = rule.uses else { continue };
            assert_eq!(
                names.contains(&"lfsfs-metadata"),
                rule.name == "lfsfs-server"
            );
        }
    }

    #[test]
    fn shipped_crates_never_use_what_is_not_shipped() {
        for rule in TABLE.iter().filter(|rule| rule.layer < Development) {
            assert_eq!(
                complaints(rule.name, &["lfsfs-testkit"]).len(),
                1,
                "{}",
                rule.name
            );
        }
        assert!(complaints("lfsfs-tests", &["lfsfs-testkit"]).is_empty());
    }

    #[test]
    fn no_shipped_crate_uses_the_program() {
        for rule in TABLE.iter().filter(|rule| rule.layer < Development) {
            assert_eq!(
                complaints(rule.name, &["lfsfs-cli"]).len(),
                1,
                "{}",
                rule.name
            );
        }
    }

    #[test]
    fn crates_and_rows_must_match() {
        assert_eq!(
            complaints("lfsfs-new", &[]),
            ["lfsfs-new: has no row in the layer table"]
        );

        let table = [rule(Product(0), "lfsfs-gone", Only(&[]))];
        assert_eq!(check(&[], &table).len(), 1);
        assert!(check(&[edges("lfsfs-gone", &[])], &table).is_empty());
    }
}
