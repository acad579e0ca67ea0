//! Blobs that are deleted, and whose files could not be removed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ids::Digest;

/// Kept in memory only: the sweep at a daemon's start finds such files by itself. There are never more than files in the store.
#[derive(Clone, Default)]
pub(crate) struct Unremoved(Arc<Mutex<BTreeSet<Digest>>>);

impl Unremoved {
    pub(crate) fn add(&self, digest: Digest) {
        self.digests().insert(digest);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.digests().is_empty()
    }

    /// All of them, which are forgotten here.
    pub(crate) fn take(&self) -> BTreeSet<Digest> {
        std::mem::take(&mut *self.digests())
    }

    fn digests(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
