//! The streams of a process, whichever way they reach the daemon: the shim's attach socket, or fifos.
//!
//! The attach socket carries frames: a byte that names the stream (0 stdin, 1 stdout, 2 stderr, 3 end of
//! stdin, 5 the caller was too slow and is let go, 6 this was all), the payload's length as a big-endian u32 of at most 64 KiB, and the payload.

use std::os::fd::AsRawFd;
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use errors::{Context, Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedWriteHalf, pipe};
use tokio::sync::{mpsc, watch};

/// The most bytes of a frame.
const FRAME_LIMIT: usize = 64 << 10;
/// Chunks that may wait for a slow caller. When they do, nothing more is read: the shim drops an attached client that does
/// not read, and a fifo holds its writer back.
const QUEUE: usize = 16;

/// Bytes that a process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// To standard output, or to its terminal.
    Stdout(Bytes),
    /// To standard error.
    Stderr(Bytes),
    /// The shim has let this caller go, who was too slow: what comes after is in the container's log alone. Nothing follows.
    Lost,
    /// The connection has ended without the shim's word that this was all; it was killed, most likely. Nothing follows.
    Cut,
}

/// Both directions of a process's streams.
pub struct Streams {
    /// What it writes; ends when all of it has come.
    pub output: mpsc::Receiver<Chunk>,
    /// What it reads.
    pub input: Input,
    /// Until when the shim has to be there for it.
    pub(crate) delivery: Delivery,
}

/// The way of a process's output from the shim to the caller.
#[derive(Clone)]
pub(crate) struct Delivery(watch::Receiver<()>);

impl Delivery {
    /// One that nobody waits for.
    pub(crate) fn none() -> Delivery {
        Delivery(watch::channel(()).1)
    }

    /// Waits until all of it has come, or nobody wants it any more.
    pub(crate) async fn over(mut self) {
        // Nothing is ever sent: it closes.
        let _ = self.0.changed().await;
    }
}

/// Where a process's stdin is fed.
pub enum Input {
    /// It has none, or this caller does not feed it.
    Closed,
    /// Over the attach socket.
    Socket(OwnedWriteHalf),
    /// Through a fifo.
    Fifo(pipe::Sender),
}

impl Input {
    /// Feeds `bytes`; a reader that is gone is no error, as with a pipe to a process that has ended.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match self {
            Input::Closed => Ok(()),
            Input::Socket(socket) => write_frames(socket, 0, bytes).await,
            Input::Fifo(fifo) => fifo.write_all(bytes).await,
        };
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                *self = Input::Closed;
                Ok(())
            }
            other => other.context(|| "write to a process's stdin"),
        }
    }

    /// Ends stdin. Says whether the runtime must be told too: it keeps a fifo open for later writers.
    pub async fn close(&mut self) -> Result<bool> {
        match std::mem::replace(self, Input::Closed) {
            Input::Closed => Ok(false),
            Input::Fifo(_) => Ok(true),
            Input::Socket(mut socket) => {
                // A process that has ended reads no end of file.
                let _ = write_frames(&mut socket, 3, &[]).await;
                *self = Input::Socket(socket);
                Ok(false)
            }
        }
    }
}

/// Connects to the attach socket at `path`, which may be longer than a socket address allows.
pub async fn connect(path: &Path, stdin: bool) -> Result<Streams> {
    let stream = connect_long(path).await.context(|| format!("connect to {}", path.display()))?;
    Ok(over(stream, stdin))
}

/// Speaks over a connection that is made.
pub fn over(stream: UnixStream, stdin: bool) -> Streams {
    let (reader, writer) = stream.into_split();
    let (sender, output) = mpsc::channel(QUEUE);
    let (delivering, delivered) = watch::channel(());
    tokio::spawn(async move {
        if let Err(error) = read_frames(reader, sender).await {
            tracing::warn!(error = %error.chain(), "an attach socket broke");
        }
        drop(delivering);
    });
    // Without stdin the writing half stays open all the same: closing it would look like a client that left.
    let input = if stdin { Input::Socket(writer) } else { hold(writer) };
    Streams { output, input, delivery: Delivery(delivered) }
}

/// Keeps the connection whole without feeding anything.
fn hold(writer: OwnedWriteHalf) -> Input {
    writer.forget();
    Input::Closed
}

async fn connect_long(path: &Path) -> std::io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    };
    let folder = std::fs::File::open(folder)?;
    let mut short = std::path::PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    short.push(name);
    UnixStream::connect(short).await
}

