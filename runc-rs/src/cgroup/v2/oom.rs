//! Notices of the out-of-memory killer: inotify on `memory.events`, and on `cgroup.events` for the end.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify;

use crate::cgroup::{Error, OomNotice, OomWatch, Result, file};

/// Watched files. The kernel tells of a modification, not of what it was.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    dir: PathBuf,
    kills: u64,
}

impl Watch {
    /// Watches the cgroup `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let failed = |e: rustix::io::Errno| Error::io("watch", dir, e);
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
        for name in ["memory.events", "cgroup.events"] {
            inotify::add_watch(&inotify, dir.join(name), inotify::WatchFlags::MODIFY)
                .map_err(|e| Error::io("watch", dir.join(name), e))?;
        }
        // Kills from before the watch are not news.
        let kills = kills(dir)?.unwrap_or_default();
        Ok(Self { inotify, dir: dir.to_owned(), kills })
    }

    fn drain(&self) -> Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
                Err(e) => return Err(Error::io("read inotify of", &self.dir, e)),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl OomWatch for Watch {
    fn read(&mut self) -> Result<OomNotice> {
        self.drain()?;
        let kills = kills(&self.dir)?;
        if let Some(kills) = kills.filter(|kills| *kills > self.kills) {
            self.kills = kills;
            return Ok(OomNotice::Oom);
        }
        let events = file::optional(file::read_keyed(&self.dir, "cgroup.events"));
        match events {
            Ok(Some(events)) if events.get("populated") != Some(&0) => Ok(OomNotice::Nothing),
            _ => Ok(OomNotice::Gone),
        }
    }
}

/// How many processes have been killed; `None` without the controller.
pub fn kills(dir: &Path) -> Result<Option<u64>> {
    let events = file::optional(file::read_keyed(dir, "memory.events"))?;
    Ok(events.map(|events| events.get("oom_kill").copied().unwrap_or_default()))
}
