//! Tells when the kernel ran a container out of memory.
//!
//! Version 2: `memory.events` changes, and its `oom_kill` has grown. Version 1: an eventfd registered with
//! `memory.oom_control` through `cgroup.event_control` is signalled, which also happens when the cgroup is
//! removed.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use errors::{Context, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use runc_client::async_fd;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use crate::cgroup::{Cgroup, table};

/// A container's memory, being watched.
pub(crate) enum Watcher {
    V1 { event: AsyncFd<OwnedFd>, dir: PathBuf },
    V2 { events: AsyncFd<OwnedFd>, dir: PathBuf, kills: u64 },
}

impl Watcher {
    /// Begins to watch.
    ///
    /// # Errors
    /// Fails if the cgroup has no memory controller.
    pub(crate) fn new(cgroup: &Cgroup) -> Result<Watcher> {
        match cgroup {
            Cgroup::V1(dirs) => {
                let dir =
                    dirs.get("memory").ok_or_else(|| errors::Error::not_found("no memory hierarchy"))?;
                watch_v1(dir)
            }
            Cgroup::V2(dir) => watch_v2(dir),
        }
    }

    /// Waits for the next time. `None` once the cgroup is gone.
    pub(crate) async fn next(&mut self) -> Option<()> {
        match self {
            Watcher::V1 { event, dir } => {
                wait(event).await?;
                dir.join("memory.oom_control").exists().then_some(())
            }
            Watcher::V2 { events, dir, kills } => loop {
                wait(events).await?;
                if !dir.exists() {
                    return None;
                }
                let now = oom_kills(dir);
                if now > *kills {
                    *kills = now;
                    return Some(());
                }
            },
        }
    }
}

fn watch_v1(dir: &Path) -> Result<Watcher> {
    let named = || format!("watch {} for out-of-memory events", dir.display());
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(std::io::Error::from)
        .context(named)?;
    let control = File::open(dir.join("memory.oom_control")).context(named)?;
    let order = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
    fs::write(dir.join("cgroup.event_control"), order).context(named)?;
    let event = async_fd(OwnedFd::from(event)).context(named)?;
    Ok(Watcher::V1 { event, dir: dir.to_owned() })
}

fn watch_v2(dir: &Path) -> Result<Watcher> {
    let named = || format!("watch {} for out-of-memory events", dir.display());
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let events = inotify::init(flags).map_err(std::io::Error::from).context(named)?;
    inotify::add_watch(&events, dir.join("memory.events"), inotify::WatchFlags::MODIFY)
        .map_err(std::io::Error::from)
        .context(named)?;
    Ok(Watcher::V2 { events: async_fd(events).context(named)?, dir: dir.to_owned(), kills: oom_kills(dir) })
}

fn oom_kills(dir: &Path) -> u64 {
    table(dir, "memory.events").get("oom_kill").copied().unwrap_or_default()
}

/// Waits until there is something to read, and reads it away.
async fn wait(fd: &AsyncFd<OwnedFd>) -> Option<()> {
    let mut events = [0u8; 4096];
    loop {
        let mut ready = fd.readable().await.ok()?;
        match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut events)?)) {
            Ok(Ok(0) | Err(_)) => return None,
            Ok(Ok(_)) => return Some(()),
            Err(_would_block) => {}
        }
    }
}
