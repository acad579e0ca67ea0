//! Fifos between the shim and a client of the daemon.
//!
//! The shim holds both ends of each, so that a client may come, go and come back. For output that would make
//! a vanished reader look like a slow one, whose fifo never empties; so when the fifo is full, the shim lets
//! go of its reading end for a moment. If there is a reader, it makes room, and its slowness is passed on to
//! the container. If there is none, the pipe breaks, and the output is dropped: the container is never
//! blocked by the dead.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe;

use crate::log;

/// Is there a fifo at `path`?
///
/// # Errors
/// Fails if there is nothing at all.
pub(super) fn is_fifo(path: &Path) -> io::Result<bool> {
    let stat = rustix::fs::stat(path)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// Both outputs may lead to one fifo: there must be only one keeper to let go of.
pub(super) type SharedWriter = std::sync::Arc<tokio::sync::Mutex<Writer>>;

/// The writing end of a fifo.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    sender: pipe::Sender,
    /// The reading end; gone while the fifo is full.
    keeper: Option<OwnedFd>,
    lost: u64,
}

impl Writer {
    pub(super) fn open(path: &Path) -> io::Result<Writer> {
        let keeper = open(path, OFlags::RDONLY)?;
        let sender = pipe::OpenOptions::new().open_sender(path)?;
        Ok(Writer { path: path.to_owned(), sender, keeper: Some(keeper), lost: 0 })
    }

    /// Writes all of it, or drops the rest if nobody reads.
    pub(super) async fn write(&mut self, mut output: &[u8]) {
        while !output.is_empty() {
            match rustix::io::write(&self.sender, output) {
                Ok(written) => output = &output[written..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match self.write_to_reader(output).await {
                    Ok(written) => output = &output[written..],
                    Err(error) => return self.drop_output(output, &error),
                },
                Err(error) => return self.drop_output(output, &error.into()),
            }
        }
        self.keep();
    }

    /// The fifo is full: writes what a reader makes room for.
    async fn write_to_reader(&mut self, output: &[u8]) -> io::Result<usize> {
        self.keeper = None;
        loop {
            self.sender.writable().await?;
            match self.sender.try_io(|| Ok(rustix::io::write(&self.sender, output)?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    fn drop_output(&mut self, output: &[u8], error: &io::Error) {
        if self.lost == 0 {
            log::warning!("nobody reads {}, output is dropped: {error}", self.path.display());
        }
        self.lost += output.len() as u64;
        self.keep();
    }

    fn keep(&mut self) {
        if self.keeper.is_none() {
            // If the fifo was removed, the pipe breaks from now on, and output is dropped.
            self.keeper = open(&self.path, OFlags::RDONLY).ok();
        }
    }
}

/// The reading end of a fifo, and the writing end that keeps it from ending: dropping the latter lets the
/// stream end with its last writer.
pub(super) fn open_input(path: &Path) -> io::Result<(pipe::Receiver, OwnedFd)> {
    let receiver = pipe::OpenOptions::new().open_receiver(path)?;
    let keeper = open(path, OFlags::WRONLY)?;
    Ok((receiver, keeper))
}

fn open(path: &Path, access: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn fifo(dir: &tempfile::TempDir) -> PathBuf {
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::from_raw_mode(0o600)).unwrap();
        path
    }

    #[tokio::test]
    async fn nobody_reading_does_not_block_and_what_fits_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir);
        let mut writer = Writer::open(&path).unwrap();
        let output = vec![b'x'; 100_000];
        timeout(Duration::from_secs(10), writer.write(&output)).await.unwrap();
        timeout(Duration::from_secs(10), writer.write(&output)).await.unwrap();
        assert!(writer.lost > 0);
        // A late reader finds what fitted.
        let mut reader = std::fs::File::from(open(&path, OFlags::RDONLY).unwrap());
        let mut found = vec![0; 1 << 20];
        assert!(reader.read(&mut found).unwrap() >= 4096);
    }

    #[tokio::test]
    async fn a_slow_reader_gets_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir);
        let mut writer = Writer::open(&path).unwrap();
        let reading = path.clone();
        let reader = std::thread::spawn(move || {
            let mut file = std::fs::File::open(reading).unwrap();
            let mut all = Vec::new();
            let mut chunk = [0; 1000];
            loop {
                std::thread::yield_now();
                match file.read(&mut chunk).unwrap() {
                    0 => return all,
                    n => all.extend_from_slice(&chunk[..n]),
                }
            }
        });
        let output: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        // The fifo holds 64 KiB; the reader must have come before it is full.
        writer.write(&output[..4]).await;
        while writer.keeper.is_some() && !reader_is_there(&path) {
            tokio::task::yield_now().await;
        }
        writer.write(&output[4..]).await;
        drop(writer);
        assert!(reader.join().unwrap() == output);
    }

    /// With a reader beside the keeper, the first bytes vanish from the fifo.
    fn reader_is_there(path: &Path) -> bool {
        rustix::io::ioctl_fionread(open(path, OFlags::RDONLY).unwrap()).unwrap() == 0
    }

    #[tokio::test]
    async fn input_ends_when_the_keeper_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir);
        let (receiver, keeper) = open_input(&path).unwrap();
        std::fs::write(&path, "hello").unwrap();
        receiver.readable().await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receiver.try_read(&mut buffer).unwrap(), 5);
        assert_eq!(receiver.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(keeper);
        receiver.readable().await.unwrap();
        assert_eq!(receiver.try_read(&mut buffer).unwrap(), 0);
    }
}
