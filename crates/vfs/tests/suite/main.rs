//! The file system core over a server in memory and a real disk cache.

#[cfg(test)]
mod bulk;
mod caching;
#[cfg(test)]
mod commit;
#[cfg(test)]
mod commit_support;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod discards;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod local_changes;
#[cfg(test)]
mod many_pieces;
#[cfg(test)]
mod memory;
#[cfg(test)]
#[cfg(test)]
mod outages;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod trees;
#[cfg(test)]
mod upload_queue;
#[cfg(test)]
mod warm;
#[cfg(test)]
mod writable_support;
#[cfg(test)]
mod writes;
