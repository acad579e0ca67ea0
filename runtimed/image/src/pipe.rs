//! From an async producer of chunks to a blocking reader, with a bound between them.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// One message: bytes, the reason why there are no more, or the clean end.
enum Part {
    Bytes(Bytes),
    Failed(io::Error),
    End,
}

/// The async end. Dropping it without [`PipeWriter::finish`] is an error for the reader.
pub struct PipeWriter {
    parts: mpsc::Sender<Part>,
}

/// The blocking end; not for an async task's thread.
pub struct PipeReader {
    parts: mpsc::Receiver<Part>,
    current: Bytes,
    ended: bool,
}

/// What became of a chunk that was offered without waiting.
pub(crate) enum Offered {
    /// It is in the pipe.
    Taken,
    /// The pipe is full; here it is again.
    Full(Bytes),
    /// Nobody reads any more.
    Closed,
}

/// A pipe that holds at most `chunks` chunks.
pub fn pipe(chunks: usize) -> (PipeWriter, PipeReader) {
    let (sender, receiver) = mpsc::channel(chunks.max(1));
    (PipeWriter { parts: sender }, PipeReader { parts: receiver, current: Bytes::new(), ended: false })
}

impl PipeWriter {
    /// Hands on `bytes`; waits while the pipe is full. False: nobody reads any more.
    pub async fn write(&self, bytes: Bytes) -> bool {
        self.parts.send(Part::Bytes(bytes)).await.is_ok()
    }

    /// Hands on `bytes` unless that would wait.
    pub(crate) fn offer(&self, bytes: Bytes) -> Offered {
        match self.parts.try_send(Part::Bytes(bytes)) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(Part::Bytes(bytes))) => Offered::Full(bytes),
            Err(_) => Offered::Closed,
        }
    }

    /// Says that the stream ends here, whole.
    pub async fn finish(self) {
        // A reader that went away needs no end.
        let _ = self.parts.send(Part::End).await;
    }

    /// Says that the stream broke, and why.
    pub async fn fail(self, error: io::Error) {
        let _ = self.parts.send(Part::Failed(error)).await;
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.parts.blocking_recv() {
                Some(Part::Bytes(bytes)) => self.current = bytes,
                Some(Part::Failed(error)) => return Err(error),
                Some(Part::End) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream was cut off")),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn carries_bytes_and_tells_an_end_from_a_cut() {
        let (writer, mut reader) = pipe(1);
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        assert!(writer.write(Bytes::from_static(b"ab")).await);
        assert!(writer.write(Bytes::from_static(b"cd")).await);
        writer.finish().await;
        assert_eq!(reading.await.unwrap().unwrap(), "abcd");

        let (writer, mut reader) = pipe(1);
        drop(writer);
        let cut = tokio::task::spawn_blocking(move || reader.read(&mut [0; 8])).await.unwrap();
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_full_pipe_gives_the_chunk_back() {
        let (writer, reader) = pipe(1);
        assert!(matches!(writer.offer(Bytes::from_static(b"a")), Offered::Taken));
        assert!(matches!(writer.offer(Bytes::from_static(b"b")), Offered::Full(bytes) if bytes == "b"));
        drop(reader);
        assert!(matches!(writer.offer(Bytes::from_static(b"c")), Offered::Closed));
    }
}
