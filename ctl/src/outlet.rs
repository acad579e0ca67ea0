//! Output of a process on its way to this program's own streams, which may be slow: a pipe that is read now and then, a terminal that was
//! stopped by ctrl-s. Whoever waits for one goes on hearing signals and keys.

use std::io;
use std::os::fd::AsFd;

use proto_engine::v1::output::Stream;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use tokio::task::JoinHandle;

/// A pipe that says that it has room takes this much without blocking (pipe(7): PIPE_BUF).
const SURE: usize = 4096;

/// A write that is under way.
pub type Writing = JoinHandle<io::Result<()>>;

/// Writes at once what there is room for; the rest, if any, is written on a thread that may wait. Nothing may be written to the same
/// stream meanwhile.
pub fn write(stream: Stream, data: Vec<u8>) -> io::Result<Option<Writing>> {
    let written = match stream {
        Stream::Stdout => write_now(io::stdout(), &data)?,
        Stream::Stderr => write_now(io::stderr(), &data)?,
    };
    if written == data.len() {
        return Ok(None);
    }
    Ok(Some(tokio::task::spawn_blocking(move || match stream {
        Stream::Stdout => write_all(io::stdout(), &data[written..]),
        Stream::Stderr => write_all(io::stderr(), &data[written..]),
    })))
}

/// How much was written without waiting.
fn write_now(out: impl AsFd, data: &[u8]) -> io::Result<usize> {
    // A terminal that says it has room may have less than is to be written.
    if rustix::termios::isatty(&out) {
        return Ok(0);
    }
    let mut written = 0;
    while written < data.len() && has_room(&out, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
        let piece = &data[written..data.len().min(written + SURE)];
        match rustix::io::write(&out, piece) {
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            // Somebody who shares the stream has made it non-blocking.
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

fn write_all(out: impl AsFd, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::write(&out, data) {
            Ok(length) => data = &data[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => drop(has_room(&out, None)?),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Is there room, or will a write tell what is wrong? Waits as long as `limit` says.
fn has_room(out: &impl AsFd, limit: Option<&Timespec>) -> io::Result<bool> {
    let mut polled = [PollFd::new(out, PollFlags::OUT)];
    match rustix::event::poll(&mut polled, limit) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_full_pipe_is_not_waited_for() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let data: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
        let now = write_now(&writer, &data).unwrap();
        assert!(now > 0 && now < data.len(), "{now}");
        let expected = data.clone();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            std::fs::File::from(reader).read_to_end(&mut all).unwrap();
            all
        });
        write_all(&writer, &data[now..]).unwrap();
        drop(writer);
        assert!(reading.join().unwrap() == expected);
    }

    #[test]
    fn a_reader_that_has_gone_is_told() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        assert_eq!(write_now(&writer, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
