//! Notices of the out-of-memory killer: an eventfd registered with `cgroup.event_control`
//! (Documentation/admin-guide/cgroup-v1/memory.rst, section 10).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};

use crate::cgroup::{Error, OomNotice, OomWatch, Result, file};

/// A registered eventfd. The kernel writes to it when memory runs out, and once more when the cgroup is removed.
#[derive(Debug)]
pub struct Watch {
    event: OwnedFd,
    dir: PathBuf,
}

impl Watch {
    /// Registers with the memory cgroup `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let name = "memory.oom_control";
        let control = File::open(dir.join(name)).map_err(|e| Error::io("open", dir.join(name), e))?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("eventfd for", dir, e))?;
        let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        file::write(dir, "cgroup.event_control", &line)?;
        Ok(Self { event, dir: dir.to_owned() })
    }
}

/// How many processes have been killed (counted since Linux 4.13).
pub fn kills(dir: &Path) -> Result<u64> {
    let control = file::optional(file::read_keyed(dir, "memory.oom_control"))?.unwrap_or_default();
    Ok(control.get("oom_kill").copied().unwrap_or_default())
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl OomWatch for Watch {
    fn read(&mut self) -> Result<OomNotice> {
        let mut count = [0; 8];
        match rustix::io::read(&self.event, &mut count) {
            Ok(_) if self.dir.join("cgroup.event_control").exists() => Ok(OomNotice::Oom),
            Ok(_) => Ok(OomNotice::Gone),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(OomNotice::Nothing),
            Err(e) => Err(Error::io("read eventfd of", &self.dir, e)),
        }
    }
}
