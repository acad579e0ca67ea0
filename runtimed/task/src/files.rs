//! The limit of open files (getrlimit(2), RLIMIT_NOFILE). The daemon raises its own as far as it may, since each container takes three;
//! shims, and with them containers, have the one that the daemon was started with: programs there may go through all descriptors that
//! there could be, or keep them in sets of 1,024.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// What the daemon was started with, if that is not what it has.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of this process to the hard one. Without that it goes on with fewer containers.
pub fn raise_files() {
    let before = getrlimit(Resource::Nofile);
    if before.current == before.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum }) {
        Ok(()) => drop(BEFORE.set(before)),
        Err(error) => {
            tracing::warn!(%error, limit = ?before.current, "the limit of open files stays as it is")
        }
    }
}

/// Gives a child the limit that it would have had.
pub(crate) fn give_back(pid: u32) {
    let Some(before) = BEFORE.get() else { return };
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    if let Err(error) = prlimit(Some(pid), Resource::Nofile, *before) {
        // It has ended already.
        tracing::debug!(%error, "set a shim's limit of open files");
    }
}
