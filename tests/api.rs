//! The surface of versioned objects, as clients see it that have only the proto files.

#[path = "api/client.rs"]
mod client;
#[path = "api/compress.rs"]
mod compress;
#[path = "api/examples.rs"]
mod examples;
#[path = "api/get.rs"]
mod get;
#[path = "api/update.rs"]
mod update;
