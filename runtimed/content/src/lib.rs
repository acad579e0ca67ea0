//! Blobs by digest, and the ingests that become blobs (semantics: containerd's content service).
//!
//! Files are shared by all namespaces; who has a blob, and with which labels, is a record in `metadata`. A blob's
//! file is fsynced and has its final name before the first record names it, and it loses its last record before it is
//! removed: what a record names is on disk, and a file that no record names is nobody's.

mod blob;
mod blocking;
mod hasher;
mod ingest;
mod ingests;
mod layout;
mod locks;
mod record;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod unremoved;
mod verify;
mod writer;

use std::time::SystemTime;

use ids::{Digest, Labels};

/// How the names of ingests begin that nobody will go on with: the next daemon removes them at its start.
pub const ONCE: &str = "runtimed-once-";

pub use blob::Blob;
pub use layout::Layout;
pub use store::Content;
pub use verify::{Rebuilt, check, rebuild, recorded};
pub use writer::Writer;

/// A blob as a namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When the namespace got it.
    pub created_at: SystemTime,
    /// When its labels were last changed.
    pub updated_at: SystemTime,
    /// Its labels in this namespace.
    pub labels: Labels,
}

/// An ingest that is not a blob yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The client's name for it.
    pub reference: String,
    /// Bytes on disk so far.
    pub offset: u64,
    /// Bytes expected; 0 when unknown.
    pub total: u64,
    /// When it was started.
    pub started_at: SystemTime,
    /// When it was last written to.
    pub updated_at: SystemTime,
    /// The digest expected at the end, if the client said one.
    pub expected: Option<Digest>,
    /// When garbage collection may take it, unless a lease holds it: 24 hours after it was last opened.
    pub expires_at: SystemTime,
}
