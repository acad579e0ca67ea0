//! Tells when something happens to a log: written to, rotated, created (inotify(7) on its folder).

use std::ffi::{CStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use errors::{Context, Error, Result};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// When to look again without being told.
const PAUSE: Duration = Duration::from_millis(200);

/// A watch on one log. What happens between two questions is not lost.
#[derive(Debug)]
pub(crate) struct Watch {
    /// None when the user has as many as the kernel gives (fs.inotify.max_user_instances): then it is looked at now and then.
    inotify: Option<AsyncFd<OwnedFd>>,
    folder: PathBuf,
    /// The file's name; those of rotated files begin with it.
    name: OsString,
}

impl Watch {
    /// Begins to watch the log at `path`, which need not exist; its folder must.
    pub(crate) fn new(path: &Path) -> Result<Watch> {
        let shown = || format!("watch log {}", path.display());
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::invalid(format!("{}: not a file's path", shown())));
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let fd = match inotify::init(flags) {
            Err(Errno::MFILE) => {
                return Ok(Watch { inotify: None, folder: folder.to_owned(), name: name.to_owned() });
            }
            fd => fd.map_err(std::io::Error::from).context(shown)?,
        };
        let events = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&fd, folder, events).map_err(std::io::Error::from).context(shown)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may close their descriptor; this one cannot"
        )]
        let inotify = AsyncFd::with_interest(fd, Interest::READABLE).context(shown)?;
        Ok(Watch { inotify: Some(inotify), folder: folder.to_owned(), name: name.to_owned() })
    }

    /// Resolves when something has happened since the last time. False when the log was deleted, or its
    /// folder is gone: nothing more will.
    pub(crate) async fn changed(&self) -> Result<bool> {
        let Some(inotify) = &self.inotify else {
            tokio::time::sleep(PAUSE).await;
            return Ok(self.folder.exists());
        };
        loop {
            let mut ready = inotify.readable().await.context(|| "wait for a log to change")?;
            let (changed, gone) =
                self.drain(inotify).map_err(std::io::Error::from).context(|| "read inotify events")?;
            ready.clear_ready();
            if changed || gone {
                return Ok(!gone);
            }
        }
    }

    /// Takes all events there are; says whether one is of this log, and whether it is gone.
    fn drain(&self, inotify: &AsyncFd<OwnedFd>) -> rustix::io::Result<(bool, bool)> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify.get_ref(), &mut buffer);
        let (mut changed, mut gone) = (false, false);
        loop {
            match events.next() {
                Ok(event) => {
                    let (flags, name) =
                        (event.events(), event.file_name().map(CStr::to_bytes).unwrap_or_default());
                    let log = self.name.as_bytes();
                    // Rotation renames; whoever deletes the current file wants no more of it.
                    gone |= flags
                        .intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED)
                        || (flags.contains(ReadFlags::DELETE) && name == log);
                    changed |= flags.contains(ReadFlags::QUEUE_OVERFLOW) || name.starts_with(log);
                }
                Err(Errno::WOULDBLOCK) => return Ok((changed, gone)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
