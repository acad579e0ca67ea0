//! Which exits were reported already, so that none is reported twice.
//!
//! An exit can become known three ways: the shim's event, its answer to Wait or State, or `shim delete` after
//! its death. Whoever wants to publish it claims it here first. Shared by the actor and by the front that
//! takes shims' events, which must know at once; the lock is held for one look-up.
//!
//! An exec's id may be used again while the event of the one before is still on its way: they are told apart
//! by pid.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The reported exits of one task. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<HashMap<String, u32>>>);

impl Ledger {
    /// Says whether the exit of `exec_id` (empty for init) is still to be reported; from now on it is not. A
    /// pid of 0 is not known, and may be that of any.
    pub(crate) fn claim(&self, exec_id: &str, pid: u32) -> bool {
        let mut reported = self.lock();
        match reported.get(exec_id) {
            Some(known) if *known == pid || *known == 0 || pid == 0 => false,
            _ => {
                reported.insert(exec_id.to_owned(), pid);
                true
            }
        }
    }

    /// Was an exit of `exec_id` reported?
    pub(crate) fn holds(&self, exec_id: &str) -> bool {
        self.lock().contains_key(exec_id)
    }

    /// The id may be used again: its process was deleted.
    pub(crate) fn forget(&self, exec_id: &str) {
        self.lock().remove(exec_id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        // A map is whole between two calls even if somebody panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_claimed_once_until_its_id_is_free_again() {
        let ledger = Ledger::default();
        assert!(ledger.claim("", 1));
        assert!(ledger.claim("e", 2));
        assert!(!ledger.clone().claim("e", 2));
        assert!(!ledger.claim("e", 0));
        assert!(ledger.holds("e") && !ledger.holds("f"));
        ledger.forget("e");
        assert!(ledger.claim("e", 2));
        assert!(!ledger.claim("", 1));
    }

    #[test]
    fn a_late_report_of_the_one_before_takes_nothing_from_the_next() {
        let ledger = Ledger::default();
        ledger.forget("e");
        assert!(ledger.claim("e", 2));
        assert!(ledger.claim("e", 3));
        assert!(!ledger.claim("e", 3));
    }
}
