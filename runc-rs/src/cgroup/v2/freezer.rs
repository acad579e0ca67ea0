//! Freezing: `cgroup.freeze`, and `cgroup.events` that tells when it is done.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::{Error, Result, file};

/// How long freezing may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Freezes or thaws, and waits for the end of it.
pub fn freeze(dir: &Path, frozen: bool) -> Result<()> {
    match file::write(dir, "cgroup.freeze", if frozen { "1" } else { "0" }) {
        // Without a freezer nothing can be frozen.
        Err(e) if e.is_not_found() && !frozen => return Ok(()),
        done => done?,
    }
    if frozen { wait_frozen(dir) } else { Ok(()) }
}

/// A change of `cgroup.events` is a POLLPRI on an open descriptor of it.
fn wait_frozen(dir: &Path) -> Result<()> {
    let path = dir.join("cgroup.events");
    let events = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
    let deadline = Instant::now() + WITHIN;
    while file::read_keyed(dir, "cgroup.events")?.get("frozen") != Some(&1) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(format!(
                "timeout of {WITHIN:?} reached waiting for the cgroup {} to freeze",
                dir.display()
            )));
        }
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("poll", &path, e)),
        }
    }
    Ok(())
}

/// Whether this very cgroup was told to freeze.
pub fn frozen(dir: &Path) -> Result<bool> {
    match file::read_u64(dir, "cgroup.freeze") {
        Err(e) if e.is_not_found() || e.errno() == Some(Errno::ENODEV) => Ok(false),
        other => Ok(other? == 1),
    }
}
