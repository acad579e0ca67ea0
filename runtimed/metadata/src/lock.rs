//! One process a store: a lock file beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use errors::{Context, Error, Result};

/// Holds the store until dropped; the kernel lets go when the process dies.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the store in `directory`; `Unavailable` when another process has it.
    pub(crate) fn take(directory: &Path) -> Result<Lock> {
        let path = directory.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context(|| format!("open {path:?}"))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::unavailable(format!(
                "the store in {directory:?} is in use by another process: only one may open it"
            ))),
            Err(TryLockError::Error(error)) => Err(error).context(|| format!("lock {path:?}")),
        }
    }
}
