//! Which exits were reported already, so that none is reported twice.
//!
//! An exit can become known three ways: the shim's event, its answer to Wait or State, or `shim delete` after its death. Whoever
//! wants to publish it claims it here first. Shared by the actor and by the front that takes shims' events, which must know at
//! once; the lock is held for one look-up.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The reported exits of one task. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<HashSet<String>>>);

impl Ledger {
    /// Says whether the exit of `exec_id` (empty for init) is still to be reported; from now on it is not.
    pub(crate) fn claim(&self, exec_id: &str) -> bool {
        self.lock().insert(exec_id.to_owned())
    }

    /// The id may be used again: its process was deleted.
    pub(crate) fn forget(&self, exec_id: &str) {
        self.lock().remove(exec_id);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        // A set is whole between two calls even if somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_claimed_once_until_its_id_is_free_again() {
        let ledger = Ledger::default();
        assert!(ledger.claim(""));
        assert!(ledger.claim("e"));
        assert!(!ledger.clone().claim("e"));
        ledger.forget("e");
        assert!(ledger.claim("e"));
        assert!(!ledger.claim(""));
    }
}
