//! Hands out the numbers that name snapshots' folders, each once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The numbers of one snapshotter.
pub(crate) struct Numbers {
    next: AtomicU64,
    /// Those whose folder is there, or about to be, and whose record is not yet.
    busy: Mutex<BTreeSet<u64>>,
}

/// A number while its snapshot is being made.
pub(crate) struct Number {
    numbers: Arc<Numbers>,
    /// The number.
    pub(crate) id: u64,
}

impl Numbers {
    /// Begins after `highest`, the last that was given out.
    pub(crate) fn after(highest: u64) -> Numbers {
        Numbers { next: AtomicU64::new(highest + 1), busy: Mutex::new(BTreeSet::new()) }
    }

    /// The next one, busy until it is dropped.
    pub(crate) fn take(self: &Arc<Self>) -> Number {
        let mut busy = self.lock();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        busy.insert(id);
        drop(busy);
        Number { numbers: self.clone(), id }
    }

    /// Those that are busy now.
    pub(crate) fn busy(&self) -> BTreeSet<u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.numbers.lock().remove(&self.id);
    }
}
