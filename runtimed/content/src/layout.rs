//! Where things lie on disk: containerd's layout, so that an administrator finds what he knows.
//!
//! ```text
//! io.containerd.content.v1.content/
//!   blobs/sha256/<hex>        a blob; 0444
//!   ingest/<id>/data          what was written so far
//!   ingest/<id>/ref           NAMESPACE/1/REFERENCE
//!   ingest/<id>/startedat     RFC 3339
//!   ingest/<id>/updatedat     RFC 3339
//!   ingest/<id>/total         decimal, when the client said one
//!   ingest/<id>/expected      the digest expected, when the client said one
//!   ingest/<id>/expireat      RFC 3339; when an ingest that no lease holds may go
//!   quarantine/sha256-<hex>   a file that was not as its record says, until the blob is written again
//!   boot                      the kernel's boot_id when the store was last opened
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ids::{Algorithm, Digest, Namespace};
use sha2::{Digest as _, Sha256};

/// Keeps the paths of the store in one place.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The store's root folder.
    pub root: Arc<PathBuf>,
}

/// The hash functions that blobs are stored under.
pub(crate) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

impl Layout {
    /// The layout below the daemon's root folder.
    pub fn below(root: &Path) -> Layout {
        Layout { root: Arc::new(root.join("io.containerd.content.v1.content")) }
    }

    /// The folder of the blobs that `algorithm` names.
    pub fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.as_str())
    }

    /// The file of a blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    /// Where a blob's file goes that is not the blob.
    pub(crate) fn quarantined(&self, digest: &Digest) -> PathBuf {
        self.root.join("quarantine").join(format!("{}-{}", digest.algorithm().as_str(), digest.hex()))
    }

    /// The file that says in which life of the machine the store was last opened.
    pub(crate) fn boot(&self) -> PathBuf {
        self.root.join("boot")
    }

    /// The folder of all ingests.
    pub fn ingests(&self) -> PathBuf {
        self.root.join("ingest")
    }

    /// The folder of one ingest: named by the hash of its key, since a reference may hold anything.
    pub fn ingest(&self, namespace: &Namespace, reference: &str) -> PathBuf {
        self.ingests().join(hex::encode(Sha256::digest(ingest_key(namespace, reference))))
    }
}

/// What the file `ref` of an ingest says. The number is containerd's bucket sequence, which is always 1.
pub(crate) fn ingest_key(namespace: &Namespace, reference: &str) -> String {
    format!("{namespace}/1/{reference}")
}

/// Reads a key back; `None` when it is not one of ours.
pub(crate) fn parse_ingest_key(key: &str) -> Option<(Namespace, &str)> {
    let (namespace, rest) = key.split_once('/')?;
    let (_, reference) = rest.split_once('/')?;
    Some((Namespace::parse(namespace).ok()?, reference))
}