/// Hands on what a shim writes into its attach socket, until the word that this was all, or that it lets the caller go; or until it breaks off,
/// or goes on with something that is no frame.
pub(crate) async fn read_frames(reader: impl AsyncRead + Unpin, sender: mpsc::Sender<Chunk>) -> Result<()> {
    match read_on(reader, &sender).await {
        Ok(true) => Ok(()),
        other => {
            // Who has gone needs not be told.
            let _ = sender.send(Chunk::Cut).await;
            other.map(drop)
        }
    }
}

/// Says whether it came to its end.
async fn read_on(mut reader: impl AsyncRead + Unpin, sender: &mpsc::Sender<Chunk>) -> Result<bool> {
    loop {
        let mut head = [0u8; 5];
        let read = tokio::select! {
            read = reader.read_exact(&mut head) => read,
            // Nobody listens any more: a silent container must not keep the connection.
            () = sender.closed() => return Ok(true),
        };
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error).context(|| "read an attach frame"),
        }
        let [stream, a, b, c, d] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > FRAME_LIMIT {
            return Err(Error::internal(format!("attach frame of {length} bytes, more than {FRAME_LIMIT}")));
        }
        let mut payload = BytesMut::zeroed(length);
        reader.read_exact(&mut payload).await.context(|| "read an attach frame's payload")?;
        let chunk = match stream {
            1 => Chunk::Stdout(payload.freeze()),
            2 => Chunk::Stderr(payload.freeze()),
            5 => Chunk::Lost,
            6 => return Ok(true),
            other => return Err(Error::internal(format!("attach frame of unknown stream {other}"))),
        };
        let last = chunk == Chunk::Lost;
        if sender.send(chunk).await.is_err() || last {
            return Ok(true);
        }
    }
}

async fn write_frames(writer: &mut OwnedWriteHalf, stream: u8, bytes: &[u8]) -> std::io::Result<()> {
    let mut rest = bytes;
    loop {
        let (now, later) = rest.split_at(rest.len().min(FRAME_LIMIT));
        let mut frame = BytesMut::with_capacity(5 + now.len());
        frame.put_u8(stream);
        frame.put_u32(now.len() as u32);
        frame.put_slice(now);
        writer.write_all(&frame).await?;
        rest = later;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Copies a fifo's bytes into `sender` until its last writer is gone.
pub(crate) async fn pump_fifo(
    mut fifo: pipe::Receiver,
    sender: mpsc::Sender<Chunk>,
    wrap: fn(Bytes) -> Chunk,
) -> std::io::Result<()> {
    let mut buffer = BytesMut::with_capacity(32 << 10);
    loop {
        buffer.reserve(32 << 10);
        if fifo.read_buf(&mut buffer).await? == 0 || sender.send(wrap(buffer.split().freeze())).await.is_err()
        {
            return Ok(());
        }
    }
}

/// The channel that outputs go through.
pub(crate) fn channel() -> (mpsc::Sender<Chunk>, mpsc::Receiver<Chunk>) {
    mpsc::channel(QUEUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_read_after_the_word_that_it_was_the_last() {
        let told = [frame(1, b"out"), frame(5, b""), frame(1, b"more").repeat(2 * QUEUE)].concat();
        assert_eq!(chunks(&told).await, [Chunk::Stdout(Bytes::from_static(b"out")), Chunk::Lost]);
    }

    #[tokio::test]
    async fn output_that_breaks_off_is_not_taken_for_whole() {
        let out = frame(1, b"out");
        let come = Chunk::Stdout(Bytes::from_static(b"out"));
        assert_eq!(chunks(&[&out[..], &frame(6, b"")].concat()).await, std::slice::from_ref(&come));
        for rest in [&b""[..], &out[..3], &out[..6], &frame(9, b"what")] {
            assert_eq!(chunks(&[&out, rest].concat()).await, [come.clone(), Chunk::Cut], "{rest:?}");
        }
    }

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        [&[stream, 0, 0, 0, text.len() as u8][..], text].concat()
    }

    async fn chunks(told: &[u8]) -> Vec<Chunk> {
        let (sender, mut output) = channel();
        // That it is no frame is for the log.
        let _ = read_frames(told, sender).await;
        let mut chunks = Vec::new();
        while let Some(chunk) = output.recv().await {
            chunks.push(chunk);
        }
        chunks
    }
}
