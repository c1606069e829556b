//! Imports by the real programs: what a version holds, what an import costs, what it refuses.

#[path = "import/again.rs"]
mod again;
#[path = "import/changing.rs"]
mod changing;
#[path = "import/concurrent.rs"]
mod concurrent;
#[path = "import/descriptors.rs"]
mod descriptors;
#[path = "import/large.rs"]
mod large;
#[path = "import/links.rs"]
mod links;
#[path = "import/many.rs"]
mod many;
#[path = "import/options.rs"]
mod options;
#[path = "import/output.rs"]
mod output;
#[path = "import/records.rs"]
mod records;
#[path = "import/refusals.rs"]
mod refusals;
