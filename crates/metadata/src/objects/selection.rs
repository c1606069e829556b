//! Which objects a caller wants.
//!
//! A walk asks two things: whether an object is wanted, and what of a directory can be. The second is answered from
//! the stems of the queries: the bytes that every path of a query begins with.

/// One question for objects, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectQuery {
    /// The path of one object, or what the paths of many begin with.
    path: Vec<u8>,
    is_prefix: bool,
    ignores: Vec<Vec<u8>>,
    /// What paths begin with, one of them; none if there is no such rule.
    subpaths: Vec<Vec<u8>>,
}

/// Why a question is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryFault {
    /// One path is asked for, and rules for many are given.
    #[error("only a query of a prefix can have them")]
    NoPrefix,
    /// What is left out does not lie in what is asked for.
    #[error("one of them does not begin with the path of the query")]
    Elsewhere,
}

impl ObjectQuery {
    /// Asks for one object. Without a path: for all.
    #[must_use]
    pub fn exact(path: Vec<u8>) -> Self {
        Self {
            is_prefix: path.is_empty(),
            path,
            ignores: Vec::new(),
            subpaths: Vec::new(),
        }
    }

    /// Asks for all objects whose path begins so.
    #[must_use]
    pub fn prefix(path: Vec<u8>) -> Self {
        Self {
            is_prefix: true,
            ..Self::exact(path)
        }
    }

    /// Leaves out the objects whose path begins with one of these.
    pub fn without(mut self, ignores: Vec<Vec<u8>>) -> Result<Self, QueryFault> {
        if !self.is_prefix && !ignores.is_empty() {
            return Err(QueryFault::NoPrefix);
        }
        if ignores.iter().any(|ignore| !ignore.starts_with(&self.path)) {
            return Err(QueryFault::Elsewhere);
        }
        self.ignores = ignores;
        Ok(self)
    }

    /// Leaves only the objects whose path begins with one of these, if there are any.
    pub fn within(mut self, subpaths: Vec<Vec<u8>>) -> Result<Self, QueryFault> {
        if !self.is_prefix && !subpaths.is_empty() {
            return Err(QueryFault::NoPrefix);
        }
        self.subpaths = subpaths;
        Ok(self)
    }

    fn wants(&self, path: &[u8]) -> bool {
        if !self.is_prefix {
            return path == self.path;
        }
        path.starts_with(&self.path)
            && (self.subpaths.is_empty() || any_begins(&self.subpaths, path))
            && !any_begins(&self.ignores, path)
    }

    /// Calls `each` with what the wanted paths begin with.
    fn for_each_stem<'a>(&'a self, mut each: impl FnMut(&'a [u8])) {
        if self.subpaths.is_empty() {
            return each(&self.path);
        }
        for subpath in &self.subpaths {
            if subpath.starts_with(&self.path) {
                each(subpath);
            } else if self.path.starts_with(subpath) {
                each(&self.path);
            }
        }
    }
}

/// Returns true if one of these is what the path begins with.
fn any_begins(some: &[Vec<u8>], path: &[u8]) -> bool {
    some.iter().any(|some| path.starts_with(some))
}

/// What is asked for: the objects that any of the questions wants. Without a question, all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    queries: Vec<ObjectQuery>,
}

/// What of a directory can be wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Anything.
    All,
    /// Entries of some names, in the order of their bytes; none of these names stands for another one too.
    Some(Vec<Names>),
}

/// Names of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Names {
    /// One.
    One(Vec<u8>),
    /// All that begin so.
    Beginning(Vec<u8>),
}

impl Names {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::One(bytes) | Self::Beginning(bytes) => bytes,
        }
    }
}

impl Selection {
    /// Asks these questions.
    #[must_use]
    pub fn new(queries: Vec<ObjectQuery>) -> Self {
        Self { queries }
    }

    /// Returns true if the object of a path is wanted.
    #[must_use]
    pub fn wants(&self, path: &[u8]) -> bool {
        self.queries.is_empty() || self.queries.iter().any(|query| query.wants(path))
    }

    /// Returns what can be wanted of a directory, by the path of its marker; that of the root is empty. Nothing can if
    /// it has no names, but the marker itself may be wanted.
    pub(super) fn wanted_in(&self, marker: &[u8]) -> Wanted {
        if self.queries.is_empty() {
            return Wanted::All;
        }
        let mut names = Vec::new();
        for query in &self.queries {
            if any_begins(&query.ignores, marker) {
                continue;
            }
            let mut is_all = false;
            query.for_each_stem(|stem| match stem.strip_prefix(marker) {
                Some([]) if query.is_prefix => is_all = true,
                Some([]) => {}
                Some(rest) => names.push(names_of(rest, query.is_prefix)),
                None if query.is_prefix => is_all |= marker.starts_with(stem),
                None => {}
            });
            if is_all {
                return Wanted::All;
            }
        }
        Wanted::Some(each_once(names))
    }
}

