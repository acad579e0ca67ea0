//! A shim that stands by for the next container, with an executor of its own that does (see [`standby`]): starting the two programs is a
//! good part of what starting a container takes, and can be done before anybody asks.
//!
//! There is at most one. It is started when the machine has time for it: when the last remains of a container go, or a while after one was
//! created that stays. It ends with the daemon: its socket closes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use errors::{Context, Result};
use standby::{Call, Refused, Standby};
use tokio::process::Command;

use crate::files;
use crate::shim_end::{self, Held};
use crate::shim_serve::yield_first;
use crate::shim_start::{self, FileId, Launch};
use crate::table::Shared;
use crate::types::Config;

/// Bytes for the words of the command line that are always the same, and for a namespace and an id.
const WORDS: usize = 256;
/// How long one may take to end when it is not needed any more.
const ENDS: Duration = Duration::from_secs(1);

/// How long after a creation: whoever asked for it may ask for more until then, such as the start.
const AFTER_CREATION: Duration = Duration::from_millis(50);

/// Where the shim is kept.
#[derive(Default)]
pub(crate) struct Spares {
    kept: Mutex<Option<Spare>>,
    /// The program that was needed last.
    wanted: Mutex<Option<PathBuf>>,
    making: AtomicBool,
    closed: AtomicBool,
}

/// A container has got a shim of this program: another may be needed.
pub(crate) fn after_creation(shared: &Arc<Shared>, binary: &Path) {
    *lock(&shared.spares.wanted) = Some(binary.to_owned());
    let shared = shared.clone();
    tokio::spawn(async move {
        tokio::time::sleep(AFTER_CREATION).await;
        refill(&shared).await;
    });
}

/// Has one stand by from now on, unless there is one.
pub(crate) async fn refill(shared: &Arc<Shared>) {
    let Some(wanted) = lock(&shared.spares.wanted).clone() else { return };
    let shared = shared.clone();
    // Starting it is over when this is; and who waits for that has nothing else to do.
    let _ = tokio::task::spawn_blocking(move || shared.spares.refill(&shared.config, &wanted)).await;
}

/// A shim that waits for its container.
pub(crate) struct Spare {
    standby: Standby,
    pid: u32,
    held: Held,
    program: FileId,
}

impl Spares {
    /// The shim that stands by, if it is one of this program as it is now.
    pub(crate) fn take(&self, binary: &Path) -> Option<Spare> {
        let spare = lock(&self.kept).take()?;
        // The pid of one that has ended may be another's.
        let fits = spare.held.lives() && shim_start::file_id(binary).as_ref() == Some(&spare.program);
        fits.then_some(spare)
    }

    fn refill(&self, config: &Config, binary: &Path) {
        let there = lock(&self.kept).as_ref().is_some_and(|spare| spare.held.lives());
        if !config.standby || there || self.making.swap(true, Ordering::AcqRel) {
            return;
        }
        match Spare::start(config, binary) {
            Ok(spare) => *lock(&self.kept) = spare.filter(|_| !self.closed.load(Ordering::Acquire)),
            // Whoever needs a shim starts it, and tells what is wrong.
            Err(error) => tracing::debug!(error = %error.chain(), "start a shim that stands by"),
        }
        self.making.store(false, Ordering::Release);
    }

    /// Lets go of it, and waits for its end.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let Some(Spare { standby, held, .. }) = lock(&self.kept).take() else { return };
        drop(standby);
        if tokio::time::timeout(ENDS, held.ended()).await.is_err() {
            shim_end::kill(Some(&held)).await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spare {
    fn start(config: &Config, binary: &Path) -> Result<Option<Spare>> {
        let named = || format!("start {} to stand by", binary.display());
        let Some(program) = shim_start::file_id(binary) else { return Ok(None) };
        let mut command = shim_start::program(config, binary);
        let room = WORDS + config.address.as_os_str().len() + config.binary.as_os_str().len();
        let standby =
            Standby::prepare(command.as_std_mut(), config.address.as_os_str(), room).context(named)?;
        // Where nothing is held up by it.
        let child = command.current_dir("/").spawn().context(named)?;
        // Not reaped before the child is let go: the pid is its own.
        let Some((pid, held)) = child.id().and_then(|pid| Some((pid, Held::open(pid)?))) else {
            return Ok(None);
        };
        Standby::at_leisure(pid);
        yield_first(pid);
        files::give_back(pid);
        standby.go_ahead().context(named)?;
        Ok(Some(Spare { standby, pid, held, program }))
    }

    /// Makes it the shim of a container: what [`shim_start::command`] would start with these streams.
    pub(crate) fn call(
        self,
        launch: Launch<'_>,
        stdin: &OwnedFd,
        stdout: Option<&OwnedFd>,
    ) -> Result<(u32, Held), Refused> {
        self.standby.hurry(self.pid).map_err(Refused::Gone)?;
        let null = Call::null().map_err(Refused::Gone)?;
        let stdout = stdout.map_or(null.as_fd(), AsFd::as_fd);
        let command: Command = shim_start::command(launch);
        let streams = [(stdin.as_fd(), 0), (stdout, 1), (null.as_fd(), 2)];
        let call = Call::of(command.as_std(), launch.bundle, &streams).map_err(Refused::Gone)?;
        self.standby.call(&call)?;
        Ok((self.pid, self.held))
    }
}
