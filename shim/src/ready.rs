//! What a shim does that is started before there is a container for it: it has an executor started as well, and waits to be called. See
//! [`standby`].

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use errors::{Context, Result};
use runc_client::{Ready, Runc};
use standby::Waiting;

use crate::executor;
use crate::reaper::Reaper;

/// What this process is to do.
pub(crate) struct Called {
    /// Its arguments.
    pub(crate) words: Vec<OsString>,
    /// What it has prepared for its first container.
    pub(crate) ready: Option<Prepared>,
}

/// An executor that waits for its first verb.
pub(crate) struct Prepared {
    /// The reaper that knows it.
    pub(crate) reaper: Reaper,
    executor: Executor,
}

/// The executor's program, and a process of it.
pub(crate) struct Executor {
    /// See [`executor::protected`].
    pub(crate) file: Arc<OwnedFd>,
    /// The process.
    pub(crate) process: Ready,
    binary: PathBuf,
    found: FileId,
}

/// Device, inode, and when it was last changed: another after the program was replaced.
type FileId = (u64, u64, i64, i64);

/// The arguments, at once or when the call comes; `None` when nobody will ever call.
///
/// # Errors
/// Those of waiting; see [`Waiting`].
pub(crate) fn words() -> Result<Option<Called>> {
    let named = || "wait for a container";
    let Some(waiting) = Waiting::new().context(named)? else {
        return Ok(Some(Called { words: std::env::args_os().skip(1).collect(), ready: None }));
    };
    if !waiting.go_ahead().context(named)? {
        return Ok(None);
    }
    // Without one, it is started when it is needed.
    let ready = Prepared::start();
    let words = waiting.call().context(named)?;
    Ok(words.map(|words| Called { words, ready }))
}

impl Prepared {
    fn start() -> Option<Prepared> {
        let binary = executor::choose("");
        let found = file_id(&binary)?;
        let file = Arc::new(executor::protected(&binary)?);
        let reaper = Reaper::default();
        let runc = Runc::new(&binary).file(file.clone()).spawner(Arc::new(reaper.clone()));
        // The daemon's address.
        let whom = std::env::var_os("GRPC_ADDRESS").unwrap_or_default();
        let process = Ready::start(&runc, &whom).ok()?;
        Some(Prepared { reaper, executor: Executor { file, process, binary, found } })
    }

    /// The reaper, and the executor.
    pub(crate) fn apart(self) -> (Reaper, Executor) {
        (self.reaper, self.executor)
    }
}

impl Executor {
    /// Is this what is asked for? Not once the program was replaced by another.
    pub(crate) fn is(&self, binary: &Path) -> bool {
        self.binary == binary && file_id(binary) == Some(self.found)
    }
}

fn file_id(path: &Path) -> Option<FileId> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
}
