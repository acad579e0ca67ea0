//! One process a store: a lock file beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use errors::{Context, Error, Result};

/// How long a lock is asked for. A process that is being started holds copies of its parent's locks from fork(2) until
/// execve(2): a daemon that was killed while it started one seems to live on for that long, and nothing tells when it ends.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is asked for.
const PAUSE: Duration = Duration::from_millis(5);

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
        match patiently(|| file.try_lock(), |error| matches!(error, TryLockError::WouldBlock)) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::unavailable(format!(
                "the store in {directory:?} is in use by another process: only one may open it"
            ))),
            Err(TryLockError::Error(error)) => Err(error).context(|| format!("lock {path:?}")),
        }
    }
}

/// Tries again while the failure says that somebody else holds a lock, but not for long.
pub(crate) fn patiently<T, E>(
    mut act: impl FnMut() -> Result<T, E>,
    locked: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let start = Instant::now();
    loop {
        match act() {
            Err(error) if locked(&error) && start.elapsed() < PATIENCE => sleep(PAUSE),
            result => return result,
        }
    }
}
