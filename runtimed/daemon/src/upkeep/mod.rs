//! `runtimed metadata`: the store looked at, written out, and made anew, while no daemon runs.

mod check;
mod export;
mod open;
mod rebuild;
mod running;

use std::path::{Path, PathBuf};

pub use check::check;
pub use export::export;
pub use open::open;
pub use rebuild::rebuild;

/// The store below the root folder.
fn store(root: &Path) -> PathBuf {
    root.join("metadata")
}

/// The store's copy, which a store is rebuilt from that is damaged or gone.
fn copy(root: &Path) -> PathBuf {
    root.join("metadata.copy")
}

/// Is there a store at all?
fn exists(root: &Path) -> bool {
    store(root).join("log").exists()
}
