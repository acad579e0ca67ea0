//! Apply a layer to mounts; make a layer from two.
//!
//! Blocking: callers run it on a thread of its own. Everything inside the target is reached by descriptor.
//! The format is the OCI image-spec's `layer.md`; where it leaves a choice, containerd's is taken.

mod apply;
mod archive;
mod compression;
mod create;
mod limits;
mod pipe;
mod scan;
mod target;
#[cfg(test)]
mod tests;

use ids::Digest;

pub use apply::{Unsettled, apply, apply_apart};
pub use compression::Compression;
pub use create::create;
pub use limits::{Devices, Limits, Setuid};
pub use scan::{Scanned, scan};

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The digest of the uncompressed tar stream (the diff ID).
    pub diff_id: Digest,
    /// Bytes of the uncompressed tar stream.
    pub size: u64,
}

/// Starts the name of a file that stands for a removed one (`layer.md`, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Names the file that hides what lower layers have in its folder (`layer.md`, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Does overlayfs keep its marks under this attribute? They say something about the layer they are in, or point into
/// others: no layer may bring or carry them.
fn is_overlays(key: &[u8]) -> bool {
    key.starts_with(b"trusted.overlay.") || key.starts_with(b"user.overlay.")
}
