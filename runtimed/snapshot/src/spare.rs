//! One snapshot's folders, made before anybody asks: what they cost is not waited for then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Kind;
use crate::backend::Backend;
use crate::numbers::{Number, Numbers};

/// The spare of one snapshotter, if its backend knows such.
#[derive(Clone)]
pub(crate) struct Spare {
    backend: Arc<dyn Backend>,
    numbers: Arc<Numbers>,
    ready: Arc<Mutex<Option<Number>>>,
    under_way: Arc<AtomicBool>,
}

impl Spare {
    /// None is there yet.
    pub(crate) fn new(backend: Arc<dyn Backend>, numbers: Arc<Numbers>) -> Spare {
        Spare { backend, numbers, ready: Arc::default(), under_way: Arc::default() }
    }

    /// The number of a snapshot whose folder stands ready under its draft's name ([`Backend::draft`]).
    pub(crate) fn take(&self, kind: Kind) -> Option<Number> {
        if kind != Kind::Active {
            return None;
        }
        self.lock().take()
    }

    /// Makes one for the next who asks, on a thread of its own, unless there is one.
    pub(crate) fn renew(&self) {
        if !self.backend.has_drafts() || self.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            if this.lock().is_none() {
                let number = this.numbers.take();
                match this.backend.draft(number.id) {
                    Ok(()) => *this.lock() = Some(number),
                    // Whoever needs a folder makes it, and is told what is wrong.
                    Err(error) => tracing::debug!(error = error.chain(), "make a spare snapshot folder"),
                }
            }
            this.under_way.store(false, Ordering::Release);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Number>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