/// Returns the names that a path below a directory begins with.
fn names_of(rest: &[u8], is_prefix: bool) -> Names {
    match rest.iter().position(|byte| *byte == b'/') {
        Some(end) => Names::One(rest[..end].to_vec()),
        None if is_prefix => Names::Beginning(rest.to_vec()),
        None => Names::One(rest.to_vec()),
    }
}

/// Sorts names, and drops those that others stand for too.
fn each_once(mut names: Vec<Names>) -> Vec<Names> {
    // Of equal bytes those that stand for more come first.
    names.sort_by(|a, b| a.bytes().cmp(b.bytes()).then_with(|| b.cmp(a)));
    let mut kept: Vec<Names> = Vec::with_capacity(names.len());
    for name in names {
        let is_told = kept.last().is_some_and(|last| match last {
            Names::Beginning(bytes) => name.bytes().starts_with(bytes),
            Names::One(_) => *last == name,
        });
        if !is_told {
            kept.push(name);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    fn all(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| bytes(text)).collect()
    }

    fn one(text: &str) -> Names {
        Names::One(bytes(text))
    }

    fn beginning(text: &str) -> Names {
        Names::Beginning(bytes(text))
    }

    #[test]
    fn no_byte_of_a_path_is_a_wildcard() {
        let query = ObjectQuery::prefix(bytes("a_%"));
        assert!(query.wants(b"a_%b/c") && query.wants(b"a_%"));
        assert!(!query.wants(b"axyb") && !query.wants(b"a_"));
    }

    #[test]
    fn subpaths_are_any_of_and_ignores_win() {
        let query = ObjectQuery::prefix(bytes("src/"));
        let query = query.within(all(&["src/a", "src/b"])).unwrap();
        let query = query.without(all(&["src/a/tmp"])).unwrap();
        assert!(query.wants(b"src/a/x") && query.wants(b"src/bc"));
        assert!(!query.wants(b"src/c") && !query.wants(b"src/a/tmp/x"));
        assert!(!query.wants(b"src/a/tmpx"), "a prefix of bytes");
    }

    #[test]
    fn rules_for_many_need_a_prefix_and_ignores_lie_in_it() {
        let exact = ObjectQuery::exact(bytes("a"));
        assert_eq!(
            exact.clone().without(all(&["a/b"])),
            Err(QueryFault::NoPrefix)
        );
        assert_eq!(exact.within(all(&["a/b"])), Err(QueryFault::NoPrefix));
        let prefix = ObjectQuery::prefix(bytes("a/"));
        assert_eq!(prefix.without(all(&["a"])), Err(QueryFault::Elsewhere));
    }

    #[test]
    fn an_empty_path_asks_for_everything() {
        let query = ObjectQuery::exact(Vec::new());
        assert!(query.wants(b"a/b"));
        assert!(query.without(all(&["a/"])).is_ok());
    }

    #[test]
    fn a_walk_looks_only_where_something_can_be_wanted() {
        let prefix = ObjectQuery::prefix(bytes("a/b"));
        let ignoring = ObjectQuery::prefix(bytes("m/"))
            .without(all(&["m/x/"]))
            .unwrap();
        let selection = Selection::new(vec![
            prefix,
            ObjectQuery::exact(bytes("a/bc/d")),
            ObjectQuery::exact(bytes("z")),
            ignoring,
        ]);
        let some = |names: &[Names]| Wanted::Some(names.to_vec());
        assert_eq!(
            selection.wanted_in(b""),
            some(&[one("a"), one("m"), one("z")])
        );
        assert_eq!(selection.wanted_in(b"a/"), some(&[beginning("b")]));
        assert_eq!(selection.wanted_in(b"a/bc/"), Wanted::All);
        assert_eq!(selection.wanted_in(b"m/"), Wanted::All);
        assert_eq!(selection.wanted_in(b"m/x/"), some(&[]));
        assert_eq!(selection.wanted_in(b"other/"), some(&[]));
    }

    #[test]
    fn names_that_others_stand_for_are_told_once() {
        let names = vec![
            one("bc"),
            one("a"),
            beginning("b"),
            one("b"),
            one("a"),
            beginning("bd"),
        ];
        assert_eq!(each_once(names), [one("a"), beginning("b")]);
    }
}
