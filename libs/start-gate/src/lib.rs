//! What the init of a created container waits at until it is started: a fifo among the executor's files of the container.
//!
//! The executor makes it and starts the container by it; this project's shim, which knows where it is, can do the latter as well and needs
//! no program for it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// Its name in the container's folder. It is gone once the container was started.
pub const NAME: &str = "exec.fifo";

/// Where a created container waits.
#[derive(Debug)]
pub struct Gate(OwnedFd);

/// A container that is about to be started.
#[derive(Debug)]
pub struct Opened(File);

impl Gate {
    /// Makes the fifo in the container's folder. It is held open for both directions: reading ends only when somebody starts the container,
    /// and nobody finds a reader once its init is gone.
    ///
    /// # Errors
    /// Those of mkfifo(3) and open(2).
    pub fn new(folder: &Path) -> io::Result<Gate> {
        let path = folder.join(NAME);
        rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(0o600))?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Gate(rustix::fs::open(&path, flags, Mode::empty())?))
    }

    /// What has to stay open for [`wait`](Gate::wait).
    pub fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    /// Waits until the container is started.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn wait(self) -> io::Result<()> {
        File::from(self.0).read_exact(&mut [0])
    }
}

/// Takes the fifo of a container away, so that it is started once; [`Opened::start`] comes next. `None` when there is no init to start.
///
/// # Errors
/// Those of open(2) and unlink(2): NotFound for a container that was started, or never waited.
pub fn open(folder: &Path) -> io::Result<Option<Opened>> {
    let path = folder.join(NAME);
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fifo = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(fifo) => fifo,
        // Nobody reads (fifo(7)).
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    std::fs::remove_file(&path)?;
    Ok(Some(Opened(fifo.into())))
}

impl Opened {
    /// Lets init go.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn start(mut self) -> io::Result<()> {
        self.0.write_all(b"0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_once() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(open(folder.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
        let gate = Gate::new(folder.path()).unwrap();
        assert!(Gate::new(folder.path()).is_err());
        let waiting = std::thread::spawn(move || gate.wait());
        open(folder.path()).unwrap().unwrap().start().unwrap();
        waiting.join().unwrap().unwrap();
        assert_eq!(open(folder.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nobody_is_started_who_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        drop(Gate::new(folder.path()).unwrap());
        assert!(open(folder.path()).unwrap().is_none());
        assert!(folder.path().join(NAME).exists());
    }
}
