//! Who holds what: one writer a reference, one change of a blob's file at a time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use errors::{Error, Result};
use ids::Digest;
use tokio::sync::OwnedMutexGuard;

/// The references that have a writer, and since when.
#[derive(Clone, Default)]
pub(crate) struct References {
    held: Arc<Mutex<HashMap<String, Instant>>>,
}

/// A held reference; dropping it lets the next writer in.
pub(crate) struct Held {
    references: References,
    key: String,
}

/// Serialises what happens to a blob's file with what happens to its records. A fixed number of locks shared by all
/// digests: two digests that meet in one only wait for each other.
#[derive(Clone)]
pub(crate) struct Digests {
    locks: Arc<[Arc<tokio::sync::Mutex<()>>]>,
}

impl References {
    /// Holds `key`, or says since when another does. `reference` is the client's name for it.
    pub(crate) fn hold(&self, key: &str, reference: &str) -> Result<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = held.get(key) {
            return Err(Error::unavailable(format!(
                "ref {reference} locked for {:?}: unavailable",
                since.elapsed()
            )));
        }
        held.insert(key.to_owned(), Instant::now());
        Ok(Held { references: self.clone(), key: key.to_owned() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.references.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Digests {
    /// Locks that nobody holds.
    pub(crate) fn new() -> Digests {
        Digests { locks: (0..64).map(|_| Arc::default()).collect() }
    }

    /// Waits until nobody else changes the blob.
    pub(crate) async fn lock(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let mut hasher = DefaultHasher::new();
        digest.hash(&mut hasher);
        let index = hasher.finish() as usize % self.locks.len();
        self.locks[index].clone().lock_owned().await
    }
}
