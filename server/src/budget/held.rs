//! Memory that was taken: of the share of a connection, and as much of the budget.

use super::UNIT;
use super::pot::Permit;

/// Memory that was taken; dropping it gives it back.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Of the connection's share.
    pub(super) own: Option<Permit>,
    /// As much as `own` together, each of another pot.
    pub(super) server: Vec<Permit>,
}

impl Held {
    /// Takes a part out, at most what is there.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let Some(own) = &mut self.own else {
            return Self::default();
        };
        let own = own.split(u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX));
        let mut left = own.units();
        let mut server = Vec::new();
        for permit in &mut self.server {
            let part = permit.split(left);
            left -= part.units();
            server.push(part);
        }
        self.server.retain(|permit| permit.units() > 0);
        Self {
            own: Some(own),
            server,
        }
    }

    /// Puts another part of the same connection's to it.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.own, other.own) {
            (Some(own), Some(more)) => own.merge(more),
            (own, more) => *own = own.take().or(more),
        }
        for permit in other.server {
            match self.server.iter_mut().find(|one| one.is_like(&permit)) {
                Some(one) => one.merge(permit),
                None => self.server.push(permit),
            }
        }
    }

    /// Returns whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.own.as_ref().is_none_or(|own| own.units() == 0)
    }

    /// Returns how many bytes are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.own.as_ref().map_or(0, Permit::units) as usize * UNIT
    }
}
