//! Output on its way out of the container.

use std::io;
use std::sync::Arc;

use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::pty::Console;
use super::{fifo, file, log_sink};

/// The most that is read at once. Memory is taken only while there is output.
const CHUNK: usize = 16 << 10;

/// Where it comes from.
pub(super) enum Source {
    Pipe(pipe::Receiver),
    Console(Arc<Console>),
}

/// Where it goes. Writing never fails: what cannot be delivered is dropped and told in the shim's log.
pub(super) enum Sink {
    Nowhere,
    Fifo(fifo::SharedWriter),
    File(file::Writer),
    Log(log_sink::Writer),
    /// A logging program that follows a terminal.
    Pipe(pipe::Sender),
}

/// How far a process's output has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Of how many outputs something was read that may not be all: until a look finds nothing more.
    carrying: usize,
    /// No more will come.
    pub(super) ended: bool,
}

/// One output's part in the progress.
struct Load<'a> {
    progress: &'a watch::Sender<Progress>,
    carried: bool,
}

/// Copies until the last process has closed its end.
pub(super) async fn copy(source: Source, mut sink: Sink, progress: watch::Sender<Progress>) {
    let mut load = Load { progress: &progress, carried: false };
    while source.readable().await.is_ok() {
        let mut chunk = vec![0; CHUNK];
        match source.try_read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => {
                load.set(true);
                sink.write(&chunk[..length]).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => load.set(false),
            Err(_) => break,
        }
    }
}

impl Progress {
    /// All that was written so far is where it belongs. Whoever holds the other end may write more.
    pub(super) fn has_caught_up(&self) -> bool {
        self.ended || self.carrying == 0
    }
}

impl Load<'_> {
    fn set(&mut self, carried: bool) {
        if std::mem::replace(&mut self.carried, carried) != carried {
            self.progress.send_modify(|progress| match carried {
                true => progress.carrying += 1,
                false => progress.carrying -= 1,
            });
        }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl Source {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Source::Pipe(pipe) => pipe.readable().await,
            Source::Console(console) => console.readable().await,
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Pipe(pipe) => pipe.try_read(buffer),
            Source::Console(console) => console.try_read(buffer),
        }
    }
}

impl Sink {
    async fn write(&mut self, output: &[u8]) {
        match self {
            Sink::Nowhere => {}
            Sink::Fifo(writer) => writer.lock().await.write(output).await,
            Sink::File(writer) => writer.write(output),
            Sink::Log(writer) => writer.write(output).await,
            Sink::Pipe(pipe) => write_all(pipe, output).await,
        }
    }
}

/// A program that is gone breaks its pipe: the output is dropped.
async fn write_all(pipe: &pipe::Sender, mut output: &[u8]) {
    while !output.is_empty() && pipe.writable().await.is_ok() {
        match pipe.try_write(output) {
            Ok(written) => output = &output[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
