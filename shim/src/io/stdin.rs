//! Stdin on its way into the container.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::attach::Hub;
use super::pty::Console;
use crate::sync::lock;

/// No piece is longer.
const CHUNK: usize = 16 << 10;

/// Where it comes from.
pub(super) enum Source {
    Fifo(pipe::Receiver),
    Attach(mpsc::Receiver<Vec<u8>>),
}

/// Where it goes.
pub(super) enum Target {
    Pipe(pipe::Sender),
    Console(Arc<Console>),
}

/// Ends stdin at the daemon's request.
pub(super) enum Closer {
    /// The writing end of the fifo: the stream ends when the last client has closed its own, too.
    Fifo(Mutex<Option<OwnedFd>>),
    Attach(Arc<Hub>),
}

impl Closer {
    pub(super) fn close(&self) {
        match self {
            Closer::Fifo(keeper) => drop(lock(keeper).take()),
            Closer::Attach(hub) => hub.end_stdin(),
        }
    }
}

/// Copies until either side ends, then closes both.
pub(super) async fn copy(mut source: Source, target: Target) {
    while let Some(input) = source.next().await {
        if target.write_all(&input).await.is_err() {
            // The process does not read any more.
            return;
        }
    }
}

impl Source {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let fifo = match self {
            Source::Attach(queue) => return queue.recv().await,
            Source::Fifo(fifo) => fifo,
        };
        loop {
            fifo.readable().await.ok()?;
            let mut chunk = vec![0; CHUNK];
            match fifo.try_read(&mut chunk) {
                Ok(0) => return None,
                Ok(length) => {
                    chunk.truncate(length);
                    return Some(chunk);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}

impl Target {
    async fn write_all(&self, mut input: &[u8]) -> io::Result<()> {
        while !input.is_empty() {
            let written = match self {
                Target::Console(console) => console.write(input).await?,
                Target::Pipe(pipe) => {
                    pipe.writable().await?;
                    match pipe.try_write(input) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                        result => result?,
                    }
                }
            };
            input = &input[written..];
        }
        Ok(())
    }
}
