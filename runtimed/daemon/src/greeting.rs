//! A client that connects says at once that it speaks HTTP/2 (RFC 9113 section 3.4). One that does not, or says it a letter a minute, would keep
//! a seat that others wait for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Connected;

/// `PRI * HTTP/2.0`, and what belongs to it. What it is, HTTP/2 itself checks.
const PREFACE: usize = 24;

/// A connection whose client has to greet.
pub struct Greeted<S> {
    stream: S,
    left: usize,
    /// `None` once it has.
    patience: Option<Pin<Box<Sleep>>>,
}

/// Each connection, which ends with `TimedOut` when its client has not greeted within `patience`.
pub fn greeted<S>(
    guests: impl Stream<Item = io::Result<S>>,
    patience: Duration,
) -> impl Stream<Item = io::Result<Greeted<S>>> {
    guests.map(move |guest| {
        let patience = Some(Box::pin(sleep(patience)));
        guest.map(|stream| Greeted { stream, left: PREFACE, patience })
    })
}

impl<S: Connected> Connected for Greeted<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(patience) = &mut self.patience else { return read };
        if read.is_pending() {
            return match patience.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "a client has connected and does not say what it speaks",
                ))),
                Poll::Pending => Poll::Pending,
            };
        }
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        if self.left == 0 {
            self.patience = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    async fn one(stream: DuplexStream) -> Greeted<DuplexStream> {
        let guests = tokio_stream::iter([Ok(stream)]);
        greeted(guests, Duration::from_millis(50)).next().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_client_that_greets_slowly_is_let_go() {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(b"PRI * HTTP").await.unwrap();
        let mut server = one(server).await;
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 10);
        assert_eq!(server.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_that_has_greeted_may_be_silent() {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut server = one(server).await;
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await.unwrap(), PREFACE);
        let silent = tokio::time::timeout(Duration::from_millis(200), server.read(&mut buffer));
        assert!(silent.await.is_err(), "it was let go");
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 1);
    }
}
