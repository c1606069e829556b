//! Where an object of one version is in the version that comes.

use std::cell::OnceCell;
use std::collections::HashMap;

use lfsfs_overlay::BaseObject;
use lfsfs_types::{DirId, LinkId, Name, Record};

use super::delta::{Needs, VersionDelta, is_same, link_of};
use crate::error::VfsError;

type Names = HashMap<LinkId, Vec<(DirId, Name)>>;

/// What became of an object.
#[derive(Debug)]
pub(super) enum Tracked {
    /// It cannot be said before something is loaded.
    Needed,
    /// It is here.
    At(DirId, Name),
    Gone,
}

/// Finds objects in the version that comes.
pub(super) struct ObjectTracker<'a> {
    delta: &'a VersionDelta,
    /// All changed names of hard-linked files, those of both versions. When a name comes or goes the
    /// records of all others change too, because they have the number of names.
    links: OnceCell<Names>,
}

impl<'a> ObjectTracker<'a> {
    pub(super) fn new(delta: &'a VersionDelta) -> Self {
        Self {
            delta,
            links: OnceCell::new(),
        }
    }

    /// Finds an object: a directory wherever it is, a hard-linked file under any of its names, anything
    /// else where it was.
    pub(super) fn of(&self, object: &BaseObject, needs: &mut Needs) -> Result<Tracked, VfsError> {
        let Some(name) = &object.name else {
            return Ok(Tracked::Gone);
        };
        let Some(listing) = self.delta.new_listing(object.directory, needs) else {
            return Ok(Tracked::Needed);
        };
        let here = listing
            .record_of(name)?
            .filter(|it| is_same(&object.record, it));
        let is_linked_otherwise = |it: &Record| link_of(it) != link_of(&object.record);
        match (here, object.record.link, object.record.dir()) {
            (Some(here), Some(link), _) if is_linked_otherwise(&here) => {
                self.of_link(object, link.id, name, needs)
            }
            (Some(_), ..) => Ok(Tracked::At(object.directory, name.clone())),
            (None, _, Some(dir)) => Ok(self.of_directory(dir, needs)),
            (None, Some(link), None) => self.of_link(object, link.id, name, needs),
            (None, None, None) => Ok(Tracked::Gone),
        }
    }

    fn of_directory(&self, dir: DirId, needs: &mut Needs) -> Tracked {
        match self.delta.home(dir, needs) {
            None => Tracked::Needed,
            Some(None) => Tracked::Gone,
            Some(Some((parent, name))) => Tracked::At(*parent, name.clone()),
        }
    }

    /// Finds a name of a hard-linked file; if all that is left of it are files that are not linked
    /// any more, one of them.
    fn of_link(
        &self,
        object: &BaseObject,
        link: LinkId,
        name: &Name,
        needs: &mut Needs,
    ) -> Result<Tracked, VfsError> {
        let Some(links) = self.links(needs)? else {
            return Ok(Tracked::Needed);
        };
        let own = (object.directory, name.clone());
        let mut unlinked = None;
        let names = links.get(&link).into_iter().flatten();
        for (dir, name) in std::iter::once(&own).chain(names) {
            let Some(listing) = self.delta.new_listing(*dir, needs) else {
                return Ok(Tracked::Needed);
            };
            let found = listing
                .record_of(name)?
                .filter(|it| is_same(&object.record, it));
            let Some(found) = found else { continue };
            if link_of(&found) == Some(link) {
                return Ok(Tracked::At(*dir, name.clone()));
            }
            unlinked = unlinked.or_else(|| Some((*dir, name.clone())));
        }
        Ok(unlinked.map_or(Tracked::Gone, |(dir, name)| Tracked::At(dir, name)))
    }

    /// Returns the changed names of hard-linked files; `None` if listings are missing.
    fn links(&self, needs: &mut Needs) -> Result<Option<&Names>, VfsError> {
        if let Some(links) = self.links.get() {
            return Ok(Some(links));
        }
        let mut links = Names::new();
        let mut is_whole = true;
        for (dir, name, sides) in self.delta.changed() {
            let old = sides.old.then(|| self.delta.old(dir, needs));
            let new = sides.new.then(|| self.delta.new_listing(dir, needs));
            for listing in [old, new].into_iter().flatten() {
                let Some(listing) = listing else {
                    is_whole = false;
                    continue;
                };
                let link = listing.record_of(name)?.as_ref().and_then(link_of);
                if let Some(link) = link {
                    links.entry(link).or_default().push((dir, name.clone()));
                }
            }
        }
        if !is_whole {
            return Ok(None);
        }
        links.values_mut().for_each(|names| names.sort_unstable());
        Ok(Some(self.links.get_or_init(|| links)))
    }
}
