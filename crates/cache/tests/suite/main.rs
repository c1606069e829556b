//! The disk cache from outside: one process, damaged files, and many processes at once.

#[cfg(test)]
mod basics;
mod batches;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod support;
