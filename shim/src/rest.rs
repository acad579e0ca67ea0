//! A shim mostly waits: once it has done what it was asked for, it gives back the memory that this took.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::log;

/// How long after a call; the next one may well be of the same sort.
const LATER: Duration = Duration::from_secs(2);

static DUE: AtomicBool = AtomicBool::new(false);

/// Gives memory back in a while.
pub(crate) fn soon() {
    if DUE.swap(true, Ordering::Relaxed) {
        return;
    }
    tokio::spawn(async {
        tokio::time::sleep(LATER).await;
        DUE.store(false, Ordering::Relaxed);
        sys::heap::trim();
        if let Err(error) = sys::resident::let_go() {
            log::debug!("give memory back: {error}");
        }
    });
}
