//! Figures of the parts of a server, for its metrics: how they are counted and told.
//!
//! A part that has figures implements [`Figures`] beside them. `metrics` gathers all of them; it knows every part,
//! and this module knows none.

mod calls;
mod count;
mod page;

pub(crate) use self::calls::{CallFigures, RunningCall};
pub(crate) use self::count::Count;
pub(crate) use self::page::{Figures, Lent, Own, Page};
