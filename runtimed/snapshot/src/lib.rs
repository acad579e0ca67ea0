//! Snapshots: the trait, overlay and native (semantics: containerd's snapshots service).
//!
//! A snapshot is a record in `metadata` and a folder named by a number. The folder is there before the record, and
//! goes after it; a folder that no record names is nobody's. What is committed is synced before its record says so.
//! An active snapshot is durable as a name: its files are on disk when whoever writes them syncs them, or on commit.

mod backend;
pub mod doors;
mod mount;
mod mounter;
mod native;
mod numbers;
mod overlay;
mod plan;
mod record;
mod registry;
mod remover;
mod snapshotter;
mod spare;
mod stack;
mod sweep;
mod temporary;
#[cfg(test)]
mod tests;
mod tree;
mod verify;

use std::time::SystemTime;

use ids::Labels;
use serde::{Deserialize, Serialize};

pub use backend::Backend;
pub use mount::Mount;
pub use mounter::mount;
pub use registry::{DEFAULT, Snapshotters};
pub use snapshotter::Snapshotter;
pub use stack::Stacked;
pub use temporary::TemporaryMount;
pub use verify::{Mounted, Rebuilt, check, is_recorded, rebuild};

/// What a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Read-only, never committed.
    View,
    /// Writable.
    Active,
    /// Finished; may be a parent.
    Committed,
}

/// A snapshot's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// What it is.
    pub kind: Kind,
    /// Its key, or its name once committed.
    pub name: String,
    /// The name of its parent, or empty.
    pub parent: String,
    /// Its labels.
    pub labels: Labels,
    /// When it was created.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
}

/// What a snapshot takes on disk, without its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Inodes.
    pub inodes: i64,
    /// Bytes.
    pub size: i64,
}
