//! Changes of a mount become a version, with a real server.

mod again;
mod false_sizes;
mod kinds;
mod large;
mod limits;
mod scale;
mod sides;
